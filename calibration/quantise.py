"""Writes graphs with explicit quantisation: Q/DQ pairs around chosen layers and nothing else.

Layers are convolutions and products with constant weights. Norms, softmax, resizing and the layer
that makes the logits are computed as before; the products of attention have a form of their own,
see `quantise_attention`. ONNX Runtime's CPU kernels, OpenVINO and TensorRT need different graphs,
so each is quantised for one of them:

- `cpu`: uint8 activations with a zero point, int8 weights for each output channel, int32 biases,
  and a rounded result, without which ONNX Runtime would compute in float.
- `tensorrt`: activations and weights are symmetric, biases and results stay float.
- `openvino`: like `tensorrt`, and activations that are never negative are uint8. OpenVINO moves
  scales through the operations between layers itself, and fails where a rounded result is padded.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import prod

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mavos_deploy.calibration.quantise_attention import SMALLEST_SCALE, quantise_attention
from mavos_deploy.calibration.quantise_norms import norm_channels_in_place
from mavos_deploy.calibration.quantise_openvino import scores_of
from mavos_deploy.calibration.quantise_pairs import joints, rounding_pair
from mavos_deploy.calibration.quantise_products import find_products
from mavos_deploy.errors import BundleError
from mavos_deploy.runtime.bundles.quantisation import GraphKind, NumberType, Quantisation, Range
from mavos_deploy.runtime.contract import GraphName

WEIGHTED = ("Conv", "Gemm", "MatMul")
RECTIFIERS = ("Relu", "Clip")  # ONNX Runtime computes them with the convolution before them
MOST_GROUPS = 8  # groups of a graph at most; modules are taken as fine as this allows
FP8_OPSET = 19  # the first whose Q/DQ know float8
FP8_LARGEST = 448.0  # largest number of float8 e4m3

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Layer:
    """A layer that can be quantised.

    Attributes:
        node: Name of the layer's node.
        group: Module whose layers are quantised together.
        reads: Name of the activation that the layer reads.
        writes: Name of the result, after a ReLU where one follows.
        products: Multiplications for one group of objects.
    """

    node: str
    group: str
    reads: str
    writes: str
    products: int


class FloatGraph:
    """An unquantised graph with its batch norms folded away, and its layers.

    Attributes:
        name: Name of the graph in the contract.
        model: The graph itself, in float32.
        layers: Layers that can be quantised, in the order of computation.

    Args:
        name: Name of the graph in the contract.
        content: ONNX file of the graph.

    Raises:
        BundleError: The nodes don't say which module they belong to.
    """

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.model = onnx.load_from_string(content)
        if not all("/" in node.name for node in self.model.graph.node):
            raise BundleError(
                f"{name}.onnx doesn't say which module its nodes belong to; export the bundle "
                "again with this release"
            )
        _fold_batch_norms(self.model)
        self.layers = _find_layers(self.model)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, in the order of computation."""
        return tuple(dict.fromkeys(layer.group for layer in self.layers))

    def chosen(self, groups: Collection[str]) -> list[Layer]:
        """The layers of some groups."""
        return [layer for layer in self.layers if layer.group in groups]

    def needed(self, groups: Collection[str], kind: GraphKind) -> list[str]:
        """Activations whose ranges quantising these groups needs."""
        layers = self.chosen(groups)
        results = [layer.writes for layer in layers] if kind == GraphKind.CPU else []
        return sorted({*(layer.reads for layer in layers), *results})

    def factors(self, kind: GraphKind) -> list[str]:
        """Factors of the scores of attention, whose ranges rounding them needs."""
        if kind != GraphKind.OPENVINO or self.name != GraphName.STEP:
            return []
        scores = scores_of(self.model, find_products(self.model))
        return sorted({name for node in scores for name in node.input})

    def with_outputs(self, tensors: Iterable[str]) -> bytes:
        """The graph, serialised, with inner tensors among its outputs."""
        model = ModelProto()
        model.CopyFrom(self.model)
        there = {value.name for value in (*model.graph.output, *model.graph.input)}
        for name in tensors:
            if name not in there:
                model.graph.output.append(helper.make_empty_tensor_value_info(name))
        return bytes(model.SerializeToString())

    def quantised(self, entry: Quantisation) -> bytes:
        """The graph, serialised, in the form that an entry of a manifest describes.

        Equal entries give equal bytes.

        Args:
            entry: Groups of this graph to quantise, the ranges that `needed` names, and levels of
                the parts of attention to compute in integers.
        """
        model = ModelProto()
        model.CopyFrom(self.model)
        if entry.kind == GraphKind.OPENVINO:
            norm_channels_in_place(model)
        writer = _Writer(model, entry.ranges.get(self.name, {}), entry.kind, entry.number)
        writer.write(self.chosen(entry.groups.get(self.name, ())))
        if entry.attention:
            quantise_attention(model, self.name, entry)
        _drop_unused(model)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def _find_layers(model: ModelProto) -> list[Layer]:
    graph = model.graph
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes = _shapes(model)
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    kept_float = _makers_of(model, "logits", constants)
    found = []
    for node in graph.node:
        if not _is_layer(node, constants) or node.name in kept_float:
            continue
        writes = node.output[0]
        following = readers.get(writes, [])
        if len(following) == 1 and following[0].op_type in RECTIFIERS and writes not in outputs:
            writes = following[0].output[0]
        weights = constants[node.input[1]]
        positions = shapes.get(node.output[0], ())[2:] if node.op_type == "Conv" else ()
        found.append((node, writes, prod(weights) * prod(positions)))
    modules = _modules([node.name.partition("/")[0] for node, _, _ in found])
    return [
        Layer(node.name, module, node.input[0], writes, products)
        for (node, writes, products), module in zip(found, modules, strict=True)
    ]


