"""Holds Ctrl-C, SIGTERM and SIGHUP back until a file is whole or a new process is known."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

# SIGHUP comes when the terminal is closed; Windows has none.
STOPS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


def stops() -> tuple[signal.Signals, ...]:
    """Signals that end a command: `STOPS`, but for a SIGHUP that `nohup` has made ignored."""
    return tuple(
        number
        for number in STOPS
        if number.name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN
    )


@contextmanager
def deferred_interrupts(on_interrupt: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let the block finish before Ctrl-C, SIGTERM or SIGHUP takes effect, as KeyboardInterrupt.

    Args:
        on_interrupt: Called at once, in the middle of whatever the main thread does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    pending: list[int] = []

    def defer(received: int, frame: object) -> None:
        del frame
        pending.append(received)
        on_interrupt()

    handlers = {number: signal.signal(number, defer) for number in stops()}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if pending:
        raise KeyboardInterrupt


@contextmanager
def processes_start() -> Iterator[None]:
    """Let processes that start in the block be known before an interrupt takes effect.

    The processes inherit blocked signals and never see them, so their parent has to end them.
    """
    with deferred_interrupts():  # for signals that reach another thread of this process
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            yield
            return
        # Python starts this helper with the first process, and unblocks the signals after that.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
