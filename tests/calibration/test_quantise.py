"""Where Q/DQ pairs stand in quantised graphs, and what they hold."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from mavos_deploy.calibration.quantise import MOST_GROUPS, FloatGraph
from mavos_deploy.errors import BundleError
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.bundles.quantisation import (
    GraphKind,
    NumberType,
    Quantisation,
    Range,
    RangeMethod,
)

GRAPHS = ("encoder", "elstt_step", "decoder", "memory_write", "memory_update")
NORMS = ("LayerNormalization", "InstanceNormalization", "BatchNormalization")
FLOAT_ONLY = (*NORMS, "Softmax", "Resize", "MatMul", "ReduceMean")


@pytest.fixture(params=["cpu-int8", "openvino-int8", "tensorrt-int8", "tensorrt-fp8"])
def form(request: pytest.FixtureRequest) -> tuple[str, str]:
    kind, _, number = str(request.param).partition("-")
    return kind, number


@pytest.fixture(params=GRAPHS)
def graph(request: pytest.FixtureRequest, tiny_bundle: Path) -> FloatGraph:
    name = str(request.param)
    return FloatGraph(name, Bundle.open(tiny_bundle).graph(name))


def _quantised(
    graph: FloatGraph, groups: tuple[str, ...], kind: str, number: str, limits: Range
) -> ModelProto:
    ranges = dict.fromkeys(graph.needed(groups, GraphKind(kind)), limits)
    entry = Quantisation(
        kind=GraphKind(kind),
        number=NumberType(number),
        method=RangeMethod.MINMAX,
        groups={graph.name: groups},
        ranges={graph.name: ranges},
        sources={},
        data="",
        seed=0,
    )
    return onnx.load_from_string(graph.quantised(entry))


def _whole(graph: FloatGraph, kind: str, number: str) -> ModelProto:
    return _quantised(graph, graph.groups, kind, number, (-2.0, 6.0))


def test_groups_are_modules_and_few(graph: FloatGraph) -> None:
    assert 1 <= len(graph.groups) <= MOST_GROUPS
    assert len(graph.chosen(graph.groups)) == len(graph.layers)


def test_only_layers_read_and_write_rounded_tensors(
    graph: FloatGraph, form: tuple[str, str]
) -> None:
    kind, number = form
    model = _whole(graph, kind, number)
    layers = {layer.node for layer in graph.layers}
    rounded = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    counts = {"QuantizeLinear": 0, "DequantizeLinear": 0}
    for node in model.graph.node:
        if node.op_type in counts:
            counts[node.op_type] += 1
        elif node.name in layers:
            assert node.op_type == "Conv"
            assert {node.input[0], node.input[1]} <= rounded
    read = {layer.reads for layer in graph.layers}
    written = {layer.writes for layer in graph.layers}
    # For OpenVINO the parts of a tensor that is joined are rounded, each by itself.
    parts = {
        node.output[0]: len(node.input)
        for node in graph.model.graph.node
        if node.op_type == "Concat" and kind == "openvino"
    }
    pairs = sum(parts.get(name, 1) for name in (read | written if kind == "cpu" else read))
    assert counts["QuantizeLinear"] == pairs


def test_what_must_stay_float_is_never_between_q_and_dq(
    graph: FloatGraph, form: tuple[str, str]
) -> None:
    """Such a node would be computed in 8 bits by a library that fuses the pairs with it."""
    model = _whole(graph, *form)
    makers = {name: node for node in model.graph.node for name in node.output}
    layers = {layer.node for layer in graph.layers}
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        maker = makers.get(node.input[0])
        if maker is None or maker.name in layers or maker.op_type not in FLOAT_ONLY:
            continue
        inputs = [makers.get(name) for name in maker.input]
        assert not all(i is not None and i.op_type == "DequantizeLinear" for i in inputs), maker


def test_logits_are_made_in_float(tiny_bundle: Path, form: tuple[str, str]) -> None:
    graph = FloatGraph("decoder", Bundle.open(tiny_bundle).graph("decoder"))
    assert not any("conv_out" in layer.node for layer in graph.layers)
    model = _whole(graph, *form)
    (maker,) = (n for n in model.graph.node if "conv_out" in n.name and n.op_type == "Conv")
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert weights[maker.input[1]] == TensorProto.FLOAT


def test_types_and_scales_are_what_each_library_wants(
    graph: FloatGraph, form: tuple[str, str]
) -> None:
    kind, number = form
    model = _whole(graph, kind, number)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    activation = {
        "cpu-int8": TensorProto.UINT8,
        "openvino-int8": TensorProto.INT8,
        "tensorrt-int8": TensorProto.INT8,
        "tensorrt-fp8": TensorProto.FLOAT8E4M3FN,
    }[f"{kind}-{number}"]
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = (constants[name] for name in node.input[1:3])
            assert zero.data_type == activation
            assert list(zero.dims) == list(scale.dims) == []
            if kind != "cpu":
                assert float(numpy_helper.to_array(zero)) == 0
        elif node.op_type == "DequantizeLinear" and node.input[0] in constants:
            stored, scale, zero = (constants[name] for name in node.input[:3])
            assert list(scale.dims) == list(zero.dims) == [stored.dims[0]]
            assert not numpy_helper.to_array(zero).astype(np.float32).any()
            if stored.data_type == TensorProto.INT32:
                assert kind == "cpu"  # TensorRT refuses rounded biases, and OpenVINO needs none
            else:
                weights = TensorProto.FLOAT8E4M3FN if number == "fp8" else TensorProto.INT8
                assert stored.data_type == weights


def test_a_range_with_zero_inside_keeps_zero_exact(tiny_bundle: Path) -> None:
    graph = FloatGraph("memory_write", Bundle.open(tiny_bundle).graph("memory_write"))
    model = _whole(graph, "cpu", "int8")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero = constants[node.input[1]], constants[node.input[2]]
            assert scale == pytest.approx(8 / 255)
            assert int(zero) == round(2 / (8 / 255))


def test_openvino_gets_all_8_bits_of_what_is_never_negative(tiny_bundle: Path) -> None:
    graph = FloatGraph("memory_write", Bundle.open(tiny_bundle).graph("memory_write"))
    model = _quantised(graph, graph.groups, "openvino", "int8", (0.0, 6.0))
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    pairs = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert pairs
    for node in pairs:
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        assert scale == pytest.approx(6 / 255)
        assert zero.dtype == np.uint8
        assert int(zero) == 0


def test_unchosen_layers_are_as_they_were(tiny_bundle: Path) -> None:
    graph = FloatGraph("elstt_step", Bundle.open(tiny_bundle).graph("elstt_step"))
    group = graph.groups[1]
    model = _quantised(graph, (group,), "cpu", "int8", (-1.0, 1.0))
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    float_layers = {
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and constants.get(node.input[1]) == TensorProto.FLOAT
    }
    assert float_layers == {layer.node for layer in graph.layers if layer.group != group}


def test_folded_batch_norms_change_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    graph = FloatGraph("encoder", bundle.graph("encoder"))
    assert not any(node.op_type == "BatchNormalization" for node in graph.model.graph.node)
    path = tmp_path / "encoder.onnx"
    path.write_bytes(graph.with_outputs([]))
    plain = OnnxRuntimeCpu(bundle, 1)
    frame = np.random.default_rng(0).uniform(0, 255, (1, 97, 97, 3)).astype(np.float32)
    folded = plain.with_graph("encoder", path).run("encoder", {"frame": frame})
    for name, want in plain.run("encoder", {"frame": frame}).items():
        difference = folded[name].astype(np.float32) - want.astype(np.float32)
        assert np.abs(difference).max() <= 1e-5 * float(np.ptp(want))


def test_a_graph_without_modules_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    model = onnx.load(Bundle.open(tiny_bundle).graph_path("memory_write"))
    for node in model.graph.node:
        node.name = node.name.partition("/")[2]
    with pytest.raises(BundleError, match="export the bundle again"):
        FloatGraph("memory_write", model.SerializeToString())
