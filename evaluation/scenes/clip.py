"""A procedural video with exact ground truth; the same seed gives the same video.

Textured shapes move over a panning background, turn, change size, pass behind each other and may
join late. The label maps come from the same geometry as the colours, so they are exact.
"""

import colorsys
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.scenes.draws import Draws

MAX_IDS = 254  # labels are uint8: 0 is the background, 255 is left for void
SMALLEST_RADIUS = 9.0  # pixels; the room an object needs to show some dozens of pixels
LARGEST_RADIUS = 0.25  # of the shorter side of the picture
WANDER = 0.05  # how far an object strays from its place, as a share of the spacing of the places
# An object's centre is never covered if everything in front of it has a radius below the distance,
# so radii derive from how close two neighbours can come and no simulation is needed.
CLEARANCE = 0.95  # largest radius as a share of the closest approach
BORDER = 0.35  # of its radius: how far an object's centre stays inside the picture at the sides
ENTRY_FRAMES = 30  # frames a late object takes from the right border to its place
PAN = 0.06  # of the shorter side: how far the camera pans to each side
HALO = 0.18  # of its radius: width of the soft shadow around an object
OUTLINE_STEPS = 1024  # angles at which an outline is tabulated

_Colours = NDArray[np.float32]  # (height, width, 3), RGB 0..255

# Dark, middle and light tone of a background, RGB 0..255.
_GROUNDS = (
    ((38, 58, 46), (96, 116, 78), (176, 178, 128)),  # meadow
    ((62, 50, 44), (142, 118, 92), (212, 194, 160)),  # sand
    ((30, 46, 66), (78, 108, 132), (164, 190, 200)),  # water
    ((46, 44, 54), (104, 100, 112), (178, 172, 176)),  # stone
)


@dataclass(frozen=True)
class Clip:
    """A video with its labels.

    Attributes:
        frames: Pictures, uint8 RGB (frames, height, width, 3).
        labels: Object ids from 1, 0 for the background, uint8 (frames, height, width).
    """

    frames: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class _Row:
    """The sway of the objects of one row, which keep their distance by swaying together."""

    y: float
    sway: float  # pixels to each side
    period: float  # frames
    phase: float


@dataclass(frozen=True)
class _Object:
    """Outline, texture and path of one object; lengths in pixels, periods in frames."""

    label: int
    first_frame: int
    row: _Row
    x: float
    radius: float
    wander: float
    periods: tuple[float, float, float, float]  # of x, y, size and rotation
    angle: float
    size_phase: float
    outline: NDArray[np.float64]  # (OUTLINE_STEPS + 1,), radius at -pi..pi, at most 1
    texture: _Colours  # (side, side, 3), RGB 0..255 over the square of side 2 around the outline

    def place(self, time: int, width: int) -> tuple[float, float]:
        """Centre x, y at a frame."""
        row = self.row
        x = self.x + row.sway * _wave(time, row.period, row.phase)
        x += self.wander * _wave(time, self.periods[0])
        y = row.y + self.wander * _wave(time, self.periods[1])
        if self.first_frame > 0:
            progress = min(1.0, (time - self.first_frame) / ENTRY_FRAMES)
            eased = progress * progress * (3 - 2 * progress)
            start = width - BORDER * self.radius
            x = start + (x - start) * eased
        return x, y


def _noise(
    draws: Draws, height: int, width: int, fine: float, coarse: float, slope: float = 1.0
) -> NDArray[np.float64]:
    """Band-limited noise of mean 0 and deviation 1, shape (height, width).

    Wavelengths run from fine to coarse pixels; the amplitude falls with frequency**slope.
    """
    spectrum = np.fft.rfft2(draws.array(height, width) - 0.5)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = 1.0
    gain = frequency**-slope * np.exp(-((frequency * fine) ** 2))
    gain *= 1 - np.exp(-((frequency * coarse) ** 2))
    gain[0, 0] = 0.0
    field = np.fft.irfft2(spectrum * gain, s=(height, width))
    return np.asarray(field / field.std())


