"""Run lengths of label maps: the form in which most formats keep them."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def runs_of(values: NDArray[np.uint8]) -> tuple[Ints, NDArray[np.uint8]]:
    """Lengths and values of the runs of equal elements.

    Args:
        values: uint8 of any shape, taken in C order.

    Returns:
        Lengths, int64, and values, uint8, of the same number; none for an empty array.
    """
    flat = values.ravel()
    if not flat.size:
        return np.zeros(0, np.int64), flat
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], starts]).astype(np.int64)
    return np.diff(starts, append=flat.size), flat[starts]


def counts_of(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of a mask, which take turns; the first one is of False and may be 0.

    Args:
        mask: A mask of any shape, taken in C order.
    """
    lengths, values = runs_of(mask.view(np.uint8))
    counts: list[int] = lengths.tolist()
    return [0, *counts] if values.size and values[0] else counts


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, width and height of the smallest box around a mask that isn't empty, in pixels.

    Args:
        mask: Shape (H, W).
    """
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def pack_numbers(numbers: Ints) -> bytes:
    """Numbers in seven bits a byte, least first; the high bit says that more bytes follow.

    Args:
        numbers: int64, 0 or more.
    """
    left = numbers.astype(np.uint64)
    columns = []
    while True:
        rest = left >> np.uint64(7)
        columns.append((left & np.uint64(127)).astype(np.uint8) | ((rest > 0) * np.uint8(128)))
        if not rest.any():
            break
        left = rest
    # A byte belongs to its number as long as all bytes before it said that more follow.
    table = np.stack(columns, axis=1)
    more = np.cumprod(table[:, :-1] >> 7, axis=1, dtype=np.uint8).astype(np.bool_)
    kept = np.concatenate([np.ones((len(table), 1), np.bool_), more], axis=1)
    packed: bytes = table[kept].tobytes()
    return packed


def unpack_numbers(packed: bytes) -> Ints:
    """Numbers that `pack_numbers` packed.

    Raises:
        ValueError: The bytes end within a number, or one has more than 63 bits.
    """
    data = np.frombuffer(packed, np.uint8)
    ends = np.flatnonzero(data < 128)
    if data.size and (not ends.size or ends[-1] != data.size - 1):
        raise ValueError("the numbers end within one")
    starts = np.concatenate([[0], ends[:-1] + 1]) if ends.size else ends
    places = np.arange(data.size) - np.repeat(starts, np.diff(ends, prepend=-1))
    if places.size and places.max() > 8:
        raise ValueError("a number is too large")
    parts = (data & 127).astype(np.int64) << (7 * places)
    return np.add.reduceat(parts, starts) if starts.size else np.zeros(0, np.int64)
