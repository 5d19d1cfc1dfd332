"""Pictures of things: textures from photographs or noise, cut out by outlines."""

import math
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mavos_deploy.errors import MavosError
from mavos_deploy.evaluation.scenes.draws import Draws

# Files of scikit-image, all in the public domain or CC0. Training never sees the held-out ones.
TRAINING_PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "rocket.jpg",
)
HELD_OUT_PHOTOS = ("chelsea.png", "gravel.png", "ihc.png", "moon.png", "retina.jpg", "text.png")
# Outlines of things in the photographs: x,y in percent of the picture's width and height.
_CUT_OUTS = {
    "astronaut.png": "30,20 31,11 36,4 44,2 53,3 59,11 59,20 54,27 53,31 59,38 61,47 68,53 71,62 "
    "71,67 63,74 57,82 55,92 56,100 5,100 4,84 8,66 16,53 23,46 23,36 28,30 36,30 36,25",
    "coffee.png": "29,25 33,12 41,5 48,4 56,6 65,15 69,25 76,35 80,50 79,66 75,80 67,92 56,98 "
    "43,96 28,83 18,68 13,50 15,33",
    "chelsea.png": "8,15 12,0 81,0 85,15 81,38 79,58 74,79 67,92 61,98 51,96 38,84 23,74 13,56 "
    "8,36",
}
LONGEST_SIDE = 640  # pixels; larger photographs are reduced to it
ANGLES = 512  # at which an outline is tabulated

Picture = NDArray[np.float32]  # (height, width, 3), RGB 0..255
Sprite = NDArray[np.float32]  # (side, side, 4), RGB 0..255 times opacity, then opacity 0..1


@dataclass(frozen=True)
class Photo:
    """A photograph to take textures from.

    Attributes:
        pixels: Picture, uint8 RGB (height, width, 3).
        cut_out: One thing in it, cropped to its box, uint8 RGB and opacity (height, width, 4);
            None without one.
    """

    pixels: NDArray[np.uint8]
    cut_out: NDArray[np.uint8] | None


def load_photos(names: tuple[str, ...]) -> tuple[Photo, ...]:
    """Read photographs that scikit-image ships.

    Args:
        names: File names, from `TRAINING_PHOTOS` or `HELD_OUT_PHOTOS`.

    Raises:
        MavosError: scikit-image isn't installed, or its version lacks one of them.
    """
    if find_spec("skimage") is None:
        raise MavosError(
            "the photographs come with scikit-image, which isn't installed; "
            "pip install 'mavos-deploy[photos]'"
        )
    folder = files("skimage") / "data"
    photos = []
    for name in names:
        file = folder / name
        if not file.is_file():
            raise MavosError(f"scikit-image has no {name} here; install scikit-image 0.22 to 0.26")
        with file.open("rb") as stream, Image.open(stream) as image:
            picture = image.convert("RGB")
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
        photos.append(Photo(np.asarray(picture), _cut_out(picture, _CUT_OUTS.get(name))))
    return tuple(photos)


def _cut_out(picture: Image.Image, outline: str | None) -> NDArray[np.uint8] | None:
    if outline is None:
        return None
    corners = [corner.split(",") for corner in outline.split()]
    mask = Image.new("L", picture.size)
    polygon = [(int(x) / 100 * picture.width, int(y) / 100 * picture.height) for x, y in corners]
    ImageDraw.Draw(mask).polygon(polygon, fill=255)
    return np.asarray(Image.merge("RGBA", (*picture.split(), mask)).crop(mask.getbbox()))


def make_texture(draws: Draws, photos: tuple[Photo, ...], height: int, width: int) -> Picture:
    """A textured rectangle: most often a piece of a photograph if there are any, else a pattern."""
    if photos and draws.chance(0.6):
        return _photo_texture(draws, photos, height, width)
    return _pattern(draws, height, width)


