"""A check of a pass forward: objects are followed back from the frames that it reached."""

from contextlib import closing
from typing import Generic

import numpy as np

from mavos_deploy.errors import MavosError, PoisonedError
from mavos_deploy.runtime.masks.small_objects import small_objects
from mavos_deploy.runtime.masks.writing import Checked
from mavos_deploy.runtime.media.frames import SourceFrame
from mavos_deploy.runtime.media.passes.clip import Clip
from mavos_deploy.runtime.media.passes.follow import Halt, follow
from mavos_deploy.runtime.media.passes.fusion import overlap
from mavos_deploy.runtime.objects import Labels, ids_of
from mavos_deploy.runtime.protocol import PreparedT, StateT, VideoSegmenter


class BackwardCheck(Generic[PreparedT, StateT]):
    """Goes back from every n-th frame of a pass to its last keyframe, or to the last such frame.

    It starts with the masks that the pass has in the frame, and compares where it ends. The pass
    itself isn't touched. Pictures are read again, in windows, so that memory stays flat.

    Args:
        segmenter: The segmenter that makes the pass.
        clip: The video; frames are given to `look` once they were read.
        every: Most frames between two checks.
    """

    def __init__(
        self, segmenter: VideoSegmenter[PreparedT, StateT], clip: Clip, every: int
    ) -> None:
        self._segmenter = segmenter
        self._clip = clip
        self._every = every
        self._halt = Halt()
        self._steps = 0
        self._index = 0
        self._stem = ""
        self._labels: Labels = np.zeros((1, 1), np.uint8)

    def begin(self, frame: SourceFrame, labels: Labels) -> None:
        """Go back to this frame from now on, such as a keyframe.

        Args:
            frame: The frame.
            labels: The labels that the run has there, uint8 [H, W].
        """
        self._steps, self._index, self._stem, self._labels = 0, frame.index, frame.stem, labels

    def look(self, frame: SourceFrame, labels: Labels, ends: bool) -> Checked | None:
        """Take the next frame of the pass, and check it if its turn has come.

        Args:
            frame: The frame.
            labels: Labels that the pass has found in it, uint8 [H, W].
            ends: Whether a keyframe or nothing follows it.

        Returns:
            What the check found; None where there was none, or it was stopped. It leaves out
            objects that one of the two frames can't tell about: those without a pixel in the
            frame that the check goes back to, and those that the network loses at its size.

        Raises:
            MavosError: A frame can't be read again, or not be segmented. Never a
                `PoisonedError`, which would speak of the pass forward.
        """
        self._steps += 1
        if self._steps < self._every and not ends:
            return None
        checked = self._back(frame, labels) if labels.any() else None
        self.begin(frame, labels)
        return checked

    def stop(self) -> None:
        """End a check before its next frame. A signal handler may call this."""
        self._halt()

    def _back(self, frame: SourceFrame, labels: Labels) -> Checked | None:
        objects = self._comparable(labels)
        state = self._segmenter.start(frame.rgb, labels)
        last: int | None = None
        found = labels
        frames = self._clip.frames(frame.index - 1, self._index)
        try:
            with closing(follow(self._segmenter, frames, state, halt=self._halt)) as passed:
                for followed in passed:
                    state, found, last = followed.state, followed.labels, followed.frame.index
        except PoisonedError as error:
            raise MavosError(f"the check backward from frame {frame.stem}: {error}") from error
        self._segmenter.end(state)
        if last != self._index:
            return None
        overlaps = {own: float(overlap(found, self._labels, own)) for own in objects}
        return Checked(self._stem, overlaps)

    def _comparable(self, labels: Labels) -> list[int]:
        size = self._segmenter.input_size((labels.shape[0], labels.shape[1]))
        lost = small_objects(labels, size, smallest=1)
        there = set(ids_of(self._labels))
        return [own for own in ids_of(labels) if own in there and own not in lost]
