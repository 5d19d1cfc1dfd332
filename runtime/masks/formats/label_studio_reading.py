"""Reads Label Studio's JSON: brush strokes, polygons, boxes and ellipses of each task."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.records import decode
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.formats.shapes import (
    Bits,
    Shape,
    box,
    check_size,
    ellipse,
    left_out_text,
    polygons,
    shape_maps,
    stem_of,
    turned,
)
from mavos_deploy.runtime.masks.label_maps import LabelMaps

CHANNELS = 4  # of the picture that a brush stroke is packed from; the last one is alpha
APART = "labels"  # type of a result that holds the label of the region with its id
UNNAMED = "object"  # label of regions without one
OWN_ID = "object_"  # how regions that this program wrote are named

_LOCAL = re.compile(r"(?:^|&)d=([^&]+)")

Byte = Annotated[int, Meta(ge=0, le=255)]


@dataclass(frozen=True)
class _Value:
    rle: list[Byte] | None = None
    points: list[tuple[float, float]] | None = None
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0
    radiusX: float = 0  # noqa: N815 - Label Studio's name
    radiusY: float = 0  # noqa: N815
    rotation: float = 0
    brushlabels: list[str] = ()  # type: ignore[assignment]
    polygonlabels: list[str] = ()  # type: ignore[assignment]
    rectanglelabels: list[str] = ()  # type: ignore[assignment]
    ellipselabels: list[str] = ()  # type: ignore[assignment]
    labels: list[str] = ()  # type: ignore[assignment] # in a result of its own

    @property
    def label(self) -> str | None:
        """The first label; None where the value has none."""
        given = [*self.brushlabels, *self.polygonlabels, *self.rectanglelabels, *self.ellipselabels]
        return next(iter([*given, *self.labels]), None)


@dataclass(frozen=True)
class _Region:
    type: str = ""
    id: str = ""
    original_width: Annotated[int, Meta(ge=1, le=2**26)] | None = None
    original_height: Annotated[int, Meta(ge=1, le=2**26)] | None = None
    image_rotation: float = 0
    value: _Value = _Value()


@dataclass(frozen=True)
class _Answer:
    result: list[_Region]
    was_cancelled: bool = False


@dataclass(frozen=True)
class _Task:
    data: dict[str, Any] | None = None
    annotations: list[_Answer] = ()  # type: ignore[assignment]


def read_label_studio(path: Path, content: bytes) -> LabelMaps:
    """Read Label Studio's JSON; its tasks are frames of one video.

    Objects are told by their label; in a single task each region is one.

    Args:
        path: Name of the file, for errors.
        content: Its bytes.

    Raises:
        InputError: It is no such file, or it is not clear which regions are one object.
    """
    tasks = decode(list[_Task], content, partial(_fault, path))
    if tasks and all(task.data is None and not task.annotations for task in tasks):
        raise _fault(path, "it is a list without `data` and `annotations`, as JSON-MIN is")
    sizes: dict[str, Size] = {}
    shapes: list[Shape] = []
    notes: dict[str, None] = {}
    left_out: set[str] = set()
    for place, task in enumerate(tasks):
        frame = _frame(task, place)
        if frame in sizes:
            raise InputError(f"{path}: two tasks have the picture {frame}; export one of them")
        answers = [answer for answer in task.annotations if not answer.was_cancelled]
        if len(answers) > 1:
            notes["of several annotations of a task the first one counts"] = None
        regions = answers[0].result if answers else []
        size = _size(path, task, regions)
        if size is None:
            continue
        sizes[frame] = size
        apart = {region.id: region.value.label for region in regions if region.type == APART}
        for region in regions:
            if region.type == APART:
                continue
            draw = DRAWN.get(region.type.removesuffix("labels"))
            if draw is None:
                left_out.add(region.type or "regions without a type")
                continue
            if region.image_rotation:
                raise InputError(
                    f"{path}: {frame} is turned by {region.image_rotation:g} degrees; "
                    "annotate it as it is stored"
                )
            drawn = partial(draw, region.value, size)
            label = region.value.label or apart.get(region.id) or UNNAMED
            shapes.append(Shape(frame, label, _track(region), drawn))
    return shape_maps(str(path), sizes, shapes, [*notes, *left_out_text(left_out)])


def _frame(task: _Task, place: int) -> str:
    """The name of a task's picture, which may begin with the eight hex digits of an upload."""
    data = task.data or {}
    given = next((data[key] for key in ("image", "img", "picture") if key in data), None)
    if given is None:
        given = next((v for v in data.values() if isinstance(v, str)), None)
    if not isinstance(given, str):
        return f"{place:05d}"
    return stem_of(_file_of(given)) or f"{place:05d}"


