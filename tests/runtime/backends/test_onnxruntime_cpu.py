"""ONNX Runtime on the CPU opens graphs ahead, and gives memory back that is of no use any more."""

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends.onnxruntime_cpu import IN_A_BAND, WASTE, OnnxRuntimeCpu
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import BANDS_NOTE, GraphName, GraphSpec


class _Session:
    """A session that notes the options of its runs."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401
        self.session = session
        self.options: list[Any] = []

    def run(self, names: list[str], inputs: dict[str, Any], options: Any) -> Any:  # noqa: ANN401
        self.options.append(options)
        return self.session.run(names, inputs, options)


def test_memory_of_other_shapes_is_given_back(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    backend = OnnxRuntimeCpu(bundle, 1)
    [(spec, opened)] = backend._sessions_of("memory_write")
    session = _Session(opened)
    backend._sessions["memory_write"] = [(spec, session)]
    for groups in (1, 1, 2, 2, 1):
        inputs = {
            tensor.name: np.zeros(tensor.shape_at(groups=groups), tensor.dtype)
            for tensor in bundle.specs["memory_write"].inputs
        }
        backend.run("memory_write", inputs)
    key = "memory.enable_memory_arena_shrinkage"
    asked = [options and options.get_run_config_entry(key) for options in session.options]
    assert asked == [None, None, "cpu:0", None, "cpu:0"]


class _Decoder:
    """A decoder whose object covers more and more columns, up to a number of them."""

    def __init__(self, most: int, bands: int | None) -> None:
        self.columns = 0
        self.most = most
        self.custom_metadata_map = {} if bands is None else {BANDS_NOTE: str(bands)}
        self.asked: list[bool] = []

    def get_modelmeta(self) -> "_Decoder":
        return self

    def run(self, names: list[str], inputs: dict[str, Any], options: Any) -> Any:  # noqa: ANN401
        self.asked.append(options is not None)
        self.columns = min(self.columns + 1, self.most)
        small = np.zeros((len(inputs["object_mask"]), 27, 48), np.uint8)
        small[:, :, : self.columns] = 1
        large = np.zeros((1, 1080, 1920), np.uint8)
        found = {"labels": large, "input_labels": small, "logits": np.zeros(1, np.float32)}
        return [found[name] for name in names]


@pytest.mark.parametrize(
    ("groups", "most", "bands"),
    [(1, 48, None), (1, 48, 16), (1, 48, 0), (1, 2, None), (2, 48, None)],
)
def test_memory_of_ever_larger_objects_is_given_back(
    tiny_bundle: Path, groups: int, most: int, bands: int | None
) -> None:
    backend = OnnxRuntimeCpu(Bundle.open(tiny_bundle), 1)
    decoder, grown = _Decoder(most, bands), 0
    backend._sessions["decoder"] = [(backend._sessions_of("decoder")[0][0], decoder)]
    backend._reach = backend._nothing_enlarged()
    pixels = 1080 * 1920 // 48  # of each column
    one = pixels * IN_A_BAND // bands if bands else pixels * (4 * 4 + 8)  # bytes
    kept: list[int] = []  # sizes of the arena's blocks
    for _ in range(100):
        backend.run("decoder", {"object_mask": np.zeros((groups, 4), np.float32)})
        needed = decoder.columns * one
        if needed > max(kept, default=0):
            kept.append(needed)
        kept = [] if decoder.asked[-1] else kept
        grown = max(grown, sum(kept))
    if groups == 1 and most == 48 and bands != 0:
        assert any(decoder.asked)
        assert grown <= WASTE + 2 * 48 * one
        assert not any(decoder.asked[-40:])
    else:
        assert not any(decoder.asked)


@pytest.mark.parametrize("note", ["-3", "x", "", "1.5", "99999", "\u0663"])
def test_a_note_of_bands_that_is_no_count_says_nothing(tiny_bundle: Path, note: str) -> None:
    backend = OnnxRuntimeCpu(Bundle.open(tiny_bundle), 1)
    decoder = _Decoder(1, None)
    decoder.custom_metadata_map = {BANDS_NOTE: note}
    backend._sessions["decoder"] = [(backend._sessions_of("decoder")[0][0], decoder)]
    assert backend._nothing_enlarged().bands == 1


def test_a_resting_backend_empties_the_arena_and_goes_on(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    backend = OnnxRuntimeCpu(bundle, 1)
    backend.rest()  # before the first run there is nothing to give back
    [(spec, opened)] = backend._sessions_of("memory_write")
    session = _Session(opened)
    backend._sessions["memory_write"] = [(spec, session)]
    draw = np.random.default_rng(0)
    inputs = {
        tensor.name: draw.random(tensor.shape_at(groups=2)).astype(tensor.dtype)
        for tensor in bundle.specs["memory_write"].inputs
    }
    before = backend.run("memory_write", inputs)
    backend.rest()
    after = backend.run("memory_write", inputs)
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])
    key = "memory.enable_memory_arena_shrinkage"
    asked = [options and options.get_run_config_entry(key) for options in session.options]
    assert asked == [None, "cpu:0", None]
    backend.close()
    backend.rest()


class _Refused:
    """Opens sessions, but none of one graph, and that not before it is let.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.let = threading.Event()
        opened = OnnxRuntimeCpu._open_checked

        def open_checked(
            backend: OnnxRuntimeCpu, bundle: Bundle, path: Path, spec: GraphSpec
        ) -> Any:  # noqa: ANN401  # the library is untyped
            if spec.name == graph:
                assert self.let.wait(60)
                raise BackendError(f"{graph} is refused")
            return opened(backend, bundle, path, spec)

        monkeypatch.setattr(OnnxRuntimeCpu, "_open_checked", open_checked)


