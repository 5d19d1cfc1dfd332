"""Measures how fast a bundle runs, with PyTorch beside it where that is wanted.

All runners get the same frames in one process, in turns that rotate from frame to frame, so that
whatever slows the machine slows all of them. Memory is measured in a process of its own for each.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.calibration.clip import iter_clip
from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.runtime.backend import Backend, Tensor, WatchedBackend, open_backend
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import tensor_bytes
from mavos_deploy.runtime.frames import FrameSource, open_frames
from mavos_deploy.runtime.geometry import Size, resize_frame
from mavos_deploy.runtime.machine import peak_bytes
from mavos_deploy.runtime.masks import MaskSource, write_mask
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.overlay import OverlayWriter
from mavos_deploy.runtime.run import check_fit, prepare_output, segment_video
from mavos_deploy.runtime.segmenter import Frame, PreparedFrame, Segmenter
from mavos_deploy.runtime.state import State

# Ways to run the PyTorch network: in its authors' form, or tuned, in that of this project.
PYTORCH = ("eager", "compiled", "tuned-eager", "tuned-compiled")
GROWING = "pytorch-growing"  # with a memory like that of DeAOT-L
ROUNDS = 2  # of the end-to-end runs, in turns
PARTS = 40  # medians that a line over the video's length is fitted through, at most

Values = NDArray[np.float64]


class Runner(Protocol):
    """One way to segment, with the memory of one video."""

    name: str

    @property
    def graph_seconds(self) -> Mapping[str, float]:
        """Of the latest step; empty where there are no graphs."""

    def start(self, frame: PreparedFrame, labels: Labels) -> None:
        """Begin the video with a frame and its labels."""

    def step(self, frame: PreparedFrame) -> None:
        """Segment the next frame, from resized pixels to labels, and remember it."""

    def warm_up(self, frame: PreparedFrame, labels: Labels) -> None:
        """Run everything once that a video may need; `start` begins anew."""

    def memory_bytes(self) -> int:
        """What the video's memory takes."""

    def close(self) -> None:
        """Free what the runner holds."""


class TimedBackend(WatchedBackend):
    """A backend that notes how long each graph takes.

    Attributes:
        seconds: By graph, since it was cleared; none of a backend that only enqueues its work.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.seconds: dict[str, float] = {}

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        started = time.perf_counter()
        outputs = super().run(graph, inputs)
        if self.enqueues:
            return outputs
        took = time.perf_counter() - started
        self.seconds[graph] = self.seconds.get(graph, 0.0) + took
        return outputs


class BackendRunner:
    """A bundle on a backend."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.backend = TimedBackend(backend)
        self.segmenter = Segmenter(bundle, self.backend)
        self.name = self.backend.name
        self.graph_seconds: dict[str, float] = {}
        self._state: State | None = None

    def start(self, frame: PreparedFrame, labels: Labels) -> None:
        """See `Runner.start`."""
        self._state = self.segmenter.start(frame, labels)

    def step(self, frame: PreparedFrame) -> None:
        """See `Runner.step`."""
        assert self._state is not None
        self.backend.seconds = self.graph_seconds = {}
        _, self._state = self.segmenter.step(frame, self._state)

    def warm_up(self, frame: PreparedFrame, labels: Labels) -> None:
        """See `Runner.warm_up`."""
        self.start(frame, labels)
        self.step(frame)
        assert self._state is not None
        # As if the memory had been written before, and were to be updated after this frame.
        gap, groups = self.segmenter.bundle.manifest.memory_gap, self._state.groups
        self._state = replace(self._state, since_update=gap - 1, updated=(True,) * groups)
        self.step(frame)

    def memory_bytes(self) -> int:
        """See `Runner.memory_bytes`."""
        assert self._state is not None
        graphs = self.segmenter.bundle.manifest.specs_at(self._state.input_size)
        specs = {spec.name: spec for spec in graphs["elstt_step"].inputs}
        held = {id(tensor): specs[name] for name, tensor in self._state.memory.items()}
        return sum(tensor_bytes(spec, groups=self._state.groups) for spec in held.values())

    def close(self) -> None:
        """See `Runner.close`."""
        self.segmenter.close()


