"""Everything that a GPU is wanted for, in one command and one file, where time on it is short.

    python -m benchmarks.gpu_day --output day.json

Needs no network, but PyTorch with CUDA, onnxruntime-gpu, PyCUDA and CUDA's Python bindings. Each
step is a process of its own with a limit of time, so that a failure costs only its own figures:

- bundles: mobilenet at 481x849 in float16 and float32, tiny at 241x433 and lite at 481x849 in
  float16;
- card: the ceilings of the card (benchmarks/card.py);
- device: our device code on the real driver (benchmarks/device_code.py);
- graphs: each graph as a PyTorch module (benchmarks/graph_times.py);
- onnxruntime: parity, times beside PyTorch, transfers and 2,000 frames (benchmarks/gpu.py);
- float32: parity of the float32 bundle on ONNX Runtime's CUDA provider;
- pictures: `mavos-run` from 1080p pictures on CUDA and on the CPU (benchmarks/pictures.py), with
  tiny and then with lite;
- lite: parity and times of lite, as of mobilenet in the step onnxruntime, without a long video;
- memcheck: the device code under compute-sanitizer, which finds accesses to others' memory.

With the device `cpu` all but memcheck and what lite is taken for are rehearsed on small bundles,
with CUDA's driver and PyCUDA from tools/host_cuda.py. Exits with 1 if a step failed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from mavos_deploy.runtime.system.files import replacing

KEPT = 4000  # characters of a step's output in the report
PROGRAM = ("-c", "from mavos_deploy.cli.program import main; main()")
SMALL = ("--variant", "tiny", "--size", "97x97", "--memory-gap", "2")


@dataclass(frozen=True)
class Step:
    """A step of the day.

    Attributes:
        name: Its name in the report.
        command: Arguments of Python; `PART` in them becomes the file for its figures.
        limit: Seconds that it may take.
        under: Program that Python runs under, with its arguments.
    """

    name: str
    command: tuple[str, ...]
    limit: int
    under: tuple[str, ...] = ()


def main() -> int:
    """Run the steps; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--folder", type=Path, default=Path("build/gpu-day"), help="for bundles")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", nargs="*", help="the steps to take; default: all")
    given = parser.parse_args()
    report: dict[str, Any] = {"device": given.device, "steps": {}}
    for step in steps(given.folder, given.device):
        if given.steps and step.name not in given.steps:
            continue
        report["steps"][step.name] = figures = take(step, given.folder)
        with replacing(given.output) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        code = figures["exit_code"]
        print(f"{step.name}: exit code {code} after {figures['seconds']} s", flush=True)
        if code:
            print(figures["said"], flush=True)
    return int(any(figures["exit_code"] for figures in report["steps"].values()))


def steps(folder: Path, device: str) -> Iterator[Step]:
    """The steps of a day on a device, with bundles in a folder."""
    on_gpu = device == "cuda"
    half, full, tiny, lite = (str(folder / name) for name in ("half", "full", "tiny", "lite"))
    network = ("--variant", "mobilenet") if on_gpu else SMALL
    for bundle, options in (
        (half, (*network, "--precision", "fp16")),
        (full, (*network, "--target", "gpu")),
        (tiny, ("--variant", "tiny", "--size", "241x433", "--precision", "fp16")),
        (lite, ("--variant", "lite", "--precision", "fp16")),
    ):
        if bundle in (half, full) or on_gpu:
            export = (*PROGRAM, "export", *options, "--no-verify", "--overwrite", "--quiet")
            yield Step(f"bundle {Path(bundle).name}", (*export, "--output", bundle), 200)
    to = ("--device", device, "--output", "PART")
    backend = "onnxruntime-cuda" if on_gpu else "onnxruntime-cpu"
    yield Step("card", ("-m", "benchmarks.card", *to), 60)
    sizes = ("--frames", "2000") if on_gpu else ("--frames", "60", "--video", "160x160")
    yield Step(
        "device", ("-m", "benchmarks.device_code", half if on_gpu else full, *sizes, *to), 300
    )
    video = ("--video", "1080x1920" if on_gpu else "96x96")
    yield Step("graphs", ("-m", "benchmarks.graph_times", half, *video, *to), 150)
    length = (
        ("--frames", "2000", "--compared", "60")
        if on_gpu
        else ("--frames", "12", "--compared", "8")
    )
    ways = "eager-fp32,eager-fp16,compiled-fp16" if on_gpu else "eager-fp32"
    chosen = ("--backend", backend, "--pytorch", ways)
    yield Step("onnxruntime", ("benchmarks/gpu.py", half, *length, *chosen, *to), 360)
    yield Step("float32", (*PROGRAM, "verify", full, "--backend", backend, "--json"), 180)
    size = ("--frames", "120") if on_gpu else ("--frames", "8", "--size", "96x96")
    backends = ("--backend", backend, "--backend", "onnxruntime-cpu")
    bundles = {"pictures": tiny, "pictures lite": lite} if on_gpu else {"pictures": half}
    for name, bundle in bundles.items():
        pictures = ("-m", "benchmarks.pictures", bundle, *backends, *size)
        yield Step(name, (*pictures, "--output", "PART"), 150)
    if on_gpu:
        length = ("--frames", "60", "--compared", "60")
        yield Step("lite", ("benchmarks/gpu.py", lite, *length, *chosen, *to), 240)
        check = ("-m", "benchmarks.device_code", tiny, "--only", "labels", "--output", "PART")
        sanitizer = ("compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "3")
        yield Step("memcheck", check, 240, sanitizer)


def take(step: Step, folder: Path) -> dict[str, Any]:
    """Run a step; its figures, exit code, duration and the end of what it printed."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{step.name.replace(' ', '-')}.json"
    part.unlink(missing_ok=True)
    arguments = [str(part) if word == "PART" else word for word in step.command]
    started = time.perf_counter()
    running = subprocess.Popen(
        [*step.under, sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    late = Timer(step.limit, os.killpg, (running.pid, signal.SIGKILL))  # with all that it started
    late.start()
    printed, errors = running.communicate()
    late.cancel()
    if part.exists():
        figures = json.loads(part.read_text())
    else:
        figures = json.loads(printed) if "--json" in arguments and not running.returncode else None
    return {
        "exit_code": running.returncode,
        "seconds": round(time.perf_counter() - started, 1),
        "said": (printed if figures is None else "")[-KEPT:] + errors[-KEPT:],
        "figures": figures,
    }


if __name__ == "__main__":
    sys.exit(main())
