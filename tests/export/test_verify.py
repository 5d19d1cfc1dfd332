"""The parity check passes what is right, and names what is wrong."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mavos_deploy.errors import InputError
from mavos_deploy.export.verify import verify
from mavos_deploy.export.verify_clips import shortest_clip
from mavos_deploy.hashing import file_sha256
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.backends.protocol import Backend
from mavos_deploy.runtime.bundles.manifest import MANIFEST
from tests.exports import Exports

GetNetwork = Callable[[str], Mavos]
GetSegmenter = Callable[[str], Segmenter]


@pytest.mark.parametrize("variant", [name for name, v in VARIANTS.items() if v.has_mca])
def test_every_graph_and_the_chain_equal_pytorch(
    variant: str, network: GetNetwork, segmenter: GetSegmenter
) -> None:
    parity = verify(segmenter(variant), network(variant), frames=14)
    assert parity.passed, parity.first_divergence
    assert len(parity.memory_updates) >= 2
    assert parity.frames > parity.memory_updates[1] + 1
    assert set(parity.tensors) == set(segmenter(variant).bundle.specs)
    for graph, spec in segmenter(variant).bundle.specs.items():
        assert {tensor.name for tensor in spec.outputs} == set(parity.tensors[graph]), graph
    # Ten objects and a late one: the second group's first update meets the first one's second.
    assert (parity.objects, parity.groups) == (11, 2)


@pytest.mark.slow  # a gap of 3 shows the same above, in a fraction of the frames
def test_parity_holds_past_two_updates_at_the_usual_memory_gap(
    exported: Exports, network: GetNetwork
) -> None:
    with Segmenter.open(exported("mobilenet", (97, 113), 10, "gpu")) as segmenter:
        parity = verify(segmenter, network("mobilenet"))
    assert parity.passed, parity.first_divergence
    assert parity.frames == 24
    assert parity.memory_updates == (12, 22)


def test_a_clip_too_short_for_the_second_update_is_refused(
    network: GetNetwork, segmenter: GetSegmenter
) -> None:
    chain = segmenter("mobilenet")
    least = shortest_clip(chain.bundle.manifest)
    with pytest.raises(InputError, match=f"at least {least} are needed"):
        verify(chain, network("mobilenet"), frames=least - 1)


@pytest.mark.parametrize(
    ("graph", "tensor", "frame"),
    [
        pytest.param("encoder", "embedding", 0, id="encoder"),
        pytest.param("elstt_step", "decoder_embedding", 0, id="step"),
        pytest.param("memory_write", "value_0", 0, id="memory-write"),
        pytest.param("decoder", "logits", 1, id="decoder"),
        pytest.param("memory_update", "updated_key_0", 5, id="memory-update"),
    ],
)
def test_a_wrong_weight_is_traced_to_its_graph_tensor_and_frame(
    graph: str,
    tensor: str,
    frame: int,
    tmp_path: Path,
    network: GetNetwork,
    segmenter: GetSegmenter,
) -> None:
    weights = {
        "encoder": "encoder_projector.bias",
        "elstt_step": "LSTT.layers.0.long_term_attn.projection.bias",
        "memory_write": "LSTT.layers.0.linear_ID_V.bias",
        "decoder": "decoder.conv_out.bias",
        "memory_update": "long_term_memory_attention.0.0.joint_modulation.mlp.fc2.bias",
    }
    folder = tmp_path / "bundle"
    shutil.copytree(segmenter("mobilenet").bundle.path, folder)
    _shift(folder, graph, weights[graph])
    with Segmenter.open(folder) as wrong:
        parity = verify(wrong, network("mobilenet"), objects=1)
    assert not parity.passed
    assert parity.first_divergence is not None
    found = parity.first_divergence
    assert (found["graph"], found["tensor"], found["frame"]) == (graph, tensor, frame)


class Spoilt:
    """A backend whose outputs are changed on the way."""

    def __init__(
        self, backend: Backend, graph: str, change: Callable[[dict[str, Any]], None]
    ) -> None:
        self.backend, self.graph, self.change = backend, graph, change

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.backend, name)

    def run(self, graph: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        outputs = self.backend.run(graph, inputs)
        if graph == self.graph:
            self.change(outputs)
        return outputs


def _second_group_scaled(outputs: dict[str, Any]) -> None:
    outputs["key_1"] = outputs["key_1"] * np.where(np.arange(len(outputs["key_1"])) > 0, 1.5, 1)[
        :, None, None, None
    ].astype(np.float32)


def _input_labels_moved(outputs: dict[str, Any]) -> None:
    outputs["input_labels"] = np.roll(outputs["input_labels"], 1, -1)


def _first_update_ignored(outputs: dict[str, Any]) -> None:
    outputs["updated_key_0"] = outputs["updated_key_0"][::-1].copy()


@pytest.mark.parametrize(
    ("graph", "change", "tensor", "frame"),
    [
        pytest.param("elstt_step", _second_group_scaled, "key_1", 5, id="second-group"),
        pytest.param("decoder", _input_labels_moved, "input_labels", 1, id="remembered-labels"),
        pytest.param("memory_update", _first_update_ignored, "updated_key_0", 8, id="groups-mixed"),
    ],
)
def test_a_wrong_backend_is_traced(
    graph: str,
    change: Callable[[dict[str, Any]], None],
    tensor: str,
    frame: int,
    network: GetNetwork,
    segmenter: GetSegmenter,
) -> None:
    right = segmenter("mobilenet")
    backend = cast("Backend", Spoilt(right.backend, graph, change))
    found = verify(Segmenter(right.bundle, backend), network("mobilenet")).first_divergence
    assert found is not None
    assert (found["graph"], found["tensor"], found["frame"]) == (graph, tensor, frame)


def _shift(folder: Path, graph: str, weight: str) -> None:
    """Add to a weight of a graph and hide it from the hashes."""
    path = folder / f"graphs/{graph}.onnx"
    model = onnx.load(path)
    named = {tensor.name: tensor for tensor in model.graph.initializer}
    (match,) = [tensor for name, tensor in named.items() if name.endswith(weight)]
    values = numpy_helper.to_array(match).copy()
    values.reshape(-1)[::2] += np.float32(0.05)  # not all: norms remove a common shift
    match.CopyFrom(numpy_helper.from_array(values, match.name))
    onnx.save(model, path)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["graphs"][graph]["sha256"] = file_sha256(path)
    (folder / MANIFEST).write_text(json.dumps(manifest))
