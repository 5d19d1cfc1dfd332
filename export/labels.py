"""Labels of the output size, in a form for CPUs, where making them would take most of the time.

Soft aggregation leaves the largest logit of a single group as it is, so it is skipped. Most pixels
lie between logits of one label and have that label too; only the others are upsampled, see
`label_cells`. Where that would take longer, and in several groups, labels are made in bands of
rows, one after another, so that only one band's logits are in memory, and in the processor's
caches. A band is upsampled from the few rows of logits around it. Its labels are those of a running
maximum over the channels. Labels of a single group that are small anyway are made in one piece,
where so many small steps would take longer.

PyTorch has no shapes that depend on numbers in a branch of a graph, and tracing so many bands would
take minutes. So this is an operator of its own to it, which becomes ONNX's operators on export.
"""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import onnxscript
import torch
from onnx import TensorProto
from torch import Tensor

from mavos_deploy.export.label_cells import along, in_cells, with_borders
from mavos_deploy.export.label_nodes import Nodes, branch, counted, numbers, one_after_another
from mavos_deploy.export.soft_aggregation import PROBABILITY_MARGIN, soft_aggregation

BANDS = 16  # of rows, labelled one after another; more where several groups' logits are many
BAND = 7 << 19  # most logits in a band of several groups: 14 MB
DEARER = 32  # a pixel made in its cell takes as long as so many pixels of a channel in a band
SMALL = 1 << 18  # pixels of a label map of a single group that is made in one piece

op: Any = onnxscript.opset18  # its signatures don't fit each other


@torch.library.custom_op("mavos::labels", mutates_args=())
def labels(logits: Tensor, row_weights: Tensor, column_weights: Tensor) -> Tensor:
    """Upsample the logits of all groups, and merge them into the label of every pixel.

    Args:
        logits: [groups, channels, h, w], the background first; finite; h and w of at least 2.
        row_weights: [H, h], interpolation of the rows, as `runtime.resize.interpolation` makes it:
            each row is made of one row of logits or of two neighbours, by weights that are not
            negative and add up to 1, and a later row not of earlier ones.
        column_weights: [W, w], the same for the columns.

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
        then_branch=branch(_of_one, *given),
        else_branch=branch(_of_several, *given),
    )


def _of_one(
    build: Nodes, logits: ir.Value, row_weights: ir.Value, column_weights: ir.Value
) -> ir.Value:
    height, width = build.Shape(row_weights, end=1), build.Shape(column_weights, end=1)
    pixels = build.Squeeze(build.Mul(height, width))
    given = build.Squeeze(logits, numbers(build, 0)), row_weights, column_weights
    return build.If(
        build.LessOrEqual(pixels, build.Constant(value_int=SMALL)),
        then_branch=branch(_in_one_piece, *given),
        else_branch=branch(_of_many_pixels, *given),
    )


def _in_one_piece(
    build: Nodes, logits: ir.Value, row_weights: ir.Value, column_weights: ir.Value
) -> ir.Value:
    wide = _wide(build, logits, column_weights)
    full = build.MatMul(row_weights, wide)
    return build.Cast(build.ArgMax(full, axis=0, keepdims=0), to=TensorProto.UINT8)


def _of_many_pixels(
    build: Nodes, logits: ir.Value, row_weights: ir.Value, column_weights: ir.Value
) -> ir.Value:
    largest = build.ArgMax(logits, axis=0, keepdims=0)
    borders = with_borders(build, largest)
    rows, columns = along(build, row_weights), along(build, column_weights)
    cells = build.ReduceSum(build.Cast(borders, to=TensorProto.INT64), keepdims=0)
    in_each = build.Squeeze(build.Mul(rows.most, columns.most))
    alone = build.Mul(build.Mul(cells, in_each), build.Constant(value_int=DEARER))
    height, width = build.Shape(row_weights, end=1), build.Shape(column_weights, end=1)
    everywhere = build.Mul(build.Mul(height, width), build.Shape(logits, end=1))
    return build.If(
        build.LessOrEqual(alone, build.Squeeze(everywhere)),
        then_branch=branch(
            lambda within: in_cells(within, logits, largest, borders, rows, columns)
        ),
        else_branch=branch(_everywhere, logits, row_weights, column_weights),
    )


def _everywhere(
    build: Nodes, logits: ir.Value, row_weights: ir.Value, column_weights: ir.Value
) -> ir.Value:
    wide = _wide(build, logits, column_weights)
    return _in_bands(build, row_weights, _share(build, row_weights), wide, _largest)


def _span(build: Nodes, touched: ir.Value, length: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The first 1 of each row, and the position behind the last one.

    Args:
        build: Takes the nodes.
        touched: 0 and 1, int64 [..., length].
        length: As a vector of one number.

    Returns:
        [..., 1] both; `length` and 0 where all are 0.
    """
    one, last = numbers(build, 1), numbers(build, -1)
    # Counted from 1, from the start and from the end.
    places = counted(build, length)
    from_end = build.Sub(build.Add(length, one), places)
    end = build.ReduceMax(build.Mul(touched, places), last, keepdims=1)
    from_last = build.ReduceMax(build.Mul(touched, from_end), last, keepdims=1)
    return build.Sub(length, from_last), end


def _of_several(
    build: Nodes, logits: ir.Value, row_weights: ir.Value, column_weights: ir.Value
) -> ir.Value:
    wide = _wide(build, logits, column_weights)
    of_row = build.Div(build.Size(wide), build.Shape(row_weights, start=1))
    most = build.Max(build.Div(numbers(build, BAND), of_row), numbers(build, 1))
    each = build.Min(_share(build, row_weights), most)
    return _in_bands(build, row_weights, each, wide, _merged)


