"""Cut-outs that move, turn, grow, bend and blur."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def shrink(picture: Bytes, factor: float) -> Bytes:
    """Reduce a picture to a factor of its sides below 1."""
    small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


class Course:
    """A smooth function of time: a line plus two slow waves."""

    def __init__(self, rng: np.random.Generator, start: float, speed: float, wave: float) -> None:
        self.start = start
        self.speed = speed * rng.normal()
        self.waves = [
            (wave * rng.normal() / (k + 1), rng.uniform(0.15, 0.5) * (k + 1), rng.uniform(0, 6.3))
            for k in range(2)
        ]

    def at(self, time: float) -> float:
        """The value at a time, in frames; exactly `start` at no particular time."""
        return (
            self.start
            + self.speed * time
            + sum(a * math.sin(w * time + p) for a, w, p in self.waves)
        )


class Thing:
    """A cut-out on its way."""

    def __init__(
        self,
        rng: np.random.Generator,
        picture: Bytes,
        size: tuple[int, int],
        height: float,
        pace: float,
        length: int,
        absences: float,
    ) -> None:
        frame_h, frame_w = size
        self.scale0 = height / math.sqrt(picture.shape[0] * picture.shape[1])
        reduction = self.scale0 * 1.6
        if reduction < 1:  # a smaller picture, so that sampling doesn't alias
            picture = shrink(picture, reduction)
            self.scale0 = 1 / 1.6
        colours = picture[..., :3].astype(np.float32)
        alpha = picture[..., 3:].astype(np.float32) / 255
        gain = rng.uniform(0.7, 1.25) * (1 + 0.08 * rng.normal(size=3))
        colours = np.clip((colours - 128) * rng.uniform(0.75, 1.15) + 128, 0, 255) * gain
        if rng.random() < 0.08:
            colours = colours[..., rng.permutation(3)]
        if rng.random() < 0.5:
            colours, alpha = colours[:, ::-1], alpha[:, ::-1]
        self.picture = np.ascontiguousarray(
            np.concatenate([np.clip(colours, 0, 255) * alpha, alpha], -1), np.float32
        )
        centre = rng.uniform(0.1, 0.9) * frame_w, rng.uniform(0.15, 0.9) * frame_h
        speed = pace * 0.02 * frame_w
        middle = rng.uniform(0.2, 0.8) * length
        self.x = Course(rng, centre[0], speed, 0.04 * frame_w * pace)
        self.y = Course(rng, centre[1], 0.6 * speed, 0.03 * frame_w * pace)
        self.x.start -= self.x.speed * middle
        self.y.start -= self.y.speed * middle
        self.angle = Course(rng, rng.normal() * 0.15, 0.02 * pace, 0.12 * pace)
        self.grow = Course(rng, 0.0, 0.012 * pace, 0.06 * pace)
        self.squeeze = Course(rng, rng.normal() * 0.1, 0.006 * pace, 0.12 * pace)
        self.shear = Course(rng, rng.normal() * 0.08, 0.0, 0.08 * pace)
        self.bends = [
            (rng.normal(size=(2, 4, 4)).astype(np.float32), Course(rng, 0, 0, 1.0))
            for _ in range(2)
        ]
        self.bend = rng.choice([0.0, 0.03, 0.06, 0.1]) * min(1.3, 0.6 + 0.4 * pace)
        self.joints = [self._joint(rng, pace) for _ in range(int(rng.integers(0, 4)))]
        self.light = Course(rng, 0.0, 0.003, 0.05)
        self.gone = self._absence(rng, length, absences)

    def _joint(self, rng: np.random.Generator, pace: float) -> tuple[Floats, float, Course]:
        """A pivot inside, the direction of the part that turns, and its angle over time."""
        pivot = rng.uniform(0.25, 0.75, 2).astype(np.float32)
        return (
            pivot,
            rng.uniform(0, 2 * math.pi),
            Course(rng, rng.normal() * 0.1, 0.01, 0.35 * pace),
        )

    def _absence(
        self, rng: np.random.Generator, length: int, chance: float
    ) -> tuple[float, float, float]:
        """When the thing slips away and comes back: middle, half width in frames, and direction."""
        if rng.random() > chance:
            return 0.0, 0.0, 0.0
        return (
            rng.uniform(0.3, 0.8) * length,
            rng.uniform(1, max(1.0, 0.25 * length)),
            rng.uniform(0, 6.3),
        )

    def meet(
        self, rng: np.random.Generator, place: tuple[float, float], time: float, spread: float
    ) -> None:
        """Shift the way, so that it passes a place at a time.

        Args:
            rng: Draws how far from the place it passes.
            place: Column and row in pixels.
            time: In frames.
            spread: Half of it, in pixels, is the standard deviation of that distance.
        """
        x, y = (middle + rng.normal() * 0.5 * spread for middle in place)
        self.x.start += x - self.x.at(time)
        self.y.start += y - self.y.at(time)

    def place(self, time: float, size: tuple[int, int]) -> tuple[float, float]:
        """Centre in the frame."""
        x, y = self.x.at(time), self.y.at(time)
        middle, half, direction = self.gone
        if half:
            away = max(0.0, 1 - abs(time - middle) / (2 * half)) * 2
            x += math.cos(direction) * away * size[1]
            y += math.sin(direction) * away * size[0]
        return x, y

    def draw(
        self,
        canvas: Floats,
        labels: Bytes,
        label: int | None,
        time: float,
        camera: NDArray[np.float64],
        blur: bool,
    ) -> None:
        """Draw over a canvas [H, W, 3] and its labels; None leaves what is below unlabelled."""
        height, width = labels.shape
        scale = self.scale0 * math.exp(max(-0.7, min(0.7, self.grow.at(time))))
        squeeze = math.exp(max(-0.6, min(0.6, self.squeeze.at(time))))
        angle = self.angle.at(time)
        cos, sin = math.cos(angle), math.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        form = turn @ np.array([[squeeze, self.shear.at(time)], [0, 1 / squeeze]]) * scale
        own_h, own_w = self.picture.shape[:2]
        x, y = self.place(time, (height, width))
        matrix = np.eye(3)
        matrix[:2, :2] = form
        matrix[:2, 2] = np.array([x, y]) - form @ np.array([own_w / 2, own_h / 2])
        matrix = camera @ matrix
        margin = 0.35 * max(own_h, own_w)
        corners = np.array(
            [
                [-margin, -margin, 1],
                [own_w + margin, -margin, 1],
                [-margin, own_h + margin, 1],
                [own_w + margin, own_h + margin, 1],
            ]
        ).T
        seen = (matrix @ corners)[:2]
        left, top = np.floor(seen.min(1)).astype(int)
        right, bottom = np.ceil(seen.max(1)).astype(int) + 1
        left, top = max(left, 0), max(top, 0)
        right, bottom = min(right, width), min(bottom, height)
        if right - left < 2 or bottom - top < 2:
            return
        inverse = np.linalg.inv(matrix)
        xs = np.arange(left, right, dtype=np.float32)[None]
        ys = np.arange(top, bottom, dtype=np.float32)[:, None]
        u = (inverse[0, 0] * xs + inverse[0, 1] * ys + inverse[0, 2]).astype(np.float32)
        v = (inverse[1, 0] * xs + inverse[1, 1] * ys + inverse[1, 2]).astype(np.float32)
        u, v = self._bent(u, v, time)
        part = cv2.remap(self.picture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        if blur:
            part = self._blurred(np.asarray(part, np.float32), time, (height, width))
        alpha = part[..., 3:]
        region = canvas[top:bottom, left:right]
        gain = 1 + max(-0.3, min(0.3, self.light.at(time)))
        region *= 1 - alpha
        region += part[..., :3] * gain
        own = labels[top:bottom, left:right]
        own[alpha[..., 0] > 0.5] = 0 if label is None else label

    def _bent(self, u: Floats, v: Floats, time: float) -> tuple[Floats, Floats]:
        """Source positions with slow waves and turning parts."""
        own_h, own_w = self.picture.shape[:2]
        long = max(own_h, own_w)
        for pivot, direction, path in self.joints:
            px, py = pivot[0] * own_w, pivot[1] * own_h
            dx, dy = u - px, v - py
            beyond = (dx * math.cos(direction) + dy * math.sin(direction)) / (0.15 * long)
            weight = np.clip(beyond, 0, 1).astype(np.float32)
            angle = max(-0.7, min(0.7, path.at(time)))
            cos, sin = math.cos(angle) - 1, math.sin(angle)
            u, v = u + weight * (cos * dx - sin * dy), v + weight * (sin * dx + cos * dy)
        if self.bend:
            grid = sum(field * path.at(time) for field, path in self.bends)
            grid = np.asarray(grid, np.float32) * self.bend * long
            # Fields over the picture; sampled coarsely and looked up at the bent positions.
            fields = [cv2.resize(g, (33, 33), interpolation=cv2.INTER_CUBIC) for g in grid]
            gu, gv = u * (32 / own_w), v * (32 / own_h)
            du, dv = (
                cv2.remap(f, gu, gv, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                for f in fields
            )
            u, v = u + du, v + dv
        return u.astype(np.float32), v.astype(np.float32)

    def _blurred(self, part: Floats, time: float, size: tuple[int, int]) -> Floats:
        ahead, behind = self.place(time + 0.25, size), self.place(time - 0.25, size)
        dx, dy = ahead[0] - behind[0], ahead[1] - behind[1]
        length = math.hypot(dx, dy)
        return smear(part, dx, dy) if 1.5 < length < 40 else part


def smear(picture: Floats, dx: float, dy: float) -> Floats:
    """A picture blurred along a way of (dx, dy) pixels."""
    side = 2 * math.ceil(max(abs(dx), abs(dy)) / 2) + 1
    kernel = np.zeros((side, side), np.float32)
    middle = side // 2
    start = round(middle - dx / 2), round(middle - dy / 2)
    end = round(middle + dx / 2), round(middle + dy / 2)
    cv2.line(kernel, start, end, 1.0, 1)
    return np.asarray(cv2.filter2D(picture, -1, kernel / max(kernel.sum(), 1)), np.float32)


def blob(rng: np.random.Generator, photo: Bytes) -> Bytes:
    """A thing out of a photograph: a piece of it with a smooth outline of its own."""
    height, width = photo.shape[:2]
    side = int(rng.uniform(0.25, 0.7) * min(height, width))
    tall = max(24, int(side * rng.uniform(0.5, 1.4)))
    tall, side = min(tall, height - 1), max(24, min(side, width - 1))
    top, left = int(rng.integers(0, height - tall)), int(rng.integers(0, width - side))
    piece = photo[top : top + tall, left : left + side]
    angles = np.linspace(0, 2 * math.pi, 180, endpoint=False)
    radius = np.ones_like(angles)
    for k in range(2, 7):
        radius += rng.normal() * 0.22 / (k - 0.5) * np.cos(k * angles + rng.uniform(0, 6.3))
    radius = np.clip(radius, 0.25, None) / radius.max()
    points = np.stack(
        [side / 2 * (1 + radius * np.cos(angles)), tall / 2 * (1 + radius * np.sin(angles))], -1
    )
    mask = np.zeros((tall, side), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return np.dstack([piece, mask])
