"""Strokes, clicks and polygons as pixels of a mask."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.geometry import Size

Mask = NDArray[np.bool_]  # [height, width]
Point = tuple[float, float]  # x, y in pixels; (0, 0) is the left top corner of the left top pixel
Box = tuple[float, float, float, float]  # left, top, right, bottom in the same coordinates

FRACTION = 4  # bits of a coordinate after the point, in OpenCV's drawing functions
FARTHEST = 1 << 15  # pixels from the corner up to which coordinates are told apart
BROADEST = 4096  # pixels; OpenCV draws no line of more than 32767


@dataclass(frozen=True)
class Stroke:
    """A line of a round brush, or a click, which is a stroke of one point.

    Attributes:
        points: Corners of the line, in pixels of the frame.
        radius: Radius of the brush, in pixels.
        foreground: Whether the object is here; False where it isn't.
    """

    points: tuple[Point, ...]
    radius: float
    foreground: bool


def draw_strokes(strokes: Iterable[Stroke], size: Size) -> Mask:
    """Pixels that strokes cover; its ends are among them, where they are inside.

    Args:
        strokes: Strokes of either kind.
        size: Height and width of the mask, in pixels.
    """
    canvas = np.zeros(size, np.uint8)
    for stroke in strokes:
        broad = max(1, min(BROADEST, round(2 * stroke.radius)))
        line = _fixed_point(stroke.points)
        if len(line) > 1:
            cv2.polylines(canvas, [line], False, 1, broad, cv2.LINE_8, FRACTION)
        for x, y in line[[0, -1]]:
            radius = round(max(0.0, broad / 2 - 0.5) * (1 << FRACTION))
            cv2.circle(canvas, (int(x), int(y)), radius, 1, cv2.FILLED, cv2.LINE_8, FRACTION)
        for x, y in (stroke.points[0], stroke.points[-1]):
            if 0 <= x < size[1] and 0 <= y < size[0]:
                canvas[int(y), int(x)] = 1
    return canvas.view(np.bool_)


def draw_polygon(corners: Iterable[Point], size: Size) -> Mask:
    """Pixels whose centre is inside of a polygon, by the even-odd rule.

    Args:
        corners: Corners in order, in pixels; the last one is joined to the first.
        size: Height and width of the mask, in pixels.
    """
    points = np.clip(np.asarray(tuple(corners), np.float64).reshape(-1, 2), -FARTHEST, FARTHEST)
    mask = np.zeros(size, np.bool_)
    if len(points) < 3:
        return mask
    x, y = points.T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    centres = np.arange(size[1]) + 0.5
    for row in range(max(0, int(y.min())), min(size[0], int(np.ceil(y.max())))):
        at = row + 0.5
        crossed = (y <= at) != (next_y <= at)
        rise = next_y[crossed] - y[crossed]
        hits = x[crossed] + (at - y[crossed]) * (next_x[crossed] - x[crossed]) / rise
        mask[row] = np.searchsorted(np.sort(hits), centres) % 2 == 1
    return mask


def scaled(stroke: Stroke, left_top: Point, scale: Point) -> Stroke:
    """A stroke in a part of the frame at another scale.

    Args:
        stroke: In pixels of the frame.
        left_top: Corner of the part, in pixels of the frame.
        scale: Pixels of the part for one of the frame, across and down.
    """
    points = tuple(
        ((x - left_top[0]) * scale[0], (y - left_top[1]) * scale[1]) for x, y in stroke.points
    )
    return Stroke(points, stroke.radius * (scale[0] * scale[1]) ** 0.5, stroke.foreground)


def _fixed_point(points: Iterable[Point]) -> NDArray[np.int32]:
    """Coordinates as OpenCV draws them: whole numbers are centres of pixels."""
    array = np.asarray(tuple(points), np.float64).reshape(-1, 2) - 0.5
    return np.rint(np.clip(array, -FARTHEST, FARTHEST) * (1 << FRACTION)).astype(np.int32)
