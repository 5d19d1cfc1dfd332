"""Random numbers that stay the same over versions of NumPy, for pictures made from a seed."""

import numpy as np
from numpy.typing import NDArray


class Draws:
    """Random numbers from the generator's raw bits, which NumPy keeps stable over versions.

    Args:
        seed: Numbers that fix the stream, none negative; others give an independent one.
    """

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(list(seed))

    def uniform(self, low: float, high: float) -> float:
        """A number from low up to high."""
        return low + (high - low) * float(self.array(1)[0])

    def integer(self, low: int, high: int) -> int:
        """A whole number from low up to and including high."""
        return low + int(self.uniform(0, high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform(0, 1) < probability

    def sign(self) -> int:
        """1 or -1."""
        return 1 if self.uniform(0, 1) < 0.5 else -1

    def shuffled(self, count: int) -> list[int]:
        """The numbers from 0 to count - 1 in random order."""
        return [int(index) for index in np.argsort(self.array(count), kind="stable")]

    def array(self, *shape: int) -> NDArray[np.float64]:
        """Values from 0 up to, not including, 1."""
        raw = self._bits.random_raw(int(np.prod(shape)))
        return np.asarray((raw >> np.uint64(11)) * 2.0**-53).reshape(shape)