def _file_of(address: str) -> str:
    """The path in a picture's address; that of a file on the server's disk is its parameter `d`."""
    try:
        parts = urlsplit(address)
    except ValueError:  # a path that begins as a host does, or a host that can't be one
        return address
    local = None if PurePosixPath(parts.path).suffix else _LOCAL.search(parts.query)
    return unquote(local[1] if local else parts.path or address)


def _size(path: Path, task: _Task, regions: Sequence[_Region]) -> Size | None:
    """The size that regions state, else the task; None for a task without either."""
    given = {
        (region.original_height, region.original_width)
        for region in regions
        if region.original_height and region.original_width
    }
    if not given:
        data = task.data or {}
        height, width = data.get("height"), data.get("width")
        given = {(height, width)} if type(height) is int and type(width) is int else set()
    if len(given) > 1:
        raise InputError(f"{path}: a task of {len(given)} sizes; export it again")
    try:
        for height, width in given:
            return check_size(height, width)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if regions:
        raise InputError(f"{path}: regions without `original_width` and `original_height`")
    return None


def _track(region: _Region) -> int | None:
    number = region.id.removeprefix(OWN_ID)
    own = region.id.startswith(OWN_ID) and number.isascii() and number.isdigit()
    return int(number[:9]) if own else None


def unpack_brush(data: Sequence[int], size: Size) -> Bits:
    """The mask of a brush stroke, packed as the module `label_studio` says.

    Runs that are no repetition have as many words as their length.

    Args:
        data: Bytes.
        size: Height and width of the picture in pixels.

    Raises:
        ValueError: They are no packed picture of this size.
    """
    bits = np.unpackbits(np.array(data, np.uint8))
    powers = 1 << np.arange(32, dtype=np.int64)[::-1]
    at = 0

    def read(width: int) -> int:
        nonlocal at
        taken: NDArray[np.uint8] = bits[at : at + width]
        if len(taken) < width:
            raise ValueError("a brush stroke that ends too early")
        at += width
        return int(taken @ powers[32 - width :])

    count, word = read(32), read(5) + 1
    if count != size[0] * size[1] * CHANNELS or word != 8:
        raise ValueError(
            f"a brush stroke of {count} bytes for a picture of {size[0]}x{size[1]}; it has "
            f"{size[0] * size[1] * CHANNELS}"
        )
    widths = [read(4) + 1 for _ in range(4)]
    values = np.empty(count, np.uint8)
    done = 0
    while done < count:
        repeated, length = read(1), 0
        length = read(widths[read(2)]) + 1
        if done + length > count:
            raise ValueError("a brush stroke with more pixels than its picture")
        if repeated:
            values[done : done + length] = read(word)
        else:
            if at + length * word > len(bits):
                raise ValueError("a brush stroke that ends too early")
            values[done : done + length] = np.packbits(bits[at : at + length * word])
            at += length * word
        done += length
    return values[CHANNELS - 1 :: CHANNELS].reshape(size) > 127


def _brush(value: _Value, size: Size) -> Bits:
    if value.rle is None:
        raise ValueError("a brush stroke without `rle`")
    return unpack_brush(value.rle, size)


def _polygon(value: _Value, size: Size) -> Bits:
    if value.points is None:
        raise ValueError("a polygon without `points`")
    return polygons([[_pixel(x, y, size) for x, y in value.points]], size)


def _rectangle(value: _Value, size: Size) -> Bits:
    left, top = _pixel(value.x, value.y, size)
    width, height = _pixel(value.width, value.height, size)
    if not value.rotation:
        return box(left, top, left + width, top + height, size)
    corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
    return polygons([[turned((left, top), x, y, value.rotation) for x, y in corners]], size)


def _ellipse(value: _Value, size: Size) -> Bits:
    radii = _pixel(value.radiusX, value.radiusY, size)
    return ellipse(_pixel(value.x, value.y, size), radii, size, value.rotation)


def _pixel(x: float, y: float, size: Size) -> tuple[float, float]:
    """A place in pixels out of one in percent."""
    return x / 100 * size[1], y / 100 * size[0]


DRAWN: dict[str, Callable[[_Value, Size], Bits]] = {
    "brush": _brush,
    "polygon": _polygon,
    "rectangle": _rectangle,
    "ellipse": _ellipse,
}


def _fault(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} is no Label Studio JSON that can be read: {reason}; export it as JSON"
    )
