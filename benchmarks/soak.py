"""Show that memory and time per frame stay flat, however long the video is.

    python benchmarks/soak.py BUNDLE --frames 3000 --output benchmarks/results/soak.json

Segments a made-up video of any length with constant memory and fits a line through the resident
memory and the time per frame. Exits with 1 if either grows by 1% or more from start to end.
Linux only: it reads /proc.
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
from mavos_deploy.runtime import Segmenter

WARM_UP = 100  # frames; allocators and caches settle, and MCA has run several times
BLOCK = 50  # frames whose median is one point of the fit
LIMIT = 0.01  # growth from the first to the last block


def main() -> int:
    """Run the measurement; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    if arguments.frames < WARM_UP + 4 * BLOCK:
        parser.error(f"--frames must be at least {WARM_UP + 4 * BLOCK}")
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
        seconds, resident = [], []
        for frame, _ in track(clip, total=frames - 1, disable=not sys.stderr.isatty()):
            started = time.perf_counter()
            _, state = segmenter.step(frame, state)
            seconds.append(time.perf_counter() - started)
            resident.append(resident_bytes())
    time_growth, memory_growth = growth(seconds), growth(resident)
    steady = seconds[WARM_UP:]
    return {
        "flat": bool(max(time_growth, memory_growth) < LIMIT),
        "bundle": f"{manifest.variant} {manifest.height}x{manifest.width}",
        "memory_gap": manifest.memory_gap,
        "frames": frames,
        "objects": objects,
        "time_growth": round(time_growth, 5),
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


def growth(values: list[float]) -> float:
    """Rise of the fitted line over the run as a share of the median.

    Block medians leave out the frames in which MCA runs, and the machine's hiccups; the slope is
    the median of all pairs of blocks (Theil-Sen).
    """
    settled = values[WARM_UP:]
    blocks = [
        statistics.median(settled[start : start + BLOCK])
        for start in range(0, len(settled) - BLOCK + 1, BLOCK)
    ]
    slopes = [
        (later - earlier) / (j - i)
        for i, earlier in enumerate(blocks)
        for j, later in enumerate(blocks)
        if j > i
    ]
    return statistics.median(slopes) * (len(blocks) - 1) / statistics.median(blocks)


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
