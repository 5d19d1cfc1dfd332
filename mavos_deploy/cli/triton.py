"""The command `mavos-triton`."""

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mavos_deploy.cli.console import out, warn_if_untrained
from mavos_deploy.cli.launch import FAILED_CHECK, launch
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import state_bytes
from mavos_deploy.runtime.objects import groups_for
from mavos_deploy.runtime.system.files import replacing_directory
from mavos_deploy.runtime.triton.wire import TRACKER, Limits

DEFAULTS = Limits()


class Graphs(str, Enum):
    """Who runs the graphs."""

    TRACKER = "tracker"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


def triton(
    bundle: Annotated[
        Path | None,
        typer.Argument(help="Bundle folder, as mavos-export writes it (not with --check)."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="REPO", help="The model repository. Default: <bundle>-triton here."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="REPO",
            help="Write nothing; compare the configurations of a repository with its graphs. "
            "Exits with 1 if something is wrong.",
        ),
    ] = None,
    graphs: Annotated[
        Graphs,
        typer.Option(
            help="Who runs the graphs. tracker: the tracker model itself, on the CPU, so that the "
            "repository is one model and the server needs only its Python backend. onnxruntime, "
            "tensorrt: five graph models beside the tracker, which calls them; for GPUs."
        ),
    ] = Graphs.TRACKER,
    plans: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="For --graphs tensorrt: a folder of <graph>.plan, built with the server's own "
            "TensorRT on its kind of GPU.",
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(metavar="0,1", help="GPUs to run on, with graph models. Default: the CPU."),
    ] = None,
    instances: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            help="Instances of each model; on GPUs, on each of them. Each follows --max-streams.",
        ),
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="CPU threads of each instance. Default: all of the server's."
        ),
    ] = None,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Of the tracker model; graph models start with it.")
    ] = TRACKER,
    max_streams: Annotated[
        int,
        typer.Option(
            min=1,
            max=4096,
            metavar="N",
            help="Streams that an instance follows at once; more are refused. Bounds its memory.",
        ),
    ] = DEFAULTS.max_streams,
    max_objects: Annotated[
        int,
        typer.Option(
            min=1,
            max=254,
            metavar="N",
            help="Objects of a stream; masks with more are refused. Ten share one memory.",
        ),
    ] = DEFAULTS.max_objects,
    max_pixels: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of a frame; larger ones are refused.")
    ] = DEFAULTS.max_pixels,
    idle: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=86400,
            metavar="SECONDS",
            help="A stream without a frame for this long loses its state and must be started "
            "again.",
        ),
    ] = DEFAULTS.idle_seconds,
    queue_limit: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Requests that may wait for a graph model; more are refused."
        ),
    ] = 64,
    queue_timeout: Annotated[
        float,
        typer.Option(
            min=0.001,
            max=3600,
            metavar="SECONDS",
            help="How long a request may wait for a graph model before it is refused.",
        ),
    ] = 10.0,
    priority: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Of the tracker among the models of a server that is started with "
            "--rate-limit=execution_count; 1 comes first.",
        ),
    ] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the repository in the output folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a bundle as a model repository for NVIDIA's Triton Inference Server, or check one."""
    if check is not None:
        if bundle is not None or output is not None:
            raise InputError("--check takes a repository alone; leave the bundle and --output out")
        _report(check, as_json)
        return
    if bundle is None:
        raise InputError("give a bundle's folder, or --check REPO")
    from mavos_deploy.runtime.triton.config import Options
    from mavos_deploy.runtime.triton.repository import write_repository

    if not name.isidentifier():
        raise InputError(f"--name {name!r}: letters, digits and underscores only")
    options = Options(
        name=name,
        limits=Limits(max_streams, max_objects, max_pixels, idle),
        instances=instances,
        gpus=_gpus(gpus),
        threads=threads,
        backend=None if graphs is Graphs.TRACKER else graphs.value,
        queue_limit=queue_limit,
        queue_timeout=queue_timeout,
        priority=priority,
    )
    if options.gpus and options.backend is None:
        raise InputError("--gpus needs graph models; add --graphs onnxruntime or tensorrt")
    if graphs is Graphs.TENSORRT and not options.gpus:
        raise InputError("--graphs tensorrt needs a GPU; add --gpus 0")
    opened = Bundle.open(bundle)
    folder = output or Path(f"{bundle.resolve().name}-triton")
    with replacing_directory(folder, overwrite, marker=name) as temporary:
        write_repository(opened, temporary, options, plans)
        if faults := _check(temporary):
            raise InputError(f"{faults[0]}; the repository was not written")
    warn_if_untrained(opened.manifest)
    models = sorted(path.name for path in folder.iterdir())
    group = state_bytes(opened.specs)
    groups = groups_for(max_objects)
    bound = group * groups * max_streams
    if as_json:
        out.print(
            json.dumps(
                {
                    "repository": str(folder),
                    "models": models,
                    "state_bytes_per_ten_objects": group,
                    "state_bytes_at_most": bound,
                    "trained": opened.manifest.trained,
                }
            )
        )
        return
    out.print(f"wrote {folder}: {', '.join(models)}")
    out.print(
        f"states take up to {bound / 1e9:.1f} GB in each instance: {group / 1e6:.0f} MB for ten "
        f"objects, {max_objects} objects, {max_streams} streams"
    )
    out.print(f"start it with: tritonserver --model-repository={folder.resolve()}")


def _check(folder: Path) -> list[str]:
    from mavos_deploy.runtime.triton.lint import check_repository

    return [str(fault) for fault in check_repository(folder)]


def _report(folder: Path, as_json: bool) -> None:
    faults = _check(folder)
    if as_json:
        out.print(json.dumps({"repository": str(folder), "faults": faults}))
    else:
        for fault in faults:
            out.print(fault)
        out.print(f"{len(faults)} faults in {folder}" if faults else f"{folder}: no fault found")
    if faults:
        raise typer.Exit(FAILED_CHECK)


def _gpus(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise InputError(f"--gpus {text!r}: expected numbers with commas, such as 0,1")
    return tuple(map(int, parts))


def main() -> None:
    """Entry point of `mavos-triton`."""
    launch({"triton": triton}, "mavos-triton")