@dataclass(frozen=True)
class Subject:
    """What to measure, in a form that another process can take.

    Attributes:
        name: `pytorch-` and one of `PYTORCH`, `pytorch-growing`, or a backend's name.
        bundle: Folder.
        checkpoint: For PyTorch; None where the bundle's weights ship or are untrained.
        threads: Of the CPU; None takes all that this process may use.
    """

    name: str
    bundle: Path
    checkpoint: Path | None
    threads: int | None

    def open(self) -> Runner:
        """Load the graphs or the network.

        Raises:
            MavosError: The bundle, the backend or the checkpoint can't be used.
        """
        bundle = Bundle.open(self.bundle)
        if not self.name.startswith("pytorch-"):
            return BackendRunner(bundle, open_backend(bundle, self.threads, self.name))
        from mavos_deploy.export.bench_torch import TorchRunner

        return TorchRunner(bundle.manifest, self.checkpoint, self.threads, self.name)


@dataclass
class Timings:
    """What one runner took for each frame after the first.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Of all threads of the process.
        graphs: Wall time within each graph.
        memory: Bytes of the video's memory after the frame.
    """

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    graphs: list[dict[str, float]] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def shortest_run(memory_gap: int) -> int:
    """Frames that have one memory update by MCA among them, which is the second write."""
    return 2 * memory_gap + 1


def video_size(size: Size) -> Size:
    """An even size next to a bundle's, which H.264 takes and the bundle maps to its own."""
    return size[0] - size[0] % 2, size[1] - size[1] % 2


def warm_up(runners: Mapping[str, Runner], bundle: Bundle, objects: int) -> None:
    """Let every runner meet all that a video may need: compilers and allocators then rest.

    Args:
        runners: By name.
        bundle: That they are of.
        objects: In the first frame.
    """
    frame, labels = next(iter_clip(*video_size(bundle.manifest.size), 1, objects=objects))
    for runner in runners.values():
        runner.warm_up(prepare_for(bundle, frame), labels)


def time_steps(
    runners: Mapping[str, Runner],
    bundle: Bundle,
    frames: int,
    objects: int,
    on_frame: Callable[[int], None],
) -> dict[str, Timings]:
    """Give every frame to every runner and time each: from resized pixels to labels.

    Args:
        runners: By name, warmed up.
        bundle: That they are of.
        frames: Length of the made-up clip.
        objects: In its first frame.
        on_frame: Called with how many frames are done.
    """
    timings = {name: Timings() for name in runners}
    clip = iter_clip(*video_size(bundle.manifest.size), frames, objects=objects)
    first, labels = next(clip)
    prepared = prepare_for(bundle, first)
    for runner in runners.values():
        runner.start(prepared, labels)
    order = list(runners)
    for index, (frame, _) in enumerate(clip, start=1):
        prepared = prepare_for(bundle, frame)
        order = [*order[1:], order[0]]
        for name in order:
            runner, timing = runners[name], timings[name]
            cpu, wall = time.process_time(), time.perf_counter()
            runner.step(prepared)
            timing.seconds.append(time.perf_counter() - wall)
            timing.cpu_seconds.append(time.process_time() - cpu)
            timing.graphs.append(dict(runner.graph_seconds))
            timing.memory.append(runner.memory_bytes())
        on_frame(index + 1)
    return timings