def _is_layer(node: NodeProto, constants: Collection[str]) -> bool:
    return (
        node.op_type in WEIGHTED and node.input[1] in constants and node.input[0] not in constants
    )


def _makers_of(model: ModelProto, output: str, constants: Collection[str]) -> set[str]:
    """Names of the layers that an output is made from without another layer in between."""
    makers = {name: node for node in model.graph.node for name in node.output}
    waiting, found, seen = [output], set(), set()
    while waiting:
        name = waiting.pop()
        if name in seen or (node := makers.get(name)) is None:
            continue
        seen.add(name)
        if _is_layer(node, constants):
            found.add(node.name)
        else:
            waiting += node.input
    return found


def _modules(names: list[str]) -> list[str]:
    """The modules to quantise together, as fine as at most `MOST_GROUPS` of them allow."""
    parts = [name.split(".") for name in names]
    depth = 1
    deepest = max((len(part) for part in parts), default=1)
    while depth < deepest and len({tuple(p[: depth + 1]) for p in parts}) <= MOST_GROUPS:
        depth += 1
    return [".".join(part[:depth]) for part in parts]


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors; an extent that varies counts as 1."""
    graph = model.graph
    return {
        value.name: tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }


class _Writer:
    """Puts Q/DQ pairs into a graph."""

    def __init__(
        self, model: ModelProto, ranges: Mapping[str, Range], kind: GraphKind, number: NumberType
    ) -> None:
        self._model = model
        self._ranges = ranges
        self._cpu = kind == GraphKind.CPU
        self._unsigned = kind == GraphKind.OPENVINO
        self._fp8 = number == NumberType.FP8
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._joints = joints(list(model.graph.node)) if kind == GraphKind.OPENVINO else {}
        self._nodes: list[NodeProto] = []
        self._rounded: dict[str, str] = {}  # activations that have a Q/DQ pair, and its result
        self._weights: dict[str, tuple[str, NDArray[np.float32]]] = {}

    def write(self, layers: list[Layer]) -> None:
        """Quantise some layers."""
        chosen = {layer.node: layer for layer in layers}
        results = {layer.writes for layer in layers} if self._cpu else set()
        for node in list(self._model.graph.node):
            if (layer := chosen.get(node.name)) is not None:
                self._quantise(node, layer.reads)
            self._nodes.append(node)
            for index, name in enumerate(node.output):
                if name in results:
                    # Every reader of the result, graph outputs too, gets the rounded one.
                    node.output[index] = f"{name}_float"
                    self._pair(f"{name}_float", name, self._ranges[name], name)
                    self._rounded[name] = name
        del self._model.graph.node[:]
        self._model.graph.node.extend(self._nodes)
        if self._fp8:
            self._model.opset_import[0].version = max(
                FP8_OPSET, self._model.opset_import[0].version
            )

    def _quantise(self, node: NodeProto, reads: str) -> None:
        if reads not in self._rounded:
            self._rounded[reads] = f"{reads}_rounded"
            self._pair(reads, f"{reads}_rounded", self._ranges[reads], reads)
        weight, axis = node.input[1], _output_axis(node)
        rounded, scales = self._weight(weight, axis)
        node.input[0], node.input[1] = self._rounded[reads], rounded
        if self._cpu and len(node.input) > 2 and node.input[2]:
            bias = numpy_helper.to_array(self._constants[node.input[2]])
            name = f"{node.name}_bias"
            scale = scales * self._scale(self._ranges[reads])[0]
            limits = np.iinfo(np.int32)
            whole = np.clip(np.rint(bias / scale.astype(np.float64)), limits.min, limits.max)
            self._dequantise(name, whole.astype(np.int32), scale, 0)
            node.input[2] = name

    def _weight(self, name: str, axis: int) -> tuple[str, NDArray[np.float32]]:
        """The rounded form of a weight, and its scale for each output channel."""
        if name not in self._weights:
            weight = numpy_helper.to_array(self._constants[name]).astype(np.float32)
            others = tuple(i for i in range(weight.ndim) if i != axis)
            largest = np.abs(weight).max(axis=others)
            steps = FP8_LARGEST if self._fp8 else 127.0
            scale = np.maximum(largest / steps, SMALLEST_SCALE).astype(np.float32)
            shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
            scaled = weight / scale.reshape(shape)
            whole: Array
            if self._fp8:
                whole = np.clip(scaled, -FP8_LARGEST, FP8_LARGEST).astype(ml_dtypes.float8_e4m3fn)
            else:
                whole = np.clip(np.rint(scaled), -127, 127).astype(np.int8)
            self._dequantise(f"{name}_rounded", whole, scale, axis)
            self._weights[name] = f"{name}_rounded", scale
        return self._weights[name]

    def _scale(self, limits: Range) -> tuple[np.float32, np.generic]:
        """Scale and zero point of an activation with this range."""
        low, high = limits
        if self._cpu or (self._unsigned and low >= 0):
            scale = np.float32(max((high - low) / 255, SMALLEST_SCALE))
            return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))
        largest = max(-low, high)
        if self._fp8:
            scale = np.float32(max(largest / FP8_LARGEST, SMALLEST_SCALE))
            return scale, ml_dtypes.float8_e4m3fn(0)
        return np.float32(max(largest / 127, SMALLEST_SCALE)), np.int8(0)

    def _pair(self, given: str, rounded: str, limits: Range, name: str) -> None:
        """Add a Q/DQ pair from one tensor to another."""
        scale, zero = self._scale(limits)
        self._constant(f"{name}_scale", np.asarray(scale))
        self._constant(f"{name}_zero_point", np.asarray(zero))
        numbers = (f"{name}_scale", f"{name}_zero_point")
        self._nodes += rounding_pair(given, rounded, numbers, name, self._joints.get(given))

    def _dequantise(self, name: str, whole: Array, scale: NDArray[np.float32], axis: int) -> None:
        """Add a constant that is stored quantised."""
        self._constant(f"{name}_quantised", whole)
        self._constant(f"{name}_scale", scale)
        self._constant(f"{name}_zero_point", np.zeros(scale.shape, whole.dtype))
        inputs = [f"{name}_quantised", f"{name}_scale", f"{name}_zero_point"]
        self._nodes.append(
            helper.make_node("DequantizeLinear", inputs, [name], f"/dequantise_{name}", axis=axis)
        )

    def _constant(self, name: str, value: Array) -> None:
        assert name not in self._constants, name
        tensor = numpy_helper.from_array(np.asarray(value), name)
        self._constants[name] = tensor
        self._model.graph.initializer.append(tensor)


def _output_axis(node: NodeProto) -> int:
    """The weight's axis of output channels."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul":
        return 1
    transposed = {a.name: a.i for a in node.attribute}.get("transB", 0)
    return 0 if transposed else 1


