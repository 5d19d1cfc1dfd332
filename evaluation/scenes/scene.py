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
from mavos_deploy.evaluation.scenes.render import Scene, Thing, Wave, area, label_map, render
from mavos_deploy.evaluation.scenes.textures import (
    Photo,
    Picture,
    make_bar,
    make_sprite,
    make_texture,
)

MAX_OBJECTS = 10
GROUND_MARGIN = 0.3  # how much larger than the picture the background is, to each side
SPRITE_SIDE = 192  # pixels; the most a sprite's picture has
ATTEMPTS = 60  # scenes tried until every object shows in the first frame


@dataclass(frozen=True)
class SceneStyle:
    """The difficulty of a scene; the defaults are those of the held-out set.

    Attributes:
        smallest: Least radius of an object as a share of the picture's shorter side.
        largest: Largest radius of an object as a share of the picture's shorter side.
        pace: Lowest and highest factor on the speed of everything.
        roam: Reach of an object's path; 1 takes it through two thirds of the picture.
        leaving: Chance that an object's path leads out of the picture and back.
        visible: Least share of each object that shows in the first frame.
    """

    smallest: float = 0.2
    largest: float = 0.42
    pace: tuple[float, float] = (0.6, 1.2)
    roam: float = 0.4
    leaving: float = 0.4
    visible: float = 0.5


def iter_scene(
    height: int,
    width: int,
    frames: int,
    objects: int,
    seed: int,
    photos: tuple[Photo, ...] = (),
    style: SceneStyle = SceneStyle(),
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Render a scene frame by frame.

    Args:
        height: Height in pixels, 48 or more.
        width: Width in pixels, 48 or more.
        frames: Number of frames, 1 or more.
        objects: Number of labelled objects, 1 to 10; all of them show in the first frame.
        seed: Number that fixes every pixel, 0 or more.
        photos: Photographs to use besides patterns; see `load_photos`.
        style: Difficulty of the scene.

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
    return (render(scene, index, Draws(seed, 1, index)) for index in range(frames))


def _find_scene(
    height: int, width: int, objects: int, seed: int, photos: tuple[Photo, ...], style: SceneStyle
) -> Scene:
    """Draw the things anew, then smaller ones, until each object shows."""
    draws = Draws(seed, 0)
    base = _draw_surroundings(draws, height, width, photos, style)
    for attempt in range(ATTEMPTS):
        things = _draw_things(draws, height, width, objects, photos, style, 0.97**attempt)
        scene = replace(base, things=things)
        shown = np.bincount(label_map(scene, scene.start).ravel(), minlength=objects + 1)
        if all(
            shown[thing.label] >= style.visible * area(scene, thing, scene.start)
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
) -> Scene:
    short = min(height, width)
    shaky = draws.chance(0.25)
    shake = (draws.uniform(0.002, 0.008) * short, draws.uniform(5, 9)) if shaky else (0.0, 8.0)
    moving = draws.chance(0.7)
    travel = 0.1 * short if moving else 0.01 * short
    return Scene(
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
) -> tuple[Thing, ...]:
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
) -> Thing:
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
    return Thing(
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


def _draw_occluder(draws: Draws, height: int, width: int, photos: tuple[Photo, ...]) -> Thing:
    """Something in front of everything that stands still: a pole or a block."""
    pole = draws.chance(0.6)
    still = Wave(())
    return Thing(
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
) -> Wave:
    """A slow sine, a weaker one of half its period, and a shake (amplitude and period)."""
    period = draws.uniform(shortest, longest)
    terms = [
        (0.85 * amplitude, period, draws.uniform(0, 2 * math.pi)),
        (0.15 * amplitude, period * draws.uniform(0.4, 0.6), draws.uniform(0, 2 * math.pi)),
    ]
    if shake:
        terms.append((*shake, draws.uniform(0, 2 * math.pi)))
    return Wave(tuple(terms))
