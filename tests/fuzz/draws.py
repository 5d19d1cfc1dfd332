"""Values drawn from bytes, so that a fuzzer's input can stand for anything; and a small mutator."""

import random
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

# Numbers at which sizes and signs go wrong.
EDGES = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 4, b"\x80\x00\x00\x00", b"\xff" * 8)
DTYPES = ("uint8", "int8", "int64", "float32", "float64", "bool", "object")


class Draws:
    """Values drawn from the front of some bytes; zeros once they are used up.

    Args:
        content: The bytes.
    """

    def __init__(self, content: bytes) -> None:
        self._left = content

    def number(self, most: int) -> int:
        """A number from 0 to `most`, which is at most 65535."""
        return int.from_bytes(self.take(2), "little") % (most + 1)

    def integer(self) -> int:
        """A number of 64 bits with a sign, most often a small one."""
        size = (1, 1, 2, 4, 8)[self.number(4)]
        return int.from_bytes(self.take(size), "little", signed=True)

    def flag(self) -> bool:
        """True or False."""
        return bool(self.number(1))

    def choice(self, among: Sequence[T]) -> T:
        """One of some values."""
        return among[self.number(len(among) - 1)]

    def take(self, count: int) -> bytes:
        """As many bytes, or fewer where they are used up."""
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(len(self._left))

    def text(self) -> str:
        """A text of up to 40 characters."""
        return self.take(self.number(40)).decode(errors="replace")

    def array(self, shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray:
        """An array most often of the shape and type, with values from the bytes."""
        odd = self.number(15)
        if odd == 0:
            shape = tuple(self.number(40) for _ in range(self.number(4)))
        elif odd == 1:
            dtype = self.choice(DTYPES)
        elif odd == 2:
            return np.broadcast_to(np.zeros((), dtype), [1 << self.number(17)] * len(shape))
        size = int(np.prod(shape))
        values = np.zeros(size, np.uint8)
        given = np.frombuffer(self.take(min(size, 64)), np.uint8)
        values[: len(given)] = given
        array: np.ndarray = values.reshape(shape).astype(dtype)
        return array


def mutated(content: bytes, draw: random.Random) -> bytes:
    """The bytes with a few changes of the kinds that parsers stumble over."""
    changed = bytearray(content or b"\0")
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        place = (
            draw.randrange(len(changed))
            if draw.random() < 0.5
            else draw.randrange(min(len(changed), 400))
        )
        match draw.randrange(7):
            case 0:
                changed[place] ^= 1 << draw.randrange(8)
            case 1:
                changed[place] = draw.randrange(256)
            case 2:
                del changed[place : place + draw.choice((1, 2, 4, 16, 100))]
            case 3:
                changed[place:place] = draw.randbytes(draw.choice((1, 2, 4, 16)))
            case 4:
                edge = draw.choice(EDGES)
                changed[place : place + len(edge)] = edge
            case 5 if draw.random() < 0.3:
                del changed[place:]
            case _:
                start, count = draw.randrange(len(changed)), draw.choice((1, 4, 16, 64))
                changed[place : place + count] = changed[start : start + count]
        if not changed:
            return b""
    return bytes(changed)
