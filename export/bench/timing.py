"""Times the steps of runners side by side, and sums the times up.

All runners get the same frames in one process, in turns that rotate from frame to frame, so that
whatever slows the machine slows all of them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.export.bench.runners import Runner, made_clip
from mavos_deploy.runtime.bundles.bundle import Bundle

MAVOS_GAP = 10  # frames; the memory gap of the published MAVOS networks
PARTS = 40  # medians that a line over the video's length is fitted through, at most

Values = NDArray[np.float64]


@dataclass
class Timings:
    """Time and memory of one runner for each frame after the first.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Processor time of all threads of the process.
        graphs: Wall time within each graph.
        memory: Bytes of the video's memory after the frame.
    """

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    graphs: list[dict[str, float]] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def shortest_run(memory_gap: int) -> int:
    """Frames of the shortest clip with a memory update by MCA, which is the second write."""
    return 2 * memory_gap + 1


def usual_run(memory_gap: int | None) -> int:
    """Frames of a clip where no other length is asked for: three memory gaps and one.

    Args:
        memory_gap: Gap of the bundle; None where nothing enters its memory at a gap, and MAVOS' is
            taken.
    """
    return 3 * (memory_gap or MAVOS_GAP) + 1


def time_steps(
    runners: Mapping[str, Runner],
    bundle: Bundle,
    frames: int,
    objects: int,
    on_frame: Callable[[int], None],
) -> dict[str, Timings]:
    """Give every frame to every runner and time each: from resized pixels to labels.

    Args:
        runners: Runners of the bundle by name, warmed up.
        bundle: Opened bundle.
        frames: Length of the made-up clip.
        objects: Number of objects in its first frame.
        on_frame: Called with how many frames are done.

    Returns:
        Time and memory of every runner.
    """
    timings = {name: Timings() for name in runners}
    clip = made_clip(bundle, frames, objects)
    first, labels = next(clip)
    for runner in runners.values():
        runner.start(first, labels)
    order = list(runners)
    for index, (frame, _) in enumerate(clip, start=1):
        order = [*order[1:], order[0]]
        for name in order:
            runner, timing = runners[name], timings[name]
            cpu, wall = time.process_time(), time.perf_counter()
            runner.step(frame)
            timing.seconds.append(time.perf_counter() - wall)
            timing.cpu_seconds.append(time.process_time() - cpu)
            timing.graphs.append(dict(runner.graph_seconds))
            timing.memory.append(runner.memory_bytes())
        on_frame(index + 1)
    return timings


def summarise(timings: Mapping[str, Timings], memory_gap: int, baseline: str) -> dict[str, Any]:
    """Figures of every runner, in milliseconds, megabytes and shares.

    Args:
        timings: Timings of each runner, taken with the same frames.
        memory_gap: Frames between two memory updates; all runners have the same.
        baseline: Name of the runner that the others are compared with.
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
            "mean_ms": milliseconds(seconds.mean()),
            "p50_ms": milliseconds(p50),
            "p95_ms": milliseconds(p95),
            "p99_ms": milliseconds(p99),
            "plain_frame_ms": milliseconds(usual),
            "update_frame_ms": milliseconds(merging),
            "amortised_ms": milliseconds(amortised),
            "frames_per_second": round(1 / float(amortised), 3),
            "cpu_ms": milliseconds(np.median(np.array(timing.cpu_seconds)[plain])),
            # The two times of a frame lie side by side, so each pair met the same machine.
            "speedup": round(float(np.median(reference / seconds)), 3),
            "growth_per_100_frames": round(growth_per_100_frames(frame[plain], seconds[plain]), 5),
            "shares": {graph: round(took / seconds.sum(), 4) for graph, took in within.items()},
            "video_memory_mb": [megabytes(timing.memory[0]), megabytes(timing.memory[-1])],
        }
    return summary


def growth_per_100_frames(frames: NDArray[np.int64], seconds: Values) -> float:
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


def milliseconds(seconds: float | np.floating[Any]) -> float:
    """Seconds as milliseconds, to the microsecond."""
    return round(float(seconds) * 1e3, 3)


def megabytes(size: int) -> float:
    """Bytes as megabytes, to a tenth."""
    return round(size / 1e6, 1)
