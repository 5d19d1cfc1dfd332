"""Still pictures become clips: things cut from photographs move over moving photographs.

The recipe of the paper's pre-training, extended: affine courses, bending, turning parts, several
things of one kind, unlabelled things in front and behind, leaving and returning, camera motion,
light, blur, noise and compression. A seed fixes every pixel.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from examples.training.things import Bytes, Course, Floats, Thing, blob, shrink
from mavos_deploy.evaluation.scenes.clip import Clip


@dataclass(frozen=True)
class Pictures:
    """What clips are made from.

    Attributes:
        things: Cut-outs, RGB and opacity 0..255, (height, width, 4) each.
        photos: Photographs, RGB 0..255, (height, width, 3) each.
    """

    things: tuple[Bytes, ...]
    photos: tuple[Bytes, ...]


def load_pictures(file: Path) -> Pictures:
    """Read what `gather.py` wrote."""
    with np.load(file, allow_pickle=False) as arrays:
        things = [arrays[name] for name in arrays if name.startswith("thing")]
        photos = [arrays[name] for name in arrays if name.startswith("photo")]
    return Pictures(tuple(things), tuple(photos))


class Camera:
    """A view of a photograph that moves, and takes the things along."""

    def __init__(
        self, rng: np.random.Generator, photo: Bytes, size: tuple[int, int], pace: float
    ) -> None:
        height, width = size
        self.size = size
        cover = max(height / photo.shape[0], width / photo.shape[1])
        zoom = cover * float(np.exp(rng.uniform(0.15, 1.1)))
        if zoom < 1:
            photo = shrink(photo, zoom)
            zoom = 1.0
        if rng.random() < 0.5:
            photo = photo[:, ::-1]
        if rng.random() < 0.25:
            sigma = rng.uniform(0.5, 4)
            photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), sigma), np.uint8)
        self.photo = np.ascontiguousarray(photo)
        self.zoom = zoom
        still = rng.random() < 0.25
        speed = 0.0 if still else pace
        self.x = Course(rng, 0.0, 0.012 * width * speed, 0.012 * width * speed)
        self.y = Course(rng, 0.0, 0.006 * width * speed, 0.008 * width * speed)
        self.angle = Course(rng, 0.0, 0.004 * speed, 0.012 * speed)
        self.grow = Course(rng, 0.0, 0.006 * speed, 0.015 * speed)
        self.shake = 0.0 if rng.random() < 0.6 else rng.uniform(0.5, 3.0)
        self.base = rng.normal() * 0.1
        free_h = max(0.0, self.photo.shape[0] * zoom - height) / 2
        free_w = max(0.0, self.photo.shape[1] * zoom - width) / 2
        self.offset = rng.uniform(-1, 1) * free_w * 0.8, rng.uniform(-1, 1) * free_h * 0.8

    def view(self, time: float, rng: np.random.Generator) -> tuple[Floats, NDArray[np.float64]]:
        """The background [H, W, 3] and the motion since time 0 as a matrix."""
        height, width = self.size
        angle = self.angle.at(time)
        scale = math.exp(max(-0.4, min(0.4, self.grow.at(time))))
        cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
        middle = np.array([width / 2, height / 2])
        motion = np.eye(3)
        motion[:2, :2] = [[cos, -sin], [sin, cos]]
        shift = np.array([self.x.at(time), self.y.at(time)]) + rng.normal(size=2) * self.shake
        motion[:2, 2] = middle + shift - motion[:2, :2] @ middle
        photo_h, photo_w = self.photo.shape[:2]
        cos, sin = math.cos(self.base) * self.zoom, math.sin(self.base) * self.zoom
        base = np.eye(3)
        base[:2, :2] = [[cos, -sin], [sin, cos]]
        base[:2, 2] = middle + self.offset - base[:2, :2] @ np.array([photo_w / 2, photo_h / 2])
        picture = cv2.warpAffine(
            self.photo,
            (motion @ base)[:2],
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return picture.astype(np.float32), motion


class Film:
    """Light, blur, noise and compression of a whole clip."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.exposure = Course(rng, rng.normal() * 0.12, 0.006, 0.05)
        self.tint = 1 + 0.06 * rng.normal(size=3)
        self.gamma = math.exp(rng.normal() * 0.15)
        self.noise = rng.choice([0.0, 0.0, 2.0, 4.0, 8.0]) * rng.random()
        self.soft = rng.random() < 0.2
        self.quality = int(rng.integers(25, 95)) if rng.random() < 0.5 else None

    def shoot(self, canvas: Floats, time: float) -> Bytes:
        """Turn a drawn canvas [H, W, 3] into a frame uint8."""
        lit = np.clip(canvas * self.tint * math.exp(self.exposure.at(time)), 0, 255)
        lit = 255 * (lit / 255) ** self.gamma
        if self.soft:
            lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), 0.9))
        if self.noise:
            lit = lit + self.rng.normal(size=lit.shape) * self.noise
        frame = np.clip(lit, 0, 255).astype(np.uint8)
        if self.quality is None:
            return frame
        coded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def cast(
    rng: np.random.Generator,
    pictures: Pictures,
    size: tuple[int, int],
    pace: float,
    length: int,
    absences: float,
    meetings: float,
) -> list[tuple[int | None, Thing]]:
    """Choose the things of a clip, labelled ones first; None stands for no label."""
    count = int(rng.choice([1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 10]))
    others = int(rng.choice([0, 0, 1, 1, 2, 3]))
    alike = rng.random() < 0.45

    def pick() -> Bytes:
        if rng.random() < 0.18:
            return blob(rng, pictures.photos[int(rng.integers(len(pictures.photos)))])
        return pictures.things[int(rng.integers(len(pictures.things)))]

    things: list[tuple[int | None, Thing]] = []
    first = pick()
    largest = 1.05 if count + others <= 3 else 0.55
    base = math.exp(rng.uniform(math.log(0.16), math.log(largest)))
    for index in range(count + others):
        picture = first if index == 0 or (alike and rng.random() < 0.7) else pick()
        share = base if alike else math.exp(rng.uniform(math.log(0.12), math.log(largest)))
        share *= math.exp(rng.normal() * 0.12)
        label = index + 1 if index < count else None
        things.append((label, Thing(rng, picture, size, share * size[0], pace, length, absences)))
    if alike and meetings and rng.random() < meetings:
        place = rng.uniform(0.3, 0.7) * size[1], rng.uniform(0.35, 0.75) * size[0]
        time = rng.uniform(0.3, 0.8) * length
        for _, thing in things:
            thing.meet(rng, place, time + rng.normal() * 0.1 * length, base * size[0])
    return things


