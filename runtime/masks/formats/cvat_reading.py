"""Reads CVAT's XML, version 1.1: masks, polygons, boxes and ellipses, for images and for videos."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mavos_deploy.errors import InputError, one_line
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.formats.shapes import (
    Bits,
    Shape,
    box,
    check_size,
    ellipse,
    from_runs,
    left_out_text,
    polygons,
    shape_maps,
    stem_of,
    turned,
    within,
)
from mavos_deploy.runtime.masks.label_maps import LabelMaps
from mavos_deploy.runtime.masks.numbering import as_text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

GROUPED = "group_id"  # attribute that ties the shapes of one object together; 0 for none
WITHOUT_AREA = ("polyline", "points", "tag", "skeleton", "cuboid")
OWN = "their own numbers"
MOST_DIGITS = 9  # of a number; more are none of a picture


def read_cvat(path: Path, content: bytes) -> LabelMaps:
    """Read CVAT's XML of one task.

    In the form for videos a track is an object, or all tracks of one group are. In the form for
    images the group is, else the label.

    Args:
        path: Name of the file, for errors.
        content: Its bytes.

    Raises:
        InputError: It is no such file, it holds several videos, it is not clear which shapes are
            one object, or defusedxml is missing.
    """
    root = _parsed(path, content)
    if root.tag != "annotations":
        raise _fault(path, f"it begins with <{root.tag:.40}>")
    tracks = root.findall("track")
    tasks = sorted({task for track in tracks if (task := track.get("task_id"))})
    if len(tasks) > 1:
        raise InputError(
            f"{path} holds the tracks of {len(tasks)} videos, tasks {as_text(tasks)}; export one "
            "task, not the project"
        )
    if tracks and any(len(image) for image in root.findall("image")):
        raise InputError(
            f"{path} holds the tracks of a video and the shapes of single images; export one task"
        )
    try:
        sizes, shapes, notes, own = _video(root, tracks) if tracks else _images(root)
    except ValueError as error:
        raise _fault(path, str(error)) from None
    return shape_maps(str(path), sizes, shapes, notes, own)


def _parsed(path: Path, content: bytes) -> "Element":
    try:
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import ParseError, fromstring
    except ImportError as error:
        raise InputError(
            f"CVAT files need defusedxml ({error}); pip install 'mavos-deploy[annotations]'"
        ) from None
    try:
        root: Element = fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise _fault(path, one_line(error)) from None
    return root


Found = tuple[dict[str, Size], list[Shape], list[str], str]


def _images(root: "Element") -> Found:
    """Frames, shapes, notes and words for numbers, of a task of images."""
    sizes: dict[str, Size] = {}
    shapes: list[Shape] = []
    left_out: set[str] = set()
    for image in root.findall("image"):
        frame = stem_of(_text(image, "name"))
        if not frame or frame in sizes:
            raise ValueError(f"two images have the name {frame!r:.40}")
        size = sizes[frame] = check_size(_whole(image, "height"), _whole(image, "width"))
        elements = sorted(image, key=lambda one: _whole(one, "z_order", 0))
        for element in elements:
            if (draw := DRAWN.get(element.tag)) is None:
                left_out.add(element.tag)
                continue
            group = _whole(element, GROUPED, 0) or None
            drawn = partial(draw, element, size)
            shapes.append(Shape(frame, _text(element, "label"), group, drawn))
    return sizes, shapes, left_out_text(left_out & set(WITHOUT_AREA)), OWN


def _video(root: "Element", tracks: Sequence["Element"]) -> Found:
    """Frames, shapes, notes and words for numbers, of a task of a video."""
    task = tracks[0].get("task_id")
    own = (one for one in root.iter("task") if task and one.findtext("id") == task)
    original = next(next(own, root).iter("original_size"), None)
    if original is None:
        raise ValueError("`meta/original_size` is missing")
    height, width = (original.findtext(side, "") for side in ("height", "width"))
    size = check_size(_number(height, "height"), _number(width, "width"))
    drawn: list[tuple[int, int, Shape]] = []
    frames: set[int] = set()
    left_out: set[str] = set()
    numbers, words = _numbers(tracks)
    for number, track in zip(numbers, tracks, strict=True):
        label = _text(track, "label")
        for element in track:
            if (draw := DRAWN.get(element.tag)) is None:
                left_out.add(element.tag)
                continue
            frame = _whole(element, "frame")
            frames.add(frame)
            if _whole(element, "outside", 0):
                continue
            order = _whole(element, "z_order", 0)
            shape = Shape(f"{frame:05d}", label, number, partial(draw, element, size))
            drawn.append((frame, order, shape))
    drawn.sort(key=lambda one: one[:2])
    sizes = {f"{frame:05d}": size for frame in sorted(frames)}
    notes = left_out_text(left_out & set(WITHOUT_AREA))
    return sizes, [shape for _, _, shape in drawn], notes, words


def _numbers(tracks: Sequence["Element"]) -> tuple[list[int], str]:
    """The number of each track's object, and words for these numbers.

    Those of groups stay as they are, so that a group's masks, which CVAT writes as a track each,
    are one object; tracks without a group then come behind them. Without groups tracks keep their
    numbers, which CVAT counts from 0 on, so that all are raised by one where one is 0.
    """
    groups = [_whole(track, GROUPED, 0) for track in tracks]
    own = [_whole(track, "id", place) for place, track in enumerate(tracks)]
    if not any(groups):
        if 0 not in own:
            return own, OWN
        return [number + 1 for number in own], f"{OWN} + 1"
    behind = max(groups) + 1
    numbers = [group or number + behind for group, number in zip(groups, own, strict=True)]
    return numbers, OWN if all(groups) else "their groups' numbers, and without a group behind them"


def _polygon(element: "Element", size: Size) -> Bits:
    points = []
    for part in _text(element, "points").split(";"):
        x, _, y = part.partition(",")
        points.append((_real(x), _real(y)))
    return polygons([points], size)


def _box(element: "Element", size: Size) -> Bits:
    left, top, right, bottom = (
        _real(_text(element, side)) for side in ("xtl", "ytl", "xbr", "ybr")
    )
    degrees = _real(element.get("rotation", "0"))
    if not degrees:
        return box(left, top, right, bottom, size)
    centre = (left + right) / 2, (top + bottom) / 2
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    offsets = [(x - centre[0], y - centre[1]) for x, y in corners]
    return polygons([[turned(centre, *offset, degrees) for offset in offsets]], size)


def _ellipse(element: "Element", size: Size) -> Bits:
    x, y, across, down = (_real(_text(element, name)) for name in ("cx", "cy", "rx", "ry"))
    degrees = _real(element.get("rotation", "0"))
    return ellipse((x, y), (across, down), size, degrees)


def _mask(element: "Element", size: Size) -> Bits:
    counts = [_number(text.strip(), "rle") for text in _text(element, "rle").split(",")]
    height, width = check_size(_whole(element, "height"), _whole(element, "width"))
    part = from_runs(counts, (height, width))
    return within(part, _whole(element, "left"), _whole(element, "top"), size)


DRAWN: dict[str, Callable[["Element", Size], Bits]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}


def _text(element: "Element", name: str) -> str:
    value = element.get(name)
    if value is None:
        raise ValueError(f"<{element.tag:.40}> lacks `{name}`")
    return value


def _whole(element: "Element", name: str, default: int | None = None) -> int:
    value = element.get(name)
    if value is None and default is not None:
        return default
    return _number(_text(element, name), name)


def _number(text: str, name: str) -> int:
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > MOST_DIGITS:
        raise ValueError(f"`{name}` is {text!r:.40} and no whole number")
    return int(text)


def _real(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r:.40} is no number")
    return value


def _fault(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is no CVAT XML that can be read: {reason}; export it again")
