"""The command `mavos-verify`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mavos_deploy.cli.console import out, progress, warn_if_untrained
from mavos_deploy.cli.launch import FAILED_CHECK, launch, require
from mavos_deploy.cli.options import BackendOption, ThreadsOption, open_named
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.segmenter import Segmenter

if TYPE_CHECKING:
    from mavos_deploy.export.parity import Parity
    from mavos_deploy.models.mavos import Mavos


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, as mavos-export writes it.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The checkpoint the bundle was exported from. Not needed for shipped and for "
            "untrained weights.",
        ),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Length of the clip. Default: the shortest that reads two memory updates, 24 at "
            "a memory gap of 10; fewer are refused.",
        ),
    ] = None,
    objects: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=200,
            metavar="N",
            help="Objects in the first frame; one joins later. Default: 10, which makes two "
            "groups; 1 where a side is below 64 pixels.",
        ),
    ] = None,
    threads: ThreadsOption = None,
    backend: BackendOption = DEFAULT_BACKEND,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole report as JSON, and no progress.")
    ] = False,
) -> None:
    """Compare a bundle with PyTorch: every graph on PyTorch's inputs, then the chain on its own.

    Exits with 1 if any tensor or mask is out of its limits, and names the first one.
    """
    opened = Bundle.open(bundle)
    require("torch", *(["onnxruntime"] if backend == DEFAULT_BACKEND else []))
    from mavos_deploy.export.networks import network_of

    warn_if_untrained(opened.manifest)
    network = network_of(opened.manifest, checkpoint)
    with Segmenter(opened, open_named(opened, threads, backend)) as segmenter:
        parity = compare(segmenter, network, frames, objects, not as_json)
    if as_json:
        out.print(json.dumps(parity.to_dict(), indent=2))
    else:
        out.print(verdict(parity))
    if not parity.passed:
        raise typer.Exit(FAILED_CHECK)


def compare(
    segmenter: Segmenter, network: "Mavos", frames: int | None, objects: int | None, talk: bool
) -> "Parity":
    """Compare a segmenter with a PyTorch network, with a progress bar where `talk` is true."""
    from mavos_deploy.export import verify as parity_check

    gap = segmenter.bundle.manifest.memory_gap
    total = frames or parity_check.shortest_clip(gap)
    total *= len(parity_check.clip_sizes(segmenter.bundle))
    with progress("verifying", total, shown=talk) as advance:
        return parity_check.verify(segmenter, network, frames, objects, advance)


def verdict(parity: "Parity") -> Table | str:
    """The comparison as a table, with its conclusion."""
    table = Table(title=f"parity with PyTorch, {parity.backend}", title_justify="left")
    table.add_column("graph")
    for column in ("worst tensor", "error / range", "at frame"):
        table.add_column(column, justify="right")
    for graph in parity.tensors:
        worst = parity.worst(graph)
        table.add_row(graph, worst.tensor, f"{worst.relative:.1e}", str(worst.frame))
    updates = ", ".join(map(str, parity.memory_updates))
    table.caption_justify = "left"
    table.caption = "\n".join(
        [
            f"{parity.frames} frames, {parity.objects} objects in {parity.groups} groups, memory "
            f"updates after {updates}",
            f"free-running masks: {parity.worst_agreement:.3%} of pixels equal in the worst frame, "
            f"J {parity.quality.region:.4f}, F {parity.quality.boundary:.4f}",
            _conclusion(parity),
        ]
    )
    return table


def _conclusion(parity: "Parity") -> str:
    if parity.passed:
        return "PASSED"
    if first := parity.first_divergence:
        return (
            f"FAILED: first {first['tensor']} of {first['graph']} at frame {first['frame']}, "
            f"{first['relative']:.1e} of its range or pixels (limit {first['limit']:.0e})"
        )
    return (
        f"FAILED: free-running masks agree on {parity.worst_agreement:.3%} of pixels "
        f"(limit {parity.limits.agreement:.1%})"
    )


def main() -> None:
    """Entry point of `mavos-verify`."""
    launch({"verify": verify}, "mavos-verify")
