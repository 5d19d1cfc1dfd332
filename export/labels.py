"""Labels of the output size, in a form for CPUs, where making them would take most of the time.

Soft aggregation leaves the largest logit of a single group as it is, so it is skipped. A pixel
between logits of which the background's is the largest everywhere is background, so only the
rectangle that objects may reach is upsampled. Labels are made in bands of rows, one after another,
and of a single group one channel after another, so that few logits are in memory, and in the
processor's caches. A band is a product with the few rows of logits around it. Labels of a single
group that are small anyway are made in one piece, where so many small steps would take longer.

PyTorch has no shapes that depend on numbers in a branch of a graph, and tracing so many bands would
take minutes. So this is an operator of its own to it, which becomes ONNX's operators on export.
"""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import onnxscript
import torch
from onnx import TensorProto
from onnx_ir.tape import Tape
from torch import Tensor

from mavos_deploy.export.soft_aggregation import PROBABILITY_MARGIN, soft_aggregation

BANDS = 16  # of rows, labelled one after another; more where several groups' logits are many
BAND = 7 << 19  # most logits in a band of several groups: 14 MB
SMALL = 1 << 18  # pixels of a label map of a single group that is made in one piece

op: Any = onnxscript.opset18  # its signatures don't fit each other


class Nodes:
    """Makes nodes of a branch: `nodes.MatMul(a, b)`, attributes by name."""

    def __init__(self) -> None:
        self.tape = Tape()

    def __getattr__(self, kind: str) -> Callable[..., ir.Value]:
        return lambda *inputs, **attributes: self.tape.op(kind, inputs, attributes)


@torch.library.custom_op("mavos::labels", mutates_args=())
def labels(logits: Tensor, row_weights: Tensor, column_weights: Tensor) -> Tensor:
    """Upsample the logits of all groups, and merge them into the label of every pixel.

    Args:
        logits: [groups, channels, h, w], the background first.
        row_weights: [H, h], interpolation of the rows.
        column_weights: [W, w], interpolation of the columns.

    Returns:
        uint8 [H, W]; see `soft_aggregation`.
    """
    full = row_weights @ (logits @ column_weights.transpose(0, 1))
    return soft_aggregation(full).to(torch.uint8)


@labels.register_fake
def _shape(logits: Tensor, row_weights: Tensor, column_weights: Tensor) -> Tensor:
    size = row_weights.shape[0], column_weights.shape[0]
    return logits.new_empty(size, dtype=torch.uint8)


def _in_onnx(logits: Any, row_weights: Any, column_weights: Any) -> Any:  # noqa: ANN401  # nodes of onnxscript, which are untyped
    """The same of ONNX's operators."""
    given = logits, row_weights, column_weights
    groups = op.Squeeze(op.Shape(logits, start=0, end=1))
    return op.If(
        op.Equal(groups, op.Constant(value_int=1)),
        then_branch=_branch(_of_one, *given),
        else_branch=_branch(_of_several, *given),
    )


def _branch(make: Callable[..., ir.Value], *given: ir.Value) -> ir.Graph:
    """A branch of the graph that makes one value of values around it."""
    build = Nodes()
    return ir.Graph([], [make(build, *given)], nodes=build.tape.nodes, name=make.__name__)


def _of_one(
    build: Nodes, logits: ir.Value, row_weights: ir.Value, column_weights: ir.Value
) -> ir.Value:
    height, width = build.Shape(row_weights, end=1), build.Shape(column_weights, end=1)
    pixels = build.Squeeze(build.Mul(height, width))
    given = build.Squeeze(logits, _numbers(build, 0)), row_weights, column_weights
    return build.If(
        build.LessOrEqual(pixels, build.Constant(value_int=SMALL)),
        then_branch=_branch(_in_one_piece, *given),
        else_branch=_branch(_where_objects_reach, *given),
    )


def _in_one_piece(
    build: Nodes, logits: ir.Value, row_weights: ir.Value, column_weights: ir.Value
) -> ir.Value:
    wide = build.MatMul(logits, build.Transpose(column_weights, perm=[1, 0]))
    return _largest(build, build.MatMul(row_weights, wide))


def _where_objects_reach(
    build: Nodes, logits: ir.Value, row_weights: ir.Value, column_weights: ir.Value
) -> ir.Value:
    first, second = _numbers(build, 0), _numbers(build, 1)
    largest = build.ArgMax(logits, axis=0, keepdims=0)
    is_object = build.Greater(largest, build.Constant(value_int=0))
    objects = build.Cast(is_object, to=TensorProto.FLOAT)
    of_rows = build.ReduceMax(objects, second, keepdims=0)
    of_columns = build.ReduceMax(objects, first, keepdims=0)
    top, bottom = _reached(build, row_weights, of_rows)
    left, right = _reached(build, column_weights, of_columns)
    columns = build.Transpose(build.Slice(column_weights, left, right, first), perm=[1, 0])
    rows = build.Slice(row_weights, top, bottom, first)
    wide = build.MatMul(logits, columns)
    found = _in_bands(build, rows, _share(build, rows), wide, _largest_by_channel)
    below = build.Sub(build.Shape(row_weights, end=1), bottom)
    beside = build.Sub(build.Shape(column_weights, end=1), right)
    return build.Pad(found, build.Concat(top, left, below, beside, axis=0))


