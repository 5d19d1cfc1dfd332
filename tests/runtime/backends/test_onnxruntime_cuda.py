"""CUDA's provider is asked for by name, and missing parts are named."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends.onnxruntime_library import CPU, CUDA
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.system.gpu import Gpu
from tests.bundles import hollow_bundle


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    shown = Gpu("NVIDIA RTX A4000", "8.6", "580.65.06")
    monkeypatch.setattr("mavos_deploy.runtime.system.gpu.first_gpu", lambda: shown)
    return shown


@pytest.fixture
def recent(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime has what GPUs need, also with Python 3.10, whose newest release is 1.23."""
    shown = "get_provider_graph_assignment_info"  # from 1.24 on
    monkeypatch.setattr(onnxruntime.InferenceSession, shown, None, raising=False)


@pytest.mark.usefixtures("recent", "gpu")
def test_a_package_without_the_provider_names_the_one_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(BackendError, match=r"^onnxruntime-cuda: .*has no CUDAExec.*\[gpu\]"):
        open_backend(Bundle.open(hollow_bundle(tmp_path)), backend="onnxruntime-cuda")


@pytest.mark.usefixtures("recent")
def test_a_machine_without_a_gpu_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mavos_deploy.runtime.system.gpu.first_gpu", lambda: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    with pytest.raises(BackendError, match=r"no NVIDIA GPU; nvidia-smi must list one"):
        open_backend(Bundle.open(hollow_bundle(tmp_path)), backend="onnxruntime-cuda")


def test_a_release_that_hides_where_nodes_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SimpleNamespace(InferenceSession=object, __version__="1.23.2")
    monkeypatch.setitem(sys.modules, "onnxruntime", old)
    with pytest.raises(BackendError, match=r"1\.23\.2 can't say .* update it to 1\.24"):
        open_backend(Bundle.open(hollow_bundle(tmp_path)), backend="onnxruntime-cuda")


class _Refusing:
    """ONNX Runtime with every provider; it notes how sessions are opened, and opens none."""

    __version__ = "1.31.1"
    __file__ = "onnxruntime/__init__.py"

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        outer = self

        class InferenceSession:
            get_provider_graph_assignment_info = None

            def __init__(self, path: str, options: Any, **given: Any) -> None:  # noqa: ANN401
                outer.asked.append({"path": path, **given})
                raise RuntimeError("not\nhere")

        self.InferenceSession = InferenceSession
        self.SessionOptions = onnxruntime.SessionOptions
        self.OrtMemoryInfo, self.OrtArenaCfg = onnxruntime.OrtMemoryInfo, onnxruntime.OrtArenaCfg
        self.OrtAllocatorType = onnxruntime.OrtAllocatorType
        self.OrtMemType = onnxruntime.OrtMemType

    def create_and_register_allocator(self, place: object, config: object) -> None:
        pass

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU]

    def set_default_logger_severity(self, severity: int) -> None:
        assert severity == 4

    def preload_dlls(self) -> None:
        print("nothing to load")


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> _Refusing:
    library = _Refusing()
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    return library


def test_sessions_are_asked_for_cuda_and_never_for_another(
    refusing: _Refusing, gpu: Gpu, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundle").mkdir()
    bundle = Bundle.open(hollow_bundle(tmp_path / "bundle"))
    with pytest.raises(BackendError, match=r"^onnxruntime-cuda: .* refuses .*: not here$"):
        open_backend(bundle, backend="onnxruntime-cuda")
    [asked] = refusing.asked
    assert asked["enable_fallback"] == 0
    assert capsys.readouterr().out == ""
    [(only, options)] = asked["providers"]
    assert only == CUDA
    assert options["use_tf32"] == "0"


def test_a_provider_that_registers_late_is_found(
    refusing: _Refusing, gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del gpu
    loaded: list[str] = []
    monkeypatch.setattr(refusing, "preload_dlls", lambda: loaded.append("CUDA"))
    monkeypatch.setattr(
        refusing,
        "get_available_providers",
        lambda: [CUDA, CPU] if loaded else [CPU],
    )
    (tmp_path / "bundle").mkdir()
    bundle = Bundle.open(hollow_bundle(tmp_path / "bundle"))
    with pytest.raises(BackendError, match=r"refuses .*: not here$"):
        open_backend(bundle, backend="onnxruntime-cuda")
