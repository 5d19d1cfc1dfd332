"""Names of frames and of their masks: equal, or matched by the number in them."""

import re
from collections.abc import Collection, Iterable

from mavos_deploy.errors import InputError


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
        return numbers_in(self._frames or [frame]).get(frame)

    def _by_number(self) -> dict[int, str]:
        if self._numbers is None:
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
    """The number in each name: the one that differs between names, else the last one.

    Args:
        names: Names of one series, such as frame_00000 and frame_00001.
    """
    found = {name: re.findall(r"[0-9]+", name) for name in names}
    place = -1
    if len({len(digits) for digits in found.values()}) == 1:
        columns = list(zip(*found.values(), strict=True))
        varying = [at for at, column in enumerate(columns) if len(set(column)) > 1]
        place = varying[0] if len(varying) == 1 else -1
    return {name: int(digits[place][:18]) if digits else None for name, digits in found.items()}
