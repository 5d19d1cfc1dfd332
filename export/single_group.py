"""Labels of a single group of objects, in a form for CPUs.

Soft aggregation of one group changes no maximum, and a pixel between logits of which the
background's is the largest everywhere is background. So only the rectangle that objects may reach
is upsampled. PyTorch has no shapes that depend on numbers in a branch of a graph, so this is an
operator of its own to it, which becomes ONNX's operators on export.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import onnxscript
import torch
from onnx import TensorProto
from torch import Tensor

BANDS = 16  # of rows, upsampled one after another

op: Any = onnxscript.opset18  # its signatures don't fit each other


@torch.library.custom_op("mavos::labels_of_one_group", mutates_args=())
def labels_of_one_group(logits: Tensor, row_weights: Tensor, column_weights: Tensor) -> Tensor:
    """Upsample the logits of a single group, and take the largest.

    Args:
        logits: [1, channels, h, w], the background first.
        row_weights: [H, h], interpolation of the rows.
        column_weights: [W, w], interpolation of the columns.

    Returns:
        uint8 [H, W].
    """
    full = row_weights @ (logits[0] @ column_weights.transpose(0, 1))
    return full.argmax(0).to(torch.uint8)


@labels_of_one_group.register_fake
def _shape(logits: Tensor, row_weights: Tensor, column_weights: Tensor) -> Tensor:
    size = row_weights.shape[0], column_weights.shape[0]
    return logits.new_empty(size, dtype=torch.uint8)


def _in_onnx(logits: Any, row_weights: Any, column_weights: Any) -> Any:  # noqa: ANN401  # nodes of onnxscript, which are untyped
    """The same of ONNX's operators."""
    first, second = _numbers(0), _numbers(1)
    of_group = op.Squeeze(logits, first)
    largest = op.ArgMax(of_group, axis=0, keepdims=0)
    objects = op.Cast(op.Greater(largest, op.Constant(value_int=0)), to=TensorProto.FLOAT)
    top, bottom = _reached(row_weights, op.ReduceMax(objects, second, keepdims=0))
    left, right = _reached(column_weights, op.ReduceMax(objects, first, keepdims=0))
    columns = op.Transpose(op.Slice(column_weights, left, right, first), perm=[1, 0])
    rows = op.Slice(row_weights, top, bottom, first)
    wide, height = op.MatMul(of_group, columns), op.Sub(bottom, top)
    edges = [op.Div(op.Mul(height, _numbers(k)), _numbers(BANDS)) for k in range(BANDS + 1)]
    bands = [op.Slice(rows, start, end, first) for start, end in pairwise(edges)]
    found = [op.ArgMax(op.MatMul(band, wide), axis=0, keepdims=0) for band in bands]
    labels = op.Concat(*(op.Cast(band, to=TensorProto.UINT8) for band in found), axis=0)
    below = op.Sub(op.Shape(row_weights, start=0, end=1), bottom)
    beside = op.Sub(op.Shape(column_weights, start=0, end=1), right)
    return op.Pad(labels, op.Concat(top, left, below, beside, axis=0))


def _reached(weights: Any, objects: Any) -> tuple[Any, Any]:  # noqa: ANN401  # as above
    """The first position along an axis that objects may reach, and the one behind the last.

    At least one position lies between them.

    Args:
        weights: Interpolation of the axis.
        objects: 1 where logits of an object are the largest, else 0, at the logits' size.
    """
    one, length = _numbers(1), op.Shape(weights, start=0, end=1)
    weight = op.MatMul(weights, objects)
    touched = op.Cast(op.Greater(weight, op.Constant(value_float=0.0)), to=TensorProto.INT64)
    places = op.CumSum(op.Expand(one, length), op.Constant(value_int=0))  # 1, 2, ...
    end = op.Max(op.ReduceMax(op.Mul(touched, places), keepdims=1), one)
    from_end = op.ReduceMax(op.Mul(touched, op.Sub(op.Add(length, one), places)), keepdims=1)
    return op.Min(op.Sub(length, from_end), op.Sub(end, one)), end


def _numbers(*values: int) -> Any:  # noqa: ANN401  # as above
    return op.Constant(value_ints=list(values))


# What becomes of the operator in torch.onnx.export.
TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.mavos.labels_of_one_group.default: _in_onnx
}
