"""How every command starts, ends and fails."""

import importlib.util
import io
import signal
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import err
from mavos_deploy.errors import InputError, MavosError

FAILED = 1  # a check failed, or something is left out; its name was printed
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells expect


def launch(
    commands: Mapping[str, Callable[..., None]], name: str, about: str | None = None
) -> None:
    """Run a command line and exit.

    The exit code is 0 for success, 1 for a failed check or something left out that was named, 2 for
    bad usage or input, and 130 after an interrupt. A container's SIGTERM ends a command as Ctrl-C
    does.

    Args:
        commands: Functions by the name of their command.
        name: The program's name, in its usage and its errors.
        about: One line about a program with commands; None makes the only command the program.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    for command, function in commands.items():
        app.command(command)(_interruptible(function, name))
    if about is not None:

        @app.callback(help=about)
        def program(version: options.Version = False) -> None:
            pass

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may hold what it can't encode
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        result: Any = app(prog_name=name, standalone_mode=True)
    except MavosError as error:
        err.print(f"{name}: error: {' '.join(str(error).splitlines())}")
        sys.exit(BAD_INPUT)
    except OSError as error:  # nothing foresaw it: too long a name, a device that fails
        err.print(f"{name}: error: {error}")
        sys.exit(BAD_INPUT)
    sys.exit(result or 0)


def _interruptible(function: Callable[..., None], name: str) -> Callable[..., None]:
    """Let a command say that it was interrupted; typer would end it without a word."""

    @wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            err.print(f"{name}: interrupted")
            raise typer.Exit(INTERRUPTED) from None

    return command


def require(*modules: str, extra: str) -> None:
    """Refuse to start a command whose packages are missing.

    Args:
        modules: Names of modules that the command imports.
        extra: The extras of this package that bring them, such as `export,cpu`.

    Raises:
        MavosError: A module can't be found; the message names the extra to install.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MavosError(
            f"{' and '.join(missing)} can't be found; install what this needs with "
            f"pip install 'mavos-deploy[{extra}]'"
        )


def forbid(context: typer.Context, *names: str, because: str) -> None:
    """Refuse options that were given and would have no effect.

    Args:
        context: The command's context, which knows what the command line says; a default that is
            written out counts as given.
        names: Parameters of the command's function.
        because: The rest of the message after the option's name: why, and what to do.

    Raises:
        InputError: One of the options was given.
    """
    for parameter in context.command.params:
        if parameter.name in names and _given(context, str(parameter.name)):
            option = max(parameter.opts, key=len)
            raise InputError(f"{option if option[0] == '-' else option.upper()} {because}")


def forbid_others(context: typer.Context, *names: str, because: str) -> None:
    """Refuse every option and argument that was given beside the named ones; see `forbid`.

    Raises:
        InputError: Another one was given.
    """
    forbid(context, *(context.params.keys() - set(names)), because=because)


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
