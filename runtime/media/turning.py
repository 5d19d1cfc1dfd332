"""How stored pictures are turned and mirrored to be shown: one of eight ways."""

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEARLY = math.cos(math.radians(1))  # of the angle between an axis of a picture and one of a screen


@dataclass(frozen=True)
class Turn:
    """Quarter turns, and a mirror after them. Without arguments, pictures are shown as stored.

    Attributes:
        quarters: Quarter turns to the left, 0 to 3.
        mirrored: Whether left and right are then exchanged.
    """

    quarters: int = 0
    mirrored: bool = False

    @property
    def swaps(self) -> bool:
        """Whether height and width are exchanged."""
        return self.quarters % 2 == 1

    @property
    def words(self) -> str:
        """How a picture is shown, to be put behind "is shown"."""
        if self.mirrored and self.quarters in (0, 2):
            return "mirrored top to bottom" if self.quarters else "mirrored left to right"
        turned = (
            "as it is stored",
            "turned by 90 degrees to the left",
            "turned by 180 degrees",
            "turned by 90 degrees to the right",
        )[self.quarters]
        return f"{turned}, then mirrored left to right" if self.mirrored else turned

    def of(self, stored: NDArray[Any]) -> NDArray[Any]:
        """A stored picture as it is shown, contiguous.

        Args:
            stored: Any values, shape (H, W) or (H, W, C).
        """
        if self == STORED:
            return stored
        shown = np.rot90(stored, self.quarters)
        return np.ascontiguousarray(shown[:, ::-1] if self.mirrored else shown)


STORED = Turn()
# By the numbers of EXIF's tag "Orientation"; others mean nothing.
OF_EXIF = {
    2: Turn(0, mirrored=True),
    3: Turn(2),
    4: Turn(2, mirrored=True),
    5: Turn(3, mirrored=True),
    6: Turn(3),
    7: Turn(1, mirrored=True),
    8: Turn(1),
}


def turn_of_matrix(matrix: bytes) -> Turn | None:
    """The turn that a display matrix stands for.

    Args:
        matrix: FFmpeg's nine numbers of 32 bits in the machine's order: a stored point (x, y), y
            downward, is shown at (x * m[0] + y * m[3], x * m[1] + y * m[4]), moved and scaled.

    Returns:
        The turn; None where the matrix is none of the eight, scaled, within a degree.
    """
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    across, down = math.hypot(a, b), math.hypot(c, d)
    if not (across and down):
        return None
    a, b, c, d = a / across, b / across, c / down, d / down
    if min(max(abs(a), abs(b)), max(abs(c), abs(d))) < NEARLY or (abs(a) > abs(b)) != (
        abs(d) > abs(c)
    ):
        return None
    mirrored = a * d < b * c
    sign = -1 if mirrored else 1
    right, lower = round(sign * a), round(b)  # where the right of a picture goes before the mirror
    return Turn({(1, 0): 0, (0, -1): 1, (-1, 0): 2, (0, 1): 3}[right, lower], mirrored)
