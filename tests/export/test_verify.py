"""The parity check passes what is right, and names what is wrong."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mavos_deploy.errors import InputError
from mavos_deploy.export.exporter import Plan, write_bundle
from mavos_deploy.export.verify import shortest_clip, verify
from mavos_deploy.hashing import file_sha256
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.bundle import MANIFEST

GetNetwork = Callable[[str], Mavos]
GetSegmenter = Callable[[str], Segmenter]


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_graph_and_the_chain_equal_pytorch(
    variant: str, network: GetNetwork, segmenter: GetSegmenter
) -> None:
    parity = verify(segmenter(variant), network(variant), frames=14)
    assert parity.passed, parity.first_divergence
    assert len(parity.memory_updates) >= 2
    assert parity.frames > parity.memory_updates[1] + 1
    assert set(parity.tensors) == set(segmenter(variant).bundle.specs)
    for graph, spec in segmenter(variant).bundle.specs.items():
        unchecked = {"key_0", "key_1", "key_2"} if graph == "elstt_step" else set()
        outputs = {tensor.name for tensor in spec.outputs} - {"input_labels"} - unchecked
        assert outputs <= set(parity.tensors[graph]), graph


def test_parity_holds_with_two_groups_and_a_late_object(
    network: GetNetwork, segmenter: GetSegmenter
) -> None:
    parity = verify(segmenter("mobilenet"), network("mobilenet"), frames=12, objects=10)
    assert parity.passed, parity.first_divergence
    assert parity.objects == 11


def test_parity_holds_past_two_updates_at_the_usual_memory_gap(
    tmp_path: Path, network: GetNetwork
) -> None:
    write_bundle(
        Plan(VARIANTS["mobilenet"], (97, 113), 10, "gpu"), None, tmp_path, lambda line: None
    )
    with Segmenter.open(tmp_path) as segmenter:
        parity = verify(segmenter, network("mobilenet"))
    assert parity.passed, parity.first_divergence
    assert parity.frames == 24
    assert parity.memory_updates == [12, 22]


def test_a_clip_too_short_for_the_second_update_is_refused(
    network: GetNetwork, segmenter: GetSegmenter
) -> None:
    least = shortest_clip(3)
    with pytest.raises(InputError, match=f"at least {least} are needed"):
        verify(segmenter("mobilenet"), network("mobilenet"), frames=least - 1)


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
        parity = verify(wrong, network("mobilenet"))
    assert not parity.passed
    assert parity.first_divergence is not None
    found = parity.first_divergence
    assert (found["graph"], found["tensor"], found["frame"]) == (graph, tensor, frame)


def test_a_tensor_with_nan_does_not_pass(network: GetNetwork, segmenter: GetSegmenter) -> None:
    parity = verify(segmenter("mobilenet"), network("mobilenet"))
    assert parity.passed
    expected = np.array([0.0, 1.0])
    parity.record("encoder", 3, {"embedding": np.array([0.0, np.nan])}, {"embedding": expected})
    assert not parity.passed


def test_a_chain_that_disagrees_does_not_pass(network: GetNetwork, segmenter: GetSegmenter) -> None:
    parity = verify(segmenter("mobilenet"), network("mobilenet"))
    assert not replace(parity, agreement=[1.0, 0.98]).passed
    assert json.loads(json.dumps(parity.to_dict()))["passed"] is True


def _shift(folder: Path, graph: str, weight: str) -> None:
    """Add to a weight of a graph and hide it from the hashes."""
    path = folder / f"graphs/{graph}.onnx"
    model = onnx.load(path)
    named = {tensor.name: tensor for tensor in model.graph.initializer}
    (match,) = [tensor for name, tensor in named.items() if name.endswith(weight)]
    values = numpy_helper.to_array(match) + np.float32(0.05)
    match.CopyFrom(numpy_helper.from_array(values, match.name))
    onnx.save(model, path)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["graphs"][graph]["sha256"] = file_sha256(path)
    (folder / MANIFEST).write_text(json.dumps(manifest))
