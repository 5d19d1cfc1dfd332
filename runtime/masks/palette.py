"""Colours of ids."""

import numpy as np
from numpy.typing import NDArray


def palette_colors(palette: bytes | None) -> NDArray[np.uint8]:
    """Colours of all labels.

    Args:
        palette: RGB bytes, 3 per index; None or a short one is completed from DAVIS's palette.

    Returns:
        uint8, shape (256, 3), RGB.
    """
    import imgviz  # when colours are needed: it takes as long as opening a small bundle

    colors = np.array(imgviz.label_colormap(), np.uint8)  # type: ignore[attr-defined]
    given = np.frombuffer((palette or b"")[:768], np.uint8)
    colors.reshape(-1)[: given.size] = given
    return colors
