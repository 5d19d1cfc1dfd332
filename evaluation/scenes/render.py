"""Renders a scene: pictures and label maps from the same geometry."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.evaluation.scenes.draws import Draws
from mavos_deploy.evaluation.scenes.textures import Picture, Sprite

BLUR_SAMPLES = 3  # moments that a blurred frame averages

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Wave:
    """A sum of sines of time."""

    terms: tuple[tuple[float, float, float], ...]  # amplitude, period in frames, phase

    def at(self, time: float) -> float:
        """The sum at a time, in frames."""
        return sum(a * math.sin(2 * math.pi * time / p + f) for a, p, f in self.terms)


@dataclass(frozen=True)
class Thing:
    """A sprite and its path; lengths in pixels."""

    label: int  # id of the object; 0 for an unlabelled thing
    sprite: Sprite
    radius: float  # half of the sprite's side
    x: float  # column of the middle of the path
    y: float  # row of the middle of the path
    path: tuple[Wave, Wave]  # way from the middle in x and in y
    size: Wave  # factor on the radius, as an exponent of two
    turn: Wave  # swinging part of the angle, in radians
    spin: float  # steady part of the angle, in radians a frame
    bend: tuple[float, float, float, float]  # amplitude, frequency, period in frames, phase


@dataclass(frozen=True)
class Scene:
    """A video's geometry and light; lengths in pixels."""

    height: int
    width: int
    start: float  # time of the first frame
    pace: float  # time from a frame to the next; 1 is the usual pace
    ground: Picture  # background, larger than a frame
    things: tuple[Thing, ...]  # rearmost first
    camera: tuple[Wave, Wave, Wave, Wave]  # x, y, zoom as an exponent of two, roll in radians
    light: tuple[Wave, Wave, Wave]  # gain, warmth, tilt over the picture
    blur: float  # share of the time between frames that the shutter is open; 0 for sharp
    grain: float  # largest noise of a pixel, of 255


def render(scene: Scene, index: int, noise: Draws) -> tuple[NDArray[np.uint8], Labels]:
    """Render a frame.

    Args:
        scene: The scene.
        index: Index of the frame.
        noise: Source of the grain, one for each frame.

    Returns:
        RGB picture, uint8 [H, W, 3], and labels, uint8 [H, W].
    """
    time = scene.start + scene.pace * index
    labels = label_map(scene, time)
    if scene.blur:
        offsets = np.linspace(-0.5, 0.5, BLUR_SAMPLES) * scene.blur * scene.pace
        picture = sum(_picture(scene, time + float(o)) for o in offsets) / np.float32(BLUR_SAMPLES)
    else:
        picture = _picture(scene, time)
    gain, warmth, tilt = (wave.at(time) for wave in scene.light)
    across = 1 + gain + tilt * np.linspace(-0.5, 0.5, scene.width, dtype=np.float32)
    picture = picture * (across[:, None] * (1 + warmth * np.array([1, 0, -1], np.float32)))
    grain = noise.array(scene.height, scene.width, 1).astype(np.float32) - np.float32(0.5)
    picture += np.float32(2 * scene.grain) * grain
    return np.clip(picture + np.float32(0.5), 0, 255).astype(np.uint8), labels


def _picture(scene: Scene, time: float) -> Picture:
    """Colours without light, RGB 0..255, float32 (height, width, 3)."""
    zoom, cosine, sine, shift_x, shift_y = _camera(scene, time)
    y, x = np.mgrid[0 : scene.height, 0 : scene.width].astype(np.float32)
    x -= scene.width / 2
    y -= scene.height / 2
    rows = (sine * x + cosine * y) / zoom + shift_y + scene.ground.shape[0] / 2
    columns = (cosine * x - sine * y) / zoom + shift_x + scene.ground.shape[1] / 2
    picture = _sample(scene.ground, rows, columns)
    for thing in scene.things:
        if placed := _place(scene, thing, time):
            box, sampled = placed
            patch = picture[box]
            patch *= 1 - sampled[..., 3:]
            patch += sampled[..., :3]
    return picture