def iter_clip(
    height: int,
    width: int,
    frames: int,
    objects: int = 3,
    late_objects: int = 0,
    late_frame: int | None = None,
    seed: int = 0,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Render a clip frame by frame, in constant memory; all paths are bounded and repeat.

    Every object shows at least its middle in every frame from its first one on. More objects are
    smaller objects. Late objects slide in from the right, each in a row of its own.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        frames: Number of frames, 1 or more.
        objects: Number of objects in the first frame; they get the ids 1 to objects.
        late_objects: Number of objects that join later; they get the ids that follow.
        late_frame: Index of the first frame with the late objects; frames // 2 unless given.
        seed: Number that fixes every pixel, 0 or more.

    Returns:
        An iterator over (frame, labels): uint8 RGB (height, width, 3), and uint8 (height, width)
        with 0 for the background and the id of the foremost object elsewhere. The arrays are
        fresh ones each time.

    Raises:
        InputError: A number is out of range, or the objects do not fit into the picture.
    """
    if late_frame is None:
        late_frame = frames // 2
    if frames < 1 or objects < 1 or late_objects < 0 or seed < 0:
        raise InputError(
            f"frames {frames}, objects {objects}, late objects {late_objects}, seed {seed}: "
            "need 1 frame and 1 object or more, and nothing negative"
        )
    if late_objects and not 0 < late_frame < frames:
        raise InputError(
            f"late frame {late_frame} of {frames} frames: objects can join from frame 1 "
            f"to frame {frames - 1}; use more frames or no late objects"
        )
    scene = _make_objects(height, width, objects, late_objects, late_frame, seed)
    ground = _make_ground(height, width, seed)
    return (_render(height, width, time, scene, ground) for time in range(frames))


def _make_objects(
    height: int, width: int, objects: int, late_objects: int, late_frame: int, seed: int
) -> list[_Object]:
    """Lay the objects out in rows that sway against each other; rearmost object first."""
    total = objects + late_objects
    # Counted off over the rows, the last ids are the right ends of different rows.
    row_count = max(min(total, 3), round(math.sqrt(total * height / width)), late_objects)
    row_count = min(row_count, total)
    row_pitch = height / max(4.6, row_count)  # few rows stay near the middle
    column_pitch = width / math.ceil(total / row_count)
    wander = WANDER * min(row_pitch, column_pitch)
    front = CLEARANCE * (min(row_pitch, column_pitch) - 2 * wander)
    # Every second row is behind its neighbours, so only its own kind limits its objects.
    rear = CLEARANCE * (min(2 * row_pitch, column_pitch) - 2 * wander)
    if total > MAX_IDS or front < SMALLEST_RADIUS:
        raise InputError(
            f"{total} objects in {height}x{width} pixels: each needs about 11x11 pixels, and "
            f"{MAX_IDS} is the most; use fewer objects or a larger picture"
        )

    draws = Draws(seed, 0)
    phase = draws.uniform(0, 2 * math.pi)
    scene = []
    for row in range(row_count):
        labels = range(row + 1, total + 1, row_count)
        largest = min(front if row % 2 else rear, LARGEST_RADIUS * min(height, width))
        swaying = _Row(
            y=height / 2 + (row - (row_count - 1) / 2) * row_pitch - 0.5,
            sway=width / len(labels) / 2 - wander - BORDER * largest,
            period=draws.uniform(130, 210),
            phase=phase + math.pi * row + draws.uniform(-0.6, 0.6),
        )
        for column, label in enumerate(labels):
            first_frame = late_frame if label > objects else 0
            x = width * (column + 0.5) / len(labels) - 0.5
            scene.append(_make_object(label, first_frame, swaying, x, largest, wander, seed))
    depth = draws.array(total) + [(item.label - 1) % row_count % 2 for item in scene]
    return [scene[index] for index in np.argsort(depth, kind="stable")]


def _make_object(
    label: int, first_frame: int, row: _Row, x: float, largest: float, wander: float, seed: int
) -> _Object:
    draws = Draws(seed, label)
    radius = draws.uniform(0.75 * largest, largest)
    return _Object(
        label=label,
        first_frame=first_frame,
        row=row,
        x=x,
        radius=radius,
        wander=wander * draws.sign(),
        periods=(
            draws.uniform(50, 110),
            draws.uniform(40, 90),
            draws.uniform(60, 140),
            draws.uniform(140, 420) * draws.sign(),
        ),
        angle=draws.uniform(0, 2 * math.pi),
        size_phase=draws.uniform(0, 2 * math.pi),
        outline=_make_outline(draws, label),
        texture=_make_texture(draws, label, side=max(16, min(768, round(4 * radius)))),
    )


def _make_outline(draws: Draws, label: int) -> NDArray[np.float64]:
    """Radius over the angle from -pi to pi, scaled so that the largest is 1."""
    angle = np.linspace(-math.pi, math.pi, OUTLINE_STEPS + 1)
    shape = label % 4
    if shape == 0:  # disc
        return np.ones_like(angle)
    if shape == 1:  # blob or star
        points = 3 + int(draws.uniform(0, 4))
        radius = 1 + draws.uniform(0.12, 0.24) * np.cos(points * angle)
        for harmonic in range(2, 6):
            radius += 0.06 * np.cos(harmonic * angle + draws.uniform(0, 2 * math.pi))
    else:  # ellipse, then superellipse
        power = 2.0 if shape == 2 else draws.uniform(3.0, 4.5)
        flat = draws.uniform(0.6, 0.85)
        inverse = np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle) / flat) ** power
        radius = inverse ** (-1 / power)
    return np.asarray(radius / radius.max())


def _make_texture(draws: Draws, label: int, side: int) -> _Colours:
    """Two colours mixed by blotches, stripes, dots or clouds, plus fine grain."""
    v, u = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    warp = _noise(draws, side, side, fine=side / 12, coarse=side / 2)
    pattern = (label + label // 4) % 4
    if pattern == 0:
        weight = np.tanh(2.5 * warp)
    elif pattern == 1:
        weight = np.tanh(3 * np.sin(draws.uniform(8, 13) * u + 0.8 * warp))
    elif pattern == 2:
        pitch = draws.uniform(8, 12)
        weight = np.tanh(5 * (np.sin(pitch * u + 0.3 * warp) * np.sin(pitch * v) - 0.3))
    else:
        weight = 0.8 * warp
    weight = np.clip(0.5 + 0.5 * weight, 0, 1)[..., None]

    hue = (0.02 + label * 0.381966) % 1.0  # golden-ratio steps keep neighbouring ids apart
    light = np.array(colorsys.hsv_to_rgb(hue, draws.uniform(0.4, 0.65), draws.uniform(0.85, 1.0)))
    other = (hue + draws.uniform(0.04, 0.16) * draws.sign()) % 1.0
    dark = np.array(colorsys.hsv_to_rgb(other, draws.uniform(0.5, 0.75), draws.uniform(0.35, 0.55)))
    grain = _noise(draws, side, side, fine=4, coarse=side / 8, slope=0.5)[..., None]
    colour = 255 * (light + (dark - light) * weight) + 6 * grain
    return np.asarray(np.clip(colour, 0, 255), dtype=np.float32)


def _make_ground(height: int, width: int, seed: int) -> _Colours:
    """The background with room to pan, RGB 0..255."""
    draws = Draws(seed, MAX_IDS + 1)
    margin = math.ceil(PAN * min(height, width)) + 1
    size = (height + 2 * margin, width + 2 * margin)
    short = min(size)
    tone = _noise(draws, *size, fine=short / 60, coarse=short * 1.5, slope=1.7)
    warmth = _noise(draws, *size, fine=short / 12, coarse=short * 1.5, slope=1.5)
    grain = _noise(draws, *size, fine=max(2.5, short / 140), coarse=short / 12, slope=0.8)
    stops = np.array(_GROUNDS[int(draws.uniform(0, len(_GROUNDS)))], dtype=np.float64)
    level = 0.9 * tone + 0.18 * grain
    ground = np.empty((*size, 3), dtype=np.float32)
    for channel, bend in enumerate((7.0, 1.0, -8.0)):
        ground[..., channel] = np.interp(level, (-2.0, 0.0, 2.0), stops[:, channel])
        ground[..., channel] += bend * warmth
    return ground


def _render(
    height: int, width: int, time: int, scene: list[_Object], ground: _Colours
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    picture = _pan(ground, height, width, time)
    labels = np.zeros((height, width), dtype=np.uint8)
    for item in scene:
        if time >= item.first_frame:
            _paint(picture, labels, item, time)
    # The light changes as a whole, in its tint, and drifts over the picture.
    across = 1 + 0.10 * np.sin(np.linspace(0, 2.5, width) + 2 * math.pi * time / 173)
    down = 1 - 0.08 * np.linspace(-1, 1, height)
    tint = (1 + 0.06 * _wave(time, 97)) * (1 + 0.03 * _wave(time, 211) * np.array([1, 0, -1]))
    picture *= (across[:, None] * tint).astype(np.float32)
    picture *= down.astype(np.float32)[:, None, None]
    np.clip(picture + np.float32(0.5), 0, 255, out=picture)
    return picture.astype(np.uint8), labels


def _pan(ground: _Colours, height: int, width: int, time: int) -> _Colours:
    """Cut the picture out of the background at a position between pixels."""
    y = (ground.shape[0] - height - 1) / 2 * (1 + _wave(time, 260, 0.7))
    x = (ground.shape[1] - width - 1) / 2 * (1 + _wave(time, 190))
    top, left = int(y), int(x)
    down, right = np.float32(y - top), np.float32(x - left)
    window = ground[top : top + height + 1, left : left + width + 1]
    rows = window[:-1] + down * (window[1:] - window[:-1])
    return np.asarray(rows[:, :-1] + right * (rows[:, 1:] - rows[:, :-1]))


def _paint(picture: _Colours, labels: NDArray[np.uint8], item: _Object, time: int) -> None:
    """Draw one object over the picture and the labels, inside its bounding box only."""
    height, width = labels.shape
    x, y = item.place(time, width)
    radius = item.radius * (0.91 + 0.09 * _wave(time, item.periods[2], item.size_phase))
    reach = radius * (1 + HALO) + 1
    top, bottom = max(0, math.floor(y - reach)), min(height, math.ceil(y + reach) + 1)
    left, right = max(0, math.floor(x - reach)), min(width, math.ceil(x + reach) + 1)
    dy = np.arange(top, bottom)[:, None] - y
    dx = np.arange(left, right)[None, :] - x

    turn = item.angle + 2 * math.pi * time / item.periods[3]
    u = (math.cos(turn) * dx + math.sin(turn) * dy) / radius
    v = (math.cos(turn) * dy - math.sin(turn) * dx) / radius
    angles = np.linspace(-math.pi, math.pi, OUTLINE_STEPS + 1)
    outline = np.interp(np.arctan2(v, u), angles, item.outline)
    distance = np.hypot(u, v)
    inside = (outline - distance) * radius  # pixels along the ray; negative outside

    side = len(item.texture)
    row = np.clip((v + 1) * (side / 2), 0, side - 1).astype(np.intp)
    column = np.clip((u + 1) * (side / 2), 0, side - 1).astype(np.intp)
    shade = 1.06 - 0.3 * (distance / outline) ** 4 - 0.14 * (dx + dy) / radius
    colour = item.texture[row, column] * shade[..., None].astype(np.float32)

    shadow = 1 - 0.4 * np.clip(1 + inside / (HALO * radius), 0, 1) ** 2
    cover = np.clip(inside + 0.5, 0, 1)[..., None].astype(np.float32)
    patch = picture[top:bottom, left:right]
    patch *= shadow[..., None].astype(np.float32)
    patch += cover * (colour - patch)
    labels[top:bottom, left:right][inside >= 0] = item.label


def _wave(time: int, period: float, phase: float = 0.0) -> float:
    return math.sin(2 * math.pi * time / period + phase)
