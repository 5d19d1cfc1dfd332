"""The state stays on the device, nothing runs elsewhere in silence, caches fit their graphs.

Without a GPU the device is the CPU: the same class, bindings and tensors.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Segmenter, State
from mavos_deploy.runtime.backends import onnxruntime_gpu
from mavos_deploy.runtime.backends.onnxruntime_gpu import CPU, OnnxRuntimeBound, engine_cache
from mavos_deploy.runtime.backends.protocol import Transfers
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import memory_specs
from mavos_deploy.runtime.system.gpu import Gpu
from tests import golden
from tests.bundles import hollow_bundle

GetSegmenter = Callable[[str], Segmenter]
OBJECT_MASK = 11 * 4  # bytes, for each group


def on_cpu(bundle: Bundle, **given: Any) -> OnnxRuntimeBound:  # noqa: ANN401
    def open_session(graph: str, options: Any) -> Any:  # noqa: ANN401
        path = str(bundle.graph_path(graph))
        return onnxruntime.InferenceSession(path, options, providers=[CPU], enable_fallback=0)

    settings = {"provider": CPU, "open_session": open_session} | given
    return OnnxRuntimeBound(bundle, "bound", "fp32", device="cpu", **settings)


@pytest.fixture(scope="module")
def bound(segmenter: GetSegmenter) -> Iterator[Segmenter]:
    bundle = segmenter("mobilenet").bundle
    with Segmenter(bundle, on_cpu(bundle)) as opened:
        yield opened


def counted(bound: Segmenter) -> Transfers:
    backend = bound.backend
    assert isinstance(backend, OnnxRuntimeBound)
    backend.transfers = Transfers()
    return backend.transfers


@pytest.mark.parametrize("case", ["base", "newobj"])
def test_labels_are_those_of_the_cpu_backend_bit_for_bit(
    case: str, bound: Segmenter, segmenter: GetSegmenter
) -> None:
    run, other = golden.load(case, "mobilenet"), segmenter("mobilenet")
    states = [s.start(golden.frame(0), run.annotations[0]) for s in (bound, other)]
    for index in range(1, 8):  # past a memory update and, in one case, an object that joins
        labels = []
        for place, one in enumerate((bound, other)):
            annotation = run.annotations.get(index)
            own, states[place] = one.step(golden.frame(index), states[place], annotation)
            labels.append(own)
        np.testing.assert_array_equal(*labels)
    for name, tensor in states[0].memory.items():
        np.testing.assert_array_equal(tensor.numpy(), states[1].memory[name])


def test_only_the_picture_goes_up_and_the_labels_come_down(bound: Segmenter) -> None:
    height, width = bound.bundle.manifest.size
    frame, labels = height * width * 3 * 4, golden.SIZE[0] * golden.SIZE[1]
    state = bound.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    _, state = bound.step(golden.frame(1), state)  # brings what depends on the video's size
    for index in range(2, 2 + 2 * golden.MEMORY_GAP):
        moved, updates = counted(bound), state.since_update + 1 == golden.MEMORY_GAP
        merges = updates and any(state.updated)
        _, state = bound.step(golden.frame(index), state)
        assert (moved.down, moved.bytes_down) == (1, labels)
        # And which groups the memory update merges, a number for each.
        up = [frame, OBJECT_MASK, *([4] if merges else [])]
        assert (moved.up, moved.bytes_up) == (len(up), sum(up))


def test_states_are_values(bound: Segmenter) -> None:
    one, many = (golden.load(case, "mobilenet").annotations[0] for case in ("base", "many"))
    state = bound.start(golden.frame(0), one)
    kept = {name: tensor.numpy().copy() for name, tensor in state.memory.items()}
    first, after = bound.step(golden.frame(1), state)
    between = bound.start(golden.frame(0), many)  # of another video, in two groups
    alone, _ = bound.step(golden.frame(1), between)
    second, _ = bound.step(golden.frame(2), after)
    again, _ = bound.step(golden.frame(1), state)
    np.testing.assert_array_equal(first, again)
    for name, array in kept.items():
        np.testing.assert_array_equal(array, state.memory[name].numpy())
    np.testing.assert_array_equal(alone, bound.step(golden.frame(1), between)[0])
    np.testing.assert_array_equal(second, bound.step(golden.frame(2), after)[0])


def test_a_state_moves_to_another_backend(
    bound: Segmenter, segmenter: GetSegmenter, tmp_path: Path
) -> None:
    other = segmenter("mobilenet")
    state: State = bound.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    bound.save(state, tmp_path / "state.safetensors")
    moved = other.load(tmp_path / "state.safetensors")
    here, there = bound.step(golden.frame(1), state)[0], other.step(golden.frame(1), moved)[0]
    np.testing.assert_array_equal(here, there)


def test_the_contract_knows_the_size_of_a_memory(bound: Segmenter) -> None:
    state = bound.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    specs = memory_specs(bound.bundle.specs)
    for name, tensor in state.memory.items():
        assert specs[name].bytes_at(groups=1) == tensor.tensor_size_in_bytes()


class _Session:
    """A session whose nodes run where a test says."""

    def __init__(self, *parts: tuple[str, tuple[str, ...]]) -> None:
        self.parts = parts

    def get_providers(self) -> list[str]:
        return [self.parts[0][0], CPU]

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        def nodes(operators: tuple[str, ...]) -> list[SimpleNamespace]:
            return [SimpleNamespace(op_type=operator) for operator in operators]

        return [
            SimpleNamespace(ep_name=name, get_nodes=partial(nodes, operators))
            for name, operators in self.parts
        ]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param(
            [(CPU, ("Conv",))], "couldn't start Some; it needs a driver", id="not-started"
        ),
        pytest.param(
            [("Some", ("Conv",)), (CPU, ("Shape", "Where", "Conv"))],
            "Some leaves Conv, Where of encoder to the CPU",
            id="partly-on-the-cpu",
        ),
        pytest.param(
            [("Some", ()), ("Other", ("Conv",))][:1], "can't read that", id="all-on-the-device"
        ),
    ],
)
def test_a_session_that_runs_elsewhere_is_refused(
    parts: list[tuple[str, tuple[str, ...]]], said: str, segmenter: GetSegmenter
) -> None:
    session = _Session(*parts)
    session.get_inputs = lambda: (_ for _ in ()).throw(BackendError("can't read that"))  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match=said):
        on_cpu(
            segmenter("mobilenet").bundle,
            provider="Some",
            open_session=lambda graph, options: session,
        )


def test_a_graph_that_is_refused_is_named_in_one_line(tmp_path: Path) -> None:
    bundle = Bundle.open(hollow_bundle(tmp_path))
    with pytest.raises(
        BackendError, match=r"bound: onnxruntime .* refuses .*encoder.onnx: [^\n]+$"
    ):
        on_cpu(bundle)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    shown = Gpu("NVIDIA RTX A4000", "8.6", "580.65.06")
    monkeypatch.setattr("mavos_deploy.runtime.system.gpu.first_gpu", lambda: shown)
    return shown


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        pytest.param("onnxruntime-cuda", r"has no CUDAExec.*\[gpu\]", id="cuda"),
        pytest.param("onnxruntime-tensorrt", r"has no TensorrtExec.*\[gpu\]", id="tensorrt"),
        pytest.param("onnxruntime-tensorrt-rtx", r"\[onnxruntime-tensorrt-rtx\]", id="rtx"),
    ],
)
def test_a_package_without_the_provider_names_the_one_that_has_it(
    backend: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: Gpu
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    monkeypatch.setitem(sys.modules, onnxruntime_gpu.PLUGIN, None)
    with pytest.raises(BackendError, match=rf"^{backend}: .*{said}"):
        open_backend(Bundle.open(hollow_bundle(tmp_path)), backend=backend)


def test_a_machine_without_a_gpu_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mavos_deploy.runtime.system.gpu.first_gpu", lambda: None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [onnxruntime_gpu.CUDA])
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
    """ONNX Runtime with every provider, that notes what sessions are asked for and opens none."""

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
        return [onnxruntime_gpu.TENSORRT, onnxruntime_gpu.CUDA, CPU]

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
    monkeypatch.setitem(sys.modules, "onnxruntime", library)  # type: ignore[arg-type]
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
        assert (first, second) == (onnxruntime_gpu.TENSORRT, onnxruntime_gpu.CUDA)
        assert options["trt_fp16_enable"] == "0"
        cache = options["trt_engine_cache_path"]
    else:
        [(only, options)] = asked["providers"]
        assert only == onnxruntime_gpu.CUDA
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
        lambda: [onnxruntime_gpu.CUDA, CPU] if loaded else [CPU],
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
