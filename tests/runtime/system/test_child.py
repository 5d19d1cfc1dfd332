"""A child answers, or says how it ended; it is gone when its parent is done with it."""

import os
import pickle
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.system.child import Child, ChildDiedError


def echo(connection: Connection, before: str) -> None:
    """Answer until the pipe ends; `end` ends the process without an answer."""
    while True:
        try:
            message = connection.recv()
        except EOFError:
            return
        if message == "end":
            return
        connection.send(before + message)


def refuse(error: Exception) -> None:
    raise error


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_child_answers_and_is_gone_after_the_block() -> None:
    with Child("the echo", echo, "hello, ") as child:
        child.send("you")
        assert child.receive() == "hello, you"
        child.send("all")
        assert child.receive() == "hello, all"
    assert ended(child.pid)


def test_a_call_returns_what_the_function_returns() -> None:
    with Child.calling("the call", os.getpid) as child:
        assert child.result() == child.pid != os.getpid()


@pytest.mark.parametrize("error", [InputError("too small"), FileNotFoundError(2, "none", "a.txt")])
def test_a_call_raises_what_the_function_raises(error: Exception) -> None:
    with (
        Child.calling("the call", refuse, error) as child,
        pytest.raises(type(error)) as caught,
    ):
        child.result()
    assert str(caught.value) == str(error)


def test_an_error_of_our_own_ends_the_child(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        Child.calling("the call", refuse, ZeroDivisionError("a bug")) as child,
        pytest.raises(ChildDiedError, match=r"^the call ended with code 1$"),
    ):
        child.result()
    assert "ZeroDivisionError: a bug" in capfd.readouterr().err


def test_a_child_that_ends_early_is_named() -> None:
    with Child("the echo", echo, "") as child:
        child.send("end")
        with pytest.raises(ChildDiedError, match=r"^the echo ended with code 0$"):
            child.receive()
        with pytest.raises(ChildDiedError):
            child.send("more")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "was ended by signal 9, perhaps because memory was short"),
        (signal.SIGSEGV, "was ended by signal 11"),
    ],
)
def test_a_child_that_is_killed_is_named_with_its_signal(number: int, said: str) -> None:
    with Child("the echo", echo, "") as child:
        os.kill(child.pid, number)
        with pytest.raises(ChildDiedError) as caught:
            child.receive()
    assert str(caught.value) == f"the echo {said}"
    assert caught.value.code == -number


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signal masks need POSIX")
def test_an_interrupt_reaches_the_parent_alone_and_the_child_is_killed() -> None:
    """In a session of its own; the signal reaches all of its processes, as from a terminal."""
    code = """
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from mavos_deploy.runtime.system.child import Child
with Child.calling("the sleep", time.sleep, 60) as child:
    print(child.pid, flush=True)
    child.result()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    time.sleep(0.5)  # the child may have started by then
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert said.count("Traceback") == 1
    assert said.endswith("KeyboardInterrupt\n")
    assert ended(pid)


def test_a_death_can_be_handed_on_to_another_process() -> None:
    death = ChildDiedError("the worker", -9)
    copy = pickle.loads(pickle.dumps(death))
    assert (str(copy), copy.code) == (str(death), -9)
