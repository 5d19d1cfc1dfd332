"""Backends are chosen by name, equal each other within their arithmetic, and never replaced."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.backends import table as backends
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.backends.protocol import Traits
from mavos_deploy.runtime.backends.table import BACKENDS, choose_backend, open_backend
from mavos_deploy.runtime.bundle import Bundle
from tests import golden
from tests.bundles import hollow_bundle

GetSegmenter = Callable[[str], Segmenter]


def test_an_unknown_backend_is_refused_with_those_there_are(segmenter: GetSegmenter) -> None:
    with pytest.raises(BackendError, match=f"accepted are {', '.join(BACKENDS)}"):
        open_backend(segmenter("mobilenet").bundle, backend="gpu")


@pytest.mark.parametrize(
    ("backend", "module", "extra"),
    [
        pytest.param("onnxruntime-cpu", "onnxruntime", "cpu", id="onnxruntime"),
        pytest.param("openvino-cpu", "openvino", "openvino", id="openvino"),
    ],
)
def test_a_missing_library_names_its_extra_and_nothing_else_is_taken(
    segmenter: GetSegmenter,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    module: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match=rf"pip install 'mavos-deploy\[{extra}\]'"):
        open_backend(segmenter("mobilenet").bundle, backend=backend)


@pytest.fixture(scope="module")
def openvino(segmenter: GetSegmenter) -> Iterator[Segmenter]:
    """The same bundle on OpenVINO in float32."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed (extra `openvino`)")
    bundle = segmenter("mobilenet").bundle
    with Segmenter(bundle, open_backend(bundle, 1, "openvino-cpu-fp32")) as opened:
        yield opened


@pytest.mark.parametrize("case", ["base", "many", "newobj"])
def test_openvino_in_float32_gives_the_masks_of_onnx_runtime(
    case: str, openvino: Segmenter, segmenter: GetSegmenter
) -> None:
    run, other = golden.load(case, "mobilenet"), segmenter("mobilenet")
    assert openvino.backend.traits.name == "openvino-cpu-fp32"
    assert openvino.backend.traits.arithmetic == other.backend.traits.arithmetic == "fp32"
    states = [s.start(golden.frame(0), run.annotations[0]) for s in (openvino, other)]
    for index in range(1, 9):
        labels = []
        for place, one in enumerate((openvino, other)):
            annotation = run.annotations.get(index)
            own, states[place] = one.step(golden.frame(index), states[place], annotation)
            labels.append(own)
        assert np.mean(labels[0] == labels[1]) >= 0.9999
    for name, tensor in states[0].memory.items():
        assert tensor.dtype == np.float32
        np.testing.assert_allclose(tensor, states[1].memory[name], atol=2e-4)


def test_a_state_moves_from_one_backend_to_the_other(
    openvino: Segmenter, segmenter: GetSegmenter, tmp_path: Path
) -> None:
    run, other = golden.load("base", "mobilenet"), segmenter("mobilenet")
    state = openvino.start(golden.frame(0), run.annotations[0])
    _, state = openvino.step(golden.frame(1), state)
    openvino.save(state, tmp_path / "state.safetensors")
    moved = other.load(tmp_path / "state.safetensors")
    here, _ = openvino.step(golden.frame(2), state)
    there, _ = other.step(golden.frame(2), moved)
    assert np.mean(here == there) >= 0.9999


def test_states_on_openvino_are_values(openvino: Segmenter) -> None:
    run, many = golden.load("base", "mobilenet"), golden.load("many", "mobilenet")
    state = openvino.start(golden.frame(0), run.annotations[0])
    kept = {name: tensor.copy() for name, tensor in state.memory.items()}
    first, after = openvino.step(golden.frame(1), state)
    between = openvino.start(golden.frame(0), many.annotations[0])  # other shapes
    openvino.step(golden.frame(1), between)
    again, _ = openvino.step(golden.frame(1), state)
    np.testing.assert_array_equal(first, again)
    for name, tensor in kept.items():
        np.testing.assert_array_equal(tensor, state.memory[name])
    assert after.memory["short_key_0"] is not state.memory["short_key_0"]


