"""Names of frames and of their masks: equal, or matched by the number in them."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.numbering import as_text
from mavos_deploy.runtime.media.folders import natural_order

ROBOFLOW = ".rf."  # before the hash that Roboflow adds to a name
FRAME_DIGITS = 4  # digits of a name that is a frame's and no object's


class FrameNames:
    """Finds the mask of a frame by its name, else by the number in it.

    Attributes:
        by_number: Whether names differ, so that numbers are compared; known once a frame was asked
            for.
    """

    def __init__(self, masks: Iterable[str], frames: Collection[str] | None = None) -> None:
        """Compare the names.

        Args:
            masks: Names of all masks, without endings.
            frames: Names of all frames; None where frames are named by their number.
        """
        self._masks = dict.fromkeys(masks)
        self._frames = frames
        self.by_number = frames is not None and not set(frames) & set(self._masks)
        self._numbers: dict[int, str] | None = None
        self._asked: dict[int, str] = {}
        self._numbers_of_frames = None if frames is None else numbers_in(frames)

    def check(self) -> None:
        """Compare all names at once, which `mask_of` does only as far as frames are asked for.

        Raises:
            InputError: Names differ, and a number is that of several masks or frames.
        """
        if self._frames is None:
            self._by_number()
        elif self.by_number:
            for frame in self._frames:
                self.mask_of(frame)

    def mask_of(self, frame: str) -> str | None:
        """The name of a frame's mask; None where it has none.

        Args:
            frame: Name of the frame.

        Raises:
            InputError: Names differ, and a number is that of several masks or frames.
        """
        if frame in self._masks:
            return frame
        if self._frames is not None and not self.by_number:
            return None
        number = self._number_of_frame(frame)
        if number is None:
            return None
        mask = self._by_number().get(number)
        if mask is None:
            return None
        if self._asked.setdefault(number, frame) != frame:
            raise InputError(
                f"frames {self._asked[number]} and {frame} both have the number {number} of the "
                f"mask {mask}; name masks after their frames"
            )
        self.by_number = True
        return mask

    def may_come(self, frame: str) -> bool:
        """Whether a later frame than this one may have a mask.

        Args:
            frame: Name of the first frame.
        """
        if self._frames is not None and not self.by_number:
            return True
        number = self._number_of_frame(frame)
        return number is not None and any(mask > number for mask in self._by_number())

    def _number_of_frame(self, frame: str) -> int | None:
        numbers = self._numbers_of_frames
        return (numbers_in([frame]) if numbers is None else numbers).get(frame)

    def _by_number(self) -> dict[int, str]:
        if self._numbers is None:
            if unclear := unclear_in(self._masks):
                raise InputError(
                    f"{as_text(unclear, 3)}: these names hold more than one number, and which one "
                    "is the frame's is not clear; name masks, or the images in an annotation file, "
                    "after their frames, such as 00000"
                )
            self._numbers = {}
            for mask, number in numbers_in(self._masks).items():
                if number is None:
                    continue
                if other := self._numbers.get(number):
                    raise InputError(
                        f"masks {other} and {mask} both have the number {number}; name masks "
                        "after their frames"
                    )
                self._numbers[number] = mask
        return self._numbers


def numbers_in(names: Collection[str]) -> dict[str, int | None]:
    """The number in each name: the one that tells the names apart, else the likeliest one.

    Of several numbers that differ between names it is the one that no two names share. Where that
    does not tell, it is the only one of four digits or more that begins with 0, else the last one.
    Hashes, as Roboflow and Label Studio add them, have no numbers.

    Args:
        names: Names of one series, such as frame_00000 and frame_00001.
    """
    return {name: None if text is None else int(text[:18]) for name, (text, _) in _read(names)}


def check_frames(source: str, names: Iterable[str]) -> None:
    """Refuse names that a file gives its frames and no picture can have.

    Args:
        source: Name of the file, for errors.
        names: Names of its frames.

    Raises:
        InputError: There is such a name.
    """
    for name in names:
        if "\0" in name or name == "..":
            raise InputError(
                f"{source}: {name!r} can't be the name of a frame; give it another one"
            )


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the natural order, as frames in a folder are, whatever hashes they hold.

    Names that don't clearly hold a number each, all different, keep the order in which they come.

    Args:
        names: Names of one series, without endings.
    """
    names = list(names)
    numbers = set(numbers_in(names).values())
    if None in numbers or len(numbers) < len(names) or unclear_in(names):
        return names
    return sorted(names, key=lambda name: (natural_order(Path(f"{_plain(name)}.png")), name))


def unclear_in(names: Collection[str]) -> list[str]:
    """Names with several numbers of which none is clearly the one that `numbers_in` looks for.

    Args:
        names: Names of one series.
    """
    return [name for name, (_, clear) in _read(names) if not clear]


def _read(names: Collection[str]) -> list[tuple[str, tuple[str | None, bool]]]:
    """The digits that count of each name, None where it has none, and whether they clearly do."""
    plain = {name: _plain(name) for name in names}
    found = {name: re.findall(r"[0-9]+", text) for name, text in plain.items()}
    if len(found) > 1 and len({len(digits) for digits in found.values()}) == 1:
        columns = list(zip(*found.values(), strict=True))
        varying = [at for at, column in enumerate(columns) if len(set(column)) > 1]
        apart = [at for at in varying if len({int(d[:18]) for d in columns[at]}) == len(found)]
        told = varying if len(varying) == 1 else apart
        if len(told) == 1:
            return [(name, (digits[told[0]], True)) for name, digits in found.items()]
        if varying:  # the place in a name tells nothing
            plain.clear()
    return [(name, _likeliest(digits, plain.get(name, ""))) for name, digits in found.items()]


def _likeliest(numbers: list[str], name: str) -> tuple[str | None, bool]:
    if not numbers:
        return None, True
    padded = [digits for digits in numbers if digits[0] == "0" and len(digits) >= FRAME_DIGITS]
    if len(padded) == 1:
        return padded[0], True
    return numbers[-1], len(numbers) == 1 or name.endswith(numbers[-1])


def _plain(name: str) -> str:
    """A name without what is known to be added to a frame's: a hash, or a word for masks."""
    return _SUFFIX.sub("", _HASH.sub(_without_hash, name))


def _without_hash(match: re.Match[str]) -> str:
    return match[0] if match[0].removeprefix(ROBOFLOW).strip("-").isdecimal() else ""


_HASH = re.compile(
    r"\.rf\.[0-9A-Za-z]{20,}(?![0-9A-Za-z-])"  # Roboflow's, in hex or in any letters and digits
    r"|(?<![0-9A-Za-z])[0-9A-Fa-f]{16,}(?![0-9A-Za-z])|^[0-9A-Fa-f]{8}-"
)
_SUFFIX = re.compile(r"(?:_(?:jpe?g|png|bmp|webp|tiff?|masks?|labels?|seg))+$", re.IGNORECASE)
