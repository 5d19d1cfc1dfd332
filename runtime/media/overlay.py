"""Objects drawn over a frame, for people to look at."""

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame
from mavos_deploy.runtime.system.opencv import opencv


def draw_objects(rgb: RgbFrame, labels: Labels, colors: NDArray[np.uint16]) -> RgbFrame:
    """Blend object colours half and half and draw a white contour inside each object.

    Args:
        rgb: The frame, uint8, shape (H, W, 3).
        labels: Its labels, uint8, shape (H, W).
        colors: Colour of each label, uint16, shape (256, 3), RGB 0..255.

    Returns:
        uint8, shape (H, W, 3). The arguments are not modified.
    """
    cv2, picture = opencv(), rgb.copy()
    thickness = max(1, round(min(labels.shape) / 480))
    left, top, width, height = cv2.boundingRect((labels > 0).view(np.uint8))
    rows = slice(max(0, top - thickness), top + height + thickness)
    columns = slice(max(0, left - thickness), left + width + thickness)
    if width:
        _draw(picture[rows, columns], labels[rows, columns], colors, thickness)
    return picture


def _draw(picture: RgbFrame, labels: Labels, colors: NDArray[np.uint16], thickness: int) -> None:
    """Draw into a part of a picture, in place."""
    cv2 = opencv()
    table = colors.astype(np.uint8)[None]
    tint = np.asarray(cv2.LUT(cv2.merge((labels, labels, labels)), table), np.uint8)
    mean = (picture & tint) + ((picture ^ tint) >> 1)  # rounded down, without a carry
    inside = labels > 0
    mean[inside & _borders(labels, thickness)] = 255
    picture[:] = cv2.copyTo(mean, inside.view(np.uint8), picture.copy())  # faster than np.copyto


def _borders(labels: Labels, thickness: int) -> NDArray[np.bool_]:
    """Pixels within `thickness` pixels, along a row or column, of another label."""
    border = np.zeros(labels.shape, np.bool_)
    for step in range(1, thickness + 1):
        differs = labels[:-step] != labels[step:]
        border[:-step] |= differs
        border[step:] |= differs
        differs = labels[:, :-step] != labels[:, step:]
        border[:, :-step] |= differs
        border[:, step:] |= differs
    return border