def _fold_batch_norms(model: ModelProto) -> None:
    """Make batch norms a part of the convolutions before them, whose weights are rounded."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    makers = {name: node for node in graph.node for name in node.output}
    folded: list[NodeProto] = []
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = makers.get(norm.input[0])
        if conv is None or conv.op_type != "Conv" or readers[norm.input[0]] != 1:
            continue
        scale, shift, mean, variance = (
            numpy_helper.to_array(constants[name]).astype(np.float64) for name in norm.input[1:5]
        )
        epsilon = {a.name: a.f for a in norm.attribute}.get("epsilon", 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        weight = numpy_helper.to_array(constants[conv.input[1]]).astype(np.float64)
        bias = np.zeros(len(weight))
        if len(conv.input) > 2:
            bias = numpy_helper.to_array(constants[conv.input[2]]).astype(np.float64)
        made = {
            "weight": weight * factor.reshape(-1, *[1] * (weight.ndim - 1)),
            "bias": (bias - mean) * factor + shift,
        }
        for part, value in made.items():
            tensor = numpy_helper.from_array(value.astype(np.float32), f"{conv.name}_{part}_folded")
            graph.initializer.append(tensor)
        del conv.input[1:]
        conv.input.extend(f"{conv.name}_{part}_folded" for part in made)
        conv.output[0] = norm.output[0]
        folded.append(norm)
    for norm in folded:
        graph.node.remove(norm)
    _drop_unused(model)


def _names(graph: GraphProto) -> set[str]:
    """Names of all tensors that the nodes read and write, those of branches included."""
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    branches = (a.g for node in graph.node for a in node.attribute if a.HasField("g"))
    return names.union(*map(_names, branches))


def _drop_unused(model: ModelProto) -> None:
    """Drop constants and descriptions of tensors that no node uses."""
    graph = model.graph
    used = _names(graph)
    for values in (graph.initializer, graph.value_info):
        kept: list[TensorProto] = [value for value in values if value.name in used]
        del values[:]
        values.extend(kept)
