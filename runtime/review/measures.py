"""Measures of every object in a frame, from the decoder's logits, the picture and the past.

All are taken on the grid of the logits, a quarter of the network's frame, or on every second cell
of it and so on where that has more than `CELLS` cells, so that their cost does not grow with the
frame. docs/confidence.md says what each of them is good for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.geometry import downsampled

CELLS = 10_000  # of the grid, at most
UNSURE = 0.4  # a cell counts as unsure for an object at a probability of 0.5 plus or minus this
BINS = 4  # of each of the three colours
NOWHERE = -1.0  # place of what isn't seen
LEVELS = 255  # whole numbers in which shares of colours are kept
KEEP = 0.9  # share of the past in the slow averages

Grid = NDArray[np.float32]


class Trace(NamedTuple):
    """The memory of an object from frame to frame.

    Attributes:
        area: Slow average of its area, as a share of the frame.
        y: Row of its centre, in heights of the frame; the last one while it isn't seen, `NOWHERE`
            if it never was.
        x: Column of its centre, in heights of the frame.
        down: Slow average of the way of `y` from frame to frame.
        right: Slow average of the way of `x` from frame to frame.
        trust: Slow average of its sureness, see `Measures.sure`.
        edge: Whether it reached the border of the picture when it was last seen.
        colours: Shares of colours at its reference, in steps of 1 / `LEVELS`.
    """

    area: float
    y: float
    x: float
    down: float
    right: float
    trust: float
    edge: bool
    colours: tuple[int, ...]


class Measures(NamedTuple):
    """Measures of one object in one frame.

    Attributes:
        area: Its area as a share of the frame.
        cells: Its area in cells of the grid.
        sure: The overlap with the truth that its probabilities promise, 0..1: the sum of
            probabilities inside of it over the area of it and of all probability outside.
        inside: Mean probability inside of it, 0..1.
        unsure: Cells that may or may not be its own, over its area.
        growth: Its area over the slow average of its past.
        jump: Distance of its centre from where it would have moved on, over its size.
        rival: Probability that it shares with another object, over the smaller one's area.
        likeness: Colours that it shares with its reference, 0..1.
        trust: Slow average of `sure`, up to the frame before.
        y: Row of its centre in heights of the frame, `NOWHERE` without a cell.
        x: Column of its centre in heights of the frame.
        touches: Whether it reaches the border of the picture.
    """

    area: float
    cells: int
    sure: float
    inside: float
    unsure: float
    growth: float
    jump: float
    rival: float
    likeness: float
    trust: float
    y: float
    x: float
    touches: bool


@dataclass(frozen=True, eq=False)
class Sample:
    """Probabilities, ids and colours on the grid.

    Attributes:
        probability: float32 [1 + objects, rows, columns], the background first.
        labels: Channel of the highest probability, uint8 [rows, columns].
        colours: Bin of each cell's colour, uint8 [rows, columns].
    """

    probability: Grid
    labels: NDArray[np.uint8]
    colours: NDArray[np.uint8]


def sample(logits: Grid, objects: Sequence[int], frame: NDArray[np.generic]) -> Sample:
    """Bring a frame's logits and its picture to the grid.

    Args:
        logits: The decoder's, float32 [groups, 11, rows, columns]; all of them finite.
        objects: Internal ids that are followed, ascending.
        frame: The picture at the network's size, [4 rows, 4 columns, 3] or one pixel less,
            values around 0..255.
    """
    rows, columns = logits.shape[2:]
    step = _step(rows, columns)
    coarse = np.asarray(logits[:, :, ::step, ::step], np.float32)
    groups = coarse.shape[0]
    channels = coarse.shape[1] - 1
    members = [[n for n in objects if (n - 1) // channels == group] for group in range(groups)]
    ground: Grid | None = None
    parts = []
    for group, own in enumerate(members):
        values = coarse[group, [0, *((n - 1) % channels + 1 for n in own)]]
        values -= values.max(0)
        np.exp(values, out=values)
        values /= values.sum(0)
        ground = values[0] if ground is None else ground * values[0]
        parts.append(values[1:])
    assert ground is not None
    probability = np.concatenate([ground[None], *parts])
    if groups > 1:
        probability /= probability.sum(0)
    return Sample(probability, _highest(probability), _colours(frame, step, ground.shape))


def _step(rows: int, columns: int) -> int:
    return max(1, math.ceil(math.sqrt(rows * columns / CELLS)))


def _highest(probability: Grid) -> NDArray[np.uint8]:
    """Channel of the highest probability; NumPy's own argmax over a first axis is slower."""
    best = probability[0].copy()
    labels = np.zeros(best.shape, np.uint8)
    for channel in range(1, len(probability)):
        np.copyto(labels, channel, where=probability[channel] > best)
        np.maximum(best, probability[channel], out=best)
    return labels


