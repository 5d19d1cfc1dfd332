"""Parts that every way of making labels has in common."""

from collections.abc import Callable

import onnx_ir as ir
from onnx import TensorProto
from onnx_ir.tape import Tape


class Nodes:
    """Makes nodes of a branch: `nodes.MatMul(a, b)`, attributes by name."""

    def __init__(self) -> None:
        self.tape = Tape()

    def __getattr__(self, kind: str) -> Callable[..., ir.Value]:
        return lambda *inputs, **attributes: self.tape.op(kind, inputs, attributes)


def branch(make: Callable[..., ir.Value], *given: ir.Value) -> ir.Graph:
    """A branch of the graph that makes one value of values around it."""
    build = Nodes()
    return ir.Graph([], [make(build, *given)], nodes=build.tape.nodes, name="branch")


def one_after_another(
    build: Nodes,
    background: ir.Value,
    objects: ir.Value,
    channel: Callable[[Nodes, ir.Value], ir.Value],
) -> ir.Value:
    """Labels by the first channel with the largest value, whose channels follow one another.

    Args:
        build: Takes the nodes.
        background: Values of channel 0, of any shape.
        objects: Number of the other channels.
        channel: Makes the values of one of them, of the same shape, by its number from 1.
    """
    no_label = ir.tensor([0], ir.DataType.UINT8)
    start = background, build.ConstantOfShape(build.Shape(background), value=no_label)
    always = build.Constant(value=ir.tensor(True))
    body = Nodes()
    number, going, largest, label = (
        ir.Value(name=name, type=ir.TensorType(dtype), shape=shape)
        for name, dtype, shape in (
            ("number", ir.DataType.INT64, ir.Shape([])),
            ("going", ir.DataType.BOOL, ir.Shape([])),
            ("largest", ir.DataType.FLOAT, None),
            ("label", ir.DataType.UINT8, None),
        )
    )
    own_label = body.Add(number, body.Constant(value_int=1))
    own = channel(body, own_label)
    better = body.Greater(own, largest)
    labelled = body.Where(better, body.Cast(own_label, to=TensorProto.UINT8), label)
    outputs = [body.Identity(going), body.Max(own, largest), labelled]
    given = [number, going, largest, label]
    graph = ir.Graph(given, outputs, nodes=body.tape.nodes, name="channel")
    _, found = build.tape.op_multi_out(
        "Loop", [build.Squeeze(objects), always, *start], {"body": graph}, num_outputs=2
    )
    return found


def numbers(build: Nodes, *values: int) -> ir.Value:
    """Integers as a vector."""
    return build.Constant(value_ints=list(values))


def counted(build: Nodes, count: ir.Value) -> ir.Value:
    """1, 2, 3 and so on, as many as said by a vector of one number, int64."""
    ones = build.Expand(numbers(build, 1), count)
    return build.CumSum(ones, build.Constant(value_int=0))
