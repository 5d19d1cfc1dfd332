"""Rewrites layer norms over the channels of a map, so that OpenVINO leaves the map as it lies.

A map [B, C, h, w] is exported with its channels turned to the end for the norm and back behind it.
OpenVINO keeps maps between integer convolutions with the channels innermost already, and turns them
all the same, in four passes over each map. The same norm in sums over axis 1 needs no turn.
"""

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

TO_LAST = [0, 2, 3, 1]  # channels behind the position
TO_SECOND = [0, 3, 1, 2]  # and back
EPSILON = 1e-5  # ONNX's, where a norm names none


def norm_channels_in_place(model: ModelProto) -> None:
    """Compute layer norms between two transpositions without them, in place.

    Names of the results stay. Layer norms of another form are left as they are.

    Args:
        model: A graph in float.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {value.name for value in graph.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    replaced: dict[str, list[NodeProto]] = {}  # what stands in place of a node, by its name
    for norm in graph.node:
        if norm.op_type != "LayerNormalization":
            continue
        there, following = makers.get(norm.input[0]), readers.get(norm.output[0], [])
        if there is None or readers[norm.input[0]] != [norm] or len(following) != 1:
            continue
        if outputs & {norm.input[0], norm.output[0]}:
            continue
        back, weights = following[0], norm.input[1:]
        if _turn(there) != TO_LAST or _turn(back) != TO_SECOND:
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in norm.attribute}
        over_last = attributes.get("axis", -1) in (-1, len(TO_LAST) - 1)
        if not over_last or len(weights) != 2 or any(name not in constants for name in weights):
            continue
        scale, shift = (numpy_helper.to_array(constants[name])[:, None, None] for name in weights)
        numbers = {
            "axis": np.array([1]),
            "epsilon": np.float32(attributes.get("epsilon", EPSILON)),
            "scale": scale,
            "shift": shift,
        }
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), f"{norm.name}_{what}")
            for what, value in numbers.items()
        )
        replaced |= {there.name: [], back.name: []}
        replaced[norm.name] = _sums(norm.name, there.input[0], back.output[0])
    nodes = [new for node in graph.node for new in replaced.get(node.name, [node])]
    del graph.node[:]
    graph.node.extend(nodes)


def _turn(node: NodeProto) -> list[int] | None:
    """The order of axes that a node makes, None if it does something else."""
    if node.op_type != "Transpose" or not node.attribute:
        return None
    return list(node.attribute[0].ints)


def _sums(name: str, given: str, out: str) -> list[NodeProto]:
    """Nodes of a norm over axis 1, whose constants are named after it."""
    nodes: list[NodeProto] = []

    def add(kind: str, inputs: list[str], what: str, **attributes: Any) -> str:  # noqa: ANN401
        made = f"{name}_{what}" if what != "out" else out
        nodes.append(helper.make_node(kind, inputs, [made], f"{name}_{what}", **attributes))
        return made

    mean = add("ReduceMean", [given, f"{name}_axis"], "mean", keepdims=1)
    centred = add("Sub", [given, mean], "centred")
    squares = add("Mul", [centred, centred], "squares")
    variance = add("ReduceMean", [squares, f"{name}_axis"], "variance", keepdims=1)
    deviation = add("Sqrt", [add("Add", [variance, f"{name}_epsilon"], "raised")], "deviation")
    factor = add("Reciprocal", [deviation], "factor")
    scaled = add("Mul", [add("Mul", [centred, factor], "normed"), f"{name}_scale"], "scaled")
    add("Add", [scaled, f"{name}_shift"], "out")
    return nodes
