"""An interrupt in the middle of a frame waits for the frame's files."""

import os
import signal

import pytest

from mavos_deploy.runtime.run import deferred_interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_takes_effect_after_the_block(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    done = []

    def write_frame() -> None:
        with deferred_interrupts():
            os.kill(os.getpid(), number)
            done.append("mask")
            done.append("overlay")

    with pytest.raises(KeyboardInterrupt):
        write_frame()
    assert done == ["mask", "overlay"]
    assert signal.getsignal(number) is before


def test_nothing_happens_without_an_interrupt() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupts():
        pass
    assert signal.getsignal(signal.SIGINT) is before
