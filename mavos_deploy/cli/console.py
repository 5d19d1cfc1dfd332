"""Lines, results, progress and warnings of a command, on standard output or standard error."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.table import Table

# Escapes of characters of file names that would ring, delete or move the cursor, but for
# line breaks and tabs.
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)
}
_LOCK = Lock()  # lines of two threads stay whole


@dataclass(frozen=True)
class Console:
    """The voice of one run of a command, which `--json` and `--quiet` turn down.

    Attributes:
        json: Print one JSON document on standard output and no other line, and draw no progress.
        quiet: Print no line and draw no progress; a JSON document is printed all the same.
    """

    json: bool = False
    quiet: bool = False

    @property
    def talks(self) -> bool:
        """Whether a person reads along, who gets lines and progress."""
        return not (self.json or self.quiet)

    def line(self, text: "str | Table", width: int = 0) -> None:
        """Print a line or a table on standard output, for a person.

        Args:
            text: The line, or the table.
            width: Characters that a table needs, also where the output is a file; 0 lets rich
                choose.
        """
        if self.talks:
            _print(text, stderr=False, width=width)

    def result(self, document: object) -> None:
        """Print the command's JSON document, with `--json` alone."""
        if self.json:
            _print(json.dumps(document, indent=2), stderr=False)

    def fault(self, text: "str | Table") -> None:
        """Print something that is wrong, on standard error where `--quiet` keeps lines back."""
        if self.quiet and not self.json:
            tell(text)
        else:
            self.line(text)

    def note(self, text: str) -> None:
        """Print a line that results depend on, on standard error and whatever the options."""
        tell(text)

    def warn(self, message: str) -> None:
        """Print a line that must not be missed, whatever the options."""
        tell(f"warning: {message}")

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Draw a progress bar where standard error is a terminal.

        Args:
            what: The work, in a few words.
            total: Steps of the work; None where nobody knows.

        Yields:
            A function to call with the number of steps that are done.
        """
        if not (self.talks and _is_terminal(sys.stderr)):
            yield lambda done: None
            return
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

        from mavos_deploy.cli.terminal import Plain

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:.2f} frames/s" if task.speed else "")

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        terminal = Plain(stderr=True)
        # What is printed on standard error meanwhile stands above the bar.
        with Progress(*columns, console=terminal, transient=True, redirect_stdout=False) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it was closed
        return False


def tell(text: "str | Table") -> None:
    """Print a line or a table on standard error."""
    _print(text, stderr=True)


def _print(text: "str | Table", *, stderr: bool, width: int = 0) -> None:
    if isinstance(text, str):
        stream = sys.stderr if stderr else sys.stdout
        if stream is not None:  # it is None where the shell closed it
            with _LOCK:
                stream.write(text.translate(_CONTROLS) + "\n")
                # At once: a reader that has gone is noticed here, not at the process's end.
                stream.flush()
        return
    from mavos_deploy.cli.terminal import print_table

    print_table(text, stderr=stderr, width=width)


def one_by_one(advance: Callable[[int], None]) -> Callable[[], None]:
    """Turn a function that takes the number of steps done into one to call after each step."""
    steps = count(1)
    return lambda: advance(next(steps))
