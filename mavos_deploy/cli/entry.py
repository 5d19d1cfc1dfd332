"""Entry points of the installed commands, which load a command when it is called and not before.

A process that a command spawns imports the command's script anew. It needs none of its modules.
"""

import signal
from functools import partial
from importlib import import_module


def _call(module: str) -> None:
    """Call the `main` of a module of this package.

    Ctrl-C ends the process at once while modules load, where Python would print how far it had
    come, or lose the interrupt in the middle of an import. Then `launch` takes over.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    import_module(f"mavos_deploy.cli.{module}").main()


mavos = partial(_call, "program")
mavos_export = partial(_call, "export")
mavos_verify = partial(_call, "verify")
mavos_calibrate = partial(_call, "calibrate")
mavos_build = partial(_call, "build")
mavos_bench = partial(_call, "bench")
mavos_run = partial(_call, "run")
mavos_convert = partial(_call, "convert")
mavos_batch = partial(_call, "batch")
mavos_eval = partial(_call, "evaluate")
mavos_doctor = partial(_call, "doctor")
mavos_studio = partial(_call, "studio")
mavos_triton = partial(_call, "triton")