def test_a_closed_backend_says_so(segmenter: GetSegmenter) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed (extra `openvino`)")
    bundle = segmenter("mobilenet").bundle
    closed = Segmenter(bundle, open_backend(bundle, 1, "openvino-cpu-fp32"))
    closed.close()
    with pytest.raises(BackendError, match="the segmenter is closed"):
        closed.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])


class _Core:
    """OpenVINO's entry on a processor of a test's choice, in which nothing can be compiled."""

    capabilities: tuple[str, ...] = ()

    def get_property(self, device: str, name: str) -> list[str]:
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return list(self.capabilities)

    def read_model(self, path: str) -> Any:  # noqa: ANN401
        raise RuntimeError(f"can't read\n{Path(path).name}")


def _pretend(monkeypatch: pytest.MonkeyPatch, *capabilities: str) -> None:
    core = type("Core", (_Core,), {"capabilities": capabilities})
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=core, __version__="0"))


def test_bf16_is_refused_where_the_processor_lacks_it(
    segmenter: GetSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend(monkeypatch, "FP32")
    with pytest.raises(BackendError, match=r"no bfloat16 instructions .* openvino-cpu-fp32"):
        open_backend(segmenter("mobilenet").bundle, backend="openvino-cpu-bf16")


def test_a_graph_that_openvino_refuses_is_named_in_one_line(
    segmenter: GetSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend(monkeypatch, "FP32", "BF16")
    with pytest.raises(BackendError, match=r"openvino 0 refuses .*encoder.onnx: can't read enc"):
        open_backend(segmenter("mobilenet").bundle, backend="openvino-cpu")


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


def test_auto_takes_the_first_that_works_and_is_as_exact_and_keeps_the_reasons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coarse, exact = (
        _Opened(Traits("tensorrt-rtx", "tf32")),
        _Opened(Traits("onnxruntime-cpu", "fp32")),
    )
    table = {
        "openvino-cpu": lambda bundle, threads: _Opened(Traits("openvino-cpu", "bf16")),
        "tensorrt": _refuses("tensorrt"),
        "tensorrt-rtx": lambda bundle, threads: coarse,
        "onnxruntime-cuda": _refuses("onnxruntime-cuda"),
        "onnxruntime-cpu": lambda bundle, threads: exact,
    }
    monkeypatch.setattr(backends, "BACKENDS", table)
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
    monkeypatch.setattr(backends, "BACKENDS", {n: _refuses(n) for n in backends.AUTO_ORDER})
    bundle: Any = object()
    with pytest.raises(BackendError, match=r"no backend works here: .*onnxruntime-cpu: not here"):
        choose_backend(bundle)


def test_a_library_whose_import_fails_in_any_way_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise OSError('libfoo:\\n no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(BackendError, match=r"can't be imported \(libfoo: no such file\)"):
        open_backend(Bundle.open(hollow_bundle(tmp_path)))


class _Session:
    """Notes the options of its runs, and gives what a session gave."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401
        self.session = session
        self.options: list[Any] = []

    def run(self, names: list[str], inputs: dict[str, Any], options: Any) -> Any:  # noqa: ANN401
        self.options.append(options)
        return self.session.run(names, inputs, options)


def test_memory_of_other_shapes_is_given_back(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    backend = OnnxRuntimeCpu(bundle, 1)
    session = backend._sessions["memory_write"] = _Session(backend._sessions["memory_write"])
    for groups in (1, 1, 2, 2, 1):
        inputs = {
            tensor.name: np.zeros([groups, *tensor.shape[1:]], tensor.dtype)
            for tensor in bundle.specs["memory_write"].inputs
        }
        backend.run("memory_write", inputs)
    key = "memory.enable_memory_arena_shrinkage"
    asked = [options and options.get_run_config_entry(key) for options in session.options]
    assert asked == [None, None, "cpu:0", None, "cpu:0"]
