"""Numbers that values and colours of masks stand for, the same in all masks of one video."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.objects import VOID, Labels


class Rule(Enum):
    """How the masks of a video tell their objects apart; the first mask with an object decides."""

    IDS = "values are ids"
    LEVELS = "evenly spaced grey values up to 255"
    CUT = "one object, cut at half of its value"
    COLOURS = "one colour for each object"


@dataclass
class Numbering:
    """Numbers that the masks of one video have used so far, so that all of them are read alike.

    A frame in which an object is out of sight has fewer values or colours, and would be numbered
    otherwise if it were read by itself.

    Attributes:
        rule: Rule of the first mask with an object; None until then.
        strength: Grey value of the object, for `Rule.CUT`.
        numbers: Ids by grey value for `Rule.LEVELS`, by colour 0xRRGGBB for `Rule.COLOURS`; for
            `Rule.IDS` the ids that were seen, each by itself.
        palette: Palette of the first mask, for `Rule.IDS`; None where it has none.
        wide: The value above 255 of the object, for `Rule.CUT` in masks of 16 bits; 0 where it has
            none.
        davis: Whether the colours are DAVIS's, so that a new one has its id already.
    """

    rule: Rule | None = None
    strength: int = 0
    numbers: dict[int, int] = field(default_factory=dict)
    palette: bytes | None = None
    wide: int = 0
    davis: bool = False

    def next_number(self) -> int:
        """The smallest id above all that are taken.

        Raises:
            ValueError: There are more objects than a label map holds.
        """
        number = max((i for i in self.numbers.values() if i != VOID), default=0) + 1
        if number >= VOID:
            raise ValueError(f"more than {VOID - 1} objects, the most that a label map holds")
        return number


@dataclass(frozen=True, eq=False)
class Reading:
    """A picture read as a mask.

    Attributes:
        labels: uint8, (H, W); 0 is background, 255 is void, other values are ids.
        palette: RGB bytes to show the ids with, 3 per id; None where the file has none.
        how: What was concluded, for the user; None where the file says it plainly.
    """

    labels: Labels
    palette: bytes | None = None
    how: str | None = None


def as_text(values: Iterable[object], most: int = 6) -> str:
    """Values in a message: the first ones, and dots for all others."""
    texts = [str(value) for value in values]
    return ", ".join(texts[:most]) + (", ..." if texts[most:] else "")


def values_in(values: NDArray[np.uint8]) -> list[int]:
    """All values of a picture, ascending."""
    found = np.zeros(256, bool)
    found[values] = True
    return [int(value) for value in np.flatnonzero(found)]
