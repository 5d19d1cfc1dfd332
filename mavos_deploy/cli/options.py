"""Options that several commands share."""

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from mavos_deploy.cli.console import err, one_line_of
from mavos_deploy.runtime.backends.protocol import Backend
from mavos_deploy.runtime.backends.table import (
    AUTO,
    BACKENDS,
    choose_backend,
    open_backend,
)
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.datasets.sequences import Layout

if TYPE_CHECKING:
    pass

ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="CPU threads. Default: all this process may use."),
]
BackendOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help=f"What runs the graphs: {', '.join(BACKENDS)}. openvino-cpu-bf16 computes in "
        "bfloat16, which is faster and less exact. One that can't be used is an "
        f"error, never replaced by another. {AUTO} takes the first that works here and is as "
        "exact, and says which and why.",
    ),
]
LayoutOption = Annotated[
    Layout | None,
    typer.Option(help="How the data set's folders are arranged. Default: found out."),
]
SplitOption = Annotated[
    str, typer.Option(metavar="NAME", help="Part of the data set; val and valid are the same.")
]
SequencesOption = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Only these sequences. Default: all of the split."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Segment in N processes, which share the CPU threads and take one sequence after "
        "another. Default: in this one.",
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Segment each N-th sequence of the sorted names, from the I-th on; I goes from 1 to "
        "N. For jobs that share one results folder.",
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Segment on a Ray cluster: local starts one here, auto finds the one that runs here; "
        "or HOST:PORT or ray://HOST:PORT.",
    ),
]


class Fit(str, Enum):
    """What to do with frames whose aspect ratio is not the bundle's."""

    REFUSE = "refuse"
    STRETCH = "stretch"


def open_named(bundle: Bundle, threads: int | None, name: str) -> Backend:
    """The backend of a command line's `--backend`; what `auto` takes is said in one line."""
    if name != AUTO:
        return open_backend(bundle, threads, name)
    backend, refused = choose_backend(bundle, threads)
    reasons = "; ".join(one_line_of(name, reason) for name, reason in refused.items())
    err.print(
        f"backend {backend.traits.name}, the first in order of preference that works here"
        + (f"; not {reasons}" if reasons else "")
    )
    return backend