def _colours(frame: NDArray[np.generic], step: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Bins of a picture's colours on a grid of every fourth pixel, and of each `step` of these."""
    rows, columns = shape
    found = np.zeros(shape, np.uint8)
    for channel in range(3):  # one by one, since NumPy is slow over a last axis of three
        coarse = np.asarray(frame[:: 4 * step, :: 4 * step, channel])[:rows, :columns]
        found *= BINS
        found += np.clip(coarse, 0, 255).astype(np.uint8) // (256 // BINS)
    return found


def measure(seen: Sample, colours: NDArray[np.intp], past: Mapping[int, Trace]) -> list[Measures]:
    """Measure every object in a frame.

    Args:
        seen: The frame on the grid.
        colours: Its `colour_shares`.
        past: What is known of the objects, by channel; an object without a past, or one that was
            never seen, is compared with itself.

    Returns:
        Measures by channel, without the background's.
    """
    probability = seen.probability.reshape(len(seen.probability), -1)
    count = len(probability)
    flat = seen.labels.ravel()
    own = flat[None] == np.arange(count)[:, None]
    areas = own.sum(1)
    inside = np.einsum("cn,cn->c", own, probability)
    total = probability.sum(1)
    unsure = (np.abs(probability - 0.5) < UNSURE).sum(1)
    shared = _shared(probability[1:])
    found = []
    for channel in range(1, count):
        area = int(areas[channel])
        size = max(area, 1)
        trace = past.get(channel)
        trace = trace if trace and trace.y != NOWHERE else None
        mean = float(inside[channel]) / size
        outline = _outline(seen.labels == channel, area)
        share = area / flat.size
        measures = Measures(
            area=share,
            cells=area,
            sure=float(inside[channel] / max(area + total[channel] - inside[channel], 1e-6)),
            inside=mean,
            unsure=float(unsure[channel]) / size,
            growth=share / trace.area if trace and trace.area else 1.0,
            jump=_jump(outline, trace),
            rival=_rival(shared, channel, areas),
            likeness=_likeness(colours[channel], trace) if area else 0.0,
            trust=trace.trust if trace else 1.0,
            y=outline.y,
            x=outline.x,
            touches=outline.touches,
        )
        found.append(measures)
    return found


def colour_shares(seen: Sample, count: int) -> NDArray[np.intp]:
    """Shares of colours of every channel, [count, BINS ** 3], in steps of 1 / `LEVELS`."""
    bins = BINS**3
    found = np.bincount(
        (seen.labels.astype(np.uint16) * bins + seen.colours).ravel(), minlength=count * bins
    )
    found = found.reshape(count, bins)
    shares: NDArray[np.intp] = found * LEVELS // np.maximum(found.sum(1, keepdims=True), 1)
    return shares


def grid_of(height: int, width: int) -> tuple[int, int, int]:
    """Rows and columns of the grid for frames of a size in the network, and its step.

    Args:
        height: Height of frames in the network, in pixels.
        width: Width of frames in the network, in pixels.
    """
    rows, columns = downsampled(height, 4), downsampled(width, 4)
    step = _step(rows, columns)
    return -(-rows // step), -(-columns // step), step


def measure_given(
    mask: NDArray[np.bool_], frame: NDArray[np.generic], step: int
) -> tuple[Measures, tuple[int, ...]]:
    """Measures of a mask that was given, and shares of its colours.

    Args:
        mask: The object on the grid.
        frame: The picture at the network's size, [height, width, 3].
        step: Step of the grid, see `grid_of`.
    """
    certain = np.stack([~mask, mask]).astype(np.float32)
    seen = Sample(certain, mask.astype(np.uint8), _colours(frame, step, mask.shape))
    colours = colour_shares(seen, 2)
    measures = measure(seen, colours, {})[0]
    return measures, tuple(colours[1].tolist())


def follow(found: Measures, trace: Trace | None, colours: tuple[int, ...]) -> Trace:
    """What is known of an object after a frame.

    Args:
        found: Its measures in the frame.
        trace: What was known before; None at its reference, which else is the first frame in which
            it has a cell.
        colours: Shares of its colours in the frame, kept where that is the reference.
    """
    if trace is None or trace.y == NOWHERE:  # it was never seen
        return Trace(found.area, found.y, found.x, 0.0, 0.0, 1.0, found.touches, colours)
    trust = KEEP * trace.trust + (1 - KEEP) * found.sure
    if not found.cells:
        return trace._replace(trust=trust)
    down, right = found.y - trace.y, found.x - trace.x
    half = 0.5
    return Trace(
        area=KEEP * trace.area + (1 - KEEP) * found.area,
        y=found.y,
        x=found.x,
        down=half * trace.down + (1 - half) * down,
        right=half * trace.right + (1 - half) * right,
        trust=trust,
        edge=found.touches,
        colours=trace.colours,
    )


def _shared(probability: Grid) -> Grid:
    """Sums of products of two objects' probabilities; 0 for an object with itself."""
    shared = probability @ probability.T
    np.fill_diagonal(shared, 0)
    return shared


def _rival(shared: Grid, channel: int, areas: NDArray[np.intp]) -> float:
    smaller = np.maximum(np.minimum(areas[1:], areas[channel]), 1)
    return float((shared[channel - 1] / smaller).max())


class _Outline(NamedTuple):
    """Where a mask lies.

    Attributes:
        y: Row of its centre in heights of the frame; `NOWHERE` where the mask is empty.
        x: Column of its centre in heights of the frame.
        side: Side of a square of its area in heights of the frame.
        touches: Whether it reaches the border of the picture.
    """

    y: float
    x: float
    side: float
    touches: bool


def _outline(mask: NDArray[np.bool_], area: int) -> _Outline:
    if not area:
        return _Outline(NOWHERE, NOWHERE, 0.0, touches=False)
    height = mask.shape[0]
    rows, columns = mask.sum(1), mask.sum(0)
    y = float(rows @ np.arange(height)) / area / height
    x = float(columns @ np.arange(mask.shape[1])) / area / height
    touches = bool(rows[0] or rows[-1] or columns[0] or columns[-1])
    return _Outline(y, x, math.sqrt(area) / height, touches)


def _jump(found: _Outline, trace: Trace | None) -> float:
    """Distance from the expected place, in sides of a square of the object's area."""
    if trace is None or found.y == NOWHERE:
        return 0.0
    way = math.hypot(found.y - trace.y - trace.down, found.x - trace.x - trace.right)
    return way / found.side


def _likeness(colours: NDArray[np.intp], trace: Trace | None) -> float:
    if trace is None:
        return 1.0
    return float(np.minimum(colours, trace.colours).sum()) / LEVELS
