"""The command `mavos-bench`."""

import importlib.util
import json
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mavos_deploy.cli.console import out, progress, warn, warn_if_untrained
from mavos_deploy.cli.launch import launch
from mavos_deploy.cli.options import ThreadsOption
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.system.machine import Load, LoadMeter, describe_machine
from mavos_deploy.runtime.system.processors import usable_processors

if TYPE_CHECKING:
    from mavos_deploy.export.bench.runners import Runner
    from mavos_deploy.export.bench.timing import Timings

NO_VIDEO = "none"
LIBRARIES = ("mavos-deploy", "onnxruntime", "openvino", "torch", "numpy", "av")


def bench(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, as mavos-export writes it.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The checkpoint the bundle was exported from, for PyTorch. Not needed for shipped "
            "and for untrained weights.",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Length of the made-up clip. Default: three memory gaps and one, which has two "
            "memory updates; at least two gaps and one.",
        ),
    ] = None,
    objects: Annotated[
        int, typer.Option(min=1, max=200, metavar="N", help="Objects in the first frame.")
    ] = 3,
    threads: ThreadsOption = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"Backend to measure, as in mavos-run; give it once for each. Default: "
            f"{DEFAULT_BACKEND}.",
        ),
    ] = None,
    pytorch: Annotated[
        str | None,
        typer.Option(
            metavar="WAY,...",
            help="Measure the PyTorch network beside the backends: eager and compiled in the form "
            "that its authors publish, tuned-eager and tuned-compiled in that of this project.",
        ),
    ] = None,
    growing_memory: Annotated[
        bool,
        typer.Option(
            "--growing-memory",
            help="Also measure the PyTorch network with a memory to which every fifth frame is "
            "appended, as in DeAOT-L. Choose --frames as long as the videos that matter.",
        ),
    ] = False,
    video: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Video for the end-to-end runs, with made-up objects; `none` leaves those out. "
            "Default: a made-up one.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for bench.json and the plots. Default: neither."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print bench.json, and no progress.")
    ] = False,
) -> None:
    """Measure how fast a bundle runs, and PyTorch beside it.

    All that is compared gets the same frames in turns, in one process. A busy machine is reported.
    """
    from mavos_deploy.export.bench import report as bench_report
    from mavos_deploy.export.bench import timing as measuring
    from mavos_deploy.export.bench.end_to_end import ROUNDS, run_end_to_end
    from mavos_deploy.export.bench.memory import peak_memory
    from mavos_deploy.export.bench.runners import BackendRunner, Subject, warm_up

    opened = Bundle.open(bundle)
    manifest = opened.manifest
    gap = manifest.memory_gap
    count = 3 * gap + 1 if frames is None else frames
    if count < measuring.shortest_run(gap):
        raise InputError(
            f"{count} frames have no memory update; at a memory gap of {gap} at least "
            f"{measuring.shortest_run(gap)} are needed"
        )
    names = [*_pytorch_names(pytorch, growing_memory), *(backend or [DEFAULT_BACKEND])]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{repeated} is given twice; name each once")
    film = None if video in (None, NO_VIDEO) else Path(str(video))
    if film is not None and not film.is_file():
        raise InputError(f"--video {video} is no file; give a video, or {NO_VIDEO}")
    if names[0].startswith("pytorch-") and importlib.util.find_spec("torch") is None:
        raise InputError(
            "torch can't be found; install what the comparison with PyTorch needs with "
            "pip install 'mavos-deploy[export]'"
        )
    warn_if_untrained(manifest)
    subjects = [Subject(name, bundle, checkpoint, threads) for name in names]
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        for subject in subjects:
            runner = subject.open()
            stack.callback(runner.close)
            runners[subject.name] = runner
        warm_up(runners, opened, objects)
        meter = LoadMeter()
        with progress("timing steps", count, shown=not as_json) as advance:
            timings = measuring.time_steps(runners, opened, count, objects, advance)
        backends = {n: r for n, r in runners.items() if isinstance(r, BackendRunner)}
        end_to_end = {}
        if video != NO_VIDEO:
            runs = ROUNDS * len(backends)
            with progress("timing end to end", runs, shown=not as_json) as advance:
                end_to_end = run_end_to_end(backends, film, count, objects, advance)
        load = meter.read()
        names_of = {name: runner.name for name, runner in runners.items()}
    peaks = peak_memory(subjects, objects)
    report = {
        "format_version": bench_report.FORMAT_VERSION,
        "bundle": {
            "variant": manifest.variant,
            "size": f"{manifest.height}x{manifest.width}",
            "precision": manifest.precision,
            "target": manifest.target,
            "memory_gap": gap,
            "trained": manifest.trained,
            "weights_sha256": manifest.weights_sha256,
        },
        "machine": describe_machine(),
        "tools": _versions(),
        "threads": threads or usable_processors(),
        "frames": count,
        "objects": objects,
        "baseline": names_of[names[0]],
        "load": None if load is None else {**vars(load), "busy": load.busy},
        "tensor_only": _renamed(measuring.summarise(timings, gap, names[0]), names_of),
        "end_to_end": _renamed(end_to_end, names_of),
        "peak_memory_mb": _renamed(peaks, names_of),
        "per_frame": _renamed({n: _series(t) for n, t in timings.items()}, names_of),
    }
    _print(report, load, output, as_json)


def _pytorch_names(pytorch: str | None, growing_memory: bool) -> list[str]:
    from mavos_deploy.export.bench.ways import GROWING, PYTORCH

    ways = [way for way in (pytorch or "").split(",") if way]
    if unknown := [way for way in ways if way not in PYTORCH]:
        raise InputError(f"--pytorch {unknown[0]}: accepted are {', '.join(PYTORCH)}")
    return [*(f"pytorch-{way}" for way in ways), *([GROWING] if growing_memory else [])]


def _renamed(entries: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """By the name that a backend has once it is open, which says what it computes in."""
    return {names[name]: entry for name, entry in entries.items()}


def _series(timings: "Timings") -> dict[str, list[float]]:
    return {
        "milliseconds": [round(seconds * 1e3, 3) for seconds in timings.seconds],
        "cpu_milliseconds": [round(seconds * 1e3, 3) for seconds in timings.cpu_seconds],
        "memory_mb": [round(size / 1e6, 1) for size in timings.memory],
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _print(report: dict[str, Any], load: Load | None, output: Path | None, as_json: bool) -> None:
    from mavos_deploy.export.bench import report as bench_report

    if as_json:
        out.print(json.dumps(report, indent=1))
    else:
        wide = Console(width=max(out.width, bench_report.TABLE_WIDTH), highlight=False)
        for table in bench_report.tables(report):
            wide.print(table)
    if load is not None and load.busy:
        warn(
            f"the machine was busy: other processes took {load.others:.0%} of its processors' time "
            f"and its host {load.stolen:.0%}; these timings are not to be trusted or compared"
        )
    if output is not None:
        files = bench_report.write_report(report, output)
        if not bench_report.can_draw():
            warn("no plots: matplotlib is missing; pip install 'mavos-deploy[plot]'")
        if not as_json:
            out.print(f"in {output}: {', '.join(file.name for file in files)}")


def main() -> None:
    """Entry point of `mavos-bench`."""
    launch({"bench": bench}, "mavos-bench")