def make_clip(
    pictures: Pictures,
    seed: int,
    size: tuple[int, int],
    frames: int,
    pace: float,
    absences: float,
    meetings: float,
) -> Clip:
    """Render a clip with its labels, 1 to the number of labelled things.

    Args:
        pictures: Cut-outs and photographs that it is made from.
        seed: Fixes every pixel.
        size: Height and width in pixels.
        frames: Number of frames.
        pace: Scales every speed; 1 crosses about a fifth of the frame in ten frames.
        absences: Chance that a thing slips away and comes back.
        meetings: Chance that things of one kind pass close by each other.
    """
    rng = np.random.default_rng(seed)
    pace *= 2.0 ** rng.uniform(-1.2, 1.1)
    photo = pictures.photos[int(rng.integers(len(pictures.photos)))]
    camera = Camera(rng, photo, size, pace)
    things = cast(rng, pictures, size, pace, frames, absences, meetings)
    order = rng.permutation(len(things))
    swap = rng.random() < 0.15 and len(things) > 1
    blur = rng.random() < 0.5
    film = Film(rng)
    shown, labelled = [], []
    for time in range(frames):
        canvas, motion = camera.view(time, rng)
        labels = np.zeros(size, np.uint8)
        if swap and time == frames // 2:
            order = rng.permutation(len(things))
        for index in order:
            label, thing = things[index]
            thing.draw(canvas, labels, label, time, motion, blur)
        shown.append(film.shoot(canvas, time))
        labelled.append(labels)
    return Clip(np.stack(shown), np.stack(labelled))
