"""Measure the most memory that a run needs, opening the bundle included.

    python benchmarks/peak_memory.py BUNDLE --objects 3 --size 480x854 --frames 25 --limit-mb 1000

Segments a made-up video past two writes to the long-term memory, the second of which runs MCA, and
reports the peak of this process (`VmHWM`), which does nothing else. Exits with 1 if it is above
the limit. Linux only.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.system.machine import machine, peak_bytes


def main() -> int:
    """Run the measurement; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--size", type=size, default=(480, 854), help="of the video, HxW")
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--limit-mb", type=float, help="megabytes that are too much")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    try:
        report = measure(
            arguments.bundle,
            arguments.size,
            arguments.frames,
            arguments.objects,
            arguments.threads,
        )
    except MavosError as error:
        print(f"peak_memory.py: {error}", file=sys.stderr)
        return 2
    peak = (peak_bytes() or 0) / 1e6
    limit = arguments.limit_mb
    report = {"resident_mb_peak": round(peak, 1), "limit_mb": limit, **report}
    text = json.dumps(report, indent=2)
    if arguments.output:
        arguments.output.write_text(text + "\n")
    print(text)
    return 1 if limit is not None and peak > limit else 0


def measure(
    bundle: Path, video: tuple[int, int], frames: int, objects: int, threads: int | None
) -> dict[str, object]:
    """Segment a video and describe the run."""
    with Segmenter.open(bundle, threads) as segmenter:
        manifest = segmenter.bundle.manifest
        shortest = 2 * manifest.memory_gap + 2  # the frame after the second write reads it
        if frames < shortest:
            raise InputError(
                f"{frames} frames never read the second write to the long-term memory; at a "
                f"memory gap of {manifest.memory_gap} at least {shortest} are needed"
            )
        clip = iter_clip(*video, frames, objects=objects)
        state = segmenter.start(*next(clip))
        for frame, _ in clip:
            _, state = segmenter.step(frame, state)
        return {
            "bundle": f"{manifest.variant} {manifest.height}x{manifest.width}",
            "video": f"{video[0]}x{video[1]}",
            "frames": frames,
            "objects": objects,
            "groups": state.groups,
            "threads": threads,
            "machine": machine(),
            "python": platform.python_version(),
            "tools": manifest.tools,
        }


def size(text: str) -> tuple[int, int]:
    """Height and width from HxW."""
    height, _, width = text.partition("x")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
