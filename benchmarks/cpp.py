"""The C++ runtime beside Python's: time of a frame, time to the first mask, peak memory.

    python -m benchmarks.cpp BUNDLE --track build/cpp/release/mavos-track --output report.json

Makes a clip of 1920x1080 with three objects, or takes --video and --masks, and segments it with
`mavos-track` and `mavos-run` in turns, each as a process of its own that decodes the file, resizes,
segments, and writes palette PNGs. Every round runs each once for two frames, whose end is the time
to the first mask, and once for --frames; the difference of the two is the time of the other frames.
Prints medians and their ratios, and in how many pixels the masks differ: the two resize frames with
different code, so a pixel in millions may. Exits with 1 where more do.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from benchmarks.runs import MAVOS_RUN, make_clip
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import machine, peak_bytes

SIZE = 1080, 1920
MOST_DIFFERING = 1e-6  # share of pixels
WATCH = 0.02  # seconds between two looks at a process
STARTED = 2  # frames; the mask of the second is the first that is predicted


@dataclass(frozen=True)
class Ran:
    """One process.

    Attributes:
        seconds: From its start to its end.
        peak: Most resident memory, in megabytes.
    """

    seconds: float
    peak: float


def run(command: list[str]) -> Ran:
    """Run a command to its end.

    Raises:
        SystemExit: It failed.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    ended = Event()
    with ThreadPoolExecutor(1) as beside:
        watched = beside.submit(watch, process.pid, ended)
        process.wait()
        seconds = time.perf_counter() - begin
        ended.set()
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return Ran(seconds, watched.result() / (1 << 20))


def watch(process: int, ended: Event) -> int:
    """Ask for the peak memory of a process, in bytes, until it has ended."""
    peak = 0
    while not ended.wait(WATCH):
        peak = max(peak, peak_bytes(process) or 0)
    return peak


def summary(short: list[Ran], long: list[Ran], frames: int) -> dict[str, float]:
    """Medians of one runtime's rounds."""
    pairs = zip(short, long, strict=True)
    each = [(whole.seconds - start.seconds) / (frames - STARTED) for start, whole in pairs]
    return {
        "ms_per_frame": round(1000 * statistics.median(each), 2),
        "s_to_first_mask": round(statistics.median(item.seconds for item in short), 3),
        "peak_mb": round(statistics.median(item.peak for item in long), 1),
    }


def differing(one: Path, other: Path) -> list[int]:
    """For each mask that differs in two folders with masks of the same names, its pixels that do.

    Raises:
        SystemExit: A mask is in one folder alone.
    """
    names, others = ({file.name for file in folder.glob("*.png")} for folder in (one, other))
    if names != others:
        raise SystemExit(f"masks of one runtime alone: {', '.join(sorted(names ^ others))}")
    found = (
        int((read_mask(one / name).labels != read_mask(other / name).labels).sum())
        for name in sorted(names)
    )
    return [pixels for pixels in found if pixels]


def compare(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Run both in turns."""
    video, masks = arguments.video, arguments.masks
    if video is None:
        video, masks = make_clip(scratch, SIZE, arguments.frames, objects=3)
    own = ["--masks", str(masks), "--threads", str(arguments.threads)]
    commands = {
        "cpp": [str(arguments.track), str(arguments.bundle), str(video), *own],
        "python": [*MAVOS_RUN, str(arguments.bundle), str(video), *own, "--overwrite", "--quiet"],
    }
    ran: dict[str, dict[int, list[Ran]]] = {
        name: {STARTED: [], arguments.frames: []} for name in commands
    }
    for number in range(arguments.rounds):
        for frames in (STARTED, arguments.frames):
            for name, command in commands.items():
                folder = str(scratch / name)
                line = [*command, "--output", folder, "--max-frames", str(frames)]
                ran[name][frames].append(run(line))
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
    figures = {
        name: summary(by[STARTED], by[arguments.frames], arguments.frames)
        for name, by in ran.items()
    }
    ratios = {key: round(figures["cpp"][key] / figures["python"][key], 3) for key in figures["cpp"]}
    manifest = Bundle.open(arguments.bundle).manifest
    pixels = differing(scratch / "cpp", scratch / "python")
    return {
        "bundle": {"variant": manifest.variant, "size": manifest.size},
        "frames": arguments.frames,
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "masks_that_differ": len(pixels),
        "pixels_that_differ": sum(pixels),
        "pixels": arguments.frames * read_mask(masks).labels.size,
        **figures,
        "cpp_over_python": ratios,
        "machine": machine(),
    }


def main() -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--track", type=Path, required=True, help="the built mavos-track")
    parser.add_argument("--video", type=Path, help="video file (default: made)")
    parser.add_argument("--masks", type=Path, help="mask of the video's first frame")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    if (arguments.video is None) != (arguments.masks is None):
        parser.error("--video and --masks belong together")
    if arguments.frames <= STARTED:
        parser.error(f"--frames: more than {STARTED}")
    with tempfile.TemporaryDirectory() as scratch:
        report = compare(arguments, Path(scratch))
    text = json.dumps(report, indent=2) + "\n"
    print(text, end="")
    if arguments.output:
        with replacing(arguments.output) as temporary:
            temporary.write_text(text)
    return 1 if report["pixels_that_differ"] > MOST_DIFFERING * report["pixels"] else 0


if __name__ == "__main__":
    sys.exit(main())
