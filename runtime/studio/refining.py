"""Mending of a mask's shape: holes, specks, its outline."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio.drawing import Mask

LARGEST = 1024  # the largest amount, in pixels


def fill_holes(mask: Mask, amount: int) -> Mask:
    """A mask without holes; background that touches the picture's border is no hole.

    Args:
        mask: The mask, shape (H, W).
        amount: Holes of more pixels stay; 0 fills all.
    """
    inverse = ~mask
    count, parts, sizes = _parts(inverse)
    filled = np.ones(count, np.bool_) if amount == 0 else sizes <= amount
    filled[np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])] = False
    filled[0] = False  # the mask itself
    return mask | filled[parts]


def drop_specks(mask: Mask, amount: int) -> Mask:
    """A mask without its small separate parts.

    Args:
        mask: The mask, shape (H, W).
        amount: Parts of fewer pixels go; 0 leaves the largest part alone.
    """
    count, parts, sizes = _parts(mask)
    if count == 1:
        return mask.copy()
    sizes[0] = 0
    kept = sizes == sizes.max() if amount == 0 else sizes >= amount
    kept[0] = False
    return kept[parts]


def grow(mask: Mask, amount: int) -> Mask:
    """A mask with all pixels up to a distance from it.

    Args:
        mask: The mask, shape (H, W).
        amount: Distance in pixels.
    """
    return _distance(~mask) <= amount if mask.any() else mask.copy()


def shrink(mask: Mask, amount: int) -> Mask:
    """A mask without the pixels up to a distance from its outline; the picture's border is none.

    Args:
        mask: The mask, shape (H, W).
        amount: Distance in pixels.
    """
    return _distance(mask) > amount if not mask.all() else mask.copy()


def smooth(mask: Mask, amount: int) -> Mask:
    """A mask with a rounder outline.

    Args:
        mask: The mask, shape (H, W).
        amount: Details up to this size go, in pixels.
    """
    soft = cv2.GaussianBlur(
        mask.astype(np.float32), (0, 0), max(0.3, amount / 2), borderType=cv2.BORDER_REPLICATE
    )
    rounder: Mask = soft > 0.5
    return rounder


ACTIONS: dict[str, Callable[[Mask, int], Mask]] = {
    "fill-holes": fill_holes,
    "drop-specks": drop_specks,
    "grow": grow,
    "shrink": shrink,
    "smooth": smooth,
}


def refine(mask: Mask, action: str, amount: int) -> Mask:
    """Mend a mask's shape.

    Args:
        mask: The mask, shape (H, W).
        action: A name of `ACTIONS`.
        amount: Pixels, or a distance in pixels; see the function of that name.

    Returns:
        A new mask of the same shape.

    Raises:
        InputError: There is no such action, or the amount is negative or too large.
    """
    if action not in ACTIONS:
        raise InputError(f"there is no action {action!r}; there are {', '.join(ACTIONS)}")
    areas = action in ("fill-holes", "drop-specks")
    limit = mask.size if areas else LARGEST
    if not 0 <= amount <= limit:
        raise InputError(f"amount {amount}: {action} takes 0 to {limit} pixels")
    return ACTIONS[action](mask, amount) if mask.size else mask.copy()


def _parts(mask: Mask) -> tuple[int, NDArray[np.int32], NDArray[np.int64]]:
    """Number of connected parts with 0 for the rest, each pixel's part, and the parts' pixels."""
    count, found = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    parts = np.asarray(found, np.int32)
    return count, parts, np.bincount(parts.ravel(), minlength=count).astype(np.int64)


def _distance(mask: Mask) -> NDArray[np.float32]:
    """Distance of each pixel of a mask from the nearest one outside, in pixels; 0 outside."""
    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)
