"""Imports of libraries that load code of their own, whole in spite of signals."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

from mavos_deploy.runtime.system.interrupts import STOPS


def load(name: str) -> ModuleType:
    """Import a module.

    Its code would take an interrupt in the middle for an error of its own, and say that the library
    is broken. So signals reach their handlers once it is loaded, or has failed to.

    Args:
        name: Name of the module.

    Raises:
        Exception: What the import raises.
    """
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is not None and not getattr(spec, "_initializing", False):
        return module
    with _signals_kept():
        return import_module(name)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep signals that end a command until the block ends, however it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    pending: list[int] = []

    def keep(received: int, frame: object) -> None:
        del frame
        pending.append(received)

    handlers: dict[int, Callable[..., Any]] = {}
    for number in STOPS:
        handler = signal.getsignal(number)
        if callable(handler):  # those of Python alone are called in the middle of an import
            handlers[number] = handler
            signal.signal(number, keep)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is keep:  # no library has put another in place
                signal.signal(number, handler)
        for number in pending:
            signal.raise_signal(number)