def _wide(build: Nodes, logits: ir.Value, column_weights: ir.Value) -> ir.Value:
    """Logits [..., h, w] at the output's width, [..., h, W]."""
    return build.MatMul(logits, build.Transpose(column_weights, perm=[1, 0]))


def _share(build: Nodes, rows: ir.Value) -> ir.Value:
    """Number of rows in each of the bands."""
    height = build.Shape(rows, end=1)
    return build.Div(build.Add(height, numbers(build, BANDS - 1)), numbers(build, BANDS))


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
        label: Makes labels [n, width] of the interpolation of n rows, [n, k], and of k rows of
            logits at the output's width, [..., channels, k, width].
    """
    nothing, height = numbers(build, 0), build.Shape(rows, end=1)
    count = build.Div(build.Sub(build.Add(height, each), numbers(build, 1)), each)
    all_rows = build.Mul(each, count)
    beyond = build.Sub(all_rows, height)
    whole = build.Pad(rows, build.Concat(nothing, nothing, beyond, nothing, axis=0))
    shape = build.Concat(count, each, build.Shape(rows, start=1), axis=0)
    always = build.Constant(value=ir.tensor(True))
    body = _band(build, build.Reshape(whole, shape), wide, label)
    bands = build.Loop(build.Squeeze(count), always, body=body)
    flat = build.Reshape(bands, build.Concat(all_rows, build.Shape(bands, start=2), axis=0))
    return build.Slice(flat, nothing, height, nothing)


def _band(
    build: Nodes,
    bands: ir.Value,
    wide: ir.Value,
    label: Callable[[Nodes, ir.Value, ir.Value], ir.Value],
) -> ir.Graph:
    """The body of a loop that labels one of the bands after another.

    Args:
        build: Takes the nodes around the loop.
        bands: Interpolation of the rows, [count, rows, h].
        wide: Logits at the output's width, [..., channels, h, width].
        label: As in `_in_bands`.
    """
    starts, depth = _needed(build, bands)
    body = Nodes()
    number, going = (
        ir.Value(name=name, shape=ir.Shape([]), type=ir.TensorType(dtype))
        for name, dtype in (("number", ir.DataType.INT64), ("going", ir.DataType.BOOL))
    )
    start = body.Gather(starts, body.Reshape(number, numbers(body, 1)))
    end, across, down = body.Add(start, depth), numbers(body, 1), numbers(body, -2)
    weights = body.Slice(body.Gather(bands, number), start, end, across)
    found = label(body, weights, body.Slice(wide, start, end, down))
    outputs = [body.Identity(going), found]
    return ir.Graph([number, going], outputs, nodes=body.tape.nodes, name="band")


def _needed(build: Nodes, bands: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Which of the h rows of logits each band is made of: the few around it.

    Args:
        build: Takes the nodes.
        bands: Interpolation of the rows, [count, rows, h].

    Returns:
        The first row of each band, [count], and the number of rows that every band takes, [1].
    """
    first, second = numbers(build, 0), numbers(build, 1)
    positive = build.Greater(bands, build.Constant(value_float=0.0))
    touched = build.ReduceMax(build.Cast(positive, to=TensorProto.FLOAT), second, keepdims=0)
    height = build.Shape(bands, start=2)
    start, end = _span(build, build.Cast(touched, to=TensorProto.INT64), height)
    depth = build.ReduceMax(build.Sub(end, start), first, keepdims=0)
    start = build.Squeeze(build.Min(start, build.Sub(height, depth)), second)
    return start, depth


def _largest(build: Nodes, rows: ir.Value, logits: ir.Value) -> ir.Value:
    """Labels of a single group, whose channels follow one another.

    Args:
        build: Takes the nodes.
        rows: Interpolation of the rows, [n, h].
        logits: Logits at the output's width, [channels, h, width].
    """

    def channel(within: Nodes, number: ir.Value) -> ir.Value:
        return within.MatMul(rows, within.Gather(logits, number))

    objects = build.Sub(build.Shape(logits, end=1), numbers(build, 1))
    background = channel(build, build.Constant(value_int=0))
    return one_after_another(build, background, objects, channel)


def _merged(build: Nodes, rows: ir.Value, logits: ir.Value) -> ir.Value:
    """Labels of several groups: `soft_aggregation`.

    Args:
        build: Takes the nodes.
        rows: Interpolation of the rows, [n, h].
        logits: Logits at the output's width, [groups, channels, h, width].
    """
    first, second = numbers(build, 0), numbers(build, 1)
    full = build.MatMul(rows, logits)
    exponent = build.Exp(build.Sub(full, build.ReduceMax(full, second)))
    probabilities = build.Div(exponent, build.ReduceSum(exponent, second))
    background = build.Slice(probabilities, first, second, second)
    shape = build.Concat(numbers(build, -1), build.Shape(full, start=2), axis=0)
    channels = build.Reshape(probabilities, shape)
    each = build.Sub(build.Shape(full, start=1, end=2), second)
    bounds = [
        build.Constant(value_float=bound) for bound in (PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    ]

    def channel(within: Nodes, number: ir.Value) -> ir.Value:
        # The background lies before the objects of every group.
        before = within.Div(within.Sub(number, numbers(within, 1)), each)
        place = within.Squeeze(within.Add(number, before))
        return within.Clip(within.Gather(channels, place), *bounds)

    product = build.Clip(build.ReduceProd(background, first, keepdims=0), *bounds)
    nothing = build.Squeeze(product, first)
    objects = build.Mul(each, build.Shape(full, end=1))
    return one_after_another(build, nothing, objects, channel)


# What becomes of the operator in torch.onnx.export.
TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.mavos.labels.default: _in_onnx
}
