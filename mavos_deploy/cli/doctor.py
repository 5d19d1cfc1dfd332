"""The command `mavos-doctor`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.launch import FAILED, launch
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.runtime.bundles.bundle import Bundle

if TYPE_CHECKING:
    from mavos_deploy.runtime.backends.doctor import Diagnosis


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            metavar="BUNDLE",
            help="Bundle folder, as mavos-export writes it. Every backend loads its graphs and "
            "segments a frame. Default: only libraries and devices are looked for.",
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Show installed packages and the backends that work here.

    Gives advice for the other backends. Exits with 1 if the default backend doesn't work.
    --quiet prints the problems alone.
    """
    from mavos_deploy.runtime.backends.doctor import diagnose

    say = Console(json=as_json, quiet=quiet)
    found = diagnose(Bundle.open(bundle) if bundle is not None else None)
    say.result(found.to_dict())
    for line in _lines(found, tried=bundle is not None):
        say.line(line)
    for problem in found.problems:
        say.fault(f"problem: {problem}")
    if not found.healthy:
        if quiet:
            reason = found.backends[DEFAULT_BACKEND].reason
            say.fault(f"{DEFAULT_BACKEND}, the default backend, is unusable: {reason}")
        raise typer.Exit(FAILED)


def _lines(found: "Diagnosis", tried: bool) -> list[str]:
    from mavos_deploy.runtime.backends.doctor import PACKAGES

    machine, gpu = found.machine, found.gpu
    limit = found.container_processors
    instructions = machine["instructions"]
    assert isinstance(instructions, list)
    shown = (
        "none that a driver shows"
        if gpu is None
        else f"{gpu['name']}, compute capability {gpu['capability']}, driver {gpu['driver']}, "
        f"CUDA {gpu['cuda']}"
    )
    missing = [name for name in PACKAGES if name not in found.packages]
    width = max(len(name) for name in found.backends)
    lines = [
        f"system       {machine['system']}, Python {machine['python']}",
        f"processor    {machine['processor']}, {machine['usable_processors']} usable"
        + ("" if limit is None else f", {limit:g} granted by the container"),
        f"instructions {', '.join(instructions) or 'unknown'}",
        f"memory       {machine['memory_gb'] or 'unknown'} GB",
        f"GPU          {shown}",
        "packages     " + ", ".join(f"{name} {found.packages[name]}" for name in found.packages),
        f"not there    {', '.join(missing)}",
        "backends     "
        + (
            "each loaded the bundle and segmented a frame"
            if tried
            else "libraries and devices only; mavos-doctor BUNDLE tries them"
        ),
    ]
    for name, finding in found.backends.items():
        default = " (the default)" if name == DEFAULT_BACKEND else ""
        good = "works" if finding.tried else "is there"
        said = f"{good}{default}" if finding.works else f"unusable{default}: {finding.reason}"
        lines.append(f"  {name:<{width}}  {said}")
    lines += [f"engines      {engines}" for engines in found.engines]
    return lines


def main() -> None:
    """Entry point of `mavos-doctor`."""
    launch({"doctor": doctor}, "mavos-doctor")
