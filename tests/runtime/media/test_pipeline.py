"""Overlapping stages keep the order, wait for each other, and pass errors on as they are."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from mavos_deploy.runtime.media.pipeline import ReadAhead, WriteBehind
from mavos_deploy.runtime.system.interrupts import deferred_interrupts

PATIENCE = 20  # seconds until a thread that should have acted counts as stuck


class OwnError(Exception):
    """An error of a stage."""


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def test_items_come_in_order() -> None:
    with ReadAhead(iter(range(500)), 4) as reader:
        assert list(reader) == list(range(500))


def test_reading_goes_no_further_ahead_than_allowed() -> None:
    read: list[int] = []
    full = threading.Event()

    def source() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            if number >= 2:
                full.set()
            yield number

    with ReadAhead(source(), 3) as reader:
        taken = iter(reader)
        assert full.wait(PATIENCE)
        assert len(read) == 3
        for number in range(50):
            assert next(taken) == number
            assert len(read) <= number + 4


def test_a_source_that_fails_gives_what_it_had_and_then_its_error() -> None:
    error = OwnError("frame 3")

    def source() -> Iterator[int]:
        yield from range(3)
        raise error

    taken: list[int] = []
    with ReadAhead(source(), 8) as reader, pytest.raises(OwnError) as raised:
        taken.extend(reader)
    assert raised.value is error
    assert taken == [0, 1, 2]


def test_a_reader_that_waits_for_room_ends_with_its_block() -> None:
    with ReadAhead(iter(range(10**9)), 2) as reader:
        assert next(iter(reader)) == 0


def test_stopping_wakes_who_waits_for_an_item() -> None:
    go_on = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        go_on.wait(PATIENCE)
        yield 1

    taken = []
    with ReadAhead(source(), 4) as reader:
        for number in reader:
            taken.append(number)
            threading.Timer(0.05, reader.stop).start()
        go_on.set()
    assert taken == [0]


def test_stopping_comes_before_items_that_lie_ready() -> None:
    with ReadAhead(iter(range(100)), 4) as reader:
        taken = []
        for number in reader:
            taken.append(number)
            if number == 5:
                reader.stop()
    assert taken == list(range(6))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_reading_while_the_main_thread_waits(number: signal.Signals) -> None:
    waiting = threading.Event()
    go_on = threading.Event()
    taken: list[int] = []

    def source() -> Iterator[int]:
        yield 0
        waiting.set()
        go_on.wait(PATIENCE)
        yield 1

    def interrupt() -> None:
        assert waiting.wait(PATIENCE)
        end = time.monotonic() + PATIENCE
        while not taken and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.05)  # the main thread asks for the next item by then
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=interrupt)

    def follow() -> None:
        reader = ReadAhead(source(), 4)
        with deferred_interrupts(reader.stop):
            sender.start()
            with reader:
                taken.extend(reader)
                go_on.set()

    with pytest.raises(KeyboardInterrupt):
        follow()
    sender.join()
    assert taken == [0]


def test_everything_is_written_in_order_before_the_block_ends() -> None:
    written: list[int] = []

    def write(number: int) -> None:
        time.sleep(0.001)
        written.append(number)

    with WriteBehind(write, 4) as writer:
        for number in range(100):
            writer.put(number)
            assert number - len(written) <= 5  # four wait, one is being written
    assert written == list(range(100))


def test_what_was_put_is_written_although_the_block_fails() -> None:
    written: list[int] = []

    def work() -> None:
        with WriteBehind(written.append, 4) as writer:
            for number in range(3):
                writer.put(number)
            raise OwnError

    with pytest.raises(OwnError):
        work()
    assert written == [0, 1, 2]


def test_a_failed_write_ends_the_next_put_even_if_that_waits() -> None:
    error = OwnError("disk full")

    def write(number: int) -> None:
        if number == 2:
            raise error

    def work() -> None:
        with WriteBehind(write, 1) as writer:
            for number in range(10**9):
                writer.put(number)

    with pytest.raises(OwnError) as raised:
        work()
    assert raised.value is error


def test_the_last_write_that_fails_is_raised_at_the_end() -> None:
    error = OwnError("disk full")

    def write(number: int) -> None:
        raise error

    with pytest.raises(OwnError) as raised, WriteBehind(write, 4) as writer:
        writer.put(0)
    assert raised.value is error


def test_a_failed_write_goes_before_a_later_error_of_the_block() -> None:
    def write(number: int) -> None:
        raise OwnError(f"item {number}")

    def work() -> None:
        with WriteBehind(write, 4) as writer:
            writer.put(0)
            raise ValueError("a later item")

    with pytest.raises(OwnError, match="item 0") as raised:
        work()
    assert isinstance(raised.value.__context__, ValueError)
