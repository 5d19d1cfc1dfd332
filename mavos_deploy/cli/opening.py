"""Something slow that is opened in a thread, while a command imports and reads its input."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T", bound=AbstractContextManager[Any])


def opening(make: Callable[[], T], at_once: bool) -> AbstractContextManager[T]:
    """Something that is opened before the `with` block that uses it begins.

    An error of opening is raised where the block begins, so errors come in the order of the code
    that waits for them.

    Args:
        make: Opens it. Its result is closed at the end of the block.
        at_once: Whether to call `make` now, in a thread of its own. Where the block is never
            entered the result is dropped, so it must be something that needs no closing. Else
            `make` is called where the block begins.
    """
    opened: Future[T] = Future()

    def fill() -> None:
        try:
            opened.set_result(make())
        except BaseException as error:  # raised again where the block begins
            opened.set_exception(error)

    if at_once:
        Thread(target=fill, name="mavos-opener").start()

    @contextmanager
    def block() -> Iterator[T]:
        if not at_once:
            fill()
        with opened.result() as entered:
            yield entered

    return block()
