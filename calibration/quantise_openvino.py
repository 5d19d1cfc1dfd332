"""Rewrites attention in ONNX graphs so that OpenVINO multiplies in 8 bits.

OpenVINO computes a product in integers where both factors come from Q/DQ pairs with one scale a
tensor, the left one of any sign and the right one signed. So the weights stand on the left and the
values on the right, and the result, tokens by channels, is in the order in which OpenVINO's
convolutions read it.

The weights of a row are exp(score - largest score of the row), from 0 to 1, which 8 bits hold with
one scale for all rows. Their products are divided by the sum of the rounded weights, so that these
add up to 1. That takes the place of softmax, whose own division would make small numbers of all.

Measured on one thread of a Zen 5 at 481x849, a long-term attention with its scores takes 0.45 of
its float32 time in `lite` and 0.33 in mobilenet; bfloat16 takes 0.58 and 0.54.

Queries are attended in parts, so that the scores of a part stay in the processor's caches until
their weights are rounded.
"""

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from mavos_deploy.calibration.quantise_pairs import joints, rounding_pair
from mavos_deploy.calibration.quantise_products import Constant, Product, constants_of
from mavos_deploy.errors import BundleError
from mavos_deploy.runtime.bundles.quantisation import Levels, Range
from mavos_deploy.runtime.contract import GraphName

MOST_WEIGHT = 255  # the rounded form of a weight of 1
MOST_FACTOR = 127  # largest rounded query, key or value
SMALLEST_SCALE = 1e-12
# Scores of a part for one group of objects, at most. With `lite` at 481x849 (two cores of a Zen 4,
# in turns) a step in parts of 0.7 to 2.8 million scores takes 0.93 to 0.96 of the time of an
# undivided one, and 0.83 to 0.98 of it while other machines use the same last cache.
MOST_SCORES = 2_000_000