def _reached(build: Nodes, weights: ir.Value, objects: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The first position along an axis that objects may reach, and the one behind the last.

    At least one position lies between them.

    Args:
        build: Takes the nodes.
        weights: Interpolation of the axis.
        objects: 1 where logits of an object are the largest, else 0, at the logits' size.
    """
    one, length = _numbers(build, 1), build.Shape(weights, end=1)
    weight = build.MatMul(weights, objects)
    positive = build.Greater(weight, build.Constant(value_float=0.0))
    touched = build.Cast(positive, to=TensorProto.INT64)
    # Counted from 1, from the start and from the end.
    places = build.CumSum(build.Expand(one, length), build.Constant(value_int=0))
    from_end = build.Sub(build.Add(length, one), places)
    end = build.Max(build.ReduceMax(build.Mul(touched, places), keepdims=1), one)
    last = build.ReduceMax(build.Mul(touched, from_end), keepdims=1)
    return build.Min(build.Sub(length, last), build.Sub(end, one)), end


def _of_several(
    build: Nodes, logits: ir.Value, row_weights: ir.Value, column_weights: ir.Value
) -> ir.Value:
    wide = build.MatMul(logits, build.Transpose(column_weights, perm=[1, 0]))
    of_row = build.Div(build.Size(wide), build.Shape(row_weights, start=1))
    most = build.Max(build.Div(_numbers(build, BAND), of_row), _numbers(build, 1))
    each = build.Min(_share(build, row_weights), most)
    return _in_bands(build, row_weights, each, wide, _merged)


def _share(build: Nodes, rows: ir.Value) -> ir.Value:
    """Number of rows in each of the bands."""
    height = build.Shape(rows, end=1)
    return build.Div(build.Add(height, _numbers(build, BANDS - 1)), _numbers(build, BANDS))


def _in_bands(
    build: Nodes,
    rows: ir.Value,
    each: ir.Value,
    wide: ir.Value,
    label: Callable[[Nodes, ir.Value, ir.Value], ir.Value],
) -> ir.Value:
    """Labels of one band of rows after another, uint8 [rows, width].

    Args:
        build: Takes the nodes.
        rows: Interpolation of the rows, [rows, h].
        each: Number of rows in a band.
        wide: Logits at the output's width, [..., channels, h, width].
        label: Makes labels [n, width] of the interpolation of n rows and of logits at the
            output's width, of which it needs few rows.
    """
    nothing, height = _numbers(build, 0), build.Shape(rows, end=1)
    count = build.Div(build.Sub(build.Add(height, each), _numbers(build, 1)), each)
    all_rows = build.Mul(each, count)
    beyond = build.Sub(all_rows, height)
    whole = build.Pad(rows, build.Concat(nothing, nothing, beyond, nothing, axis=0))
    shape = build.Concat(count, each, build.Shape(rows, start=1), axis=0)
    always = build.Constant(value=ir.tensor(True))
    body = _band(label, build.Reshape(whole, shape), wide, build)
    bands = build.Loop(build.Squeeze(count), always, body=body)
    flat = build.Reshape(bands, build.Concat(all_rows, build.Shape(bands, start=2), axis=0))
    return build.Slice(flat, nothing, height, nothing)


def _band(
    label: Callable[[Nodes, ir.Value, ir.Value], ir.Value],
    bands: ir.Value,
    wide: ir.Value,
    around: Nodes,
) -> ir.Graph:
    """The body of a loop that labels one of the bands after another.

    Args:
        label: Makes labels of a band's logits.
        bands: Interpolation of the rows, [count, rows, h].
        wide: Logits at the output's width, [..., h, width].
        around: Takes the nodes around the loop.
    """
    starts, depth = _needed(around, bands)
    build = Nodes()
    number, going = (
        ir.Value(name=name, shape=ir.Shape([]), type=ir.TensorType(dtype))
        for name, dtype in (("number", ir.DataType.INT64), ("going", ir.DataType.BOOL))
    )
    start = build.Gather(starts, build.Reshape(number, _numbers(build, 1)))
    end, across, down = build.Add(start, depth), _numbers(build, 1), _numbers(build, -2)
    weights = build.Slice(build.Gather(bands, number), start, end, across)
    found = label(build, weights, build.Slice(wide, start, end, down))
    outputs = [build.Identity(going), found]
    return ir.Graph([number, going], outputs, nodes=build.tape.nodes, name="band")


def _needed(build: Nodes, bands: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Which of the h rows of logits each band is made of: the few around it.

    Args:
        build: Takes the nodes.
        bands: Interpolation of the rows, [count, rows, h].

    Returns:
        The first row of each band, [count], and the number of rows that every band takes, [1].
    """
    first, second = _numbers(build, 0), _numbers(build, 1)
    positive = build.Greater(bands, build.Constant(value_float=0.0))
    touched = build.ReduceMax(build.Cast(positive, to=TensorProto.FLOAT), second, keepdims=0)
    touched = build.Cast(touched, to=TensorProto.INT64)
    height = build.Shape(bands, start=2)
    # Counted from 1, from the start and from the end.
    places = build.CumSum(build.Expand(second, height), build.Constant(value_int=0))
    from_end = build.Sub(build.Add(height, second), places)
    last = build.ReduceMax(build.Mul(touched, places), second, keepdims=0)
    start = build.Sub(height, build.ReduceMax(build.Mul(touched, from_end), second, keepdims=0))
    depth = build.ReduceMax(build.Sub(last, start), first, keepdims=1)
    return build.Min(start, build.Sub(height, depth)), depth


def _largest(build: Nodes, logits: ir.Value) -> ir.Value:
    """Labels of the logits of a single group [channels, n, width]."""
    return build.Cast(build.ArgMax(logits, axis=0, keepdims=0), to=TensorProto.UINT8)


def _largest_by_channel(build: Nodes, rows: ir.Value, logits: ir.Value) -> ir.Value:
    """Labels of a single group, of one channel after another; logits never lie together.

    Args:
        build: Takes the nodes.
        rows: Interpolation of the rows, [n, h].
        logits: Logits at the output's width, [channels, h, width].
    """
    first = build.MatMul(rows, build.Gather(logits, build.Constant(value_int=0)))
    background = build.ConstantOfShape(build.Shape(first), value=ir.tensor([0], ir.DataType.UINT8))
    others = build.Sub(build.Shape(logits, end=1), _numbers(build, 1))
    always = build.Constant(value=ir.tensor(True))
    body = _channel(rows, logits)
    _, labelled = build.tape.op_multi_out(
        "Loop",
        [build.Squeeze(others), always, first, background],
        {"body": body},
        num_outputs=2,
    )
    return labelled


def _channel(rows: ir.Value, logits: ir.Value) -> ir.Graph:
    """The body of a loop over objects: takes them where their logits are the largest so far."""
    build = Nodes()
    number, going, largest, label = (
        ir.Value(name=name, type=ir.TensorType(dtype), shape=shape)
        for name, dtype, shape in (
            ("number", ir.DataType.INT64, ir.Shape([])),
            ("going", ir.DataType.BOOL, ir.Shape([])),
            ("largest", ir.DataType.FLOAT, None),
            ("label", ir.DataType.UINT8, None),
        )
    )
    channel = build.Add(number, build.Constant(value_int=1))
    own = build.MatMul(rows, build.Gather(logits, channel))
    better = build.Greater(own, largest)
    found = build.Where(better, build.Cast(channel, to=TensorProto.UINT8), label)
    outputs = [build.Identity(going), build.Max(own, largest), found]
    return ir.Graph(
        [number, going, largest, label], outputs, nodes=build.tape.nodes, name="channel"
    )


def _merged(build: Nodes, rows: ir.Value, wide: ir.Value) -> ir.Value:
    """Labels of the logits of all groups [groups, channels, h, width]: `soft_aggregation`."""
    logits = build.MatMul(rows, wide)
    first, second = _numbers(build, 0), _numbers(build, 1)
    exponent = build.Exp(build.Sub(logits, build.ReduceMax(logits, second)))
    probabilities = build.Div(exponent, build.ReduceSum(exponent, second))
    background = build.Slice(probabilities, first, second, second)
    objects = build.Slice(probabilities, second, build.Shape(logits, start=1, end=2), second)
    shape = build.Concat(_numbers(build, -1), build.Shape(logits, start=2), axis=0)
    product = build.ReduceProd(background, first, keepdims=0)
    merged = build.Concat(product, build.Reshape(objects, shape), axis=0)
    least, most = (
        build.Constant(value_float=bound) for bound in (PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    )
    return _largest(build, build.Clip(merged, least, most))


def _numbers(build: Nodes, *values: int) -> ir.Value:
    return build.Constant(value_ints=list(values))


# What becomes of the operator in torch.onnx.export.
TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.mavos.labels.default: _in_onnx
}
