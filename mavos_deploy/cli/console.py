"""What a command says, and to whom."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mavos_deploy.runtime.backends.table import (
    DEFAULT_BACKEND,
)
from mavos_deploy.runtime.manifest import Manifest

if TYPE_CHECKING:
    from mavos_deploy.runtime.protocol import About

# Plain output: no wrapping that breaks paths, no colours of our own choosing in log files, and
# nothing in a path is taken for markup or the name of an emoji.
out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def warn(message: str) -> None:
    """Print a line that must not be missed, even with --quiet."""
    err.print(f"warning: {message}")


def warn_if_untrained(bundle: "Manifest | About") -> None:
    """Say once that masks of untrained weights mean nothing."""
    if not bundle.trained:
        warn(
            f"UNTRAINED WEIGHTS: this {bundle.variant} bundle was exported without a checkpoint; "
            "its masks mean nothing (docs/checkpoints.md says where to get one)"
        )


def warn_if_inexact(backend: str, arithmetic: str | None, promised: str | None) -> None:
    """Say once that a backend computes in less than the bundle's precision."""
    if arithmetic != promised:
        warn(
            f"{backend} computes in {arithmetic}, and this bundle is {promised}: masks "
            f"differ a little from those of {DEFAULT_BACKEND}"
        )


def one_line_of(name: str, reason: str) -> str:
    """A backend with the reason that it can't be used, which mostly begins with its name."""
    return f"{name} ({' '.join(reason.removeprefix(f'{name}: ').split())})"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f} frames/s" if task.speed else "")


@contextmanager
def progress(what: str, total: int | None, shown: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere; yields what to call with the count done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    shown = shown and err.is_terminal
    with Progress(*columns, console=err, disable=not shown, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
