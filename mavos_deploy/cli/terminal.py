"""Tables and progress on standard output and standard error, drawn by rich.

Commands import this where they draw: importing rich takes a twentieth of a second, and may fail
where files or memory have run out. So lines and errors are printed without it.
"""

from rich.console import Console
from rich.table import Table


class Plain(Console):
    """A terminal that breaks no line, and takes no text for markup or the name of an emoji.

    Args:
        stderr: Whether it is standard error; standard output else.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Leave the error to `launch`; rich would end the process as if a check had failed."""
        raise BrokenPipeError


def print_table(table: Table, *, stderr: bool, width: int = 0) -> None:
    """Print a table.

    Args:
        table: The table.
        stderr: Whether on standard error; on standard output else.
        width: Characters that it needs, also where the output is a file; 0 lets rich choose.
    """
    terminal = Plain(stderr=stderr)
    if width > terminal.width:
        terminal.width = width
    terminal.print(table, soft_wrap=not width)
