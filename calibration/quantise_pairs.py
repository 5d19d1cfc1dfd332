"""Q/DQ pairs: nodes that round a tensor and restore it."""

from onnx import NodeProto, helper


def rounding_pair(
    given: str, rounded: str, numbers: tuple[str, str], label: str, joined: NodeProto | None = None
) -> list[NodeProto]:
    """A Q/DQ pair from one tensor to another.

    Args:
        given: Name of the tensor to round.
        rounded: Name of the rounded tensor, in float.
        numbers: Names of the scale and of the zero point.
        label: A name for the nodes and for the tensor between them.
        joined: The `Concat` that makes the tensor, where its inputs are to be rounded in place of
            its output. OpenVINO 2026.4 moves a pair behind a `Concat` in front of it, and loses
            the sign there: a convolution that follows gives wrong results.
    """
    made = f"{label}_quantised"
    back = helper.make_node("DequantizeLinear", [made, *numbers], [rounded], f"/dequantise_{label}")
    if joined is None:
        there = helper.make_node("QuantizeLinear", [given, *numbers], [made], f"/quantise_{label}")
        return [there, back]
    parts = [f"{made}_{index}" for index in range(len(joined.input))]
    nodes = [
        helper.make_node("QuantizeLinear", [source, *numbers], [part], f"/quantise_{part}")
        for source, part in zip(joined.input, parts, strict=True)
    ]
    joint = helper.make_node("Concat", parts, [made], f"/join_{label}")
    joint.attribute.extend(joined.attribute)
    return [*nodes, joint, back]


def joints(nodes: list[NodeProto]) -> dict[str, NodeProto]:
    """The `Concat` that makes each tensor that comes from one, by the tensor's name."""
    return {node.output[0]: node for node in nodes if node.op_type == "Concat"}
