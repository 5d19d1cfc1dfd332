"""Finds the pictures that are a video's frames: in a folder, or by a pattern of names."""

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.strays import listed, without_given, without_strays

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif"),
)
# Pictures that aren't read as frames: raw photographs, drawings, layers, and what Pillow lacks.
OTHER_PICTURES = frozenset(
    (
        *(".arw", ".cr2", ".cr3", ".dng", ".exr", ".hdr", ".jxl", ".jxr", ".nef", ".orf", ".psd"),
        *(".raf", ".rw2", ".svg", ".xcf", ".gif", ".tga"),
    )
)
# Files beside frames that are never looked into.
NO_PICTURES = frozenset(
    (
        *(".json", ".txt", ".xml", ".csv", ".tsv", ".md", ".yaml", ".yml", ".npy", ".npz", ".py"),
        *(".log", ".html", ".db", ".ini", ".zip", ".mp4"),
    )
)
LOOKED_INTO = 200  # files without a known ending whose content is looked at

COUNTED = 2  # digits behind a dot up to which they are a count of frames
PARTS = 9  # digits behind a dot up to which they may be whole parts of a second, as nanoseconds
PYTHONS = 7  # decimals of the clock in Python as text, and of no whole part of a second

_TIME = re.compile(r"([0-9]+)\.([0-9]+)")
_SIGNED = re.compile(r"(|.*[_ (=])(-?)([0-9]+)\)?")
_COUNTER = re.compile(r"%(?:0([1-9][0-9]?))?d")


@dataclass(frozen=True)
class Pictures:
    """The pictures of a video in the order of its frames.

    Attributes:
        files: At least one file; stems are all different.
        notes: Lines that say what was left out.
    """

    files: list[Path]
    notes: list[str] = field(default_factory=list)


def is_pattern(source: str) -> bool:
    """Whether a source names pictures by a pattern: `*`, `?` and `[...]`, or `%05d`."""
    return glob.has_magic(source) or _COUNTER.search(Path(source).name) is not None


def find_pictures(source: str, masks: Path | None = None) -> Pictures:
    """Find the pictures of a video.

    Args:
        source: A folder, or a pattern of names.
        masks: The first mask, or a folder of masks, none of which is a frame wherever it or a
            copy of it lies; None for none.

    Raises:
        InputError: There is no picture, or two of them would be one frame.
    """
    path = Path(source)
    if path.is_dir():
        found = [file for file in path.iterdir() if not file.name.startswith(".")]
    elif _COUNTER.search(path.name) is not None:
        found = _counted(path)
    else:
        found = [file for file in _matched(path) if not file.is_dir()]
    others = without_given(found, masks)
    given = sorted(set(found) - set(others), key=natural_order)
    files = [file for file in others if file.suffix.lower() in IMAGE_SUFFIXES]
    notes = []
    if not files:
        raise InputError(_nothing(source, others, given))
    if given:
        notes.append(_given(given, masks))
    if left := _look_like_pictures(set(others) - set(files)):
        notes.append(
            f"{len(left)} file{'s' if len(left) > 1 else ''} of {source} "
            f"{'look like pictures but are' if len(left) > 1 else 'looks like a picture but is'} "
            f"not read as frames: {listed(left)}; convert them, for example to PNG"
        )
    counted, told = without_strays(source, sorted(files, key=natural_order))
    notes += told
    files = in_order(source, counted)
    if files != counted:
        what, order = (
            ("times with decimals", "times")
            if _signed(files) is None
            else ("numbers below zero and above", "numbers")
        )
        notes.append(f"names in {source} are {what}, and the order is that of {order}")
    for before, after in pairwise(sorted(files, key=lambda file: file.stem)):
        if before.stem == after.stem:
            raise InputError(
                f"{source} holds {before.name} and {after.name}: each stem names one frame and "
                f"its mask; remove one of them, or give a pattern such as '*{before.suffix}'"
            )
    return Pictures(files, notes)


def in_order(source: str, files: Iterable[Path]) -> list[Path]:
    """Files in natural order; by time where all names are times with decimals, as of logs.

    Names such as `2.9` and `2.10` count, and whole microseconds behind a dot do, too. Decimals have
    different lengths and no zeros at their end, and begin with a zero or are too long to count.
    Names such as `f_-2` and `f_0` are numbers below zero and above, where all names are alike.

    Args:
        source: Name of the source, for messages.
        files: The files.

    Raises:
        InputError: Names may be either, and their order depends on it.
    """
    found = sorted(files, key=natural_order)
    if (by_number := _signed(found)) is not None:
        return by_number
    times = [match for file in found if (match := _TIME.fullmatch(file.stem))]
    decimals = [match[2] for match in times]
    longest = max(map(len, decimals), default=0)
    if len(times) != len(found):
        return found
    if any(digits.endswith("0") and digits != "0" for digits in decimals):
        return found
    whole = {file: match[1].lstrip("0") for file, match in zip(found, times, strict=True)}
    by_time = sorted(
        found, key=lambda file: (len(whole[file]), whole[file], file.stem.split(".")[1])
    )
    if any(digits.startswith("0") and digits != "0" for digits in decimals):
        return by_time
    if longest <= COUNTED or by_time == found:
        return found
    if longest == PYTHONS or longest > PARTS:
        return by_time
    counted, timed = next(pair for pair in zip(found, by_time, strict=True) if pair[0] != pair[1])
    seconds, digits = counted.stem.split(".")
    raise InputError(
        f"names in {source} may be times with decimals, by which {timed.name} comes before "
        f"{counted.name}, or have whole numbers behind the dot, such as microseconds, by which it "
        f"comes after it; rename them all with {longest} digits behind the dot, such as "
        f"{seconds}.{digits:0<{longest}}{counted.suffix} if they are decimals, or "
        f"{seconds}.{digits:0>{longest}}{counted.suffix} if they are whole numbers"
    )


