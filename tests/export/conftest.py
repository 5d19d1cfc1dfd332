"""TensorRT, as a stand-in."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tensorrt_recorder import Recorder


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Recorder]:
    """Puts a recorder with the answers that it is given in the place of TensorRT."""
    (tmp_path / "a.onnx").write_bytes(b"graph")

    def install(**answers: Any) -> Recorder:  # noqa: ANN401
        recorder = Recorder(**answers)
        monkeypatch.setitem(sys.modules, "tensorrt", recorder)
        return recorder

    return install
