"""Signals reach who handles them once a library is loaded, and never pass for its errors."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mavos_deploy.runtime.backends import (
    cuda_library,
    doctor,
    onnxruntime_library,
    openvino_cpu,
    tensorrt_library,
)
from mavos_deploy.runtime.system.interrupts import deferred_interrupts
from mavos_deploy.runtime.system.loading import load
from mavos_deploy.runtime.system.opencv import opencv
from mavos_deploy.runtime.triton import client

# As the code of a library, which takes an interrupt for a failure of its own.
CONFUSED = """
import signal
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    raise ImportError("initialization failed") from None
"""
BROKEN = """
import signal
signal.raise_signal(signal.SIGINT)
raise ImportError("libfirst.so is missing")
"""


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts a module of one's own in place of another."""
    tops: list[str] = []

    def make(module: str, content: str) -> None:
        *packages, name = module.split(".")
        folder = tmp_path
        for package in packages:
            folder /= package
            folder.mkdir()
            (folder / "__init__.py").touch()
        (folder / f"{name}.py").write_text(content)
        tops.append(module.partition(".")[0])
        for known in _of(tops):
            monkeypatch.delitem(sys.modules, known)
        monkeypatch.syspath_prepend(tmp_path)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield make
    signal.signal(signal.SIGINT, before)
    for known in _of(tops):
        del sys.modules[known]


def _of(tops: list[str]) -> list[str]:
    return [known for known in sys.modules if known.partition(".")[0] in tops]


@pytest.mark.parametrize("content", [CONFUSED, BROKEN])
@pytest.mark.parametrize(
    ("module", "open_it"),
    [
        ("onnxruntime", onnxruntime_library.open_library),
        ("openvino", lambda: openvino_cpu.look_for("fp32")),
        ("cv2", opencv),
        ("tensorrt", lambda: tensorrt_library.open_library("tensorrt")),
        ("pycuda.driver", cuda_library.open_pycuda),
        ("cuda.bindings.driver", cuda_library.open_driver),
        ("tritonclient.grpc", lambda: client._library("tritonclient.grpc")),
        ("cv2", lambda: doctor._packages([])),
    ],
)
def test_an_interrupt_while_a_library_loads_is_no_broken_library(
    make_module: Callable[..., None], module: str, open_it: Callable[[], object], content: str
) -> None:
    make_module(module, content)
    with pytest.raises(KeyboardInterrupt):
        open_it()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_reaches_the_handler_that_was_there(make_module: Callable[..., None]) -> None:
    make_module("made_up_library", "import signal\nsignal.raise_signal(signal.SIGINT)\nDONE = 1")
    stops: list[str] = []
    done = []

    def work() -> None:
        with deferred_interrupts(lambda: stops.append("stop")):
            done.append(load("made_up_library").DONE)
            done.append("what follows")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert stops == ["stop"]
    assert done == [1, "what follows"]


def test_a_handler_that_the_library_sets_stays(make_module: Callable[..., None]) -> None:
    make_module(
        "made_up_library",
        "import signal\ndef own(number, frame): pass\nsignal.signal(signal.SIGINT, own)",
    )
    assert load("made_up_library").own is signal.getsignal(signal.SIGINT)


def test_ignored_signals_stay_ignored(make_module: Callable[..., None]) -> None:
    make_module("made_up_library", "import signal\nsignal.raise_signal(signal.SIGINT)")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    load("made_up_library")
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
