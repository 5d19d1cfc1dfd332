"""The table of backends: whole rows, refusals by name, and `auto`, which keeps its reasons."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends import table
from mavos_deploy.runtime.backends.protocol import Traits
from mavos_deploy.runtime.backends.table import (
    AUTO,
    BACKENDS,
    DEFAULT_BACKEND,
    BackendKind,
    auto_order,
    choose_backend,
    open_backend,
)
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.engines import Library
from tests.bundles import hollow_bundle
from tests.test_packaging import pyproject

HEAVY = ("onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "pycuda", "cuda", "torch", "onnx")


@pytest.mark.parametrize("name", BACKENDS)
def test_a_row_has_what_its_readers_need(name: str) -> None:
    kind = BACKENDS[name]
    assert kind.name == name != AUTO
    assert callable(kind.open)
    assert callable(kind.look_for)
    assert kind.arithmetic
    assert set(kind.extra.split(",")) <= pyproject()["project"]["optional-dependencies"].keys()
    assert kind.gpu == ("cpu" not in name) == ("GPU" in kind.needs)
    assert kind.engine_library in (None, *Library)


def test_auto_has_an_order_that_ends_with_the_default() -> None:
    assert [kind.name for kind in auto_order()] == [
        *("tensorrt", "tensorrt-rtx", "onnxruntime-cuda"),
        DEFAULT_BACKEND,
    ]
    places = [kind.auto for kind in BACKENDS.values() if kind.auto is not None]
    assert len(set(places)) == len(places)


def test_no_library_is_imported_before_a_backend_is_opened() -> None:
    script = f"""
import sys
import mavos_deploy.runtime.backends.table
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["gpu", "openvino-cpu"])
def test_an_unknown_backend_is_refused_with_those_there_are(name: str, tmp_path: Path) -> None:
    accepted = f"backend '{name}' is unknown; accepted are {', '.join(BACKENDS)}, auto"
    with pytest.raises(BackendError, match=f"^{accepted}$"):
        open_backend(Bundle.open(hollow_bundle(tmp_path)), backend=name)


@pytest.mark.parametrize(
    ("backend", "module", "extra"),
    [
        pytest.param("onnxruntime-cpu", "onnxruntime", "cpu", id="onnxruntime"),
        pytest.param("openvino-cpu-bf16", "openvino", "openvino", id="openvino"),
    ],
)
def test_a_missing_library_names_its_extra_and_nothing_else_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match=rf"pip install 'mavos-deploy\[{extra}\]'"):
        open_backend(Bundle.open(hollow_bundle(tmp_path)), backend=backend)


def _refuses(name: str) -> Callable[[Any, int | None], Any]:
    def load(bundle: object, threads: int | None) -> Any:  # noqa: ANN401
        raise BackendError(f"{name}: not here")

    return load


@dataclass
class _Opened:
    """A backend that does nothing."""

    traits: Traits
    closed: bool = False

    def close(self) -> None:
        self.closed = True


def _rows(**opens: Callable[[Any, int | None], Any]) -> dict[str, BackendKind]:
    """The table with other ways to open some backends."""
    changed = {name.replace("_", "-"): opened for name, opened in opens.items()}
    return {
        name: replace(kind, open=changed.get(name, _refuses(name)))
        for name, kind in BACKENDS.items()
    }


def test_auto_takes_the_first_that_works_and_is_as_exact_and_keeps_the_reasons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coarse: Any = _Opened(Traits("tensorrt-rtx", "tf32"))
    exact: Any = _Opened(Traits("onnxruntime-cpu", "fp32"))
    rows = _rows(
        tensorrt_rtx=lambda bundle, threads: coarse,
        onnxruntime_cpu=lambda bundle, threads: exact,
        openvino_cpu_fp32=lambda bundle, threads: _Opened(Traits("openvino-cpu-fp32", "fp32")),
    )
    monkeypatch.setattr(table, "BACKENDS", rows)
    bundle: Any = SimpleNamespace(manifest=SimpleNamespace(arithmetic="fp32"))
    refused = {
        "tensorrt": "tensorrt: not here",
        "tensorrt-rtx": "it computes in tf32",
        "onnxruntime-cuda": "onnxruntime-cuda: not here",
    }
    assert choose_backend(bundle, 3) == (exact, refused)
    assert coarse.closed
    with pytest.warns(UserWarning, match=r"backend onnxruntime-cpu; not tensorrt: .*not here"):
        assert open_backend(bundle, 3, "auto") is exact


def test_auto_fails_with_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "BACKENDS", _rows())
    bundle: Any = object()
    with pytest.raises(BackendError, match=r"no backend works here: .*onnxruntime-cpu: not here"):
        choose_backend(bundle)
