"""Standard output and standard error as terminals of rich.

Modules of commands import this where something is printed: rich takes a twentieth of a second of
the start of a command that prints nothing before its work.
"""

from rich.console import Console


class Plain(Console):
    """A terminal that prints what it gets, and nothing more."""

    def on_broken_pipe(self) -> None:
        """Leave the error to `launch`; rich would end the process as if a check had failed."""
        raise BrokenPipeError


# Plain output: no wrapping that breaks paths, no colours of our own choosing in log files, and
# nothing in a path is taken for markup or the name of an emoji.
out = Plain(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Plain(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
