"""Parts of a data set for jobs that know nothing of each other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from mavos_deploy.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """A part of a list that several jobs divide among themselves.

    Attributes:
        index: Number of this part, from 1.
        count: Number of parts.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `I/N`.

        Raises:
            InputError: Not two numbers, or I is not from 1 to N.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(
                f"--shard {text!r:.40}: expected I/N with I from 1 to N, such as 1/4 for the first "
                "of four"
            )
        return cls(int(match[1]), int(match[2]))

    def of(self, items: Sequence[T]) -> tuple[T, ...]:
        """This part's items: each N-th, so that parts differ by one item at most."""
        return tuple(items[self.index - 1 :: self.count])

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
