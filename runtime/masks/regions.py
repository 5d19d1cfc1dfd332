"""Regions of equal values in a picture, and the thin lines between them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.geometry import Size

COMPACT = 6  # pixels of a 3 x 3 neighbourhood with the centre's value, from which it lies inside

Values = NDArray[Any]  # (H, W), any integer type


def cropped(values: Values, inside: NDArray[np.bool_]) -> Values:
    """The part of a picture around some pixels, with a margin of one; they are at least one."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return values[
        max(0, int(rows[0]) - 1) : int(rows[-1]) + 2,
        max(0, int(columns[0]) - 1) : int(columns[-1]) + 2,
    ]


def compact(values: Values, least: int = COMPACT) -> NDArray[np.bool_]:
    """Pixels of (H, W) that lie inside a region: most of their neighbourhood has their value.

    Args:
        values: Shape (H, W).
        least: Pixels of a 3 x 3 neighbourhood that must have the centre's value, up to 9.
    """
    padded = np.pad(values, 1, mode="edge")
    height, width = values.shape
    same = np.zeros(values.shape, np.uint8)
    for dy in range(3):
        for dx in range(3):
            same += padded[dy : dy + height, dx : dx + width] == values
    return same >= least


def loose(values: Values, steps: int = 32) -> NDArray[np.bool_]:
    """Pixels of (H, W) that lie in no block of 3 x 3 pixels of one value, nor hang on to one.

    Args:
        values: Shape (H, W).
        steps: Pixels of one value that may lead to a block.
    """
    found = compact(values, 9)
    size = int(np.count_nonzero(found))
    for _ in range(steps + 1):
        found = _grown(found, values)
        before, size = size, int(np.count_nonzero(found))
        if size == before:
            break
    return ~found


def _grown(marked: NDArray[np.bool_], values: Values) -> NDArray[np.bool_]:
    """Marked pixels with their eight neighbours of the same value."""
    height, width = values.shape
    wide, padded = np.pad(marked, 1), np.pad(values, 1, mode="edge")
    found = marked.copy()
    for dy in range(3):
        for dx in range(3):
            rows, columns = slice(dy, dy + height), slice(dx, dx + width)
            found |= wide[rows, columns] & (padded[rows, columns] == values)
    return found


def beside(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of (H, W) with a marked one above, below, to the left or to the right."""
    found = np.zeros_like(marked)
    found[1:] |= marked[:-1]
    found[:-1] |= marked[1:]
    found[:, 1:] |= marked[:, :-1]
    found[:, :-1] |= marked[:, 1:]
    return found


def lined(region: NDArray[np.bool_], line: NDArray[np.bool_]) -> float:
    """Share of a region's border that lies beside a line, 0 to 1; 0 without a border."""
    border = region & beside(~region)
    length = np.count_nonzero(border)
    return np.count_nonzero(border & beside(line)) / length if length else 0.0


def fill_from_nearest(values: Values, kept: NDArray[np.bool_]) -> Values:
    """Give every other pixel the value of the nearest one that is kept, in steps of one pixel.

    Args:
        values: Shape (H, W).
        kept: Shape (H, W), true for at least one pixel.
    """
    filled, missing = values.copy(), ~kept
    rows, columns = np.nonzero(missing)
    while len(rows):
        found = np.zeros(len(rows), bool)
        given = filled[rows, columns]
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            y, x = _inside(rows + dy, columns + dx, (values.shape[0], values.shape[1]))
            usable = ~missing[y, x] & ~found
            given[usable] = filled[y, x][usable]
            found |= usable
        filled[rows[found], columns[found]] = given[found]
        missing[rows[found], columns[found]] = False
        rows, columns = rows[~found], columns[~found]
    return filled


def _inside(
    rows: NDArray[np.intp], columns: NDArray[np.intp], size: Size
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return rows.clip(0, size[0] - 1), columns.clip(0, size[1] - 1)


def along_edge(values: NDArray[np.uint8]) -> list[int]:
    """Values along a picture's edge, the most frequent one first.

    Args:
        values: uint8, (H, W).
    """
    edge = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    counts = np.bincount(edge)
    return [int(value) for value in np.argsort(-counts, kind="stable") if counts[value]]
