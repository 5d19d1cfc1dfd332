"""Segmenters that are opened in a thread, while a command imports and reads its input."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from mavos_deploy.cli import options
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND

if TYPE_CHECKING:
    from mavos_deploy.cli.console import Console
    from mavos_deploy.runtime.bundles.bundle import Bundle
    from mavos_deploy.runtime.objects import Count
    from mavos_deploy.runtime.protocol import VideoSegmenter

T = TypeVar("T")


def opening(
    make: Callable[[], AbstractContextManager[T]], at_once: bool
) -> AbstractContextManager[T]:
    """Something that is opened before the `with` block that uses it begins.

    An error of opening is raised where the block begins, so errors come in the order of the code
    that waits for them.

    Args:
        make: Opens it. Its result is closed at the end of the block.
        at_once: Whether to call `make` now, in a thread of its own. Where the block is never
            entered the result is dropped, so it must be something that needs no closing. Else
            `make` is called where the block begins.
    """
    opened: Future[AbstractContextManager[T]] = Future()

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


def open_segmenter(
    say: "Console",
    bundle: "Bundle | None",
    server: str | None,
    threads: int | None,
    backend: str,
    count: "Count",
    *,
    ahead: bool,
) -> "AbstractContextManager[VideoSegmenter[Any, Any]]":
    """The segmenter of a command, to be used in a `with` block.

    Args:
        say: Console of the command.
        bundle: The bundle, of which a CPU opens the graphs at once; None where a server has it.
        server: Address of the server; None for none.
        threads: CPU threads; None for all.
        backend: Name of the backend, or `auto`.
        count: Rule by which a later annotation decides about objects that are known already.
        ahead: Whether graphs may still open when the first frame is encoded, and be refused then;
            see `open_backend`. Not where earlier results are replaced before that.
    """
    from mavos_deploy.runtime.segmenter import Segmenter

    if bundle is None:
        assert server is not None
        return opening(partial(_remote, server), at_once=False)

    def opened() -> Segmenter:
        named = options.open_named(say, bundle, threads, backend, ahead=ahead)
        return Segmenter(bundle, named, count)

    return opening(opened, at_once=backend == DEFAULT_BACKEND)


def _remote(server: str) -> "VideoSegmenter[Any, Any]":
    from mavos_deploy.runtime.triton.client import RemoteSegmenter

    return RemoteSegmenter(server)
