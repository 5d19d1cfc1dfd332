"""The command `mavos-bench`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.launch import forbid, launch, require
from mavos_deploy.cli.notices import warn_if_untrained, warn_without_plots
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.runtime.bundles.bundle import Bundle

if TYPE_CHECKING:
    from mavos_deploy.export.bench.ways import Way

NO_VIDEO = "none"


def bench(
    context: typer.Context,
    bundle: options.BundleFolder,
    checkpoint: options.Checkpoint = None,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Length of the made-up clip. Default: three memory gaps and one, which has two "
            "memory updates, or 31 with memory annotations; at least two gaps and one.",
        ),
    ] = None,
    objects: Annotated[
        int, typer.Option(min=1, max=200, metavar="N", help="Objects in the first frame.")
    ] = 3,
    threads: options.Threads = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Backend to measure, as in mavos-run; give the option once for each backend. "
            f"Default: {DEFAULT_BACKEND}.",
        ),
    ] = None,
    pytorch: Annotated[
        str | None,
        typer.Option(
            metavar="WAY,...",
            help="Measure the PyTorch network beside the backends: eager and compiled in the form "
            "that its authors publish, tuned-eager and tuned-compiled in that of this project. "
            "Default: not measured.",
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
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Measure how fast a bundle runs, and PyTorch beside it.

    Everything gets the same frames in turns, in one process. A busy machine is reported. --json
    prints bench.json.
    """
    from mavos_deploy.export.bench.measure import measure
    from mavos_deploy.export.bench.runners import Subject

    say = Console(json=as_json, quiet=quiet)
    networks = _ways(pytorch, growing_memory)
    if not networks:
        forbid(context, "checkpoint", because="is for PyTorch; add --pytorch, or leave it out")
    ways: list[Way | str] = [*networks, *(backend or [DEFAULT_BACKEND])]
    subjects = [Subject(way, bundle, checkpoint, threads) for way in ways]
    opened = Bundle.open(bundle)
    film = None if video in (None, NO_VIDEO) else Path(str(video))
    if film is not None and not film.is_file():
        raise InputError(f"--video {video} is no file; give a video, or {NO_VIDEO}")
    warn_if_untrained(say, opened.manifest)
    timed = video != NO_VIDEO
    report = measure(opened, subjects, frames, objects, timed, film, say.progress)
    _print(say, report, output)


def _ways(pytorch: str | None, growing_memory: bool) -> "list[Way]":
    from mavos_deploy.export.bench.ways import GROWING, PYTORCH

    words = [word for word in (pytorch or "").split(",") if word]
    if unknown := [word for word in words if word not in PYTORCH]:
        raise InputError(f"--pytorch {unknown[0]}: accepted are {', '.join(PYTORCH)}")
    ways = [*(PYTORCH[word] for word in words), *([GROWING] if growing_memory else [])]
    if ways:
        require("torch", extra="export")
    return ways


def _print(say: Console, report: dict[str, Any], output: Path | None) -> None:
    from mavos_deploy.export.bench.report import TABLE_WIDTH, tables, write_report

    say.result(report)
    for table in tables(report):
        say.line(table, width=TABLE_WIDTH)
    if not report["roofs_gflops"]:
        say.note(
            "the machine's matrix roofs were not measured, for want of onnx or onnxruntime: "
            "pip install 'mavos-deploy[calibrate,cpu]'"
        )
    load = report["load"]
    if load is not None and load["busy"]:
        say.warn(
            f"the machine was busy: other processes took {load['others']:.0%} of its processors' "
            f"time and its host {load['stolen']:.0%}; these timings are not to be trusted or "
            "compared"
        )
    if output is not None:
        files = write_report(report, output)
        warn_without_plots(say)
        say.line(f"in {output}: {', '.join(file.name for file in files)}")


def main() -> None:
    """Entry point of `mavos-bench`."""
    launch({"bench": bench}, "mavos-bench")