def summarise(timings: Mapping[str, Timings], memory_gap: int, baseline: str) -> dict[str, Any]:
    """Figures of every runner, in milliseconds, megabytes and shares.

    Args:
        timings: By runner, of the same frames.
        memory_gap: Frames between two memory updates, all of one bundle.
        baseline: The runner that the others are compared with.
    """
    count = len(timings[baseline].seconds)
    frame = np.arange(1, count + 1)
    # The first write copies; MCA runs from the second one on.
    update = (frame % memory_gap == 0) & (frame > memory_gap)
    plain = frame % memory_gap != 0
    if not plain.any():  # a memory gap of 1
        plain = update
    reference = np.array(timings[baseline].seconds)
    summary = {}
    for name, timing in timings.items():
        seconds = np.array(timing.seconds)
        p50, p95, p99 = np.percentile(seconds, (50, 95, 99))
        usual, merging = np.median(seconds[plain]), np.median(seconds[update])
        amortised = (usual * (memory_gap - 1) + merging) / memory_gap
        graphs = sorted({graph for frame in timing.graphs for graph in frame})
        within = {
            graph: float(np.sum([frame.get(graph, 0.0) for frame in timing.graphs]))
            for graph in graphs
        }
        summary[name] = {
            "mean_ms": _ms(seconds.mean()),
            "p50_ms": _ms(p50),
            "p95_ms": _ms(p95),
            "p99_ms": _ms(p99),
            "plain_frame_ms": _ms(usual),
            "update_frame_ms": _ms(merging),
            "amortised_ms": _ms(amortised),
            "frames_per_second": round(1 / float(amortised), 3),
            "cpu_ms": _ms(np.median(np.array(timing.cpu_seconds)[plain])),
            # Of pairs of one frame, whose two times lie side by side.
            "speedup": round(float(np.median(reference / seconds)), 3),
            "growth_per_100_frames": round(growth(frame[plain], seconds[plain]), 5),
            "shares": {graph: round(took / seconds.sum(), 4) for graph, took in within.items()},
            "video_memory_mb": [_mb(timing.memory[0]), _mb(timing.memory[-1])],
        }
    return summary


def growth(frames: NDArray[np.int64], seconds: Values) -> float:
    """How much longer a frame takes 100 frames later, as a share of the median frame.

    The slope is the median of the slopes between all pairs of parts of the video (Theil-Sen).
    """
    parts = [part for part in np.array_split(np.arange(len(frames)), PARTS) if len(part)]
    place = np.array([frames[part].mean() for part in parts])
    value = np.array([np.median(seconds[part]) for part in parts])
    first, second = np.triu_indices(len(parts), 1)
    if not len(first):
        return 0.0
    slopes = (value[second] - value[first]) / (place[second] - place[first])
    return float(np.median(slopes) * 100 / np.median(seconds))


def run_end_to_end(
    runners: Mapping[str, BackendRunner],
    video: Path | None,
    frames: int,
    objects: int,
    on_run: Callable[[int], None],
) -> dict[str, dict[str, Any]]:
    """Segment a video as `mavos-run --overlay` does, in turns, and see what the graphs wait for.

    Args:
        runners: By name, of one bundle.
        video: File; None for a made-up clip.
        frames: To take at most.
        objects: In the first frame, made up.
        on_run: Called with how many runs are done.

    Returns:
        For each runner the medians over the rounds: `frames_per_second` after the first frame,
        `frame_ms`, and `outside_share`, the share of a frame's time in which no step runs.

    Raises:
        InputError: The video can't be used, or its shape isn't the bundle's.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
    with TemporaryDirectory() as folder:
        place = Path(folder)
        size = video_size(next(iter(runners.values())).segmenter.bundle.manifest.size)
        source = video or place / "clip.mp4"
        if video is None:
            write_clip(source, size, frames, objects)
        done = 0
        for _ in range(ROUNDS):
            for name, runner in runners.items():
                with open_frames(str(source), max_frames=frames) as opened:
                    found[name].append(_run_once(runner, opened, place, objects))
                done += 1
                on_run(done)
    summary = {}
    for name, runs in found.items():
        seconds, outside = (float(np.median(column)) for column in zip(*runs, strict=True))
        summary[name] = {
            "frame_ms": _ms(seconds),
            "frames_per_second": round(1 / seconds, 3),
            "outside_share": round(outside, 4),
        }
    return summary


class _SteppedSegmenter(Segmenter):
    """Notes when its steps began and ended."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        super().__init__(bundle, backend)
        self.steps: list[tuple[float, float]] = []

    def step(
        self, frame: Frame | PreparedFrame, state: State, annotation: Labels | None = None
    ) -> tuple[Labels, State]:
        started = time.perf_counter()
        stepped = super().step(frame, state, annotation)
        self.steps.append((started, time.perf_counter()))
        return stepped


