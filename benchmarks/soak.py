"""Show that memory and time per frame stay flat, however long the video is.

    python benchmarks/soak.py BUNDLE --frames 3000 --output benchmarks/results/soak.json

Segments a made-up video of any length. Time is measured side by side: once in every memory gap the
same frame is also stepped from a state that was kept from the beginning, so that a machine whose
speed drifts doesn't look like a video that gets slower. A line is fitted through the ratios and one
through the resident memory. Exits with 1 if either grows by 1% or more from start to end. Linux
only: it reads /proc.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from rich.progress import track

from mavos_deploy.calibration.clip import iter_clip
from mavos_deploy.errors import MavosError
from mavos_deploy.runtime import Segmenter, State
from mavos_deploy.runtime.segmenter import Frame

WARM_UP = 100  # frames; allocators and caches settle, and MCA has run several times
BLOCKS = 12  # the run is cut into as many parts, whose medians are the points of the fit
LIMIT = 0.01  # growth from the first to the last part
SHORTEST = 1000  # frames; fewer give too few pairs at a memory gap of 10


def main() -> int:
    """Run the measurement; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    if arguments.frames < SHORTEST:
        parser.error(f"--frames must be at least {SHORTEST}")
    try:
        report = measure(arguments.bundle, arguments.frames, arguments.objects, arguments.threads)
    except MavosError as error:
        print(f"soak.py: {error}", file=sys.stderr)
        return 2
    text = json.dumps(report, indent=2)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    print(text)
    return 0 if report["flat"] else 1


def measure(bundle: Path, frames: int, objects: int, threads: int | None) -> dict[str, object]:
    """Segment a video and describe how time and memory went."""
    with Segmenter.open(bundle, threads) as segmenter:
        manifest = segmenter.bundle.manifest
        clip = iter_clip(*manifest.size, frames, objects=objects)
        first, labels = next(clip)
        state = segmenter.start(first, labels)
        early: State | None = None  # kept right after a memory update, so its step is without one
        seconds: list[float] = []
        ratios: list[float] = []
        resident: list[float] = []
        for index, (frame, _) in enumerate(
            track(clip, total=frames - 1, disable=not sys.stderr.isatty()), start=1
        ):
            if early is None and index >= WARM_UP and state.since_update == 0:
                early = state
            pair = early is not None and state.since_update == early.since_update
            taken = [time_step(segmenter, frame, early)[0]] if early and pair else []
            now, state = time_step(segmenter, frame, state)
            seconds.append(now)
            ratios += [now / before for before in taken]
            resident.append(resident_bytes())
    time_growth, memory_growth = growth(ratios), growth(resident[WARM_UP:])
    steady = seconds[WARM_UP:]
    return {
        "flat": bool(max(time_growth, memory_growth) < LIMIT),
        "bundle": f"{manifest.variant} {manifest.height}x{manifest.width}",
        "memory_gap": manifest.memory_gap,
        "frames": frames,
        "objects": objects,
        "timed_pairs": len(ratios),
        "time_growth": round(time_growth, 5),
        "late_to_early_time": round(statistics.median(ratios[-len(ratios) // BLOCKS :]), 4),
        "memory_growth": round(memory_growth, 5),
        "milliseconds_p50": round(statistics.median(steady) * 1e3, 2),
        "milliseconds_p99": round(float(np.percentile(steady, 99)) * 1e3, 2),
        "resident_mb_after_warm_up": round(resident[WARM_UP] / 1e6, 1),
        "resident_mb_at_the_end": round(resident[-1] / 1e6, 1),
        "resident_mb_peak": round(max(resident) / 1e6, 1),
        "machine": f"{processor()}, {os.cpu_count()} processors",
        "python": platform.python_version(),
        "tools": manifest.tools,
    }


def time_step(segmenter: Segmenter, frame: Frame, state: State) -> tuple[float, State]:
    """Step once; returns the seconds it took and the new state."""
    started = time.perf_counter()
    _, state = segmenter.step(frame, state)
    return time.perf_counter() - started, state


def growth(values: list[float]) -> float:
    """Rise of a line fitted through the medians of the run's parts, as a share of their median.

    The slope is the median of the slopes between all pairs of parts (Theil-Sen).
    """
    length = len(values) // BLOCKS
    parts = [statistics.median(values[i * length : (i + 1) * length]) for i in range(BLOCKS)]
    slopes = [(parts[j] - parts[i]) / (j - i) for j in range(BLOCKS) for i in range(j)]
    return statistics.median(slopes) * (BLOCKS - 1) / statistics.median(parts)


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor() -> str:
    """The processor's name as the system gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    sys.exit(main())
