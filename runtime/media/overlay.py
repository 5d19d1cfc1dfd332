"""Objects drawn over a frame, for people to look at."""

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame


def draw_objects(rgb: RgbFrame, labels: Labels, colors: NDArray[np.uint16]) -> RgbFrame:
    """Blend object colours half and half and draw a white contour inside each object.

    Args:
        rgb: The frame, uint8, shape (H, W, 3).
        labels: Its labels, uint8, shape (H, W).
        colors: Colour of each label, uint16, shape (256, 3), RGB 0..255.

    Returns:
        uint8, shape (H, W, 3). The arguments are not modified.
    """
    picture = rgb.copy()
    inside = labels > 0
    picture[inside] = (rgb[inside] + colors[labels[inside]]) // 2
    picture[inside & _borders(labels, max(1, round(min(labels.shape) / 480)))] = 255
    return picture


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