def _run_once(
    runner: BackendRunner, source: FrameSource, place: Path, objects: int
) -> tuple[float, float]:
    """Seconds of a frame, and the share of them outside of the steps."""
    segmenter = _SteppedSegmenter(runner.segmenter.bundle, runner.backend)
    check_fit(segmenter.bundle.manifest.input_size(source.size), source, stretch=False)
    mask, masks, overlay = place / "mask.png", place / "masks", place / "overlay.mp4"
    write_mask(mask, next(iter_clip(*source.size, 1, objects=objects))[1])
    segment_video(
        segmenter,
        source,
        MaskSource(mask, source.size),
        masks,
        overlay,
        make_output=prepare_output(masks, overlay, overwrite=True, inputs=()),
        on_frame=lambda done: None,
    )
    if len(segmenter.steps) < 2:
        raise InputError(f"{source.name} has fewer than 3 frames, too few to be timed")
    # From the end of the first step on: what comes before is the start.
    ends = [end for _, end in segmenter.steps]
    whole = ends[-1] - ends[0]
    within = sum(end - begin for begin, end in segmenter.steps[1:])
    return whole / (len(ends) - 1), max(0.0, 1 - within / whole)


def write_clip(path: Path, size: Size, frames: int, objects: int) -> None:
    """Encode a made-up clip as H.264."""
    with OverlayWriter(path, size, None) as writer:
        nothing = np.zeros(size, np.uint8)
        for frame, _ in iter_clip(*size, frames, objects=objects):
            writer.write(frame, nothing)


def peak_memory(subjects: Iterable[Subject], objects: int) -> dict[str, float | None]:
    """The most memory that each subject needs to open and to run past an update, in megabytes.

    Raises:
        MavosError: A process ended without an answer.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit this one's memory
    peaks: dict[str, float | None] = {}
    for subject in subjects:
        ours, theirs = context.Pipe()
        process = context.Process(target=_report_peak, args=(theirs, subject, objects))
        process.start()
        theirs.close()
        try:
            peak = ours.recv()
        except EOFError:
            raise MavosError(
                f"the process that measures the memory of {subject.name} ended without an answer; "
                "the machine may be out of memory"
            ) from None
        finally:
            process.join()
        peaks[subject.name] = None if peak is None else _mb(peak)
    return peaks


def _report_peak(pipe: Connection, subject: Subject, objects: int) -> None:
    """What the process does that measures memory."""
    with ExitStack() as stack:
        runner = subject.open()
        stack.callback(runner.close)
        bundle = Bundle.open(subject.bundle)
        size = video_size(bundle.manifest.size)
        frame, labels = next(iter_clip(*size, 1, objects=objects))
        runner.warm_up(prepare_for(bundle, frame), labels)
        pipe.send(peak_bytes())


def prepare_for(bundle: Bundle, frame: Frame) -> PreparedFrame:
    """A frame at a bundle's size, the same for every runner."""
    own = frame.shape[0], frame.shape[1]
    return PreparedFrame(own, resize_frame(frame, *bundle.manifest.input_size(own)))


def _ms(seconds: float | np.floating[Any]) -> float:
    return round(float(seconds) * 1e3, 3)


def _mb(size: int) -> float:
    return round(size / 1e6, 1)
