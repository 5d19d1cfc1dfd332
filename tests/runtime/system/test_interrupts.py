"""Interrupts wait for a frame's files, and for processes that start."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from mavos_deploy.runtime.system.interrupts import deferred_interrupts, processes_start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_takes_effect_after_the_block(number: signal.Signals) -> None:
    outside = signal.getsignal(number)
    # As in a shell; the tests may run under nohup.
    before = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    signal.signal(number, before)
    done = []

    def write_frame() -> None:
        with deferred_interrupts():
            os.kill(os.getpid(), number)
            done.append("mask")
            done.append("overlay")

    with pytest.raises(KeyboardInterrupt):
        write_frame()
    assert done == ["mask", "overlay"]
    assert signal.getsignal(number) == before
    signal.signal(number, outside)


def test_nothing_happens_without_an_interrupt() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupts():
        pass
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signal masks need POSIX")
def test_a_process_is_known_before_an_interrupt_and_never_sees_one() -> None:
    other = threading.Thread(target=time.sleep, args=(5,), daemon=True)
    other.start()  # the kernel may give the signal to it, which the mask of this thread allows
    known: list[subprocess.Popen[str]] = []

    def start() -> None:
        with processes_start():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            code = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"
            known.append(
                subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
            )

    with pytest.raises(KeyboardInterrupt):
        start()
    said, _ = known[0].communicate(timeout=60)
    assert said == "alive\n"


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signal masks need POSIX")
def test_the_first_process_of_all_never_sees_an_interrupt() -> None:
    code = """
import multiprocessing, os, signal
from mavos_deploy.runtime.system.interrupts import processes_start

context = multiprocessing.get_context("spawn")
with processes_start():
    process = context.Process(target=os.kill, args=(0, signal.SIGINT))  # its whole group
    process.start()
try:
    process.join()
except KeyboardInterrupt:
    process.join()
print(process.exitcode)
"""
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import signal; signal.signal(2, signal.default_int_handler)\n" + code,
        ],
        capture_output=True,
        text=True,
        start_new_session=True,
        check=True,
    )
    assert run.stdout == "0\n"
    assert "Traceback" not in run.stderr
