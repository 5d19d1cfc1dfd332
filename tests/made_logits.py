"""Logits of made-up objects, and a picture of their size."""

import numpy as np

ROWS, COLUMNS = 24, 40
FRAME = np.zeros((4 * ROWS - 3, 4 * COLUMNS - 3, 3), np.uint8)


def logits(*boxes: tuple[int, int, int, int], sure: float = 8.0) -> np.ndarray:
    """Logits of one group whose objects are boxes (top, bottom, left, right) on the grid."""
    made = np.zeros((1, 11, ROWS, COLUMNS), np.float32)
    made[:, 1:] = -sure
    for channel, (top, bottom, left, right) in enumerate(boxes, 1):
        made[0, channel, top:bottom, left:right] = sure
    return made