def make_sprite(draws: Draws, photos: tuple[Photo, ...], side: int) -> Sprite:
    """A thing to move about: a cut-out, or up to four overlapping shapes with textures."""
    with_cut_out = [photo.cut_out for photo in photos if photo.cut_out is not None]
    if with_cut_out and draws.chance(0.08):
        return _cut_out_sprite(draws, with_cut_out[draws.integer(0, len(with_cut_out) - 1)], side)
    sprite = np.zeros((side, side, 4), dtype=np.float32)
    shared = make_texture(draws, photos, side, side)
    parts = draws.integer(2, 4) if draws.chance(0.5) else 1
    for part in range(parts):
        texture = shared
        if part and draws.chance(0.7):
            texture = make_texture(draws, photos, side, side)
        reach = 0.92 if parts == 1 else draws.uniform(0.3, 0.6)
        offset = 0.0 if parts == 1 else min(0.45, 0.92 - reach)
        direction = draws.uniform(0, 2 * math.pi)
        centre = (offset * math.cos(direction), offset * math.sin(direction))
        cover = _shape(draws, side, reach, centre)[..., None]
        sprite *= 1 - cover
        sprite += cover * np.concatenate([texture, np.ones((side, side, 1), np.float32)], 2)
    return sprite


def make_bar(draws: Draws, photos: tuple[Photo, ...], side: int) -> Sprite:
    """A long thin rectangle, such as a pole."""
    sprite = np.zeros((side, side, 4), dtype=np.float32)
    half = max(2, round(side * draws.uniform(0.06, 0.14)))
    band = slice(side // 2 - half, side // 2 + half)
    sprite[1:-1, band, :3] = make_texture(draws, photos, side, side)[1:-1, band]
    sprite[1:-1, band, 3] = 1
    return sprite


def _cut_out_sprite(draws: Draws, cut_out: NDArray[np.uint8], side: int) -> Sprite:
    image = Image.fromarray(cut_out)
    image.thumbnail((side - 2, side - 2), Image.Resampling.BILINEAR)
    sprite = np.zeros((side, side, 4), dtype=np.float32)
    top, left = (side - image.height) // 2, (side - image.width) // 2
    pixels = np.asarray(image, dtype=np.float32)
    opacity = pixels[..., 3:] / 255
    colour = _recolour(draws, pixels[..., :3]) * opacity
    window = sprite[top : top + image.height, left : left + image.width]
    window[...] = np.concatenate([colour, opacity], 2)
    return sprite[:, ::-1] if draws.chance(0.5) else sprite


def _shape(
    draws: Draws, side: int, reach: float, centre: tuple[float, float]
) -> NDArray[np.float32]:
    """Opacity of a star-shaped region, (side, side); reach and centre in half sides."""
    angle = np.linspace(-math.pi, math.pi, ANGLES + 1)
    kind = draws.integer(0, 3)
    if kind == 0:  # blob
        radius = np.ones_like(angle)
        for harmonic in range(1, 6):
            radius += (0.28 / harmonic) * np.cos(harmonic * angle + draws.uniform(0, 2 * math.pi))
        radius = np.maximum(radius, 0.35)
    elif kind == 1:  # superellipse
        power = draws.uniform(1.6, 6.0)
        inverse = np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power
        radius = inverse ** (-1 / power)
    elif kind == 2:  # polygon or star
        corners = draws.integer(3, 8)
        at = (np.arange(corners + 1) + np.pad(0.5 * draws.array(corners), (0, 1))) / corners
        at[-1] = at[0] + 1
        height = draws.uniform(0.45, 1.0) + (1 - draws.uniform(0.0, 0.4)) * draws.array(corners)
        radius = np.interp((angle / (2 * math.pi)) % 1.0, at, [*height, height[0]], period=1.0)
    else:  # flower
        petals = draws.integer(3, 6)
        radius = 1 + draws.uniform(0.1, 0.35) * np.cos(petals * angle)
    radius = reach * radius / radius.max()
    flat, turn = draws.uniform(0.45, 1.0), draws.uniform(0, math.pi)
    line = np.linspace(-1, 1, side)
    x, y = line[None, :] - centre[0], line[:, None] - centre[1]
    u = math.cos(turn) * x + math.sin(turn) * y
    v = (math.cos(turn) * y - math.sin(turn) * x) / flat
    inside = np.interp(np.arctan2(v, u), angle, radius) - np.hypot(u, v)
    return np.asarray(np.clip(inside * side / 2 + 0.5, 0, 1), dtype=np.float32)


def _photo_texture(draws: Draws, photos: tuple[Photo, ...], height: int, width: int) -> Picture:
    """A piece of a photograph, turned, mirrored and recoloured."""
    pixels = photos[draws.integer(0, len(photos) - 1)].pixels
    if draws.chance(0.3):
        pixels = pixels.transpose(1, 0, 2)
    full_height, full_width = pixels.shape[:2]
    largest = min(full_height / height, full_width / width)
    zoom = largest * draws.uniform(0.3, 1.0)
    box_height, box_width = max(2, int(height * zoom)), max(2, int(width * zoom))
    top = draws.integer(0, full_height - box_height)
    left = draws.integer(0, full_width - box_width)
    piece = Image.fromarray(
        np.ascontiguousarray(pixels[top : top + box_height, left : left + box_width])
    ).resize((width, height), Image.Resampling.BILINEAR)
    texture = np.asarray(piece, dtype=np.float32)
    if draws.chance(0.5):
        texture = texture[:, ::-1]
    return _recolour(draws, texture)


def _recolour(draws: Draws, texture: Picture) -> Picture:
    """Change contrast, brightness and the balance of the colours; sometimes swap channels."""
    mean = texture.mean((0, 1))
    order = draws.shuffled(3) if draws.chance(0.4) else [0, 1, 2]
    gain = draws.uniform(0.7, 1.3) * (1 + 0.35 * (draws.array(3) - 0.5))
    target = np.clip(mean[order] + 90 * (draws.array(3) - 0.5), 30, 225)
    if draws.chance(0.35):  # a tint of its own, as grey photographs have none
        target = 40 + 180 * draws.array(3)
    recoloured = (texture[..., order] - mean[order]) * gain + target
    return np.asarray(np.clip(recoloured, 0, 255), dtype=np.float32)


def _pattern(draws: Draws, height: int, width: int) -> Picture:
    """Two or three colours mixed by noise, stripes, checks, dots or patches, with grain."""
    kind = draws.integer(0, 5)
    cloud = _clouds(draws, height, width)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    turn, pitch = draws.uniform(0, math.pi), draws.uniform(18, 80)
    u = math.cos(turn) * x + math.sin(turn) * y + 0.04 * cloud
    v = math.cos(turn) * y - math.sin(turn) * x + 0.04 * cloud
    if kind == 0:  # stripes
        weight = np.tanh(draws.uniform(1, 6) * np.sin(pitch * u))
    elif kind == 1:  # checks
        weight = np.tanh(6 * np.sin(pitch * u) * np.sin(pitch * v))
    elif kind == 2:  # dots
        weight = np.tanh(6 * (np.cos(pitch * u) * np.cos(pitch * v) - draws.uniform(0, 0.5)))
    elif kind == 3:  # patches
        weight = np.sign(cloud) + 0.3 * np.sign(_clouds(draws, height, width))
    elif kind == 4:  # nearly plain
        weight = 0.25 * cloud
    else:
        weight = cloud
    colours = 255 * draws.array(3, 3)
    grey = colours.mean(1, keepdims=True)
    colours = grey + draws.uniform(0.15, 1.0) * (colours - grey)
    mix = np.clip(0.5 + 0.5 * weight, 0, 1)[..., None]
    extra = np.clip(0.35 * _clouds(draws, height, width), 0, 1)[..., None]
    texture = colours[0] + (colours[1] - colours[0]) * mix
    texture += (colours[2] - texture) * extra
    texture += draws.uniform(0, 14) * _clouds(draws, height, width, finest=1)[..., None]
    return np.asarray(np.clip(texture, 0, 255), dtype=np.float32)


def _clouds(draws: Draws, height: int, width: int, finest: int = 4) -> NDArray[np.float64]:
    """Noise of mean 0 and deviation 1, (height, width): octaves from the whole down to a cell.

    Args:
        draws: Source of randomness.
        height: Height in pixels.
        width: Width in pixels.
        finest: Side of the smallest cell in pixels; 1 for grain alone.
    """
    total = np.zeros((height, width))
    cell = finest * 2 ** draws.integer(0, 2)
    while True:
        rows, columns = -(-height // cell) + 1, -(-width // cell) + 1
        grid = draws.array(rows, columns) - 0.5
        total += cell**0.8 * (_spread(height, rows, cell) @ grid @ _spread(width, columns, cell).T)
        cell *= 2
        if cell > max(height, width) or finest == 1:
            break
    total -= total.mean()
    return np.asarray(total / max(1e-9, total.std()))


def _spread(length: int, cells: int, cell: int) -> NDArray[np.float64]:
    """Linear interpolation from grid points to pixels, (length, cells)."""
    at = np.arange(length) / cell
    low = at.astype(np.intp)
    matrix = np.zeros((length, cells))
    matrix[np.arange(length), low] = 1 - (at - low)
    matrix[np.arange(length), np.minimum(low + 1, cells - 1)] += at - low
    return matrix
