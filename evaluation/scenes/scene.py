"""Videos made from photographs and patterns, with exact ground truth; a seed fixes every pixel.

Cut-out or composed objects move, turn, change size, bend, pass behind each other, leave the picture
and come back, among others of the same kind that aren't labelled. The camera moves too, the light
changes, and fast things blur. The label map comes from the same geometry as the colours.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.scenes.draws import Draws
from mavos_deploy.evaluation.scenes.textures import (
    Photo,
    Picture,
    Sprite,
    make_bar,
    make_sprite,
    make_texture,
)

MAX_OBJECTS = 10
GROUND_MARGIN = 0.3  # how much larger than the picture the background is, to each side
SPRITE_SIDE = 192  # pixels; the most a sprite's picture has
BLUR_SAMPLES = 3  # moments that a blurred frame averages
ATTEMPTS = 60  # scenes tried until every object shows in the first frame

_Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class SceneStyle:
    """How hard a scene is; the defaults are those of the held-out set.

    Attributes:
        smallest, largest: Radius of an object as a share of the picture's shorter side.
        pace: Lowest and highest factor on the speed of everything.
        roam: How far an object goes; 1 takes it through two thirds of the picture.
        leaving: Chance that an object's path leads out of the picture and back.
        visible: Share of itself that each object shows at least in the first frame.
    """

    smallest: float = 0.2
    largest: float = 0.42
    pace: tuple[float, float] = (0.6, 1.2)
    roam: float = 0.4
    leaving: float = 0.4
    visible: float = 0.5


@dataclass(frozen=True)
class _Wave:
    """A sum of two sines of time."""

    terms: tuple[tuple[float, float, float], ...]  # amplitude, period in frames, phase

    def at(self, time: float) -> float:
        return sum(a * math.sin(2 * math.pi * time / p + f) for a, p, f in self.terms)


@dataclass(frozen=True)
class _Thing:
    """A sprite and its path; lengths in pixels."""

    label: int  # 0: not labelled
    sprite: Sprite
    radius: float
    x: float
    y: float
    path: tuple[_Wave, _Wave]
    size: _Wave  # exponent of two
    turn: _Wave
    spin: float  # radians a frame
    bend: tuple[float, float, float, float]  # amplitude, frequency, period, phase


@dataclass(frozen=True)
class _Scene:
    height: int
    width: int
    start: float
    pace: float
    ground: Picture
    things: tuple[_Thing, ...]  # rearmost first
    camera: tuple[_Wave, _Wave, _Wave, _Wave]  # x, y, exponent of zoom, angle
    light: tuple[_Wave, _Wave, _Wave]  # gain, warmth, tilt over the picture
    blur: float  # share of the time between frames that the shutter is open; 0 for sharp
    grain: float


def iter_scene(
    height: int,
    width: int,
    frames: int,
    objects: int,
    seed: int,
    photos: tuple[Photo, ...] = (),
    style: SceneStyle = SceneStyle(),
) -> Iterator[tuple[NDArray[np.uint8], _Labels]]:
    """Render a scene frame by frame.

    Args:
        height: Pixels, 48 or more.
        width: Pixels, 48 or more.
        frames: Number of frames, 1 or more.
        objects: Labelled objects, 1 to 10; all of them show in the first frame.
        seed: Not negative. Another seed is another scene.
        photos: Photographs to use besides patterns; see `load_photos`.
        style: How hard it is.

    Returns:
        An iterator over (frame, labels): uint8 RGB (height, width, 3), and uint8 (height, width)
        with 0 for the background and unlabelled things, else the id of the foremost object.

    Raises:
        InputError: A number is out of range, or the objects find no room in the first frame.
    """
    if height < 48 or width < 48 or frames < 1 or not 1 <= objects <= MAX_OBJECTS or seed < 0:
        raise InputError(
            f"{frames} frames of {height}x{width} with {objects} objects and seed {seed}: need "
            f"48x48 pixels, 1 frame, 1 to {MAX_OBJECTS} objects and a seed that isn't negative"
        )
    scene = _find_scene(height, width, objects, seed, photos, style)
    return (_render(scene, index, Draws(seed, 1, index)) for index in range(frames))


def _find_scene(
    height: int, width: int, objects: int, seed: int, photos: tuple[Photo, ...], style: SceneStyle
) -> _Scene:
    """Draw the things anew, then smaller ones, until each object shows."""
    draws = Draws(seed, 0)
    base = _draw_surroundings(draws, height, width, photos, style)
    for attempt in range(ATTEMPTS):
        things = _draw_things(draws, height, width, objects, photos, style, 0.97**attempt)
        scene = replace(base, things=things)
        shown = np.bincount(_labels(scene, scene.start).ravel(), minlength=objects + 1)
        if all(
            shown[thing.label] >= style.visible * _area(scene, thing, scene.start)
            for thing in things
            if thing.label
        ):
            return scene
    raise InputError(
        f"{objects} objects find no room in the first frame of {height}x{width} pixels with seed "
        f"{seed}; use fewer objects or another seed"
    )


def _draw_surroundings(
    draws: Draws, height: int, width: int, photos: tuple[Photo, ...], style: SceneStyle
) -> _Scene:
    short = min(height, width)
    shaky = draws.chance(0.25)
    shake = (draws.uniform(0.002, 0.008) * short, draws.uniform(5, 9)) if shaky else (0.0, 8.0)
    moving = draws.chance(0.7)
    travel = 0.1 * short if moving else 0.01 * short
    return _Scene(
        height=height,
        width=width,
        start=draws.uniform(0, 500),
        pace=draws.uniform(*style.pace),
        ground=_draw_ground(draws, height, width, photos),
        things=(),
        camera=(
            _wave(draws, travel, 90, 260, shake),
            _wave(draws, 0.6 * travel, 80, 240, shake),
            _wave(draws, 0.1 if moving else 0.01, 90, 220),
            _wave(draws, 0.07 if moving else 0.01, 80, 240),
        ),
        light=(
            _wave(draws, 0.16, 40, 200),
            _wave(draws, 0.06, 60, 200),
            _wave(draws, 0.2, 60, 200),
        ),
        blur=draws.uniform(0.3, 0.9) if draws.chance(0.3) else 0.0,
        grain=draws.uniform(0, 9),
    )


def _draw_ground(draws: Draws, height: int, width: int, photos: tuple[Photo, ...]) -> Picture:
    """A texture with a dozen things lying about in it."""
    margin = round(GROUND_MARGIN * min(height, width))
    size = (height + 2 * margin, width + 2 * margin)
    ground = make_texture(draws, photos, *size)
    for _ in range(draws.integer(0, 14)):
        side = round(min(size) * draws.uniform(0.06, 0.45))
        sprite = make_sprite(draws, photos, side)
        top = draws.integer(-side // 2, size[0] - side // 2)
        left = draws.integer(-side // 2, size[1] - side // 2)
        rows = slice(max(0, top), min(size[0], top + side))
        columns = slice(max(0, left), min(size[1], left + side))
        piece = sprite[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        ground[rows, columns] *= 1 - piece[..., 3:]
        ground[rows, columns] += piece[..., :3]
    return ground


def _draw_things(
    draws: Draws,
    height: int,
    width: int,
    objects: int,
    photos: tuple[Photo, ...],
    style: SceneStyle,
    shrink: float,
) -> tuple[_Thing, ...]:
    crowd = shrink / math.sqrt(1 + 0.12 * (objects - 1))
    labelled = [
        _draw_thing(draws, height, width, label, photos, style, crowd)
        for label in range(1, objects + 1)
    ]
    things = list(labelled)
    for _ in range(draws.integer(0, 4)):
        other = _draw_thing(draws, height, width, 0, photos, style, crowd)
        if draws.chance(0.45):  # looks much like one of the objects
            twin = labelled[draws.integer(0, objects - 1)]
            gain = np.append(0.75 + 0.5 * draws.array(3), 1).astype(np.float32)
            opacity = 255 * twin.sprite[..., 3:]
            lookalike = np.minimum(twin.sprite * gain, np.maximum(opacity, 1))
            other = replace(other, sprite=lookalike, radius=twin.radius)
        things.append(other)
    things = [things[index] for index in draws.shuffled(len(things))]
    if draws.chance(0.4):
        things.append(_draw_occluder(draws, height, width, photos))
    return tuple(things)


def _draw_thing(
    draws: Draws,
    height: int,
    width: int,
    label: int,
    photos: tuple[Photo, ...],
    style: SceneStyle,
    crowd: float,
) -> _Thing:
    short = min(height, width)
    radius = short * draws.uniform(style.smallest, style.largest) * crowd
    x, y = draws.uniform(0.1, 0.9) * width, draws.uniform(0.15, 0.85) * height
    if draws.chance(style.leaving):
        along = 0.5 * width + draws.uniform(1.2, 2.2) * radius
        path = (_wave(draws, along, 60, 130), _wave(draws, 0.25 * height, 50, 150))
        x = 0.5 * width
        if draws.chance(0.25):
            up = 0.5 * height + draws.uniform(1.2, 2.2) * radius
            path = (_wave(draws, 0.3 * width, 60, 150), _wave(draws, up, 60, 130))
            x, y = draws.uniform(0.3, 0.7) * width, 0.5 * height
    elif draws.chance(0.2):
        path = (_wave(draws, 0.04 * width, 40, 120), _wave(draws, 0.04 * height, 40, 120))
    else:
        path = (
            _wave(draws, 0.32 * style.roam * width, 50, 160),
            _wave(draws, 0.28 * style.roam * height, 50, 160),
        )
    turns = draws.chance(0.3)
    return _Thing(
        label=label,
        sprite=make_sprite(draws, photos, min(SPRITE_SIDE, max(24, round(2.2 * radius)))),
        radius=radius,
        x=x,
        y=y,
        path=path,
        size=_wave(draws, draws.uniform(0.1, 0.45), 50, 160),
        turn=_wave(draws, draws.uniform(0.1, 0.6), 40, 150),
        spin=draws.uniform(0.01, 0.05) * draws.sign() if turns else 0.0,
        bend=(
            draws.uniform(0.0, 0.13),
            draws.uniform(1.5, 4.0),
            draws.uniform(18, 60),
            draws.uniform(0, 2 * math.pi),
        ),
    )


def _draw_occluder(draws: Draws, height: int, width: int, photos: tuple[Photo, ...]) -> _Thing:
    """Something in front of everything that stands still: a pole or a block."""
    pole = draws.chance(0.6)
    still = _Wave(())
    return _Thing(
        label=0,
        sprite=(make_bar if pole else make_sprite)(draws, photos, SPRITE_SIDE),
        radius=(0.75 * height if pole else draws.uniform(0.15, 0.25) * min(height, width)),
        x=draws.uniform(0.2, 0.8) * width,
        y=0.5 * height if pole else draws.uniform(0.2, 0.8) * height,
        path=(still, still),
        size=still,
        turn=still,
        spin=0.0,
        bend=(0.0, 1.0, 1.0, 0.0),
    )


def _wave(
    draws: Draws,
    amplitude: float,
    shortest: float,
    longest: float,
    shake: tuple[float, float] | None = None,
) -> _Wave:
    """A slow sine, a weaker one of half its period, and a shake (amplitude and period)."""
    period = draws.uniform(shortest, longest)
    terms = [
        (0.85 * amplitude, period, draws.uniform(0, 2 * math.pi)),
        (0.15 * amplitude, period * draws.uniform(0.4, 0.6), draws.uniform(0, 2 * math.pi)),
    ]
    if shake:
        terms.append((*shake, draws.uniform(0, 2 * math.pi)))
    return _Wave(tuple(terms))


def _render(scene: _Scene, index: int, noise: Draws) -> tuple[NDArray[np.uint8], _Labels]:
    time = scene.start + scene.pace * index
    labels = _labels(scene, time)
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


def _picture(scene: _Scene, time: float) -> Picture:
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


def _labels(scene: _Scene, time: float) -> _Labels:
    labels = np.zeros((scene.height, scene.width), dtype=np.uint8)
    for thing in scene.things:
        if placed := _place(scene, thing, time, opacity_only=True):
            box, sampled = placed
            labels[box][sampled[..., 0] >= 0.5] = thing.label
    return labels


def _camera(scene: _Scene, time: float) -> tuple[float, float, float, float, float]:
    """Zoom, cosine and sine of the roll, and the shift in pixels."""
    shift_x, shift_y, zoom, roll = (wave.at(time) for wave in scene.camera)
    return 2.0**zoom, math.cos(roll), math.sin(roll), shift_x, shift_y


def _place(
    scene: _Scene, thing: _Thing, time: float, opacity_only: bool = False
) -> tuple[tuple[slice, slice], NDArray[np.float32]] | None:
    """Where a thing is in the picture, and its pixels there; None if it is outside."""
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


def _area(scene: _Scene, thing: _Thing, time: float) -> float:
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
