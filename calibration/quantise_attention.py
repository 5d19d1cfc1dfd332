"""Rewrites attention in ONNX graphs so that weights and values are multiplied in 8 bits.

Weights that softmax gives are rounded row by row, the largest weight of a row to 255, since over
thousands of tokens every weight is small. The sum of products is then divided by the sum of the
rounded weights, so that they add up to 1 again. Values have a fixed scale and zero point for each
channel. Values of the memory are rounded once, when they are written, and are levels in every slot.

In each product the values are the left factor, unsigned, and the weights the right one, signed by
subtracting 128. This is ONNX Runtime's fastest kernel on x86: 700 GFLOP/s on one thread, where the
other orders of signs give 40 to 330 and float 200. With 7 bits of values the products are exact on
processors without VNNI too. Maps stay channel-major, so memories keep their shapes, and only the
weights are transposed, as bytes. Long-term attention at 481x849, queries and keys included, takes
half of its float time.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from mavos_deploy.calibration.quantise_openvino import multiply_values, round_scores
from mavos_deploy.calibration.quantise_products import (
    CHANGED,
    Constant,
    Product,
    constants_of,
    find_products,
    memory_block,
)
from mavos_deploy.errors import BundleError
from mavos_deploy.runtime.bundles.quantisation import (
    HIGHEST_LEVEL,
    SCORES,
    GraphKind,
    Levels,
    Quantisation,
    Range,
)
from mavos_deploy.runtime.contract import GraphName

READERS = ("MatMulInteger", "Cast")  # operations that take levels of the memory
MOST_WEIGHT = 255  # the largest weight of a row
WEIGHT_ZERO = -128  # the rounded form of a weight of 0
# How far levels reach beyond the recorded values of a channel. On held-out clips of `tiny` it took
# the worst error of a frame's values, which comes from cutting off, from 22 to 14% of their range,
# and the usual error, which comes from rounding, from 2.4 to 2.5%.
HEADROOM = 1.25
SMALLEST_SCALE = 1e-12  # stands for 0, for a channel that is always 0

Attention = Mapping[str, tuple[Levels, ...]]  # levels of each block, by part


def levels_between(low: NDArray[np.float32], high: NDArray[np.float32]) -> Levels:
    """Levels that span 0 and the values seen in each channel, with `HEADROOM` on both sides.

    Args:
        low: Lowest values, float32 [channels].
        high: Highest values, float32 [channels].
    """
    lowest, highest = np.minimum(low, 0) * HEADROOM, np.maximum(high, 0) * HEADROOM
    scale = np.maximum((highest - lowest) / HIGHEST_LEVEL, SMALLEST_SCALE).astype(np.float32)
    zero = np.clip(np.rint(-lowest / scale), 0, HIGHEST_LEVEL)
    return Levels(tuple(map(float, scale)), tuple(map(int, zero)))


def quantise_attention(model: ModelProto, graph: str, entry: Quantisation) -> None:
    """Compute attention in integers, in place.

    Args:
        model: A graph in float, or with quantised layers.
        graph: Name of the graph in the contract.
        entry: Kind of the graphs, levels of the parts to change, and ranges of the scores' factors
            where those are among them.

    Raises:
        BundleError: The attention is not in the form that this release exports.
    """
    attention = entry.attention
    if graph == GraphName.STEP:
        if entry.kind == GraphKind.OPENVINO:
            _rewrite_for_openvino(model, attention, entry.ranges.get(graph, {}))
        else:
            _rewrite_products(model, attention)
    elif "memory" in attention and graph in CHANGED["memory"]:
        _rewrite_ends(model, attention["memory"])


def _rewrite_products(model: ModelProto, attention: Attention) -> None:
    products = {p.product.name: p for p in find_products(model) if p.part in attention}
    dropped = {p.transpose.name for p in products.values()}
    constant = constants_of(model)
    extents = {
        value.name: value.type.tensor_type.shape.dim[-2:]
        for value in model.graph.value_info
        if len(value.type.tensor_type.shape.dim) > 1
    }
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.name in dropped:
            continue
        product = products.get(node.name)
        if product is None:
            nodes.append(node)
            continue
        queries, tokens = (dim.dim_value for dim in extents[product.softmax.output[0]])
        if not (queries and tokens):
            raise BundleError(
                f"{GraphName.STEP}: {product.softmax.name} takes any number of tokens, and int8 "
                "attention is written for one; export a bundle for your videos' size"
            )
        levels = attention[product.part][product.block]
        nodes += _integer_product(product, levels, queries, tokens, constant)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if "memory" in attention:
        _moved_as_levels(model, products.values())


def _rewrite_for_openvino(
    model: ModelProto, attention: Attention, ranges: Mapping[str, Range]
) -> None:
    products = find_products(model)
    if SCORES in attention:
        round_scores(model, products, ranges)
    chosen = [product for product in products if product.part in attention]
    multiply_values(model, chosen, attention)
    if "memory" in attention:
        _moved_as_levels(model, chosen)


def _integer_product(
    product: Product, levels: Levels, queries: int, tokens: int, constant: Constant
) -> list[NodeProto]:
    """Compute `values @ weights` as integers: [B, C, M] x [B, N, M] to [B, C, N]."""
    name, out = product.product.name, product.product.output[0]
    nodes: list[NodeProto] = []

    def add(kind: str, inputs: list[str], what: str, **attributes: Any) -> str:  # noqa: ANN401
        made = out if what == "out" else f"{out}_{what}"
        nodes.append(helper.make_node(kind, inputs, [made], f"{name}_{what}", **attributes))
        return made

    values = product.values
    if product.part == "self":
        nodes += _rounding(values, f"{out}_values", levels, f"{name}_values", constant)
        values = f"{out}_values"
    zero = constant("weight_zero", np.int8(WEIGHT_ZERO))
    # One row for each query of each group, so that the rows' scales lie along axis 0.
    shape = constant(f"rows_of_{tokens}", np.array([-1, tokens]))
    rows = add("Reshape", [product.softmax.output[0], shape], "rows")
    last = constant("last_axis", np.array([1]))
    largest = add("ReduceMax", [rows, last], "largest", keepdims=0)
    step = add("Mul", [largest, constant("weight_step", np.float32(1 / MOST_WEIGHT))], "step")
    count = add("Shape", [step], "count")
    fill = numpy_helper.from_array(np.array([WEIGHT_ZERO], np.int8))
    zeros = add("ConstantOfShape", [count], "zeros", value=fill)
    rounded = add("QuantizeLinear", [rows, step, zeros], "rounded", axis=0)
    back = constant(f"queries_{queries}_of_{tokens}", np.array([-1, queries, tokens]))
    weights = add("Reshape", [rounded, back], "queries")
    weights = add("Transpose", [weights], "weights", perm=[0, 2, 1])
    unsigned = constant("value_zero", np.uint8(0))  # added behind the product, for each channel
    ones = constant(f"ones_{tokens}", np.ones((1, tokens), np.uint8))
    sums = add("MatMulInteger", [ones, weights, unsigned, zero], "sums")
    total = add("MatMulInteger", [values, weights, unsigned, zero], "total")
    sums = add("Reciprocal", [add("Cast", [sums], "real_sums", to=TensorProto.FLOAT)], "factor")
    mean = add("Mul", [add("Cast", [total], "real_total", to=TensorProto.FLOAT), sums], "mean")
    scale, zero_point = (
        np.array(part, np.float32)[:, None] for part in (levels.scale, levels.zero_point)
    )
    where = f"{product.part}_{product.block}"
    scaled = add("Mul", [mean, constant(f"{where}_scale", scale)], "scaled")
    add("Add", [scaled, constant(f"{where}_shift", -scale * zero_point)], "out")
    return nodes


def _moved_as_levels(model: ModelProto, products: Collection[Product]) -> None:
    """Turn the step's memories, and the tensors between them and a product, into levels."""
    makers = {name: node for node in model.graph.node for name in node.output}
    levels: set[str] = set()
    waiting = [product.values for product in products if product.part == "memory"]
    while waiting:
        name = waiting.pop()
        levels.add(name)
        if (node := makers.get(name)) is not None:
            waiting += node.input if node.op_type == "Concat" else node.input[:1]
    for node in model.graph.node:
        moved = set(node.output) & levels or node.op_type in READERS
        if not moved and (read := sorted(levels.intersection(node.input))):
            raise BundleError(
                f"{GraphName.STEP}: {node.name} reads {read[0]}, which only attention should read; "
                "export the bundle again"
            )
    for value in (*model.graph.input, *model.graph.value_info):
        if value.name in levels:
            value.type.tensor_type.elem_type = TensorProto.UINT8


