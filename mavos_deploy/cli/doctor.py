"""The command `mavos-doctor`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mavos_deploy.cli.console import out
from mavos_deploy.cli.launch import FAILED_CHECK, launch
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.doctor import PACKAGES, Diagnosis, diagnose


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            help="Bundle folder. Every backend loads its graphs and segments a frame. Without it "
            "only libraries and devices are looked for."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Show installed packages and working backends, with advice for the others.

    Exits with 1 if the default backend doesn't work.
    """
    found = diagnose(Bundle.open(bundle) if bundle is not None else None)
    if as_json:
        out.print(json.dumps(found.to_dict(), indent=2))
    else:
        for line in _lines(found, tried=bundle is not None):
            out.print(line)
    if not found.healthy:
        raise typer.Exit(FAILED_CHECK)


def _lines(found: Diagnosis, tried: bool) -> list[str]:
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
    lines += [f"problem: {problem}" for problem in found.problems]
    return lines


def main() -> None:
    """Entry point of `mavos-doctor`."""
    launch({"doctor": doctor}, "mavos-doctor")
