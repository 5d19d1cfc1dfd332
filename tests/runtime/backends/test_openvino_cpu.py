"""OpenVINO gives the masks of ONNX Runtime in float32, and its refusals are one line."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from tests import golden
from tests.bundles import hollow_bundle

GetSegmenter = Callable[[str], Segmenter]


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

    def read_model(self, content: bytes) -> Any:  # noqa: ANN401
        raise RuntimeError(f"can't read\n{content.decode()}")


def _pretend(monkeypatch: pytest.MonkeyPatch, *capabilities: str) -> None:
    core = type("Core", (_Core,), {"capabilities": capabilities})
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(Core=core, __version__="0"))


def test_bf16_is_refused_where_the_processor_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend(monkeypatch, "FP32")
    with pytest.raises(BackendError, match=r"no bfloat16 instructions .* openvino-cpu-fp32"):
        open_backend(Bundle.open(hollow_bundle(tmp_path)), backend="openvino-cpu-bf16")


def test_a_graph_that_openvino_refuses_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pretend(monkeypatch, "FP32", "BF16")
    with pytest.raises(BackendError, match=r"openvino 0 refuses .*encoder.onnx: can't read enc"):
        open_backend(Bundle.open(hollow_bundle(tmp_path)), backend="openvino-cpu-fp32")


def test_a_signal_after_two_backends_is_handled() -> None:
    code = (
        "import gc, signal\n"
        "from mavos_deploy.runtime.backends.openvino_cpu import look_for\n"
        "first, second = look_for('fp32')[1], look_for('fp32')[1]\n"
        "del first; gc.collect()\n"
        "del second; gc.collect()\n"
        "signal.signal(signal.SIGINT, lambda *_: print('handled', flush=True))\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr
