"""A mask cut out of a frame from a box, strokes and clicks: GrabCut, led by more than colours.

GrabCut knows colours and edges. Started from a box alone it often loses the object, or keeps half
of what is around it. So a softer rule goes first: how common a pixel's colour is inside and
outside, how much change of colour lies on the way to it from outside of the box and from the
strokes, and how near it is to the middle of the box. It works on a copy of about 16,000 pixels of
the box and its surroundings, whatever the frame's size. GrabCut starts from the result, and keeps
what is certain. At last the outline is brought back to the frame's size, along its edges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.runs import box_of
from mavos_deploy.runtime.studio.cues import Colours, EdgeFilter, Floats, Ways
from mavos_deploy.runtime.studio.drawing import Box, Mask, Stroke, draw_strokes, scaled
from mavos_deploy.runtime.studio.refining import fill_holes

RgbFrame = NDArray[np.uint8]  # [height, width, 3]

AREA = 16_000  # pixels of the copy that is worked on
FINE_AREA = 600_000  # pixels at most at which the outline follows edges
MARGIN = 0.25  # share of the box's sides that is looked at around it
LEAST_MARGIN = 8  # pixels
REACH = 4  # times the radius of strokes, without a box or a mask
ROUNDS = 4  # of colours and smoothing
RADIUS = 8  # pixels of the copy over which the rule is smoothed
FINE_RADIUS = 2  # pixels of the copy over which the outline is moved
PLACE = 1.0  # weight of the place in the box
MIDDLE = 0.7  # squared distance from the middle, in halves of a side, at which it says nothing
WAY = 2.0  # weight of ways from outside of the box
FAR = 0.5  # cost at which a way says nothing, in shares of what most of the box costs
STROKE = 2.0  # weight of ways from strokes
NEAR = 0.3  # cost at which a stroke's word has lost most of its weight
BEFORE = 3.0  # weight of the mask before
OTHER = 6.0  # weight against pixels of other objects, away from strokes
UNSURE = 0.8  # weight of pixels of the box in the colours outside
SURE = 0.93  # probability from which GrabCut doesn't change a pixel
LEAST = 0.12  # share of the box below which GrabCut has lost the object
SPECK = 0.05  # share of the largest part that a part has at least
HOLE = 0.002  # share of the box up to which holes are filled


@dataclass(frozen=True)
class Hints:
    """What is known of an object in a frame.

    Attributes:
        box: Box around it; None where strokes and the mask before say where it is.
        strokes: Strokes where it is and where it isn't.
        before: Its mask so far, shape (H, W); only used without a box.
        others: Pixels of other objects, shape (H, W).
    """

    box: Box | None
    strokes: Sequence[Stroke]
    before: Mask
    others: Mask


def cut(rgb: RgbFrame, hints: Hints) -> Mask:
    """Cut an object out of a frame.

    Args:
        rgb: The frame, uint8, shape (H, W, 3).
        hints: What is known of the object.

    Returns:
        The object's mask, shape (H, W).

    Raises:
        InputError: Nothing says where the object is, or nothing is found.
    """
    size: Size = rgb.shape[0], rgb.shape[1]
    box = _box(hints, size)
    view = _View(rgb, box, hints)
    mask = np.zeros(size, np.bool_)
    mask[view.rows, view.columns] = view.enlarged(view.grabbed(view.probabilities()))
    wanted, unwanted = (
        draw_strokes([s for s in hints.strokes if s.foreground == kind], size)
        for kind in (True, False)
    )
    mask = _whole(mask & ~unwanted | wanted, wanted, unwanted, box)
    if hints.box is None and hints.before.any():
        # Strokes mend what is near to them; far away the mask before stands.
        outside = np.ones(size, np.bool_)
        outside[view.rows, view.columns] = False
        mask |= hints.before & outside
        # "Here" takes nothing away, and "not here" adds nothing.
        if not unwanted.any():
            mask |= hints.before
        elif not wanted.any():
            mask &= hints.before
            if not mask.any():  # all of it looks alike, so the stroke alone is taken away
                mask = hints.before & ~unwanted
    if not mask.any():
        raise InputError(
            "nothing stands out from its surroundings there; draw a stroke on the object, or a "
            "tighter box"
        )
    return mask


def _box(hints: Hints, size: Size) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the object's surroundings, whole pixels inside the frame."""
    height, width = size
    wanted = [stroke for stroke in hints.strokes if stroke.foreground]
    boxes = [_around(stroke, 1.0) for stroke in wanted]
    if hints.box is not None:
        x0, y0, x1, y1 = hints.box
        boxes.append((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    elif hints.before.any():
        left, top, across, down = box_of(hints.before)
        boxes.append((left, top, left + across, top + down))
    elif wanted:
        least = min(size) / 6
        boxes = [_around(stroke, REACH, least) for stroke in wanted]
    else:
        raise InputError(
            "nothing says where the object is; draw a box, or a stroke or a click on it"
        )
    left = max(0, int(np.floor(min(box[0] for box in boxes))))
    top = max(0, int(np.floor(min(box[1] for box in boxes))))
    right = min(width, int(np.ceil(max(box[2] for box in boxes))))
    bottom = min(height, int(np.ceil(max(box[3] for box in boxes))))
    if right - left < 2 or bottom - top < 2:
        raise InputError("the box is empty, or outside of the picture; draw it over the object")
    return left, top, right, bottom


def _around(stroke: Stroke, reach: float, least: float = 0.0) -> Box:
    points = np.asarray(stroke.points, np.float64).reshape(-1, 2)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    margin = max(stroke.radius * reach, least)
    return left - margin, top - margin, right + margin, bottom + margin


def _whole(mask: Mask, wanted: Mask, unwanted: Mask, box: tuple[int, int, int, int]) -> Mask:
    """A mask without small separate parts and holes that no stroke asks for."""
    count, parts = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    areas = np.bincount(parts.ravel(), minlength=count)
    areas[0] = 0
    kept = areas >= max(1, SPECK * areas.max())
    kept[np.unique(parts[wanted])] = True
    kept[0] = False
    left, top, right, bottom = box
    hole = max(1, round(HOLE * (right - left) * (bottom - top)))
    return fill_holes(kept[parts], hole) & ~unwanted


class _View:
    """The box with its surroundings, at about `AREA` pixels.

    Args:
        rgb: The frame.
        box: Left, top, right and bottom, in pixels of the frame.
        hints: What is known of the object.
    """

    def __init__(self, rgb: RgbFrame, box: tuple[int, int, int, int], hints: Hints) -> None:
        self.rows, self.columns = _margins(box, (rgb.shape[0], rgb.shape[1]))
        self._part = np.ascontiguousarray(rgb[self.rows, self.columns])
        height, width = self._part.shape[:2]
        share = min(1.0, (AREA / (height * width)) ** 0.5)
        self._size: Size = max(2, round(height * share)), max(2, round(width * share))
        self._small = _resized(self._part, self._size)
        lab = np.asarray(cv2.cvtColor(self._small, cv2.COLOR_RGB2Lab), np.uint8)
        self._guide = lab.astype(np.float32) / np.float32(255)
        self._colours, self._ways = Colours(lab), Ways(self._guide)
        self._smoothing = EdgeFilter(self._guide, RADIUS)
        scale = self._size[1] / width, self._size[0] / height
        self._distance = self._from_middle(box, scale)
        corner = self.columns.start, self.rows.start
        self._wanted, self._unwanted = (
            draw_strokes(
                [scaled(s, corner, scale) for s in hints.strokes if s.foreground == kind],
                self._size,
            )
            for kind in (True, False)
        )
        self._before = None
        if hints.box is None and hints.before.any():
            self._before = self._shrunk(hints.before)
        self._others = self._shrunk(hints.others)
        # Outside of a person's box nothing is the object; a mask that is mended may grow.
        self._inside = np.ones(self._size, np.bool_)
        if self._before is None:
            self._inside = self._distance < 1

    def _from_middle(self, box: tuple[int, int, int, int], scale: tuple[float, float]) -> Floats:
        """Each pixel's distances from the box's middle, in halves of its sides: the larger one."""
        left, top, right, bottom = box
        x = (np.arange(self._size[1]) + 0.5) / scale[0] + self.columns.start
        y = (np.arange(self._size[0]) + 0.5) / scale[1] + self.rows.start
        u = (2 * x - left - right) / (right - left)
        v = (2 * y - top - bottom) / (bottom - top)
        self._squares: Floats = (u[None] ** 2 + v[:, None] ** 2).astype(np.float32)
        larger: Floats = np.maximum(np.abs(u)[None], np.abs(v)[:, None]).astype(np.float32)
        return larger

    def _shrunk(self, mask: Mask) -> Mask:
        part = mask[self.rows, self.columns].astype(np.float32)
        shrunk: Mask = cv2.resize(part, self._size[::-1], interpolation=cv2.INTER_AREA) > 0.5
        return shrunk

    @cached_property
    def _usual(self) -> float:
        """Cost of a long way inside the box, which other costs are compared with."""
        costs = self._from_outside[self._inside & np.isfinite(self._from_outside)]
        return max(float(np.percentile(costs, 80)), 1e-3) if costs.size else 1.0

    @cached_property
    def _from_outside(self) -> Floats:
        """Costs of ways from outside of the box; without one, from the view's border."""
        start = ~self._inside
        if not start.any():
            start = np.ones(self._size, np.bool_)
            start[1:-1, 1:-1] = False
        return self._ways.costs(start)

    def _prior(self) -> Floats:
        """Evidence for the object in each pixel before colours are known, in natural logarithms."""
        if self._before is None:
            way = np.minimum(self._from_outside / self._usual, 1.5)
            prior = WAY * (way - FAR) - PLACE * (self._squares - MIDDLE)
        else:
            prior = BEFORE * _depth(self._before)
        prior = prior - OTHER * self._others
        yes, no = (
            np.exp(-self._ways.costs(strokes) / (NEAR * self._usual))
            for strokes in (self._wanted, self._unwanted)
        )
        # Near to a stroke its word counts instead of all else.
        weighed: Floats = (1 - np.maximum(yes, no)) * prior + STROKE * (yes - no)
        return weighed.astype(np.float32)

    def probabilities(self) -> Floats:
        """How likely each pixel belongs to the object."""
        prior = self._prior()
        likely = self._decided(_logistic(2 * prior))
        outside = np.where(self._inside, UNSURE, 1).astype(np.float32)
        for _ in range(ROUNDS):
            inside, rest = self._stressed(likely, outside * (1 - likely))
            evidence = self._colours.evidence(inside, rest) + prior
            likely = self._decided(_logistic(evidence))
            likely = self._decided(self._smoothing.smooth(likely).clip(0, 1))
        return likely

    def _decided(self, likely: Floats) -> Floats:
        """Probabilities that obey the box and the strokes."""
        obeying = np.where((self._inside | self._wanted) & ~self._unwanted, likely, 0)
        return np.where(self._wanted, 1, obeying).astype(np.float32)

    def _stressed(self, inside: Floats, outside: Floats) -> tuple[Floats, Floats]:
        """Weights in which the strokes count for a third, however thin they are."""
        for strokes, weights in ((self._wanted, inside), (self._unwanted, outside)):
            if strokes.any():
                weights[strokes] += weights.sum() / 2 / strokes.sum()
        return inside, outside

    def grabbed(self, likely: Floats) -> Floats:
        """GrabCut's decision, 0 or 1, from what is likely and what is sure."""
        marks = np.where(likely > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        marks[likely > SURE], marks[likely < 1 - SURE] = cv2.GC_FGD, cv2.GC_BGD
        marks[self._others & (likely < 0.5)] = cv2.GC_BGD
        marks[self._wanted], marks[self._unwanted] = cv2.GC_FGD, cv2.GC_BGD
        object_pixels = marks % 2 == 1
        # It fits five colours to each side.
        if 5 <= object_pixels.sum() <= marks.size - 5:
            cv2.setRNGSeed(0)  # the same strokes give the same mask
            nowhere = (0, 0, 0, 0)  # no rectangle: the marks say it
            models = np.zeros((1, 65)), np.zeros((1, 65))
            cv2.grabCut(self._small, marks, nowhere, *models, 1, cv2.GC_INIT_WITH_MASK)
            object_pixels = marks % 2 == 1
        if object_pixels.sum() < LEAST * self._inside.sum() and self._before is None:
            object_pixels = likely > 0.5
        return np.asarray(object_pixels, np.float32)

    def enlarged(self, decided: Floats) -> Mask:
        """The decision in the frame's own pixels, its outline on edges there."""
        height, width = self._part.shape[:2]
        share = min(1.0, (FINE_AREA / (height * width)) ** 0.5)
        fine = self._part
        if share < 1:
            fine = _resized(fine, (max(2, round(height * share)), max(2, round(width * share))))
        guide = np.asarray(cv2.cvtColor(fine, cv2.COLOR_RGB2Lab), np.float32) / np.float32(255)
        soft = EdgeFilter(self._guide, FINE_RADIUS).enlarged(decided, guide)
        mask: Mask = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
        return mask


def _margins(box: tuple[int, int, int, int], size: Size) -> tuple[slice, slice]:
    left, top, right, bottom = box
    across = round((right - left) * MARGIN) + LEAST_MARGIN
    down = round((bottom - top) * MARGIN) + LEAST_MARGIN
    return (
        slice(max(0, top - down), min(size[0], bottom + down)),
        slice(max(0, left - across), min(size[1], right + across)),
    )


def _resized(picture: RgbFrame, size: Size) -> RgbFrame:
    """A smaller copy of a picture."""
    resized = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _depth(mask: Mask) -> Floats:
    """How deep each pixel is inside of a mask, 1 at most, or outside of it, -1 at least."""
    reach = max(2.0, 0.08 * float(mask.sum()) ** 0.5)
    inside, outside = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for side in (mask, ~mask)
    )
    depth: Floats = np.clip((inside - outside) / reach, -1, 1)
    return depth


def _logistic(evidence: Floats) -> Floats:
    """Probabilities of natural logarithms of odds."""
    return np.asarray(1 / (1 + np.exp(-evidence)), np.float32)
