"""float16 bundles: types of the graphs, parity with PyTorch in float32, and states."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from mavos_deploy.errors import InputError
from mavos_deploy.export.exporter import dimensions_of
from mavos_deploy.export.graphs import FOR_CPUS, GRAPHS, TokenStep, form_of
from mavos_deploy.export.parity import LIMITS
from mavos_deploy.export.verify import verify
from mavos_deploy.models.half import half_precision
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime import Bundle, Segmenter
from mavos_deploy.runtime.backends.protocol import Traits
from mavos_deploy.runtime.contract import GraphName, graph_specs
from tests.placement import check_placement

GetNetwork = Callable[[str], Mavos]
GetSegmenter = Callable[[str], Segmenter]

IN_FLOAT32 = ("LayerNormalization", "InstanceNormalization", "Softmax", "ReduceMean", "ArgMax")

# Graphs for one group of objects, or one slot, which not every bundle has.
ONE = (GraphName.DECODER_ONE, GraphName.STEP_ONE)


@pytest.fixture(scope="module")
def half_segmenter(half_bundle: Path) -> Iterator[Segmenter]:
    with Segmenter.open(half_bundle) as segmenter:
        yield segmenter


def test_only_float16_graphs_for_gpus_have_a_step_over_tokens(half_bundle: Path) -> None:
    manifest = Bundle.open(half_bundle).manifest
    halves, floats = (
        graph_specs(manifest.dimensions, (97, 97), precision, decoder_one=True)
        for precision in ("fp16", "fp32")
    )
    for graph in halves:
        usual = GRAPHS[graph]
        assert form_of(floats[graph], "gpu") is usual
        assert form_of(floats[graph], "cpu") is FOR_CPUS.get(graph, usual)
        assert form_of(halves[graph], "cpu") is FOR_CPUS.get(graph, usual)
        token_major = graph == GraphName.STEP
        assert form_of(halves[graph], "gpu") is (TokenStep if token_major else usual)


def test_products_with_many_terms_ask_for_sums_in_float32(half_bundle: Path) -> None:
    """The casts of their weights are kept: folded, they would make these products float32."""
    model = onnx.load(Bundle.open(half_bundle).graph_path(GraphName.STEP))
    halves = {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16}
    cast = {n.output[0] for n in model.graph.node if n.op_type == "Cast" and n.input[0] in halves}
    products = [n for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in cast]
    assert len(products) == 12  # three projections and the self-attention's keys, in three blocks


def _types(model: onnx.ModelProto) -> dict[str, int]:
    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def test_exported_graphs_equal_pytorch_in_float32(
    half_segmenter: Segmenter, network: GetNetwork
) -> None:
    parity = verify(half_segmenter, network("mobilenet"))
    assert parity.passed, parity.first_divergence
    assert parity.limits == LIMITS["fp16"]
    for graph, spec in half_segmenter.bundle.specs.items():
        assert {tensor.name for tensor in spec.outputs} == set(parity.tensors[graph]), graph
        assert 0 < parity.worst(graph).relative <= LIMITS["fp16"].tensors, graph


@pytest.mark.parametrize("graph", [graph for graph in GRAPHS if graph != GraphName.STEP_ONE])
def test_norms_softmax_means_and_masks_are_float32(graph: str, half_segmenter: Segmenter) -> None:
    model = onnx.load(half_segmenter.bundle.graph_path(graph))
    types = _types(model)
    for node in model.graph.node:
        if node.op_type in IN_FLOAT32:
            assert types[node.input[0]] == TensorProto.FLOAT, node.name
        for name in node.input:  # TensorRT lets uint8 feed nothing but a cast
            assert types.get(name) != TensorProto.UINT8 or node.op_type == "Cast", node.name
    largest = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    assert largest.data_type == TensorProto.FLOAT16


@pytest.mark.parametrize("graph", [graph for graph in GRAPHS if graph not in ONE])
def test_float32_graphs_hold_no_cast_of_floats(graph: str, segmenter: GetSegmenter) -> None:
    model = onnx.load(segmenter("mobilenet").bundle.graph_path(graph))
    types = _types(model)
    for node in model.graph.node:
        if node.op_type == "Cast":
            assert types[node.input[0]] != TensorProto.FLOAT, node.name


class EveryResultRounded:
    """The float16 network in PyTorch, which rounds where ONNX Runtime on a CPU may not."""

    traits = Traits("pytorch-float16", "fp16", any_shape=True)

    def __init__(self, bundle: Bundle, network: Mavos) -> None:
        self.specs, self.network = bundle.specs, half_precision(network)
        target = bundle.manifest.target
        self.graphs = {
            name: form_of(spec, target)(self.network).eval() for name, spec in self.specs.items()
        }

    @torch.inference_mode()
    def run(self, graph: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        spec = self.specs[graph]
        arguments = [torch.from_numpy(np.ascontiguousarray(inputs[t.name])) for t in spec.inputs]
        outputs = self.graphs[graph](*arguments)
        for tensor, output in zip(spec.outputs, outputs, strict=True):
            assert str(output.dtype) == f"torch.{tensor.dtype}", tensor.name
        return {t.name: o.numpy() for t, o in zip(spec.outputs, outputs, strict=True)}

    def upload(self, array: Any) -> Any:  # noqa: ANN401
        return array

    download = upload

    def close(self) -> None:
        pass


@pytest.mark.parametrize("variant", [name for name, v in VARIANTS.items() if v.has_mca])
def test_the_network_stays_within_the_limits_when_every_result_is_rounded(
    variant: str, network: GetNetwork, half_segmenter: Segmenter
) -> None:
    chosen = VARIANTS[variant]
    size = (97, 97) if chosen.align_corners else (96, 96)
    manifest = replace(
        half_segmenter.bundle.manifest,
        variant=variant,
        height=size[0],
        width=size[1],
        align_corners=chosen.align_corners,
        dimensions=dimensions_of(chosen),
    )
    bundle = Bundle(half_segmenter.bundle.path, manifest)
    rounding = Segmenter(bundle, EveryResultRounded(bundle, network(variant)))
    parity = verify(rounding, network(variant), objects=1)
    assert parity.passed, parity.first_divergence


def test_a_state_is_saved_in_float16_and_fits_no_float32_bundle(
    half_segmenter: Segmenter, segmenter: GetSegmenter, tmp_path: Path
) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    labels = np.zeros((96, 96), np.uint8)
    labels[30:60, 30:60] = 1
    state = half_segmenter.start(frame, labels)
    half_segmenter.save(state, tmp_path / "a.safetensors")
    loaded = half_segmenter.load(tmp_path / "a.safetensors")
    specs = graph_specs(half_segmenter.bundle.manifest.dimensions, (97, 97), "fp16")
    for spec in specs["elstt_step"].inputs[1:]:
        assert loaded.memory[spec.name].dtype == np.float16
        np.testing.assert_array_equal(loaded.memory[spec.name], state.memory[spec.name])
    with pytest.raises(InputError, match="state of another bundle"):
        segmenter("mobilenet").load(tmp_path / "a.safetensors")


def test_on_cuda_only_arithmetic_on_shapes_is_left_to_the_cpu(half_bundle: Path) -> None:
    check_placement(Bundle.open(half_bundle))
