"""Objects that are so small that the network loses them, and the size that would keep them."""

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.geometry import STRIDE, Size, snap_size
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.resize import nearest_index, resize_labels

SMALLEST = 16  # pixels in the network, 4 x 4: one pixel of its logits
STEP = 1 / 16  # share of the network's size by which larger ones are tried
LARGEST = 4  # times the frame's own height, up to which they are tried


def small_objects(labels: Labels, size: Size, smallest: int = SMALLEST) -> dict[int, str]:
    """Find objects that a network loses because too little of them is left at its size.

    Args:
        labels: Ids, uint8 (H, W), in pixels of the frame.
        size: Height and width of frames in the network, in pixels.
        smallest: Pixels that must be left of an object.

    Returns:
        A sentence for each of them, by id: its pixels, and the size that would keep it.
    """
    own, inside = _counts(labels), _counts(resize_labels(labels, *size))
    return {
        number: f"object {number} has {own[number]} pixels, of which {inside[number]} are left at "
        f"the network's size {size[0]}x{size[1]}, so it is likely to be lost; "
        + _advice(labels == number, size, smallest)
        for number in range(1, len(own))
        if own[number] and inside[number] < smallest
    }


def _counts(labels: Labels) -> list[int]:
    counts: list[int] = np.bincount(labels.ravel(), minlength=256).tolist()
    return counts


def _advice(mask: NDArray[np.bool_], size: Size, smallest: int) -> str:
    steps = 1
    while (scale := 1 + steps * STEP) * size[0] <= LARGEST * mask.shape[0]:
        sides = int(scale * size[0]), int(scale * size[1])
        larger = snap_size(*sides, align_corners=size[0] % STRIDE == 1)
        if (count := _left(mask, larger)) >= smallest:
            return (
                f"with a bundle of mavos-export --size {larger[0]}x{larger[1]} (height x width) "
                f"its mask is {count} pixels in the network; more is not promised"
            )
        steps += 1
    return "cut out and enlarge the part of the video around it"


def _left(mask: NDArray[np.bool_], size: Size) -> int:
    """Pixels of a mask at another size, without making it: how often each of its own is taken."""
    rows = np.bincount(nearest_index(mask.shape[0], size[0]), minlength=mask.shape[0])
    columns = np.bincount(nearest_index(mask.shape[1], size[1]), minlength=mask.shape[1])
    y, x = np.nonzero(mask)
    return int((rows[y] * columns[x]).sum())