def encode(backend: OnnxRuntimeCpu, bundle: Bundle) -> None:
    """Run the encoder."""
    (frame,) = bundle.specs[GraphName.ENCODER].inputs
    backend.run(GraphName.ENCODER, {frame.name: np.zeros(frame.shape_at(), frame.dtype)})


@pytest.mark.parametrize("graph", [GraphName.MEMORY_UPDATE, GraphName.STEP])
def test_the_encoder_runs_while_others_open_and_their_refusals_end_the_next_run(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, graph: str
) -> None:
    refused, bundle = _Refused(graph, monkeypatch), Bundle.open(tiny_bundle)
    backend = OnnxRuntimeCpu(bundle, 1, ahead=True)
    encode(backend, bundle)
    refused.let.set()
    inputs = {
        tensor.name: np.zeros(tensor.shape_at(groups=1), tensor.dtype)
        for tensor in bundle.specs[GraphName.MEMORY_WRITE].inputs
    }
    for _ in range(2):
        with pytest.raises(BackendError, match=f"{graph} is refused"):
            backend.run(GraphName.MEMORY_WRITE, inputs)
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        encode(backend, bundle)


@pytest.mark.parametrize(
    ("graph", "ahead"),
    [(GraphName.ENCODER, True), (GraphName.ENCODER, False), (GraphName.STEP, False)],
)
def test_a_graph_that_is_opened_at_once_is_refused_at_once(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, graph: str, ahead: bool
) -> None:
    refused = _Refused(graph, monkeypatch)
    refused.let.set()
    with pytest.raises(BackendError, match=f"{graph} is refused"):
        OnnxRuntimeCpu(Bundle.open(tiny_bundle), 1, ahead=ahead)
    assert not [t for t in threading.enumerate() if t.name.startswith("mavos-opener")]


def test_closing_waits_for_graphs_that_still_open(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = _Refused(GraphName.STEP, monkeypatch)
    backend = OnnxRuntimeCpu(Bundle.open(tiny_bundle), 1, ahead=True)
    closing = threading.Thread(target=backend.close)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive()
    refused.let.set()
    closing.join(60)
    assert not closing.is_alive()
    with pytest.raises(BackendError, match="closed"):
        backend.run(GraphName.STEP, {})


def test_the_files_of_a_bundle_that_was_opened_at_once_may_go(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    bundle = Bundle.open(tmp_path / "bundle")
    backend = OnnxRuntimeCpu(bundle, 1)
    shutil.rmtree(tmp_path / "bundle")
    inputs = {
        tensor.name: np.zeros(tensor.shape_at(groups=1), tensor.dtype)
        for tensor in bundle.specs[GraphName.MEMORY_WRITE].inputs
    }
    assert backend.run(GraphName.MEMORY_WRITE, inputs)