def scores_of(model: ModelProto, products: Collection[Product]) -> list[NodeProto]:
    """The products of queries and keys that the weights of some products come from."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found = []
    for product in products:
        node = makers.get(product.softmax.input[0])
        if node is not None and node.op_type == "Add":  # biases of the places in a window
            node = makers.get(node.input[0])
        if node is None or node.op_type != "MatMul":
            raise BundleError(
                f"{GraphName.STEP}: the scores before {product.softmax.name} are not in the form "
                "that this release exports; export the bundle again"
            )
        found.append(node)
    return found


def round_scores(
    model: ModelProto, products: Collection[Product], ranges: Mapping[str, Range]
) -> None:
    """Round the factors of the scores, in place.

    Args:
        model: Graph of a step.
        products: All products of its attention.
        ranges: Range of every factor, by tensor.
    """
    constant = constants_of(model)
    scores = {node.name for node in scores_of(model, products)}
    nodes: list[NodeProto] = []
    made = joints(list(model.graph.node))
    rounded: dict[str, str] = {}
    for node in model.graph.node:
        if node.name in scores:
            for index, name in enumerate(node.input):
                if name not in rounded:
                    scale = max(-ranges[name][0], ranges[name][1]) / MOST_FACTOR
                    step = constant(f"{name}_step", np.float32(max(scale, SMALLEST_SCALE)))
                    rounded[name] = f"{name}_as_factor"
                    zero = constant("factor_zero", np.int8(0))
                    nodes += rounding_pair(
                        name, rounded[name], (step, zero), rounded[name], made.get(name)
                    )
                node.input[index] = rounded[name]
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def multiply_values(
    model: ModelProto, products: Collection[Product], levels: Mapping[str, tuple[Levels, ...]]
) -> None:
    """Compute some products of weights and values in integers, in place.

    Args:
        model: Graph of a step.
        products: Products to change.
        levels: Levels of each block, by part of attention.
    """
    constant = constants_of(model)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.value_info
    }
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    makers = {name: node for node in model.graph.node for name in node.output}
    replaced: dict[str, list[NodeProto]] = {}  # what stands in place of a node, by its name
    for product, factors in zip(products, scores_of(model, products), strict=True):
        (mapped,) = readers[product.product.output[0]]
        if mapped.op_type != "Reshape" or len(shapes.get(mapped.output[0], ())) != 4:
            raise BundleError(
                f"{GraphName.STEP}: the result of {product.product.name} is not in the form that "
                "this release exports; export the bundle again"
            )
        own = levels[product.part][product.block]
        for node in (product.softmax, product.transpose, product.product):
            replaced[node.name] = []
        scores, made = [product.softmax.input[0]], list[NodeProto]()
        alone = len(readers[factors.output[0]]) == 1
        if alone and scores == list(factors.output):  # no biases between the two
            _, queries, tokens = shapes[product.softmax.output[0]]
            parts = -(-queries * tokens // MOST_SCORES)
            if parts > 1:
                bounds = [queries * index // parts for index in range(parts + 1)]
                scores, made = _in_parts(factors, bounds, makers, constant)
                replaced[factors.name] = []
        replaced[mapped.name] = made + _in_integers(
            product, scores, mapped.output[0], shapes[mapped.output[0]], own, constant
        )
    nodes = [new for node in model.graph.node for new in replaced.get(node.name, [node])]
    # Queries that are cut as bytes are not restored as a whole.
    read = {name for node in nodes for name in node.input}
    read |= {value.name for value in model.graph.output}
    del model.graph.node[:]
    model.graph.node.extend(node for node in nodes if read.intersection(node.output))


def _in_parts(
    product: NodeProto, bounds: list[int], makers: Mapping[str, NodeProto], constant: Constant
) -> tuple[list[str], list[NodeProto]]:
    """Scores of some queries after others: their names, and the nodes that compute them.

    Args:
        product: Node that multiplies all queries [B, N, K] and keys [B, K, M].
        bounds: First query of each part, and the number of queries.
        makers: Nodes by their outputs.
        constant: Adds constants.
    """
    queries, keys = product.input
    rounding = makers[queries] if makers[queries].op_type == "DequantizeLinear" else None
    names: list[str] = []
    nodes: list[NodeProto] = []

    def add(kind: str, inputs: list[str], what: str) -> str:
        made = f"{product.output[0]}_{what}_{len(names)}"
        nodes.append(helper.make_node(kind, inputs, [made], f"{product.name}_{what}_{len(names)}"))
        return made

    axis = constant("query_axis", np.array([1]))
    for start, stop in pairwise(bounds):
        span = [constant(f"query_{bound}", np.array([bound])) for bound in (start, stop)]
        part = add("Slice", [rounding.input[0] if rounding else queries, *span, axis], "queries")
        if rounding:  # cut as bytes, so that the pair stays beside its product
            part = add("DequantizeLinear", [part, *rounding.input[1:]], "restored")
        names.append(add("MatMul", [part, keys], "scores"))
    return names, nodes


def _in_integers(
    product: Product,
    scores: list[str],
    out: str,
    shape: list[int],
    levels: Levels,
    constant: Constant,
) -> list[NodeProto]:
    """Nodes that compute a map of attended values [B, C, h, w].

    Args:
        product: Product to compute.
        scores: Scores [B, n, M] of each part of the queries.
        out: Name of the map.
        shape: Its shape.
        levels: Levels of the values.
        constant: Adds constants.
    """
    _, channels, height, width = shape
    name = product.product.name
    where = f"{product.part}_{product.block}"
    scale, zero = (np.array(part, np.float32) for part in (levels.scale, levels.zero_point))
    nodes: list[NodeProto] = []

    def add(kind: str, inputs: list[str], what: str, **attributes: Any) -> str:  # noqa: ANN401
        made = out if what == "out" else f"{out}_{what}"
        nodes.append(helper.make_node(kind, inputs, [made], f"{name}_{what}", **attributes))
        return made

    last = constant("last_axis", np.array([-1]))
    step, zero_weight = constant("step", np.float32(1 / MOST_WEIGHT)), constant("low", np.uint8(0))
    values = product.values
    if product.part == "memory":  # levels already, which fit in 7 bits
        values = add("Cast", [values], "levels", to=TensorProto.FLOAT)
    else:  # the same range in 8 bits, with 0 in the middle
        scale, zero = scale / np.float32(2), np.float32(2) * zero - np.float32(MOST_FACTOR + 1)
        steps = constant(f"{where}_steps", (1 / scale)[:, None])
        values = add("Mul", [values, steps], "in_steps")
        values = add("Add", [values, constant(f"{where}_zeros", zero[:, None])], "levels")
    whole = constant("one", np.float32(1)), constant("mid", np.int8(0))
    nodes += rounding_pair(values, f"{out}_values", whole, f"{out}_values")
    turned = add("Transpose", [f"{out}_values"], "turned", perm=[0, 2, 1])
    means = []
    for index, part in enumerate(scores):
        mark = f"_{index}" if len(scores) > 1 else ""
        largest = add("ReduceMax", [part, last], f"largest{mark}", keepdims=1)
        weights = add("Exp", [add("Sub", [part, largest], f"below{mark}")], f"unrounded{mark}")
        rounded = f"{out}_weights{mark}"
        nodes += rounding_pair(weights, rounded, (step, zero_weight), rounded)
        total = add("MatMul", [rounded, turned], f"total{mark}")
        sums = add("ReduceSum", [rounded, last], f"sums{mark}", keepdims=1)
        means.append(add("Div", [total, sums], f"mean{mark}"))
    mean = add("Concat", means, "means", axis=1) if len(means) > 1 else means[0]
    mean = add("Mul", [mean, constant(f"{where}_scale", scale)], "scaled")
    mean = add("Add", [mean, constant(f"{where}_shift", -scale * zero)], "shifted")
    grid = constant(f"grid_{height}_{width}_{channels}", np.array([-1, height, width, channels]))
    add("Transpose", [add("Reshape", [mean, grid], "map")], "out", perm=[0, 3, 1, 2])
    return nodes
