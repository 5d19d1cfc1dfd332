"""Recognises a mask for each object where a folder should have a mask for each frame."""

import re
from collections.abc import Callable, Collection
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.names import FRAME_DIGITS, numbers_in
from mavos_deploy.runtime.masks.numbering import as_text
from mavos_deploy.runtime.objects import VOID, Labels

LOOKED_INTO = 8  # masks of a folder, the first ones, whose objects are compared
ALIKE = 0.2  # intersection over union from which two masks may show one object that moves
MOST_NUMBERS = 3  # in a name with a frame's and an object's; more are a date and a time

REMEDY = (
    "put the masks of each object in a folder of its own, as 1/00000.png and 2/00000.png, or "
    "those of each frame, as 00000/1.png and 00000/2.png; if they are frames, name each after its "
    "frame, such as 00000.png"
)


def check_are_frames(
    files: list[Path], frames: Collection[str] | None, read: Callable[[Path], Labels]
) -> None:
    """Refuse masks in one folder that may as well be one for each object.

    Args:
        files: Masks of the folder in natural order.
        frames: Names of the video's frames; None where frames are named by their number.
        read: Reads a mask, uint8 (H, W); may raise InputError.

    Raises:
        InputError: Names hold a frame's number and an object's, or the masks of numbers that
            follow each other show one object each, in places that have little in common.
    """
    files = [file for file in files if not _is_frame(file.stem, frames)]
    stems = [file.stem for file in files]
    if _hold_both(stems):
        raise InputError(
            f"{files[0].parent}: {as_text((f.name for f in files), 3)}: these names hold more than "
            f"one number, and which one is the frame's is not clear; {REMEDY}"
        )
    numbers = numbers_in(stems)
    numbered = [file for file in files if numbers[file.stem] is not None]
    plain = [file for file in files if numbers[file.stem] is None]
    if len(files) < 2 or not numbered:
        return
    masks = _objects(numbered[:LOOKED_INTO], read)
    if masks is None:
        return
    if plain:
        if _objects(plain[:LOOKED_INTO], read) is None:
            return
        raise _ambiguous(files, f"{plain[0].name} has no number, but others have one")
    for (before, one), (after, other) in pairwise(masks.items()):
        first, second = numbers[before.stem], numbers[after.stem]
        if first is None or second != first + 1 or one.shape != other.shape:
            continue
        if one.any() and other.any() and _overlap(one, other) < ALIKE:
            raise _ambiguous(
                files, f"the objects of {before.name} and {after.name} lie in different places"
            )


def _is_frame(stem: str, frames: Collection[str] | None) -> bool:
    """Whether a mask is named just as a frame is."""
    if frames is not None and stem in frames:
        return True
    return stem.isascii() and stem.isdigit() and len(stem) >= FRAME_DIGITS


def _hold_both(stems: list[str]) -> bool:
    """Whether names hold a frame's number and an object's, as `00000_1` and `frame_00000_obj1`."""
    found = [re.findall(r"[0-9]+", stem) for stem in stems]
    if len({len(digits) for digits in found}) == 1:
        columns = list(zip(*found, strict=True))
        varying = [column for column in columns if len(set(column)) > 1]
        if len(varying) == 1 and all(len(digits) >= FRAME_DIGITS for digits in varying[0]):
            return False
        if len(varying) > 1:
            return len(columns) <= MOST_NUMBERS
    both = re.compile(rf"(?<![0-9])0[0-9]{{{FRAME_DIGITS - 1},}}[^0-9]+[0-9]{{1,3}}(?![0-9])")
    return any(both.search(stem) for stem in stems)


def _objects(
    files: list[Path], read: Callable[[Path], Labels]
) -> dict[Path, NDArray[np.bool_]] | None:
    """Pixels of the object of each mask; None where one has several or can't be read."""
    found = {}
    for file in files:
        try:
            labels = read(file)
        except InputError:
            return None  # refused with its reason when it is read for its frame
        if len(np.unique(labels[(labels > 0) & (labels < VOID)])) > 1:
            return None
        found[file] = (labels > 0) & (labels < VOID)
    return found


def _overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks that aren't empty, 0 to 1."""
    return float(np.count_nonzero(one & other) / np.count_nonzero(one | other))


def _ambiguous(files: list[Path], why: str) -> InputError:
    return InputError(
        f"{files[0].parent}: {as_text((file.name for file in files), 3)}: these masks may be those "
        f"of several objects in one frame, or of several frames: each has one object, and {why}; "
        f"{REMEDY}"
    )
