"""Options and arguments that two commands or more have, and how their values are read."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mavos_deploy import __version__
from mavos_deploy.cli.console import Console
from mavos_deploy.runtime.backends.table import AUTO, BACKENDS, choose_backend, open_backend
from mavos_deploy.runtime.datasets.sequences import Layout
from mavos_deploy.words import Word

if TYPE_CHECKING:
    from mavos_deploy.runtime.backends.protocol import Backend
    from mavos_deploy.runtime.bundles.bundle import Bundle


class Fit(str, Enum):
    """Ways to treat frames whose aspect ratio is not the bundle's."""

    REFUSE = "refuse"
    STRETCH = "stretch"


def _print_version(wanted: bool) -> None:
    if wanted:
        Console().line(f"mavos-deploy {__version__}")
        raise typer.Exit


# Every command has these three.
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as one JSON document, and no progress."),
]
Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
]

BundleFolder = Annotated[
    Path,
    typer.Argument(
        metavar="BUNDLE", help="Bundle folder, as mavos-export writes it.", show_default=False
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The checkpoint that the bundle was exported from, for PyTorch. Not needed for "
        "shipped and for untrained weights.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="CPU threads of each graph. Default: all that this process may use.",
    ),
]
BackendName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help=f"Library that runs the graphs: {', '.join(BACKENDS)}; or {AUTO}, which takes the "
        "first that works here and is as exact as the bundle, and says which and why. A named "
        "backend that can't be used is an error; no other takes its place.",
    ),
]
FitMode = Annotated[
    Fit,
    typer.Option(
        help="Frames are resized to the bundle's size. refuse: a video whose aspect ratio differs "
        "from the bundle's by more than 5% is refused. stretch: it is distorted, and its masks get "
        "worse."
    ),
]


class OnLoss(Word):
    """Ways to go on where an object is lost."""

    CONTINUE = "continue"
    STOP = "stop"


StopBelow = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="X",
        help="End the run after the first frame in which the confidence of an object is below X, "
        "with exit code 1. Default: go on.",
    ),
]
AfterLoss = Annotated[
    OnLoss,
    typer.Option(
        help="continue: go on when an object is lost, and say so. stop: end the run after that "
        "frame, with exit code 1. An object that leaves the picture is not lost."
    ),
]
Check = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Every N frames, and at the end, follow the objects back to the last mask or check, "
        "and name those that end up elsewhere. Takes about twice the time. Default: never.",
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.html",
        help="Also write a page with the confidence in each object over time, events, and the "
        "worst frames; one file, for any browser. Default: none.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace the results of an earlier run. Default: refuse to."),
]

# A data set, and who segments it.
FitEach = Annotated[
    Fit,
    typer.Option(
        help="Frames are resized to the bundle's size. refuse: a video whose aspect ratio differs "
        "from the bundle's by more than 5% is named and left out. stretch: it is distorted, and "
        "its masks get worse."
    ),
]
ThreadsEach = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="CPU threads of each graph; with --workers, in each worker. Default: all that this "
        "process may use, which workers share. With --ray, cores of each worker; default 4.",
    ),
]
LayoutName = Annotated[
    Layout | None,
    typer.Option(help="Arrangement of the data set's folders. Default: detected."),
]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Part of the data set; val and valid mean the same. Default: val, or the only one "
        "that a data set of DAVIS 2016, MOSE or VISOR has.",
    ),
]
Sequences = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Take only these sequences. Default: all of the split."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Segment in N processes, which share the CPU threads; an idle one takes the next "
        "sequence. Default: in this process.",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Segment each N-th sequence of the sorted names, from the I-th on; I goes from 1 to "
        "N. For jobs that share one results folder. Default: all.",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Segment on a Ray cluster: local starts one here, auto finds the one that runs here; "
        "or HOST:PORT or ray://HOST:PORT. Default: no cluster.",
    ),
]
Redo = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Segment everything again, and replace another bundle's results in the output "
        "folder. Default: go on where the last run stopped.",
    ),
]


def names_of(sequences: str | None) -> list[str] | None:
    """Split the value of `--sequences`, A,B; None, which means all, stays None.

    Blanks around a name are none of its letters.
    """
    if sequences is None:
        return None
    return [name.strip() for name in sequences.split(",") if name.strip()]


def open_named(
    say: Console, bundle: "Bundle", threads: int | None, name: str, *, ahead: bool = False
) -> "Backend":
    """Open the backend that `--backend` names, and say in one line which one `auto` took.

    For the arguments see `open_backend`.

    Raises:
        BackendError: The backend, or none at all, can be used here.
    """
    if name != AUTO:
        return open_backend(bundle, threads, name, ahead=ahead)
    backend, refused = choose_backend(bundle, threads)
    reasons = "; ".join(one_line_of(name, reason) for name, reason in refused.items())
    say.note(
        f"backend {backend.traits.name}, the first in order of preference that works here"
        + (f"; not {reasons}" if reasons else "")
    )
    return backend


def one_line_of(name: str, reason: str) -> str:
    """A backend with the reason why it can't be used, which mostly begins with its name."""
    return f"{name} ({' '.join(reason.removeprefix(f'{name}: ').split())})"
