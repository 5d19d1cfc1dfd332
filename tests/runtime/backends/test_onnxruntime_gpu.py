"""Providers are asked for by name, missing parts are named, and caches fit their graphs."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends import onnxruntime_gpu
from mavos_deploy.runtime.backends.onnxruntime_gpu import engine_cache
from mavos_deploy.runtime.backends.onnxruntime_library import CPU, CUDA, TENSORRT
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundle import Bundle
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
    monkeypatch.setattr(onnxruntime, "OrtDeviceVendorId", None, raising=False)  # from 1.27 on


@pytest.mark.usefixtures("recent", "gpu")
@pytest.mark.parametrize(
    ("backend", "said"),
    [
        pytest.param("onnxruntime-cuda", r"has no CUDAExec.*\[gpu\]", id="cuda"),
        pytest.param("onnxruntime-tensorrt", r"has no TensorrtExec.*\[gpu\]", id="tensorrt"),
        pytest.param("onnxruntime-tensorrt-rtx", r"\[onnxruntime-tensorrt-rtx\]", id="rtx"),
    ],
)
def test_a_package_without_the_provider_names_the_one_that_has_it(
    backend: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    monkeypatch.setitem(sys.modules, onnxruntime_gpu.PLUGIN, None)
    with pytest.raises(BackendError, match=rf"^{backend}: .*{said}"):
        open_backend(Bundle.open(hollow_bundle(tmp_path)), backend=backend)


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
    OrtDeviceVendorId = object()

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.plugins: list[str] = []
        outer = self

        class InferenceSession:
            get_provider_graph_assignment_info = None

            def __init__(self, path: str, options: Any, **given: Any) -> None:  # noqa: ANN401
                outer.asked.append({"path": path, **given, **getattr(options, "devices", {})})
                raise RuntimeError("not\nhere")

        class SessionOptions(onnxruntime.SessionOptions):  # type: ignore[misc]
            def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
                self.devices = {"devices": devices, "options": options}

        self.InferenceSession, self.SessionOptions = InferenceSession, SessionOptions

        self.OrtMemoryInfo, self.OrtArenaCfg = onnxruntime.OrtMemoryInfo, onnxruntime.OrtArenaCfg
        self.OrtAllocatorType = onnxruntime.OrtAllocatorType
        self.OrtMemType = onnxruntime.OrtMemType

    def create_and_register_allocator(self, place: object, config: object) -> None:
        pass

    def get_available_providers(self) -> list[str]:
        return [TENSORRT, CUDA, CPU]

    def set_default_logger_severity(self, severity: int) -> None:
        assert severity == 4

    def preload_dlls(self) -> None:
        print("nothing to load")

    def get_ep_devices(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(ep_name=name) for name in (CPU, *self.plugins)]

    def register_execution_provider_library(self, name: str, path: str) -> None:
        self.plugins.append(name)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> _Refusing:
    library = _Refusing()
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plugin = SimpleNamespace(
        get_ep_name=lambda: "Rtx", get_library_path=lambda: "rtx.so", __version__="0.5.0"
    )
    monkeypatch.setitem(sys.modules, onnxruntime_gpu.PLUGIN, plugin)
    return library


@pytest.mark.parametrize(
    "backend", ["onnxruntime-cuda", "onnxruntime-tensorrt", "onnxruntime-tensorrt-rtx"]
)
def test_sessions_are_asked_for_the_provider_and_never_for_another(
    backend: str,
    refusing: _Refusing,
    gpu: Gpu,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bundle").mkdir()
    bundle = Bundle.open(hollow_bundle(tmp_path / "bundle"))
    with pytest.raises(BackendError, match=rf"^{backend}: onnxruntime .* refuses .*: not here$"):
        open_backend(bundle, backend=backend)
    [asked] = refusing.asked
    assert asked["enable_fallback"] == 0
    assert capsys.readouterr().out == ""
    if backend == "onnxruntime-tensorrt-rtx":
        assert [device.ep_name for device in asked["devices"]] == ["Rtx"]
        cache = asked["options"]["nv_runtime_cache_path"]
    elif backend == "onnxruntime-tensorrt":
        (first, options), (second, _) = asked["providers"]
        assert (first, second) == (TENSORRT, CUDA)
        assert options["trt_fp16_enable"] == "0"
        cache = options["trt_engine_cache_path"]
    else:
        [(only, options)] = asked["providers"]
        assert only == CUDA
        assert options["use_tf32"] == "0"
        return
    assert bundle.manifest.graphs["encoder"].sha256 in cache
    assert Path(cache).is_dir()


def test_a_release_without_memory_of_plug_ins_is_refused(
    refusing: _Refusing, gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del refusing, gpu
    monkeypatch.delattr(_Refusing, "OrtDeviceVendorId")
    (tmp_path / "bundle").mkdir()
    bundle = Bundle.open(hollow_bundle(tmp_path / "bundle"))
    with pytest.raises(BackendError, match=r"1\.31\.1 is too old .* update it to 1\.27"):
        open_backend(bundle, backend="onnxruntime-tensorrt-rtx")


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


def test_caches_differ_by_graph_release_gpu_and_driver(refusing: _Refusing, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    bundle = Bundle.open(hollow_bundle(tmp_path / "bundle"))
    gpus = [Gpu("A", "8.6", "580.1"), Gpu("A", "8.9", "580.1"), Gpu("A", "8.6", "580.2")]
    folders = {
        engine_cache(bundle, graph, "b", release, gpu)
        for graph in ("encoder", "decoder")
        for release in ("1.30", "1.31")
        for gpu in gpus
    }
    assert len(folders) == 12


def test_a_cache_that_cannot_be_made_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle").mkdir()
    bundle = Bundle.open(hollow_bundle(tmp_path / "bundle"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BackendError, match="let XDG_CACHE_HOME name a folder"):
        engine_cache(bundle, "encoder", "b", "1", Gpu("A", "8.6", "580.1"))
