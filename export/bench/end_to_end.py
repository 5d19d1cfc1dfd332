"""A video from file to masks, timed."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.export.bench.runners import BackendRunner, video_size
from mavos_deploy.export.bench.timing import milliseconds
from mavos_deploy.runtime.backends.protocol import Backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.source import MaskSource
from mavos_deploy.runtime.media.encoding import VideoWriter
from mavos_deploy.runtime.media.frames import FrameSource, open_frames
from mavos_deploy.runtime.media.outputs import Outputs, parse_wanted
from mavos_deploy.runtime.media.part import Part
from mavos_deploy.runtime.media.video import check_fit, segment_video
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.resize import PreparedFrame
from mavos_deploy.runtime.segmenter import AnyFrame, Segmenter
from mavos_deploy.runtime.state import State

USUAL = ("palette", "overlay")
LEAST = ("store",)  # takes next to no time to write
FULL = ("overlay", "matte", "coco", "cutouts")
# What is written in one run after the other, of each runner, and whether its steps are kept apart.
# The cost of writing is a small difference between runs that scatter by as much, so it takes more.
ORDER = 2 * ((USUAL, False), (USUAL, True)) + 6 * ((LEAST, False), (FULL, False))


def run_end_to_end(
    runners: Mapping[str, BackendRunner],
    video: Path | None,
    frames: int,
    objects: int,
    on_run: Callable[[int], None],
) -> dict[str, dict[str, Any]]:
    """Segment a video as `mavos-run` does, in turns, and time what lies between steps.

    Args:
        runners: Runners of one bundle by name.
        video: File of the video; None for a made-up clip.
        frames: Largest number of frames to take.
        objects: Number of made-up objects in the first frame.
        on_run: Called with how many runs are done.

    Returns:
        For each runner the medians over its runs, with palette PNGs and an overlay:
        `frames_per_second` from the second frame on, and `frame_ms`. `outside_share` is the
        time in which no step runs, as a share of a frame's, where a step does all that the graphs
        do for a frame and ends before the next one begins. `writing_share` is the share by which a
        frame takes longer with the results of `FULL` than with those of `LEAST`, at least 0.

    Raises:
        InputError: The video can't be used, or its shape isn't the bundle's.
    """
    seconds: dict[tuple[str, tuple[str, ...]], list[float]] = defaultdict(list)
    outside: dict[str, list[float]] = defaultdict(list)
    with TemporaryDirectory() as folder:
        place = Path(folder)
        size = video_size(next(iter(runners.values())).segmenter.bundle.manifest.size)
        source = video or place / "clip.mp4"
        if video is None:
            write_clip(source, size, frames, objects)
        for done, ((kinds, apart), name) in enumerate(product(ORDER, runners)):
            results = place / str(done)
            with open_frames(str(source), Part(max_frames=frames)) as opened:
                if apart:
                    outside[name].append(_outside(runners[name], opened, results, objects, kinds))
                else:
                    run = _frame_seconds(runners[name], opened, results, objects, kinds)
                    seconds[name, kinds].append(run)
            on_run(done + 1)
    summary = {}
    for name in runners:
        usual = float(np.median(seconds[name, USUAL]))
        pairs = zip(seconds[name, FULL], seconds[name, LEAST], strict=True)
        longer = float(np.median([full / least - 1 for full, least in pairs]))
        summary[name] = {
            "frame_ms": milliseconds(usual),
            "frames_per_second": round(1 / usual, 3),
            "outside_share": round(float(np.median(outside[name])), 4),
            "writing_share": round(max(0.0, longer), 4),
        }
    return summary


class _SteppedSegmenter(Segmenter):
    """Does all of a frame in its step, and notes when its steps began and ended."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        super().__init__(bundle, backend)
        self.steps: list[tuple[float, float]] = []

    @property
    def runs_ahead(self) -> bool:
        """Never: a step has to end before the next one begins."""
        return False

    def prepare(self, frame: AnyFrame) -> PreparedFrame:
        return self.check(frame)

    def step(
        self, frame: AnyFrame, state: State, annotation: Labels | None = None
    ) -> tuple[Labels, State]:
        started = time.perf_counter()
        stepped = super().step(frame, state, annotation)
        self.steps.append((started, time.perf_counter()))
        return stepped


def _frame_seconds(
    runner: BackendRunner, source: FrameSource, place: Path, objects: int, kinds: tuple[str, ...]
) -> float:
    """Seconds of a frame, from the second frame to the last."""
    done: list[float] = []

    def on_frame(_: int) -> None:
        done.append(time.perf_counter())

    _run(runner.segmenter, source, place, objects, kinds, on_frame)
    done.pop()  # told once more when all is written
    return (done[-1] - done[1]) / (len(done) - 2)


def _outside(
    runner: BackendRunner, source: FrameSource, place: Path, objects: int, kinds: tuple[str, ...]
) -> float:
    """The share of a frame's time outside of its step."""
    segmenter = _SteppedSegmenter(runner.segmenter.bundle, runner.backend)
    _run(segmenter, source, place, objects, kinds, lambda done: None)
    # The time up to the end of the first step belongs to the start.
    whole = segmenter.steps[-1][1] - segmenter.steps[0][1]
    within = sum(end - begin for begin, end in segmenter.steps[1:])
    return max(0.0, 1 - within / whole)


def _run(
    segmenter: Segmenter,
    source: FrameSource,
    place: Path,
    objects: int,
    kinds: tuple[str, ...],
    on_frame: Callable[[int], None],
) -> None:
    """Segment a video, and write what is wanted into a new folder."""
    place.mkdir()
    check_fit(segmenter.bundle.manifest.input_size(source.size), source, stretch=False)
    mask = place / "mask.png"
    known = [kind for kind in kinds if kind != "coco" or find_spec("pycocotools") is not None]
    results = [parse_wanted(kind, str(place / "clip")) for kind in known]
    write_mask(mask, next(iter_clip(*source.size, 1, objects=objects))[1])
    summary = segment_video(
        segmenter,
        source,
        MaskSource(mask, source.size),
        Outputs(results, overwrite=False),
        on_frame=on_frame,
    )
    if summary.frames < 3:
        raise InputError(f"{source.name} has fewer than 3 frames, too few to be timed")


def write_clip(path: Path, size: Size, frames: int, objects: int) -> None:
    """Encode a made-up clip as H.264."""
    with VideoWriter(path, size) as writer:
        for frame, _ in iter_clip(*size, frames, objects=objects):
            writer.write(frame)
