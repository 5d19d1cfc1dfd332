"""How every command starts, ends and fails."""

import importlib.util
import io
import signal
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mavos_deploy import __version__
from mavos_deploy.cli.console import err, out
from mavos_deploy.errors import MavosError

if TYPE_CHECKING:
    pass

FAILED_CHECK = 1
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells expect


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"mavos-deploy {__version__}")
        raise typer.Exit


def launch(commands: dict[str, Callable[..., None]], name: str) -> None:
    """Run a command line and exit: 0 success, 1 a failed check, 2 bad usage or input.

    A container's SIGTERM ends a command as Ctrl-C does, with 130.

    Args:
        commands: Functions by name; a single one becomes the program itself.
        name: Of the program.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    for command, function in commands.items():
        app.command(command)(_interruptible(function, name))
    if len(commands) > 1:

        @app.callback()
        def program(
            version: Annotated[
                bool, typer.Option("--version", callback=_version, is_eager=True)
            ] = False,
        ) -> None:
            """MAVOS video object segmentation as verified ONNX graphs."""

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may hold what it can't encode
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        result: Any = app(prog_name=name, standalone_mode=True)
    except MavosError as error:
        err.print(f"{name}: error: {' '.join(str(error).splitlines())}")
        sys.exit(BAD_INPUT)
    except OSError as error:  # what nothing foresaw: too long a name, a device that fails
        err.print(f"{name}: error: {error}")
        sys.exit(BAD_INPUT)
    sys.exit(result or 0)


def _interruptible(function: Callable[..., None], name: str) -> Callable[..., None]:
    """A command that says that it was interrupted; typer would end it without a word."""

    @wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            err.print(f"{name}: interrupted")
            raise typer.Exit(INTERRUPTED) from None

    return command


def require(*modules: str) -> None:
    """Refuse to start a command whose packages are missing.

    Raises:
        MavosError: A module can't be found; the message names the extra to install.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MavosError(
            f"{' and '.join(missing)} can't be found; install what export needs with "
            "pip install 'mavos-deploy[export,cpu]'"
        )
