"""Measure other settings of ONNX Runtime's sessions against the settings in use.

    python benchmarks/session_settings.py BUNDLE --rounds 5 --output settings.json

Each round opens the bundle once with each setting, in a process of its own, because threads that
spin would slow the next measurement. Prints, for each setting, the median frame and the peak of
memory, and the median over the rounds of the ratio to the settings in use. Linux only.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mavos_deploy.errors import MavosError
from mavos_deploy.export.bench.runners import BackendRunner, warm_up
from mavos_deploy.export.bench.timing import time_steps
from mavos_deploy.runtime.backends import onnxruntime_cpu
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.backends.onnxruntime_library import session_options
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.system.child import Child
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import LoadMeter, describe_machine, peak_bytes

USED = "used"


def _entries(**entries: str) -> Callable[[Any], None]:
    """Change configuration entries; `__` in a name stands for a dot."""

    def change(options: Any) -> None:  # noqa: ANN401  # the library is untyped
        for name, value in entries.items():
            options.add_session_config_entry(name.replace("__", "."), value)

    return change


def _no_arena(options: Any) -> None:  # noqa: ANN401  # the library is untyped
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.use_env_allocators", "0")


def _planned(options: Any) -> None:  # noqa: ANN401  # the library is untyped
    options.enable_mem_pattern = True


SETTINGS: dict[str, Callable[[Any], None]] = {
    USED: lambda options: None,
    "threads that spin": _entries(session__intra_op__allow_spinning="1"),
    "threads that spin until a run ends": _entries(
        session__intra_op__allow_spinning="1", session__force_spinning_stop="1"
    ),
    "no arena": _no_arena,
    "an arena for each session": _entries(session__use_env_allocators="0"),
    "memory planned as one block": _planned,
    "weights not packed": _entries(session__disable_prepacking="1"),
}


def main() -> int:
    """Run the measurement; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=8, help="in each round")
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    counts = arguments.rounds, arguments.frames, arguments.objects
    if min(counts) < 1 or (arguments.threads is not None and arguments.threads < 1):
        parser.error("--rounds, --frames, --objects and --threads must be at least 1")
    meter = LoadMeter()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SETTINGS}
    try:
        for _ in range(arguments.rounds):
            for name, results in found.items():
                called = f"the process that measures {name!r}"
                with Child.calling(called, _measure, name, arguments) as child:
                    results.append(child.result())
    except MavosError as error:
        print(f"session_settings.py: {error}", file=sys.stderr)
        return 2
    load = meter.read()
    used = [seconds for seconds, _ in found[USED]]
    report = {
        "machine": describe_machine(),
        "bundle": arguments.bundle.name,
        "rounds": arguments.rounds,
        "frames": arguments.frames,
        "objects": arguments.objects,
        "threads": arguments.threads,
        # Of everything but the parent, so the children that were measured are among them.
        "stolen": load and load.stolen,
        "settings": {
            name: {
                "frame_ms": round(statistics.median(s for s, _ in results) * 1e3, 2),
                "ratio": round(
                    statistics.median(s / u for (s, _), u in zip(results, used, strict=True)), 4
                ),
                "peak_mb": round(statistics.median(peak for _, peak in results) / 1e6, 1),
            }
            for name, results in found.items()
        },
    }
    text = json.dumps(report, indent=2)
    if arguments.output:
        with replacing(arguments.output) as temporary:
            temporary.write_text(text + "\n")
    print(text)
    return 0


def _measure(name: str, arguments: argparse.Namespace) -> tuple[float, int | None]:
    def changed(ort: ModuleType, threads: int, in_float: bool) -> Any:  # noqa: ANN401
        options = session_options(ort, threads, in_float)
        SETTINGS[name](options)
        return options

    vars(onnxruntime_cpu)["session_options"] = changed  # in this process, which ends with it
    bundle = Bundle.open(arguments.bundle)
    runners = {name: BackendRunner(bundle, OnnxRuntimeCpu(bundle, arguments.threads))}
    warm_up(runners.values(), bundle, arguments.objects)
    timings = time_steps(
        runners, bundle, arguments.frames, arguments.objects, on_frame=lambda done: None
    )
    return statistics.median(timings[name].seconds), peak_bytes()


if __name__ == "__main__":
    sys.exit(main())
