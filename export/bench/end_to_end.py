"""A video from file to masks, timed."""

import time
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
from mavos_deploy.runtime.segmenter import AnyFrame, Segmenter
from mavos_deploy.runtime.state import State

USUAL = ("palette", "overlay")
LEAST = ("store",)  # takes next to no time to write
FULL = ("overlay", "matte", "coco", "cutouts")
SETS = (USUAL, LEAST, FULL)
# One run after the other, of each runner. The cost of writing is a small difference between runs
# that scatter by as much, so it takes more of them.
ORDER = 2 * SETS + 4 * (LEAST, FULL)


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
        `frames_per_second` after the first frame, `frame_ms`, and `outside_share`, the share of a
        frame's time in which no step runs. `writing_share` is the share by which a frame takes
        longer with the results of `FULL` than with those of `LEAST`, at least 0.

    Raises:
        InputError: The video can't be used, or its shape isn't the bundle's.
    """
    found: dict[tuple[str, tuple[str, ...]], list[tuple[float, float]]]
    found = {(name, kinds): [] for name in runners for kinds in SETS}
    with TemporaryDirectory() as folder:
        place = Path(folder)
        size = video_size(next(iter(runners.values())).segmenter.bundle.manifest.size)
        source = video or place / "clip.mp4"
        if video is None:
            write_clip(source, size, frames, objects)
        for done, (kinds, name) in enumerate(product(ORDER, runners)):
            with open_frames(str(source), Part(max_frames=frames)) as opened:
                run = _run_once(runners[name], opened, place / str(done), objects, kinds)
            found[name, kinds].append(run)
            on_run(done + 1)
    summary = {}
    for name in runners:
        seconds, outside = (float(np.median(c)) for c in zip(*found[name, USUAL], strict=True))
        pairs = zip(found[name, FULL], found[name, LEAST], strict=True)
        longer = float(np.median([full / least - 1 for (full, _), (least, _) in pairs]))
        summary[name] = {
            "frame_ms": milliseconds(seconds),
            "frames_per_second": round(1 / seconds, 3),
            "outside_share": round(outside, 4),
            "writing_share": round(max(0.0, longer), 4),
        }
    return summary


class _SteppedSegmenter(Segmenter):
    """Notes when its steps began and ended."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        super().__init__(bundle, backend)
        self.steps: list[tuple[float, float]] = []

    @property
    def runs_ahead(self) -> bool:
        """Never: a step has to end before the next one begins."""
        return False

    def step(
        self, frame: AnyFrame, state: State, annotation: Labels | None = None
    ) -> tuple[Labels, State]:
        started = time.perf_counter()
        stepped = super().step(frame, state, annotation)
        self.steps.append((started, time.perf_counter()))
        return stepped


def _run_once(
    runner: BackendRunner, source: FrameSource, place: Path, objects: int, kinds: tuple[str, ...]
) -> tuple[float, float]:
    """Seconds of a frame, and the share of them outside of the steps."""
    place.mkdir()
    segmenter = _SteppedSegmenter(runner.segmenter.bundle, runner.backend)
    check_fit(segmenter.bundle.manifest.input_size(source.size), source, stretch=False)
    mask = place / "mask.png"
    known = [kind for kind in kinds if kind != "coco" or find_spec("pycocotools") is not None]
    results = [parse_wanted(kind, str(place / "clip")) for kind in known]
    write_mask(mask, next(iter_clip(*source.size, 1, objects=objects))[1])
    segment_video(
        segmenter,
        source,
        MaskSource(mask, source.size),
        Outputs(results, overwrite=False),
        on_frame=lambda done: None,
    )
    if len(segmenter.steps) < 2:
        raise InputError(f"{source.name} has fewer than 3 frames, too few to be timed")
    # The time up to the end of the first step belongs to the start.
    ends = [end for _, end in segmenter.steps]
    whole = ends[-1] - ends[0]
    within = sum(end - begin for begin, end in segmenter.steps[1:])
    return whole / (len(ends) - 1), max(0.0, 1 - within / whole)


def write_clip(path: Path, size: Size, frames: int, objects: int) -> None:
    """Encode a made-up clip as H.264."""
    with VideoWriter(path, size) as writer:
        for frame, _ in iter_clip(*size, frames, objects=objects):
            writer.write(frame)
