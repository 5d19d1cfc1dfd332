"""What is opened ahead is there when its block begins, and an error comes no earlier."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, current_thread, main_thread

import pytest

from mavos_deploy.cli.opening import opening
from mavos_deploy.errors import InputError

WAIT = 60  # seconds, for what comes at once


@contextmanager
def _noted(events: list[str]) -> Iterator[str]:
    yield "opened"
    events.append("closed")


def _maker(events: list[str], called: Event) -> Callable[[], AbstractContextManager[str]]:
    def make() -> AbstractContextManager[str]:
        events.append("here" if current_thread() is main_thread() else "beside")
        called.set()
        return _noted(events)

    return make


def test_it_is_opened_in_a_thread_before_the_block_begins() -> None:
    events: list[str] = []
    called = Event()
    block = opening(_maker(events, called), at_once=True)
    assert called.wait(WAIT)
    with block as opened:
        assert opened == "opened"
        assert events == ["beside"]
    assert events == ["beside", "closed"]


def test_it_is_opened_here_where_the_block_begins() -> None:
    events: list[str] = []
    block = opening(_maker(events, Event()), at_once=False)
    assert not events
    with block:
        assert events == ["here"]
    assert events == ["here", "closed"]


@pytest.mark.parametrize("at_once", [False, True])
def test_an_error_is_raised_where_the_block_begins(at_once: bool) -> None:
    def make() -> AbstractContextManager[str]:
        raise InputError("no such bundle")

    block = opening(make, at_once)
    with pytest.raises(InputError, match="no such bundle"), block:
        pass