def _signed(files: list[Path]) -> list[Path] | None:
    """Files by their numbers, where some are below zero, some aren't, and all begin alike."""
    numbers = [match for file in files if (match := _SIGNED.fullmatch(file.stem))]
    signs = {match[2] for match in numbers}
    if len(numbers) != len(files) or len(signs) != 2 or len({match[1] for match in numbers}) != 1:
        return None
    order = {file: int(match[2] + match[3]) for file, match in zip(files, numbers, strict=True)}
    return sorted(files, key=order.__getitem__)


def natural_order(file: Path) -> tuple[list[tuple[int, str]], str]:
    """A key to sort files by, with which the numbers in their names count up: a2 before a10."""
    # A number is compared by its length first: Python makes no integer of thousands of digits.
    parts = re.split(r"([0-9]+)", file.stem)
    digits = (part.lstrip("0") if place % 2 else part for place, part in enumerate(parts))
    return [(len(d) if n % 2 else 0, d) for n, d in enumerate(digits)], file.name


def _matched(pattern: Path) -> Iterable[Path]:
    """Paths that match a pattern, of which folders that exist are meant by their names."""
    root, parts = Path(pattern.anchor), pattern.relative_to(pattern.anchor).parts
    while len(parts) > 1 and (root / parts[0]).is_dir():
        root, parts = root / parts[0], parts[1:]
    return root.glob("/".join(parts))


def _counted(pattern: Path) -> list[Path]:
    """Files whose name is the pattern with a number in it, as C's printf writes it."""
    counter = _COUNTER.search(pattern.name)
    assert counter is not None
    before, after = pattern.name[: counter.start()], pattern.name[counter.end() :]
    width = int(counter[1] or 1)
    # A number longer than the width is written whole, and a shorter one filled up with zeros.
    digits = rf"[0-9]{{{width}}}|[1-9][0-9]{{{width},}}"
    name = re.compile(f"{re.escape(before)}(?:{digits}){re.escape(after)}")
    folder = pattern.parent
    if not folder.is_dir():
        return []
    return [file for file in folder.iterdir() if name.fullmatch(file.name)]


def _given(files: list[Path], masks: Path | None) -> str:
    """A line on given masks among the pictures, each the given file or a copy of it."""
    assert masks is not None
    if masks.is_file() and len(files) == 1 and files[0].samefile(masks):
        return f"{masks} is the mask that was given, so it is no frame"
    names = listed(files)
    have, are = ("have", "they are") if len(files) > 1 else ("has", "it is")
    if masks.is_file():
        return f"{names} {have} the content of the mask that was given, {masks}, so {are} no frame"
    return f"{names} {have} the content of a mask in {masks}, so {are} no frame"


def _nothing(source: str, found: list[Path], given: list[Path]) -> str:
    """Why there is no frame, and what to give instead."""
    if given:
        return (
            f"{source} holds no frames but masks that --masks gives "
            f"({listed(given)}); give the folder of the video's frames"
        )
    read = f"images are read from {', '.join(IMAGE_SUFFIXES)}"
    if folders := sorted(file.name for file in found if file.is_dir()):
        return (
            f"{source} holds no images but folders ({listed(folders)}); give the folder of one "
            f"video, such as {Path(source) / folders[0]}, or segment a data set with mavos-batch"
        )
    if left := _look_like_pictures(found):
        return f"{source} holds no images that are read ({listed(left)}); {read}"
    if Path(source).is_dir():
        return f"{source} holds no images; {read}"
    return f"{source} does not exist, and as a pattern it matches no images; {read}"


def _look_like_pictures(files: Iterable[Path]) -> list[str]:
    """Names of files that somebody would take for frames, by their endings or their content."""
    Image.init()
    endings = OTHER_PICTURES | set(Image.registered_extensions())
    found, looked = [], 0
    for file in sorted(files):
        suffix = file.suffix.lower()
        if suffix in NO_PICTURES or not file.is_file():
            continue
        if suffix in endings:
            found.append(file.name)
        elif looked < LOOKED_INTO:
            looked += 1
            if _opens(file):
                found.append(file.name)
    return found


def _opens(file: Path) -> bool:
    try:
        with Image.open(file, formats=("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")):
            return True
    except Exception:  # whatever it is, it is no picture that anybody would miss
        return False
