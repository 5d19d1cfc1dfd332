"""Stages of a run that overlap: a thread reads ahead of the work, another writes behind it.

Queues are bounded, so memory is constant and the faster stage waits for the slower one; order is
kept. An error in a stage is raised again, unchanged, in the thread that does the work.
"""

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class _End:
    """The last thing in a queue: the end of the items, or the error that ended them."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Bounded(Generic[T]):
    """A queue of limited length that can be ended at either side, also by a signal handler.

    `queue.Queue` locks in Python code, where an interrupt may leave the lock taken; `SimpleQueue`
    doesn't, and may be put to by a handler that interrupts its own thread. A second one holds the
    free places.
    """

    def __init__(self, size: int) -> None:
        self._items: SimpleQueue[T | _End] = SimpleQueue()
        self._places: SimpleQueue[None] = SimpleQueue()
        self._closed = False
        for _ in range(size):
            self._places.put(None)

    def wait_for_place(self) -> bool:
        """Wait until there is room.

        Returns:
            False once nobody takes items any more.
        """
        self._places.get()
        if self._closed:
            self._places.put(None)  # for the next one who asks
        return not self._closed

    def put(self, item: T | _End) -> None:
        """Append an item for which there is room, or the end, for which there always is."""
        self._items.put(item)

    def get(self) -> T | _End:
        """Wait for the next item."""
        item = self._items.get()
        if isinstance(item, _End):
            self._items.put(item)  # for the next one who asks
        else:
            self._places.put(None)
        return item

    def close(self) -> None:
        """Let nobody wait for room any more."""
        self._closed = True
        self._places.put(None)


class ReadAhead(Generic[T]):
    """Runs an iterator in a thread of its own, ahead of the thread that takes its items.

    Use it in a `with` block, at whose end the thread has ended: it finishes the item that it is
    reading, which for a live source that went silent takes until the source's own timeout.

    Args:
        items: The iterator; it runs in the thread only.
        depth: Most items that may lie ready or be in the making.
    """

    def __init__(self, items: Iterator[T], depth: int) -> None:
        self._queue: _Bounded[T] = _Bounded(depth)
        self._source = items
        self._stopped = False
        self._thread = Thread(target=self._read, name="mavos-reader")

    def __iter__(self) -> Iterator[T]:
        """The items in order; an error of the iterator is raised after the items before it."""
        while not self._stopped:
            item = self._queue.get()
            if self._stopped:
                return
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def stop(self) -> None:
        """End the iteration before its next item. A signal handler may call this."""
        self._stopped = True
        self._queue.put(_End())

    def _read(self) -> None:
        try:
            while self._queue.wait_for_place():
                self._queue.put(next(self._source))
        except StopIteration:
            self._queue.put(_End())
        except BaseException as error:  # raised again by __iter__
            self._queue.put(_End(error))

    def __enter__(self) -> "ReadAhead[T]":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.close()
        self._thread.join()


class WriteBehind(Generic[T]):
    """Calls a function with items in a thread of its own, behind the thread that puts them.

    Use it in a `with` block, at whose end all items that were put are written, however it ends.
    The first error ends the writing; it is raised by the next `put`, or else at the end, also in
    place of a later error of the block, since it concerns an earlier item.

    Args:
        write: Writes one item; called in the thread only.
        depth: Most items that may wait; one more is being written.
    """

    def __init__(self, write: Callable[[T], None], depth: int) -> None:
        self._queue: _Bounded[T] = _Bounded(depth)
        self._write = write
        self._error: BaseException | None = None
        self._thread = Thread(target=self._write_all, name="mavos-writer")

    def put(self, item: T) -> None:
        """Hand over an item; waits while too many are waiting already.

        Raises:
            BaseException: The error of writing an earlier item.
        """
        if not self._queue.wait_for_place():
            assert self._error is not None
            raise self._error
        self._queue.put(item)

    def _write_all(self) -> None:
        try:
            while not isinstance(item := self._queue.get(), _End):
                self._write(item)
        except BaseException as error:  # raised again by put or __exit__
            self._error = error
            self._queue.close()

    def __enter__(self) -> "WriteBehind[T]":
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._queue.put(_End())
        self._thread.join()
        if self._error is not None and error is not self._error:
            raise self._error
