"""Reads labelme's JSON: a file for each picture."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import hypot
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

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
    within,
)
from mavos_deploy.runtime.masks.label_maps import LabelMaps
from mavos_deploy.runtime.media.pictures import open_image

CORNERS = 4  # of a rectangle

Side = Annotated[int, Meta(ge=1, le=2**26)]


@dataclass(frozen=True)
class _Shape:
    label: str
    points: list[tuple[float, float]]
    shape_type: str = "polygon"
    group_id: int | None = None
    mask: str | None = None  # base64 of a PNG


@dataclass(frozen=True)
class _Labelme:
    shapes: list[_Shape]
    imageHeight: Side | None = None  # noqa: N815 - labelme's name
    imageWidth: Side | None = None  # noqa: N815


def read_labelme(files: dict[Path, bytes]) -> LabelMaps:
    """Read labelme's JSON of one video.

    Objects are told by `group_id`, else by their label, or in a single file each shape is one.

    Args:
        files: Contents by path, in order of time; a file is named after its frame.

    Raises:
        InputError: One is no such file, or it is not clear which shapes are one object.
    """
    sizes: dict[str, Size] = {}
    shapes: list[Shape] = []
    left_out: set[str] = set()
    for path, content in files.items():
        data = decode(_Labelme, content, partial(_fault, path))
        if data.imageHeight is None or data.imageWidth is None:
            raise _fault(path, "`imageHeight` or `imageWidth` is missing")
        try:
            size = sizes[path.stem] = check_size(data.imageHeight, data.imageWidth)
        except ValueError as error:
            raise _fault(path, str(error)) from None
        for shape in data.shapes:
            if (draw := DRAWN.get(shape.shape_type)) is None:
                left_out.add(shape.shape_type)
                continue
            drawn = partial(draw, path, shape, size)
            shapes.append(Shape(path.stem, shape.label, shape.group_id, drawn))
    name = str(next(iter(files)) if len(files) == 1 else next(iter(files)).parent)
    notes = left_out_text(left_out)
    return shape_maps(name, sizes, shapes, notes)


def _polygon(_: Path, shape: _Shape, size: Size) -> Bits:
    return polygons([shape.points], size)


def _rectangle(_: Path, shape: _Shape, size: Size) -> Bits:
    if len(shape.points) == CORNERS:  # as X-AnyLabeling writes it
        return polygons([shape.points], size)
    (left, top), (right, bottom) = _two(shape)
    return box(left, top, right, bottom, size)


def _circle(_: Path, shape: _Shape, size: Size) -> Bits:
    (x, y), (edge_x, edge_y) = _two(shape)
    radius = hypot(edge_x - x, edge_y - y)
    return ellipse((x, y), (radius, radius), size)


def _mask(path: Path, shape: _Shape, size: Size) -> Bits:
    (left, top), _ = _two(shape)
    if not abs(left) + abs(top) < sum(size):
        raise ValueError(f"a mask at {left:g}, {top:g}")
    try:
        content = base64.b64decode(shape.mask or "", validate=True)
    except binascii.Error as error:
        raise ValueError(f"a mask that is no base64 ({error})") from None
    picture = open_image(path, content, _limit(size), formats=("PNG",), as_mask=True)
    part = np.asarray(picture)
    if part.ndim != 2:
        raise ValueError(f"a mask of mode {picture.mode}")
    return within(part > 0, round(left), round(top), size)


def _limit(size: Size) -> Callable[[int, int], None]:
    def check(height: int, width: int) -> None:
        if height > size[0] or width > size[1]:
            raise ValueError(f"a mask of {height}x{width} in a picture of {size[0]}x{size[1]}")

    return check


def _two(shape: _Shape) -> list[tuple[float, float]]:
    if len(shape.points) != 2:
        raise ValueError(f"a {shape.shape_type} of {len(shape.points)} points; it needs two")
    return shape.points


DRAWN: dict[str, Callable[[Path, _Shape, Size], Bits]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "circle": _circle,
    "mask": _mask,
}


def _fault(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is no labelme JSON that can be read: {reason}; save it again")
