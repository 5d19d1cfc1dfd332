"""The command `mavos-verify`, and the comparison that `mavos-export` makes too."""

from typing import TYPE_CHECKING, Annotated

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.launch import FAILED, launch, require
from mavos_deploy.cli.notices import warn_if_untrained
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.segmenter import Segmenter

if TYPE_CHECKING:
    from rich.table import Table

    from mavos_deploy.export.parity import Parity
    from mavos_deploy.models.mavos import Mavos


def verify(
    bundle: options.BundleFolder,
    checkpoint: options.Checkpoint = None,
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
    threads: options.Threads = None,
    backend: options.BackendName = DEFAULT_BACKEND,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Compare a bundle with PyTorch, graph by graph and as a whole.

    Every graph gets PyTorch's inputs; then the chain runs on its own masks. Exits with 1 if any
    tensor or mask is out of its limits, and names the first one.
    """
    opened = Bundle.open(bundle)
    modules = ("torch", *(("onnxruntime",) if backend == DEFAULT_BACKEND else ()))
    require(*modules, extra="export,cpu")
    from mavos_deploy.export.networks import network_of

    say = Console(json=as_json, quiet=quiet)
    warn_if_untrained(say, opened.manifest)
    network = network_of(opened.manifest, checkpoint)
    with Segmenter(opened, options.open_named(say, opened, threads, backend)) as segmenter:
        parity = compare(say, segmenter, network, frames, objects)
    say.result(parity.to_dict())
    if parity.passed:
        say.line(verdict(parity))
    else:
        say.fault(verdict(parity))
        raise typer.Exit(FAILED)


def compare(
    say: Console,
    segmenter: Segmenter,
    network: "Mavos",
    frames: int | None = None,
    objects: int | None = None,
) -> "Parity":
    """Compare a segmenter with a PyTorch network, with a progress bar; see `export.verify`."""
    from mavos_deploy.export import verify as parity_check
    from mavos_deploy.export.verify_clips import clips_of, shortest_clip

    total = frames or shortest_clip(segmenter.bundle.manifest)
    total *= len(clips_of(segmenter.bundle, objects))
    with say.progress("verifying", total) as advance:
        return parity_check.verify(segmenter, network, frames, objects, advance)


def verdict(parity: "Parity") -> "Table | str":
    """The comparison as a table, with its conclusion."""
    from rich.table import Table

    table = Table(title=f"parity with PyTorch, {parity.backend}", title_justify="left")
    table.add_column("graph")
    for column in ("worst tensor", "error / range", "at frame"):
        table.add_column(column, justify="right")
    for graph in parity.tensors:
        worst = parity.worst(graph)
        table.add_row(graph, worst.tensor, f"{worst.relative:.1e}", str(worst.frame))
    updates = ", ".join(map(str, parity.memory_updates)) or "none"
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
