"""Closed lists of words: what records, options and messages may say, each list written once."""

from enum import Enum


class Word(str, Enum):
    """A member of a closed list; equal to its text, and printed as it."""

    def __str__(self) -> str:  # before Python 3.11 and `StrEnum`, f-strings would name the member
        return str.__str__(self)
