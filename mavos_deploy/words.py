"""Words of records, options and messages: closed lists, each written once, and plurals."""

from enum import Enum


class Word(str, Enum):
    """A member of a closed list; equal to its text, and printed as it."""

    def __str__(self) -> str:  # before Python 3.11 and `StrEnum`, f-strings would name the member
        return str.__str__(self)


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as `1 frame` or `2 frames`.

    Args:
        count: How many there are.
        noun: The noun for one, whose plural ends in s.
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
