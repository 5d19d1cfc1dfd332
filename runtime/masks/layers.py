"""Objects laid over each other in label maps, and those of which no pixel is left."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.numbering import as_text
from mavos_deploy.runtime.objects import ids_of

FRAMES_NAMED = 3  # frames of a covered object that a line names


class Layers:
    """One frame that objects are drawn into; later ones lie over earlier ones.

    Attributes:
        labels: Ids so far, uint8, shape (H, W).
        drawn: Whether an object that was drawn had a pixel, by its id.
    """

    def __init__(self, size: Size) -> None:
        """Begin with background.

        Args:
            size: Height and width in pixels.
        """
        self.labels = np.zeros(size, np.uint8)
        self.drawn: dict[int, bool] = {}
        self._places: dict[int, int] = {}  # one pixel of each object, by id

    def draw(self, number: int, mask: NDArray[np.bool_]) -> bool:
        """Draw an object, or a part of it.

        Args:
            number: Its id.
            mask: Shape (H, W).

        Returns:
            Whether it lies over another object.
        """
        over = self.labels[mask]
        self.labels[mask] = number
        self.drawn[number] = self.drawn.get(number, False) or over.size > 0
        if over.size:
            self._places[number] = int(mask.argmax())
        return bool(((over > 0) & (over != number)).any())

    def covered(self) -> dict[int, int]:
        """Ids of which no pixel is left, each with the id of an object that lies over it."""
        left = ids_of(self.labels)
        flat = self.labels.ravel()
        return {n: int(flat[place]) for n, place in self._places.items() if n not in left}


@dataclass
class Covered:
    """Objects of one video without a pixel: others cover them, or their shapes have none.

    It knows the frames that were drawn so far.

    Attributes:
        remedy: Advice for a line; `{over}` stands for the object that lies over the other one.
    """

    remedy: str
    _frames: dict[tuple[int, int], dict[str, None]] = field(default_factory=dict)
    _drawn: dict[int, bool] = field(default_factory=dict)

    def add(self, frame: str, layers: Layers) -> None:
        """Take the covered objects of a frame that is drawn.

        Args:
            frame: Name of the frame; empty where it has none.
            layers: Everything in it.
        """
        for number, seen in layers.drawn.items():
            self._drawn[number] = self._drawn.get(number, False) or seen
        for pair in layers.covered().items():
            self._frames.setdefault(pair, {})[frame] = None

    def lines(self) -> list[str]:
        """A line for each object with the one that lies over it, or that has no pixel anywhere."""
        found = [
            f"object {number} has no pixel in any mask that was read; where it has a shape, that "
            "is empty, thinner than a pixel, or outside of the picture"
            for number in sorted(self._drawn)
            if not self._drawn[number]
        ]
        for (number, over), frames in sorted(self._frames.items()):
            where = ""
            if names := [name for name in frames if name]:
                word = "frames" if names[1:] else "frame"
                where = f" in {word} {as_text(names, FRAMES_NAMED)}"
            found.append(
                f"object {number} has no pixel left{where}: object {over} lies over it; "
                + self.remedy.format(over=over)
            )
        return found
