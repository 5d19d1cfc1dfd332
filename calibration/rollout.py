"""Runs a segmenter over clips with their truth, and refuses clips of noise."""

from collections.abc import Iterator, MutableMapping
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.datasets.prediction import ClipFrame, SequenceReader
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.geometry import Size, check_aspect
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.state import State

# Least correlation of neighbouring pixels, or of a pixel with itself in the next frame. Noise has 0
# for both; 60 pairs of frames of 20 made-up scenes had 0.84 and 0.64 or more.
LEAST_CORRELATION = 0.2

Picture = NDArray[np.uint8]


def frames_of(
    sequence: VideoSequence,
    size: Size,
    most: int,
    notes: MutableMapping[str, list[str]] | None = None,
) -> Iterator[ClipFrame]:
    """The frames of a clip, from the first frame with an object on.

    Args:
        sequence: Clip with pictures.
        size: Height and width of the bundle's frames, in pixels.
        most: Frames to read at most.
        notes: Gets what was concluded from the clip's annotations, by the clip's name, once all
            frames were read.

    Raises:
        InputError: A picture or an annotation can't be used; another aspect ratio than the
            bundle's; no object.
    """
    reader = SequenceReader(sequence, lambda own: check_aspect(own, size), strict=True)
    yield from islice(reader, most)
    if notes is not None:
        notes[sequence.name] = reader.truth.notes
    if reader.size is None:
        raise InputError(
            f"{sequence.name}: no picture with an annotated object; give clips with at least the "
            "first frame's mask"
        )


class Rollout:
    """A segmenter on one clip.

    Attributes:
        state: Memory after the latest frame; None before the first.

    Args:
        segmenter: Segmenter to run; other rollouts may use it in turns.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.state: State | None = None
        self._segmenter = segmenter

    def step(self, frame: ClipFrame) -> Labels:
        """Segment the next frame; uint8 [H, W] by the clip's own ids."""
        if self.state is None:
            assert frame.given is not None
            self.state = self._segmenter.start(frame.rgb, frame.given)
            return frame.given
        labels, self.state = self._segmenter.step(frame.rgb, self.state, frame.given)
        return labels


def check_pictures(name: str, before: Picture, rgb: Picture) -> None:
    """Refuse noise, from which no range would be right.

    Args:
        name: Name of the clip, for the message.
        before: Previous picture, uint8 [H, W, 3].
        rgb: Picture, uint8 [H, W, 3].

    Raises:
        InputError: Neighbouring pixels are unrelated, and so are consecutive frames.
    """
    grey = rgb.astype(np.float32).mean(axis=2)
    across = _correlation(grey[:, 1:], grey[:, :-1])
    if before.shape != rgb.shape or across >= LEAST_CORRELATION:
        return
    over_time = _correlation(grey, before.astype(np.float32).mean(axis=2))
    if over_time < LEAST_CORRELATION:
        raise InputError(
            f"{name}: noise: neighbouring pixels correlate by {across:.2f} and consecutive frames "
            f"by {over_time:.2f}, where video has more than {LEAST_CORRELATION}; calibrate with "
            "the kind of video that is to be segmented"
        )


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / norm if norm else 1.0
