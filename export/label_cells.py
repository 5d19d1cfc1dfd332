"""Labels of a single group where a border runs, and copies of the logits' own labels elsewhere.

Four neighbouring logits and the pixels between them are a cell. Where all four have the same
largest channel, that is the largest one of every pixel between them, since interpolation is linear
along both axes. So only the cells through which a border runs are upsampled.
"""

from typing import NamedTuple

import onnx_ir as ir
from onnx import TensorProto

from mavos_deploy.export.label_nodes import Nodes, counted, numbers, one_after_another

AT_ONCE = 1 << 17  # pixels that are upsampled at a time: half a megabyte for each channel


class Axis(NamedTuple):
    """Where the pixels along an axis lie.

    Attributes:
        cells: The cell of each pixel, int64 [length].
        near: Weight of the cell's first logit in each pixel, [length].
        far: Weight of the second one, [length].
        starts: The first pixel of each cell, int64 [cells].
        counts: Number of pixels of each cell, int64 [cells].
        most: The largest of these numbers, int64 [1].
    """

    cells: ir.Value
    near: ir.Value
    far: ir.Value
    starts: ir.Value
    counts: ir.Value
    most: ir.Value


def with_borders(build: Nodes, largest: ir.Value) -> ir.Value:
    """Which cells a border runs through, bool [h - 1, w - 1].

    Args:
        build: Takes the nodes.
        largest: The largest channel of each logit, int64 [h, w].
    """
    axes, cells = numbers(build, 0, 1), build.Sub(build.Shape(largest), numbers(build, 1, 1))
    starts = [numbers(build, down, across) for down in (0, 1) for across in (0, 1)]
    corner, *others = (
        build.Slice(largest, start, build.Add(start, cells), axes) for start in starts
    )
    differ = [build.Not(build.Equal(corner, other)) for other in others]
    return build.Or(build.Or(differ[0], differ[1]), differ[2])


def in_cells(
    build: Nodes,
    logits: ir.Value,
    largest: ir.Value,
    borders: ir.Value,
    rows: Axis,
    columns: Axis,
) -> ir.Value:
    """Labels, uint8 [H, W].

    Args:
        build: Takes the nodes.
        logits: [channels, h, w].
        largest: The largest channel of each of them, int64 [h, w].
        borders: `with_borders` of it.
        rows: `along` the rows.
        columns: `along` the columns.
    """
    reached = build.Mul(build.Unsqueeze(rows.counts, numbers(build, 1)), columns.counts)
    seen = build.Greater(reached, build.Constant(value_int=0))
    found = build.NonZero(build.And(borders, seen))  # [2, cells]
    labels = build.Cast(largest, to=TensorProto.UINT8)
    copied = _copied(build, labels, rows, columns)
    changed = _upsampled(build, logits, found, rows, columns, copied)
    return build.Reshape(changed, build.Shape(copied))


def along(build: Nodes, weights: ir.Value) -> Axis:
    """Where the pixels along an axis lie.

    Args:
        build: Takes the nodes.
        weights: Interpolation of the axis, [length, logits], of two logits or more: each pixel is
            made of one of them, or of two neighbours, and a later pixel not of earlier ones.
    """
    first, second = numbers(build, 0), numbers(build, 1)
    cells = build.Sub(build.Shape(weights, start=1), second)
    positive = build.Greater(weights, build.Constant(value_float=0.0))
    # A pixel on the last logit belongs to the cell before it.
    tapped = build.ArgMax(build.Cast(positive, to=TensorProto.FLOAT), axis=1, keepdims=0)
    own = build.Min(tapped, build.Sub(cells, second))
    place = build.Unsqueeze(own, second)
    near, far = (
        build.Squeeze(build.GatherElements(weights, at, axis=1), second)
        for at in (place, build.Add(place, second))
    )
    none = build.ConstantOfShape(cells, value=ir.tensor([0], ir.DataType.INT64))
    ones = build.Expand(second, build.Shape(own))
    counts = build.ScatterElements(none, own, ones, axis=0, reduction="add")
    starts = build.CumSum(counts, build.Constant(value_int=0), exclusive=1)
    return Axis(own, near, far, starts, counts, build.ReduceMax(counts, first, keepdims=1))


