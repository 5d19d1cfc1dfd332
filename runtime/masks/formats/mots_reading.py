"""Reads MOTS's text: a line for each object of each frame."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.formats.coco_reading import Runs, draw_segmentation
from mavos_deploy.runtime.masks.formats.mots import CLASSES, OF_CLASS
from mavos_deploy.runtime.masks.formats.shapes import Shape, check_size, shape_maps
from mavos_deploy.runtime.masks.label_maps import LabelMaps

IGNORED = 10  # class of regions that are not evaluated
FIELDS = 6
MOST_DIGITS = 9


@dataclass(frozen=True)
class _Line:
    frame: int
    object: int
    kind: int
    size: Size
    counts: str


def read_mots(path: Path, content: bytes) -> LabelMaps:
    """Read a MOTS file; frames without an object are not in it.

    An object's id is its number without the thousands, which are its class, if no two objects share
    one; regions to ignore are left out.

    Args:
        path: Name of the file, for errors.
        content: Its bytes.

    Raises:
        InputError: A line is no such line, or there is none.
    """
    lines = []
    for place, text in enumerate(content.decode("ascii", "replace").splitlines(), 1):
        if not text.strip():
            continue
        try:
            lines.append(_parsed(text))
        except ValueError as error:
            raise InputError(
                f"{path}: line {place} is no line of MOTS ({error}); expected `frame object class "
                "height width run-lengths`"
            ) from None
    ignored = sum(line.kind == IGNORED for line in lines)
    kept = sorted((line for line in lines if line.kind != IGNORED), key=lambda line: line.frame)
    own = {line.object for line in kept}
    thousands = len({number % OF_CLASS for number in own}) == len(own)
    names = {number: word for word, number in CLASSES.items()}
    sizes: dict[str, Size] = {}
    shapes = []
    for line in kept:
        frame = f"{line.frame:05d}"
        if sizes.setdefault(frame, line.size) != line.size:
            raise InputError(f"{path}: frame {line.frame} has two sizes")
        draw = partial(draw_segmentation, Runs(line.size, line.counts), line.size)
        number = line.object % OF_CLASS if thousands else line.object
        shapes.append(Shape(frame, names.get(line.kind, str(line.kind)), number, draw))
    notes = [f"{ignored} regions to ignore are left out"] if ignored else []
    return shape_maps(str(path), sizes, shapes, notes)


def _parsed(text: str) -> _Line:
    fields = text.split()
    if len(fields) != FIELDS:
        raise ValueError(f"{len(fields)} words")
    frame, number, kind, height, width = map(_whole, fields[:-1])
    return _Line(frame, number, kind, check_size(height, width), fields[-1])


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS:
        raise ValueError(f"{text!r:.40} is no whole number")
    return int(text)
