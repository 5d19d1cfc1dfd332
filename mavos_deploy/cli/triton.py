"""The command `mavos-triton`."""

from pathlib import Path
from typing import Annotated

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.launch import FAILED, forbid, forbid_others, launch
from mavos_deploy.cli.notices import warn_if_untrained
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import state_bytes
from mavos_deploy.runtime.objects import groups_for
from mavos_deploy.runtime.system.files import replacing_directory
from mavos_deploy.runtime.triton.config import Graphs, Options
from mavos_deploy.runtime.triton.wire import TRACKER, StreamLimits

DEFAULTS = StreamLimits()


def triton(
    context: typer.Context,
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="BUNDLE", help="Bundle folder, as mavos-export writes it (not with --check)."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="REPO", help="Folder of the model repository. Default: <bundle>-triton here."
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="REPO",
            help="Write nothing, but compare the configurations of this repository with its "
            "graphs. Exits with 1 if something is wrong. Default: write a repository.",
        ),
    ] = None,
    graphs: Annotated[
        Graphs,
        typer.Option(
            help="Models that run the graphs. tracker: the tracker model itself, on the CPU, so "
            "that the repository is one model and the server needs only its Python backend. "
            "onnxruntime, tensorrt: five graph models beside the tracker, which calls them; for "
            "GPUs."
        ),
    ] = Graphs.TRACKER,
    plans: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of <graph>.plan, built with the server's own TensorRT on its kind of GPU. "
            "Needed with --graphs tensorrt, and for nothing else.",
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(metavar="0,1", help="GPUs that run the graph models. Default: the CPU."),
    ] = None,
    instances: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            metavar="N",
            help="Instances of each model, on each GPU if there are any. Each instance follows "
            "--max-streams.",
        ),
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="CPU threads of each instance. Default: all of the server's."
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Name of the tracker model; those of graph models start with it."
        ),
    ] = TRACKER,
    max_streams: Annotated[
        int,
        typer.Option(
            min=1,
            max=4096,
            metavar="N",
            help="Streams that an instance follows at once, which bounds its memory; more are "
            "refused.",
        ),
    ] = DEFAULTS.max_streams,
    max_objects: Annotated[
        int,
        typer.Option(
            min=1,
            max=254,
            metavar="N",
            help="Objects that a stream may have; masks with more are refused. Ten share one "
            "memory.",
        ),
    ] = DEFAULTS.max_objects,
    max_pixels: Annotated[
        int, typer.Option(min=1, metavar="N", help="Largest frame accepted, in pixels.")
    ] = DEFAULTS.max_pixels,
    idle: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=86400,
            metavar="SECONDS",
            help="Time without a frame after which a stream loses its state and must be started "
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
            help="Time that a request may wait for a graph model before it is refused.",
        ),
    ] = 10.0,
    priority: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Turn of the tracker among the models of a server that is started with "
            "--rate-limit=execution_count; 1 comes first.",
        ),
    ] = 1,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Write or check a model repository for a Triton server.

    The server is NVIDIA's Triton Inference Server; the repository serves one bundle.
    """
    say = Console(json=as_json, quiet=quiet)
    if check is not None:
        forbid_others(
            context,
            *("check", "quiet", "as_json"),
            because="is for writing a repository; leave it out with --check",
        )
        _check(say, check)
        return
    if bundle is None:
        raise InputError("give a bundle's folder, or --check REPO")
    if not name.isidentifier():
        raise InputError(f"--name {name!r}: letters, digits and underscores only")
    if graphs is Graphs.TRACKER:
        forbid(
            context,
            *("plans", "gpus", "queue_limit", "queue_timeout"),
            because="needs graph models; add --graphs onnxruntime or tensorrt",
        )
    if graphs is not Graphs.TENSORRT:
        forbid(context, "plans", because="is for --graphs tensorrt; leave it out")
    wanted = Options(
        name=name,
        limits=StreamLimits(max_streams, max_objects, max_pixels, idle),
        instances=instances,
        gpus=_gpus(gpus),
        threads=threads,
        graphs=graphs,
        queue_limit=queue_limit,
        queue_timeout=queue_timeout,
        priority=priority,
    )
    if graphs is Graphs.TENSORRT and not wanted.gpus:
        raise InputError("--graphs tensorrt needs a GPU; add --gpus 0")
    folder = output or Path(f"{bundle.resolve().name}-triton")
    _write(say, Bundle.open(bundle), folder, wanted, plans, overwrite)


def _write(
    say: Console,
    bundle: Bundle,
    folder: Path,
    wanted: Options,
    plans: Path | None,
    overwrite: bool,
) -> None:
    from mavos_deploy.runtime.triton.repository import write_repository

    with replacing_directory(folder, overwrite, marker=wanted.name) as temporary:
        write_repository(bundle, temporary, wanted, plans)
        if faults := _faults(temporary):
            raise InputError(f"{faults[0]}; the repository was not written")
    warn_if_untrained(say, bundle.manifest)
    models = sorted(path.name for path in folder.iterdir())
    limits = wanted.limits
    group = state_bytes(bundle.specs)
    bound = group * groups_for(limits.max_objects) * limits.max_streams
    say.result(
        {
            "repository": str(folder),
            "models": models,
            "state_bytes_per_ten_objects": group,
            "state_bytes_at_most": bound,
            "trained": bundle.manifest.trained,
        }
    )
    say.line(f"wrote {folder}: {', '.join(models)}")
    say.line(
        f"states take up to {bound / 1e9:.1f} GB in each instance: {group / 1e6:.0f} MB for ten "
        f"objects, {limits.max_objects} objects, {limits.max_streams} streams"
    )
    say.line(f"start it with: tritonserver --model-repository={folder.resolve()}")


def _faults(folder: Path) -> list[str]:
    from mavos_deploy.runtime.triton.lint import check_repository

    return [str(fault) for fault in check_repository(folder)]


def _check(say: Console, folder: Path) -> None:
    faults = _faults(folder)
    say.result({"repository": str(folder), "faults": faults})
    for fault in faults:
        say.fault(fault)
    say.line(f"{len(faults)} faults in {folder}" if faults else f"{folder}: no fault found")
    if faults:
        raise typer.Exit(FAILED)


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
