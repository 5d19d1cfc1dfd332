"""Time from the start of `mavos-run` to the encoder's first run, and to the first predicted mask.

    python -m benchmarks.start BUNDLE [BUNDLE ...] --rounds 7 --output start.json

Makes a clip of 1920x1080 with three objects, or takes --video and --masks, and segments two frames
of it with each bundle in turns, each time in a process of its own. Prints medians. The modules are
imported from byte code, as they are from the second start of an installed package on.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.runs import make_clip
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import GraphName
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import machine

SIZE = 1080, 1920
FRAMES = 2  # the mask of the second is the first that is predicted
# `mavos-run` that says when the encoder runs first.
NOTING = """
import sys, time
from mavos_deploy.cli.run import main
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu

run = OnnxRuntimeCpu.run

def noting(backend, graph, inputs):
    print("first run", graph, time.time(), file=sys.stderr, flush=True)
    OnnxRuntimeCpu.run = run
    return run(backend, graph, inputs)

OnnxRuntimeCpu.run = noting
sys.argv[0] = "mavos-run"
main()
"""


def started(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds from a process's start to the encoder's first run, and to its end.

    Raises:
        SystemExit: It failed, or ran no encoder.
    """
    begin = time.time()
    process = subprocess.run(
        command, check=False, stderr=subprocess.PIPE, text=True, env=environment
    )
    end = time.time()
    notes = [line.split() for line in process.stderr.splitlines() if line.startswith("first run")]
    if process.returncode or [note[2] for note in notes] != [GraphName.ENCODER]:
        raise SystemExit(f"mavos-run ended with {process.returncode}:\n{process.stderr}")
    return float(notes[0][3]) - begin, end - begin


def main() -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--video", type=Path, help="video file (default: made)")
    parser.add_argument("--masks", type=Path, help="mask of the video's first frame")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, metavar="FILE.json")
    arguments = parser.parse_args()
    if (arguments.video is None) != (arguments.masks is None):
        parser.error("--video and --masks belong together")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    seconds: dict[Path, list[tuple[float, float]]] = {bundle: [] for bundle in arguments.bundles}
    with tempfile.TemporaryDirectory() as scratch:
        environment.setdefault("PYTHONPYCACHEPREFIX", str(Path(scratch) / "code"))
        video, masks = arguments.video, arguments.masks
        if video is None:
            video, masks = make_clip(Path(scratch), SIZE, FRAMES, objects=3)
        options = ["--masks", str(masks), "--threads", str(arguments.threads), "--overwrite"]
        options += ["--quiet", "--max-frames", str(FRAMES), "--output", str(Path(scratch) / "out")]
        for number in range(arguments.rounds + 1):
            for bundle, taken in seconds.items():
                command = [sys.executable, "-c", NOTING, str(bundle), str(video), *options]
                pair = started(command, environment)
                if number:  # the first round compiles modules and reads files
                    taken.append(pair)
    report = {
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "bundles": [
            {
                "variant": Bundle.open(bundle).manifest.variant,
                "size": Bundle.open(bundle).manifest.size,
                "s_to_encoder": round(statistics.median(first for first, _ in taken), 3),
                "s_to_end": round(statistics.median(last for _, last in taken), 3),
            }
            for bundle, taken in seconds.items()
        ],
        "machine": machine(),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.output is not None:
        with replacing(arguments.output) as path:
            path.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
