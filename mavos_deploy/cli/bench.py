"""The command `mavos-bench`."""

import importlib.util
import json
from functools import partial
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

if TYPE_CHECKING:
    from mavos_deploy.export.bench.ways import Way

NO_VIDEO = "none"


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
    from mavos_deploy.export.bench.measure import measure
    from mavos_deploy.export.bench.runners import Subject

    ways: list[Way | str] = [*_ways(pytorch, growing_memory), *(backend or [DEFAULT_BACKEND])]
    subjects = [Subject(way, bundle, checkpoint, threads) for way in ways]
    opened = Bundle.open(bundle)
    film = None if video in (None, NO_VIDEO) else Path(str(video))
    if film is not None and not film.is_file():
        raise InputError(f"--video {video} is no file; give a video, or {NO_VIDEO}")
    warn_if_untrained(opened.manifest)
    shown = partial(progress, shown=not as_json)
    report = measure(opened, subjects, frames, objects, video != NO_VIDEO, film, shown)
    _print(report, output, as_json)


def _ways(pytorch: str | None, growing_memory: bool) -> "list[Way]":
    from mavos_deploy.export.bench.ways import GROWING, PYTORCH

    words = [word for word in (pytorch or "").split(",") if word]
    if unknown := [word for word in words if word not in PYTORCH]:
        raise InputError(f"--pytorch {unknown[0]}: accepted are {', '.join(PYTORCH)}")
    ways = [*(PYTORCH[word] for word in words), *([GROWING] if growing_memory else [])]
    if ways and importlib.util.find_spec("torch") is None:
        raise InputError(
            "torch can't be found; install what the comparison with PyTorch needs with "
            "pip install 'mavos-deploy[export]'"
        )
    return ways


def _print(report: dict[str, Any], output: Path | None, as_json: bool) -> None:
    from mavos_deploy.export.bench.report import TABLE_WIDTH, can_draw, tables, write_report

    if as_json:
        out.print(json.dumps(report, indent=1))
    else:
        wide = Console(width=max(out.width, TABLE_WIDTH), highlight=False)
        for table in tables(report):
            wide.print(table)
    load = report["load"]
    if load is not None and load["busy"]:
        warn(
            f"the machine was busy: other processes took {load['others']:.0%} of its processors' "
            f"time and its host {load['stolen']:.0%}; these timings are not to be trusted or "
            "compared"
        )
    if output is not None:
        files = write_report(report, output)
        if not can_draw():
            warn("no plots: matplotlib is missing; pip install 'mavos-deploy[plot]'")
        if not as_json:
            out.print(f"in {output}: {', '.join(file.name for file in files)}")


def main() -> None:
    """Entry point of `mavos-bench`."""
    launch({"bench": bench}, "mavos-bench")
