"""ONNX's operators for attention in tiles and in two turns of heads, the forms for CPUs.

They compute what `attend_tiles` and `attend_in_turns` do, in fewer nodes than a trace of those
would have. The biases of a tile are gathered by a table, in place of two skews.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxscript
import torch
from onnx import TensorProto

from mavos_deploy.models.mca import HEADS, HEADS_AT_ONCE
from mavos_deploy.models.propagation import (
    OUTSIDE,
    WINDOW,
    Region,
    extents,
    tiles_of,
)
from mavos_deploy.models.variants import WINDOW_RADIUS

Value: TypeAlias = Any  # of onnxscript, which is untyped

PLACES = WINDOW * WINDOW  # of keys in a query's window
assert np.iinfo(np.uint8).max >= PLACES  # tables of them are bytes

op: Any = onnxscript.opset18  # its signatures don't fit each other


def _attend_tiles(
    query: Value, relative: Value, key: Value, value: Value, tile_height: int, tile_width: int
) -> Value:
    size = query.shape[2], query.shape[3]
    biases = _with_outside(relative)
    bands = [
        [_attend_tile(query, biases, key, value, *tile) for tile in band]
        for band in tiles_of(size, (tile_height, tile_width))
    ]
    return _joined([_joined(band, -1) for band in bands], -2)


def _attend_tile(
    query: Value, biases: Value, key: Value, value: Value, tile: Region, seen: Region
) -> Value:
    rows, columns = extents(tile)
    seen_rows, seen_columns = extents(seen)
    count, seen_count = rows * columns, seen_rows * seen_columns
    queries = _shaped(_part(query, tile), query.shape[1], count)
    keys = _shaped(_part(key, seen), key.shape[1], seen_count)
    values = _shaped(_part(value, seen), value.shape[1], seen_count)
    own = _shaped(_part(biases, tile, first_axis=1), count, PLACES + 1)
    bias = op.GatherElements(own, _places_of_keys(query, tile, seen), axis=2)
    logits = op.Add(_widened(op.MatMul(op.Transpose(queries, perm=[0, 2, 1]), keys), query), bias)
    weights = op.Transpose(_like(op.Softmax(logits, axis=-1), value), perm=[0, 2, 1])
    return _shaped(_weighted_sum(values, weights, value), value.shape[1], rows, columns)


def _with_outside(relative: Value) -> Value:
    """Biases of each query's window, float32 [B, h, w, 226]; the last one is `OUTSIDE`."""
    by_query = op.Transpose(_widened(relative, relative), perm=[0, 2, 3, 1])
    return op.Pad(by_query, _numbers(*[0] * 7, 1), op.Constant(value_float=OUTSIDE))


def _places_of_keys(query: Value, tile: Region, seen: Region) -> Value:
    """The place in its window of each key that a tile sees, int32 [B, queries, keys].

    Bytes in the file, which runtimes make integers once, when they load it.
    """
    places = op.Constant(value=ir.tensor(_window_places(tile, seen)[None]))
    of_batch = op.Concat(op.Shape(query, end=1), _numbers(1, 1), axis=0)
    return op.Expand(op.Cast(places, to=TensorProto.INT32), of_batch)


def _window_places(tile: Region, seen: Region) -> npt.NDArray[np.uint8]:
    """Which place in a query's window each key has that a tile sees.

    Returns:
        `15 * (dy + 7) + dx + 7` of the key at (dy, dx) from the query, `PLACES` for keys outside
        its window, [queries, keys].
    """
    (down, in_rows), (across, in_columns) = (
        _offsets(own, keys) for own, keys in zip(tile, seen, strict=True)
    )
    places = WINDOW * down[:, None, :, None] + across[None, :, None, :]
    inside = in_rows[:, None, :, None] & in_columns[None, :, None, :]
    count = down.shape[0] * across.shape[0]
    return np.where(inside, places, PLACES).astype(np.uint8).reshape(count, -1)


def _offsets(own: slice, keys: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Offsets of keys along an axis from the first one in a query's window; which are inside."""
    of_queries, of_keys = (np.arange(span.start, span.stop) for span in (own, keys))
    offsets = of_keys - of_queries[:, None] + WINDOW_RADIUS
    return offsets, (offsets >= 0) & (offsets < WINDOW)


def _attend_in_turns(query: Value, key: Value, modulator: Value) -> Value:
    channels, height, width = (query.shape[axis] for axis in (1, 2, 3))
    tokens, head_width = height * width, channels // HEADS
    by_head = (
        op.Transpose(_shaped(query, HEADS, head_width, tokens), perm=[0, 1, 3, 2]),
        _shaped(key, HEADS, head_width, tokens),
        op.Transpose(_shaped(modulator, tokens, HEADS, head_width), perm=[0, 2, 1, 3]),
    )
    scale = op.Constant(value_float=head_width**-0.5)
    mixed = []
    for head in range(0, HEADS, HEADS_AT_ONCE):
        place = _numbers(head), _numbers(head + HEADS_AT_ONCE), _numbers(1)
        queries, keys, values = (op.Slice(part, *place) for part in by_head)
        logits = op.Mul(_widened(op.MatMul(queries, keys), query), scale)
        weights = _like(op.Softmax(logits, axis=-1), modulator)
        mixed.append(_weighted_sum(weights, values, modulator))
    heads = op.Transpose(op.Concat(*mixed, axis=1), perm=[0, 1, 3, 2])
    return _shaped(heads, channels, height, width)


def _shaped(x: Value, *shape: int) -> Value:
    """The same with another shape behind the batch axis."""
    return op.Reshape(x, _numbers(0, *shape))


def _part(x: Value, region: Region, first_axis: int = 2) -> Value:
    """The rows and columns of a region, which are an axis and the next one."""
    rows, columns = region
    return op.Slice(
        x,
        _numbers(rows.start, columns.start),
        _numbers(rows.stop, columns.stop),
        _numbers(first_axis, first_axis + 1),
    )


def _weighted_sum(left: Value, right: Value, like: Value) -> Value:
    """The product, as `layers.weighted_sum` is in exports."""
    return _like(op.MatMul(_widened(left, like), _widened(right, like)), like)


def _widened(x: Value, like: Value) -> Value:
    """Cast to float32, unless `like` is that already; its type is the tensor's."""
    return x if _is_float(like) else op.Cast(x, to=TensorProto.FLOAT)


def _like(x: Value, like: Value) -> Value:
    """Cast from float32 to the type of `like`."""
    return x if _is_float(like) else op.Cast(x, to=int(like.dtype))


def _is_float(x: Value) -> bool:
    return int(x.dtype) == TensorProto.FLOAT


def _joined(parts: list[Value], axis: int) -> Value:
    return op.Concat(*parts, axis=axis) if len(parts) > 1 else parts[0]


def _numbers(*values: int) -> Value:
    return op.Constant(value_ints=list(values))


# What becomes of the operators in torch.onnx.export.
TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.mavos.attend_tiles.default: _attend_tiles,
    torch.ops.mavos.attend_in_turns.default: _attend_in_turns,
}