def _copied(build: Nodes, labels: ir.Value, rows: Axis, columns: Axis) -> ir.Value:
    """Every pixel with the label of its cell's first logit, uint8 [H, W]."""
    height = build.Shape(labels, end=1)
    across = build.Expand(
        build.Unsqueeze(columns.cells, numbers(build, 0)),
        build.Concat(height, numbers(build, 1), axis=0),
    )
    # Not Gather, which takes six times as long to copy one byte at a time.
    wide = build.GatherElements(labels, across, axis=1)
    return build.Gather(wide, rows.cells, axis=0)


def _upsampled(
    build: Nodes,
    logits: ir.Value,
    found: ir.Value,
    rows: Axis,
    columns: Axis,
    copied: ir.Value,
) -> ir.Value:
    """The copied labels with those of some cells' pixels made of their logits, uint8 [H * W].

    Args:
        build: Takes the nodes.
        logits: [channels, h, w].
        found: Row and column of each of the cells, int64 [2, cells].
        rows: Cells along the rows.
        columns: Cells along the columns.
        copied: Labels so far, uint8 [H, W].
    """
    one, last = numbers(build, 1), numbers(build, -1)
    pixels = build.Mul(rows.most, columns.most)
    count = build.Shape(found, start=1)
    each = build.Max(build.Div(numbers(build, AT_ONCE), pixels), one)
    each = build.Min(each, build.Max(count, one))
    turns = build.Div(build.Sub(build.Add(count, each), one), each)
    down, across, turn = (
        build.Sub(counted(build, n), one) for n in (rows.most, columns.most, each)
    )
    down, across = (build.Unsqueeze(place, one) for place in (down, across))
    width = build.Shape(copied, start=1)
    wide = build.Shape(logits, start=2)
    values = build.Reshape(logits, build.Concat(build.Shape(logits, end=1), last, axis=0))
    objects = build.Sub(build.Shape(logits, end=1), one)

    body = Nodes()
    number, going, before = (
        ir.Value(name=name, shape=shape, type=ir.TensorType(dtype))
        for name, dtype, shape in (
            ("turn", ir.DataType.INT64, ir.Shape([])),
            ("going", ir.DataType.BOOL, ir.Shape([])),
            ("before", ir.DataType.UINT8, None),
        )
    )
    # The last turn begins with the first cells again to be full. Pixels that are repeated get the
    # same label each time, so the order in which they are written doesn't matter.
    taken = body.Mod(body.Add(body.Mul(number, each), turn), count)
    row, column = (
        body.Gather(body.Gather(found, body.Constant(value_int=axis)), taken) for axis in (0, 1)
    )
    # Pixels of each cell, [most rows, n] and [most columns, n]; smaller cells repeat their last.
    y, x = (
        body.Add(
            body.Gather(axis.starts, cell),
            body.Min(place, body.Sub(body.Gather(axis.counts, cell), numbers(body, 1))),
        )
        for axis, cell, place in ((rows, row, down), (columns, column, across))
    )
    y = body.Unsqueeze(y, numbers(body, 1))
    upper, lower = body.Gather(rows.near, y), body.Gather(rows.far, y)
    left, right = body.Gather(columns.near, x), body.Gather(columns.far, x)
    corner = body.Add(body.Mul(row, wide), column)
    beside, below = numbers(body, 1), wide
    corners = [
        body.Gather(values, at, axis=1)
        for at in (
            corner,
            body.Add(corner, beside),
            body.Add(corner, below),
            body.Add(body.Add(corner, below), beside),
        )
    ]

    def channel(within: Nodes, index: ir.Value) -> ir.Value:
        """Values [most rows, most columns, n] of a channel."""
        a, b, c, d = (within.Gather(value, index) for value in corners)
        above = within.Add(within.Mul(a, left), within.Mul(b, right))
        under = within.Add(within.Mul(c, left), within.Mul(d, right))
        return within.Add(within.Mul(upper, above), within.Mul(lower, under))

    background = channel(body, body.Constant(value_int=0))
    made = one_after_another(body, background, objects, channel)
    at = body.Add(body.Mul(y, width), x)
    flat = numbers(body, -1)
    after = body.ScatterElements(before, body.Reshape(at, flat), body.Reshape(made, flat), axis=0)
    outputs = [body.Identity(going), after]
    graph = ir.Graph([number, going, before], outputs, nodes=body.tape.nodes, name="cells")
    always = build.Constant(value=ir.tensor(True))
    return build.Loop(build.Squeeze(turns), always, build.Reshape(copied, last), body=graph)
