"""How every command starts, ends and fails."""

import importlib.util
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import tell
from mavos_deploy.cli.entry import INTERRUPTED
from mavos_deploy.errors import InputError, MavosError, PoisonedError, one_line, shortage
from mavos_deploy.runtime.system.interrupts import stops

FAILED = 1  # a check failed, or something is left out; its name was printed
BAD_INPUT = 2
UNREAD = 141  # 128 + SIGPIPE: whoever read standard output has gone


def launch(
    commands: Mapping[str, Callable[..., None]], name: str, about: str | None = None
) -> None:
    """Run a command line and exit.

    The exit code is 0 for success, 1 for a failed check or something left out that was named, 2 for
    bad usage or input, 130 after an interrupt, and 141 where nobody reads what is printed. A
    container's SIGTERM and a closed terminal's SIGHUP end a command as Ctrl-C does.

    Args:
        commands: Functions by the name of their command.
        name: The program's name, in its usage and its errors.
        about: One line about a program with commands; None makes the only command the program.
    """
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        no_args_is_help=about is not None,
    )
    told: list[str] = []
    for command, function in commands.items():
        app.command(command)(_interruptible(function, name, told))
    if about is not None:

        @app.callback(help=about)
        def program(version: options.Version = False) -> None:
            pass

    warnings.showwarning = _said
    for number in stops():
        signal.signal(number, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may hold what it can't encode
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        result: Any = app(prog_name=name, standalone_mode=True)
    except SystemExit as ended:
        if ended.code == INTERRUPTED and not told:  # before the command began
            _say(f"{name}: interrupted")
        raise
    except MavosError as error:
        _say(f"{name}: error: {' '.join(str(error).splitlines())}")
        sys.exit(FAILED if isinstance(error, PoisonedError) else BAD_INPUT)
    except Exception as error:  # nothing foresaw it: too long a name, a limit, or a bug of ours
        advice = shortage(error)
        if advice is None and not isinstance(error, OSError):
            raise
        said = one_line(error, None) or type(error).__name__
        _say(f"{name}: error: {said}" + (f"; {advice}" if advice else ""))
        sys.exit(BAD_INPUT)
    sys.exit(result or 0)


def _say(text: str) -> None:
    with suppress(OSError):  # the terminal may be what was closed
        tell(text)


def _said(message: Warning | str, *_: object, **__: object) -> None:
    """Print what the library warns of as a command does, without a line of code."""
    _say(f"warning: {message}")


def _interruptible(
    function: Callable[..., None], name: str, told: list[str]
) -> Callable[..., None]:
    """Let a command say that it was interrupted; typer would end it without a word.

    It would take a reader that has gone for a failed check, too.

    Args:
        function: The command.
        name: The program's name.
        told: Gets what was said.
    """

    @wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            told.append(f"{name}: interrupted")
            _say(told[-1])
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # What is left in the buffer can't be written either, at the end of the process.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(UNREAD) from None

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
