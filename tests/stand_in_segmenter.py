"""A segmenter without a network, whose labels depend on all frames before, and runs with it.

    python -m tests.stand_in_segmenter FOLDER KILL_AT

segments the video of a folder into `FOLDER/out`, saving the run, and after frame KILL_AT kills its
own process as `kill -9` does.
"""

import os
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save

from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.source import MaskSource
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.outputs import Outputs, parse_wanted
from mavos_deploy.runtime.media.part import Part
from mavos_deploy.runtime.media.resume import Resume
from mavos_deploy.runtime.media.summary import Summary
from mavos_deploy.runtime.media.video import segment_video
from mavos_deploy.runtime.objects import Count, Labels, merge_annotation
from mavos_deploy.runtime.protocol import About, RgbFrame

WRITTEN = ("palette", "coco", "store", "binary", "overlay", "alpha-vp9", "labelme", "events")
EVERY = 3  # frames between two saved states


@dataclass(frozen=True, eq=False)
class StandInState:
    """Labels of the last frame, and a number that every frame changes."""

    labels: Labels
    size: Size
    frame: int
    seen: int

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids in the labels."""
        return tuple(int(i) for i in np.unique(self.labels) if i)

    objects = ids

    @property
    def confidence(self) -> dict[int, float]:
        """A number for each object, which all frames so far decide."""
        return {number: (self.seen + number) % 100 / 100 for number in self.ids}


class StandInSegmenter:
    """Moves the objects by steps that all frames so far decide."""

    about = About("stand-in", "none", trained=True, arithmetic="uint8", bundle_arithmetic="uint8")

    def __init__(self) -> None:
        self.steps = 0

    def input_size(self, video: Size) -> Size:
        return video

    def prepare(self, frame: RgbFrame) -> RgbFrame:
        return frame

    def start(self, frame: RgbFrame, labels: Labels) -> StandInState:
        return StandInState(labels, (labels.shape[0], labels.shape[1]), 0, int(frame.sum()) % 251)

    def step(
        self, frame: RgbFrame, state: StandInState, annotation: Labels | None = None
    ) -> tuple[Labels, StandInState]:
        self.steps += 1
        seen = (31 * state.seen + int(frame.sum())) % 251
        labels = np.roll(state.labels, (seen % 3, seen % 5 - 2), (0, 1))
        if annotation is not None:
            labels = merge_annotation(labels, annotation, Count.FOLLOWED)
        return labels, replace(state, labels=labels, frame=state.frame + 1, seen=seen)

    def remove(self, state: StandInState, ids: Iterable[int]) -> StandInState:
        return state

    def end(self, state: StandInState) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> "StandInSegmenter":
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Counting(StandInSegmenter):
    """Counts the streams that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0

    def start(self, frame: RgbFrame, labels: Labels) -> StandInState:
        self.open += 1
        return super().start(frame, labels)

    def end(self, state: StandInState) -> None:
        self.open -= 1


def dump(state: StandInState, notes: Mapping[str, str]) -> bytes:
    """A state as the content of a file."""
    counters = np.array([state.frame, state.seen], np.int64)
    content: bytes = save({"labels": state.labels, "counters": counters}, dict(notes))
    return content


def load(path: Path) -> StandInState:
    """A state out of a file."""
    held = load_file(path)
    labels, (frame, seen) = held["labels"], held["counters"].tolist()
    return StandInState(labels, (labels.shape[0], labels.shape[1]), frame, seen)


def segment(
    folder: Path,
    output: Path,
    resumable: bool,
    kill_at: int | None = None,
    segmenter: StandInSegmenter | None = None,
    written: Iterable[str] = WRITTEN,
    max_frames: int | None = None,
) -> Summary:
    """Segment `folder/frames` with the masks `folder/masks`, and write everything to a folder.

    Args:
        folder: Folder of the input.
        output: Folder of the results.
        resumable: Whether to save the run, and to go on with an earlier one.
        kill_at: Frames after which the process is killed; None for never.
        segmenter: The segmenter; None for a new one.
        written: Kinds of results.
        max_frames: Frames to take; None for all.
    """

    def on_frame(done: int) -> None:
        if kill_at is not None and done >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    results = [parse_wanted(kind, str(output / "r")) for kind in written]
    outputs = Outputs(results, overwrite=False, keep=resumable)
    resume = Resume(results[0].path, "stand-in", dump, load, EVERY) if resumable else None
    with open_frames(str(folder / "frames"), Part(max_frames=max_frames)) as source:
        masks = MaskSource(folder / "masks", source.size, source.stems)
        return segment_video(
            segmenter or StandInSegmenter(),
            source,
            masks,
            outputs,
            on_frame=on_frame,
            resume=resume,
        )


if __name__ == "__main__":
    segment(Path(sys.argv[1]), Path(sys.argv[1]) / "out", True, int(sys.argv[2]))