def _rewrite_ends(model: ModelProto, blocks: tuple[Levels, ...]) -> None:
    """Read and write levels where the graph's inputs and outputs are values of the memory."""
    graph, constant = model.graph, constants_of(model)
    first: list[NodeProto] = []
    last: list[NodeProto] = []
    renamed: dict[str, str] = {}
    ends = [(value, True) for value in graph.input] + [(value, False) for value in graph.output]
    for value, is_input in ends:
        if (block := memory_block(value.name)) is None:
            continue
        real = renamed[value.name] = f"{value.name}_float"
        value.type.tensor_type.elem_type = TensorProto.UINT8
        if is_input:
            scale, zero = _level_constants(blocks[block], f"value_{block}", constant)
            inputs = [value.name, scale, zero]
            name = f"/restore_{value.name}"
            first.append(helper.make_node("DequantizeLinear", inputs, [real], name, axis=1))
        else:
            name = f"/round_{value.name}"
            last += _rounding(real, value.name, blocks[block], name, constant, f"value_{block}")
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)


def _rounding(
    real: str, rounded: str, levels: Levels, name: str, constant: Constant, prefix: str = ""
) -> list[NodeProto]:
    """Round values, with channels on axis 1; values beyond the levels are cut off."""
    scale, zero = _level_constants(levels, prefix or rounded, constant)
    wide = f"{rounded}_wide"
    bounds = [
        constant("lowest_level", np.uint8(0)),
        constant("highest_level", np.uint8(HIGHEST_LEVEL)),
    ]
    return [
        helper.make_node("QuantizeLinear", [real, scale, zero], [wide], name, axis=1),
        helper.make_node("Clip", [wide, *bounds], [rounded], f"{name}_within"),
    ]


def _level_constants(levels: Levels, prefix: str, constant: Constant) -> tuple[str, str]:
    return (
        constant(f"{prefix}_scale", np.array(levels.scale, np.float32)),
        constant(f"{prefix}_zero_point", np.array(levels.zero_point, np.uint8)),
    )
