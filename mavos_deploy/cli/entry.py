"""Entry points of the installed commands, which load a command when it is called and not before.

A process that a command starts imports the command's script again, and then runs a function of
another module: the command would be loaded there for nothing.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module

INTERRUPTED = 130  # 128 + SIGINT, as shells expect

# The module of each command in this package; the command's function has the name of its module.
COMMANDS = {
    "export": "export",
    "verify": "verify",
    "calibrate": "calibrate",
    "build": "build",
    "run": "run",
    "studio": "studio",
    "convert": "convert",
    "batch": "batch",
    "eval": "evaluate",
    "bench": "bench",
    "triton": "triton",
    "doctor": "doctor",
}


def __getattr__(name: str) -> Callable[[], None]:
    """The entry points: `mavos`, and for each command one such as `mavos_run`."""
    modules = {"mavos": "program", **{f"mavos_{c}": module for c, module in COMMANDS.items()}}
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return partial(_call, name.replace("_", "-"), modules[name])


def _call(script: str, module: str) -> None:
    """Call the `main` of a module of this package.

    Ctrl-C, SIGTERM or SIGHUP while modules load ends the process at once. Python's own handler of
    Ctrl-C would print how far the imports had come, and within an import it may get lost.
    """

    def end(*_: object) -> None:
        with suppress(OSError):  # standard error is closed
            os.write(2, f"{script}: interrupted\n".encode())
        os._exit(INTERRUPTED)

    ended_by = [signal.SIGINT, signal.SIGTERM]
    # Windows has none; `nohup` makes it ignored.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        ended_by.append(signal.SIGHUP)
    for number in ended_by:
        signal.signal(number, end)
    import_module(f"mavos_deploy.cli.{module}").main()  # `launch` takes over from here
