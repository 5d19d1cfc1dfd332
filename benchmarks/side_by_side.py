"""Time bundles of several variants side by side, each beside its network in PyTorch.

    python -m benchmarks.side_by_side mobilenet-481x849 deaot_t-481x849 --output side.json

Every bundle is run by `--backend`, and its network in PyTorch in the form that its authors publish
(`--pytorch eager`; `none` leaves it out). All of them get the same frames of one made-up clip in
one process, in turns that rotate from frame to frame, so whatever slows the machine slows all of
them. The first bundle is what the others are compared with. A ratio is the median of the ratios
frame by frame, over frames in which no memory is updated; `updates spread` has the updates' share.
Ratios of processor time are there too: on a busy machine, with one thread, they are the better
ones. The peak of memory is that of a process of its own that opens the bundle or the network alone
and runs it past an update.
"""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.export.bench.memory import peak_memory
from mavos_deploy.export.bench.runners import Runner, Subject, warm_up
from mavos_deploy.export.bench.timing import (
    Timings,
    shortest_run,
    summarise,
    time_steps,
    usual_run,
)
from mavos_deploy.export.bench.ways import PYTORCH
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import LoadMeter, describe_machine
from mavos_deploy.runtime.system.processors import usable_processors

NO_PYTORCH = "none"
COLUMNS = {  # of the printed table
    "p50, ms": "p50_ms",
    "updates spread, ms": "amortised_ms",
    "peak, MB": "peak_mb",
    "video memory, MB": "video_memory_mb",
    "times as fast as the first": "times_the_first",
    "as its PyTorch": "times_its_pytorch",
    "as its PyTorch, processor time": "times_its_pytorch_cpu",
}


def main() -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+", help="of one size; the first is compared")
    parser.add_argument("--backend", default=DEFAULT_BACKEND)
    parser.add_argument("--pytorch", choices=[*PYTORCH, NO_PYTORCH], default="eager")
    parser.add_argument("--frames", type=int, help="default: three memory gaps and one")
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--threads", type=int, default=usable_processors())
    parser.add_argument("--output", type=Path, help="write everything as JSON")
    given = parser.parse_args()
    try:
        report = measure(given)
    except MavosError as error:
        print(f"side_by_side.py: {error}", file=sys.stderr)
        return 2
    if given.output is not None:
        with replacing(given.output) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n")
    table = Table("", *COLUMNS)
    for name, row in report["runs"].items():
        table.add_row(name, *(str(row.get(key, "-")) for key in COLUMNS.values()))
    Console(width=132).print(table)
    if report["load"] and report["load"]["busy"]:
        print("the machine was busy; only ratios of processor time mean anything", file=sys.stderr)
    return 0


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Time all, and measure each one's memory."""
    bundles = {folder: Bundle.open(folder) for folder in given.bundles}
    first = bundles[given.bundles[0]]
    if others := [b.path for b in bundles.values() if b.manifest.size != first.manifest.size]:
        raise InputError(f"{others[0]} is of another size than {first.path}; give those of one")
    ways = [given.backend, *([] if given.pytorch == NO_PYTORCH else [PYTORCH[given.pytorch]])]
    subjects = {
        f"{folder.name}, {way if isinstance(way, str) else way.name}": Subject(
            way, folder, None, given.threads
        )
        for folder in given.bundles
        for way in ways
    }
    gaps = {name: bundles[s.bundle].manifest.write_every for name, s in subjects.items()}
    fewest = max(map(shortest_run, gaps.values()))
    frames = given.frames or max(usual_run(b.manifest.memory_gap) for b in bundles.values())
    if frames < fewest:
        raise InputError(f"--frames {frames} have no memory update; at least {fewest} are needed")
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        for name, subject in subjects.items():
            runners[name] = subject.open()
            stack.callback(runners[name].close)
        warm_up(runners.values(), first, given.objects)
        meter = LoadMeter()
        timings = time_steps(runners, first, frames, given.objects, lambda done: None)
        load = meter.read()
    peaks = dict(zip(subjects, peak_memory(subjects.values(), given.objects), strict=True))
    return {
        "size": "x".join(map(str, first.manifest.size)),
        "machine": describe_machine(),
        "threads": given.threads,
        "frames": frames,
        "objects": given.objects,
        "load": load and {**vars(load), "busy": load.busy},
        "runs": {
            name: {**described(subjects, timings, gaps, name), "peak_mb": peaks[name]}
            for name in subjects
        },
    }


def described(
    subjects: dict[str, Subject], timings: dict[str, Timings], gaps: dict[str, int], name: str
) -> dict[str, Any]:
    """Figures of one run: its times, and its ratios to the first run and to its own PyTorch."""
    found = summarise({name: timings[name]}, gaps[name], name)[name]
    row = {key: found[key] for key in ("p50_ms", "plain_frame_ms", "amortised_ms", "cpu_ms")}
    row["shares"] = found["shares"]
    row["video_memory_mb"] = found["video_memory_mb"][-1]
    row["times_the_first"] = times(timings, gaps, next(iter(subjects)), name, "seconds")
    networks = [n for n, subject in subjects.items() if not isinstance(subject.way, str)]
    own = [n for n in networks if subjects[n].bundle == subjects[name].bundle and n != name]
    for other in own:
        row["times_its_pytorch"] = times(timings, gaps, other, name, "seconds")
        row["times_its_pytorch_cpu"] = times(timings, gaps, other, name, "cpu_seconds")
    return row


def times(
    timings: dict[str, Timings], gaps: dict[str, int], slow: str, quick: str, kind: str
) -> float:
    """How many times as fast one run is as another, by the median of pairs without an update."""
    before, after = (np.array(getattr(timings[name], kind)) for name in (slow, quick))
    frame = np.arange(1, len(before) + 1)
    plain = np.all([(frame % gaps[n] != 0) | (gaps[n] == 1) for n in (slow, quick)], axis=0)
    return round(float(np.median((before / after)[plain])), 3)


if __name__ == "__main__":
    sys.exit(main())