def label_map(scene: Scene, time: float) -> Labels:
    """The id of the foremost object at each pixel, uint8 [H, W]; 0 for everything unlabelled."""
    labels = np.zeros((scene.height, scene.width), dtype=np.uint8)
    for thing in scene.things:
        if placed := _place(scene, thing, time, opacity_only=True):
            box, sampled = placed
            labels[box][sampled[..., 0] >= 0.5] = thing.label
    return labels


def _camera(scene: Scene, time: float) -> tuple[float, float, float, float, float]:
    """Zoom, cosine and sine of the roll, and the shift in pixels."""
    shift_x, shift_y, zoom, roll = (wave.at(time) for wave in scene.camera)
    return 2.0**zoom, math.cos(roll), math.sin(roll), shift_x, shift_y


def _place(
    scene: Scene, thing: Thing, time: float, opacity_only: bool = False
) -> tuple[tuple[slice, slice], NDArray[np.float32]] | None:
    """The box of a thing in the picture, and its pixels there; None if it is outside."""
    zoom, cosine, sine, shift_x, shift_y = _camera(scene, time)
    x = thing.x + thing.path[0].at(time) - scene.width / 2 - shift_x
    y = thing.y + thing.path[1].at(time) - scene.height / 2 - shift_y
    centre_x = zoom * (cosine * x + sine * y) + scene.width / 2
    centre_y = zoom * (cosine * y - sine * x) + scene.height / 2
    radius = thing.radius * zoom * 2.0 ** thing.size.at(time)
    reach = 1.45 * radius + 1  # the corners of the sprite, when it is turned
    top, bottom = (
        max(0, math.floor(centre_y - reach)),
        min(scene.height, math.ceil(centre_y + reach)),
    )
    left, right = (
        max(0, math.floor(centre_x - reach)),
        min(scene.width, math.ceil(centre_x + reach)),
    )
    if top >= bottom or left >= right:
        return None
    turn = thing.turn.at(time) + thing.spin * time - math.atan2(sine, cosine)
    dy = ((np.arange(top, bottom) - centre_y) / radius).astype(np.float32)[:, None]
    dx = ((np.arange(left, right) - centre_x) / radius).astype(np.float32)[None, :]
    u = math.cos(turn) * dx + math.sin(turn) * dy
    v = math.cos(turn) * dy - math.sin(turn) * dx
    amplitude, frequency, period, phase = thing.bend
    if amplitude:
        swing = np.float32(2 * math.pi * time / period + phase)
        u, v = (
            u + np.float32(amplitude) * np.sin(np.float32(frequency) * v + swing),
            v + np.float32(0.6 * amplitude) * np.sin(np.float32(frequency) * u + 2 * swing),
        )
    side = len(thing.sprite)
    sprite = thing.sprite[..., 3:] if opacity_only else thing.sprite
    half = np.float32((side - 1) / 2)
    return (slice(top, bottom), slice(left, right)), _sample(sprite, (v + 1) * half, (u + 1) * half)


def area(scene: Scene, thing: Thing, time: float) -> float:
    """Pixels that a thing would cover if nothing hid it."""
    radius = thing.radius * _camera(scene, time)[0] * 2.0 ** thing.size.at(time)
    share = np.count_nonzero(thing.sprite[..., 3] >= 0.5) / thing.sprite[..., 3].size
    return float(share * (2 * radius) ** 2)


def _sample(
    image: NDArray[np.float32], rows: NDArray[np.float32], columns: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Interpolate linearly at points of an image [H, W, C]; beyond its border it repeats."""
    height, width, channels = image.shape
    rows = np.clip(rows, 0, height - 1)
    columns = np.clip(columns, 0, width - 1)
    low_row = np.minimum(rows.astype(np.int32), height - 2)
    low_column = np.minimum(columns.astype(np.int32), width - 2)
    down = (rows - low_row)[..., None]
    right = (columns - low_column)[..., None]
    flat = np.ascontiguousarray(image).reshape(-1, channels)
    first = low_row * width + low_column
    upper = flat.take(first, 0) * (1 - right) + flat.take(first + 1, 0) * right
    lower = flat.take(first + width, 0) * (1 - right) + flat.take(first + width + 1, 0) * right
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)
