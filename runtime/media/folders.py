"""Finds the pictures that are a video's frames: in a folder, or by a pattern of names."""

import glob
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from PIL import Image

from mavos_deploy.errors import InputError

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
MODES_OF_IDS = ("P", "1", "L")  # of pictures that may hold ids, as no picture in colours does
LISTED = 5  # names that a line gives before it only counts
LOOKED_INTO = 200  # files without a known ending whose content is looked at

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
        masks: File of the first mask, which is no frame wherever it lies; None for none.

    Raises:
        InputError: There is no picture, or two of them would be one frame.
    """
    path = Path(source)
    if path.is_dir():
        found = [file for file in path.iterdir() if not file.name.startswith(".")]
    elif _COUNTER.search(path.name) is not None:
        found = _counted(path)
    else:
        root = Path(path.anchor)
        found = [file for file in root.glob(str(path.relative_to(root))) if not file.is_dir()]
    others = [file for file in found if not _same(file, masks)]
    files = [file for file in others if file.suffix.lower() in IMAGE_SUFFIXES]
    notes = []
    if not files:
        raise InputError(_nothing(source, others))
    if masks is not None and len(others) < len(found):
        notes.append(f"{masks} is the mask that was given, so it is no frame")
    if left := _look_like_pictures(set(others) - set(files)):
        notes.append(
            f"{len(left)} file{'s' if len(left) > 1 else ''} of {source} "
            f"{'look like pictures but are' if len(left) > 1 else 'looks like a picture but is'} "
            f"not read as frames: {_listed(left)}; convert them, for example to PNG"
        )
    if strays := _stray_masks(files):
        files = [file for file in files if file not in strays]
        notes.append(
            f"{_listed([file.name for file in strays])} of {source} "
            f"{'look like masks' if strays[1:] else 'looks like a mask'} among frames of another "
            f"kind and name, and {'are' if strays[1:] else 'is'} left out; give --masks its path "
            "to use it, or name it like the frames if it is one"
        )
    files.sort(key=natural_order)
    for before, after in pairwise(sorted(files, key=lambda file: file.stem)):
        if before.stem == after.stem:
            raise InputError(
                f"{source} holds {before.name} and {after.name}: each stem names one frame and "
                f"its mask; remove one of them, or give a pattern such as '*{before.suffix}'"
            )
    return Pictures(files, notes)


def natural_order(file: Path) -> tuple[list[tuple[int, str]], str]:
    """A key to sort files by, with which the numbers in their names count up: a2 before a10."""
    # A number is compared by its length first: Python makes no integer of thousands of digits.
    parts = re.split(r"([0-9]+)", file.stem)
    digits = (part.lstrip("0") if place % 2 else part for place, part in enumerate(parts))
    return [(len(d) if n % 2 else 0, d) for n, d in enumerate(digits)], file.name


def _stray_masks(files: list[Path]) -> list[Path]:
    """Masks among frames: PNGs of ids named unlike most others, which are pictures in colours."""
    shapes = {file: re.sub(r"[0-9]+", "#", file.stem) for file in files}
    common, count = Counter(shapes.values()).most_common(1)[0]
    unlike = [f for f in files if shapes[f] != common and f.suffix.lower() == ".png"]
    if not unlike or count <= len(files) / 2 or count < 2:
        return []
    frame = next(file for file in files if shapes[file] == common)
    if _mode_of(frame) in (None, *MODES_OF_IDS):
        return []
    return sorted((f for f in unlike if _mode_of(f) in MODES_OF_IDS), key=natural_order)


def _mode_of(file: Path) -> str | None:
    """Pillow's mode of a picture; None where it can't be opened."""
    try:
        with Image.open(file) as image:
            return image.mode
    except Exception:  # told when it is read as a frame
        return None


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


def _same(file: Path, masks: Path | None) -> bool:
    return masks is not None and masks.is_file() and file.exists() and file.samefile(masks)


def _nothing(source: str, found: list[Path]) -> str:
    """Why there is no frame, and what to give instead."""
    read = f"images are read from {', '.join(IMAGE_SUFFIXES)}"
    if folders := sorted(file.name for file in found if file.is_dir()):
        return (
            f"{source} holds no images but folders ({_listed(folders)}); give the folder of one "
            f"video, such as {Path(source) / folders[0]}, or segment a data set with mavos-batch"
        )
    if left := _look_like_pictures(found):
        return f"{source} holds no images that are read ({_listed(left)}); {read}"
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


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if names[LISTED:] else ""
    return ", ".join(names[:LISTED]) + more
