"""What speaks for an object in each pixel: colours, edges between it and known places."""

import cv2
import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.studio.drawing import Mask

Floats = NDArray[np.float32]

BINS = 16  # of a histogram, for each channel of Lab
CHROMA = 5  # steps of a and b in a bin: most colours of real pictures are near grey
RARE = 2e-5  # share that a colour has at least, so that one never seen says little
GRID = 72  # cells of the longer side in which ways through the picture are measured
NOISE = 3.0  # steps of Lab between neighbours that are no edge
LENGTH = 0.3  # what a way costs for each cell, in steps of Lab


class Colours:
    """How common each pixel's colour is in two sets of pixels.

    Args:
        lab: Picture in OpenCV's Lab, uint8, shape (h, w, 3).
    """

    def __init__(self, lab: NDArray[np.uint8]) -> None:
        chroma = np.clip((lab[..., 1:].astype(np.int64) - 128) // CHROMA + BINS // 2, 0, BINS - 1)
        light = lab[..., 0].astype(np.int64) // (256 // BINS)
        self._bins = (light * BINS + chroma[..., 0]) * BINS + chroma[..., 1]

    def evidence(self, inside: Floats, outside: Floats) -> Floats:
        """Logarithm of how much commoner each pixel's colour is inside than outside.

        Args:
            inside: Each pixel's weight in the first set, shape (h, w).
            outside: Its weight in the second set.
        """
        ratio = np.log(self._shares(inside) / self._shares(outside))
        evidence: Floats = ratio[self._bins].astype(np.float32)
        return evidence

    def _shares(self, weights: Floats) -> NDArray[np.float64]:
        flat = np.bincount(self._bins.ravel(), weights.ravel(), BINS**3)
        counts = flat.astype(np.float64).reshape(BINS, BINS, BINS)
        for axis in range(3):
            lines = np.moveaxis(counts, axis, 0)
            spread = lines / 2
            spread[1:] += lines[:-1] / 4
            spread[:-1] += lines[1:] / 4
            counts = np.moveaxis(spread, 0, axis)
        shares: NDArray[np.float64] = counts.ravel() / max(counts.sum(), 1e-9) + RARE
        return shares


class EdgeFilter:
    """Smoothing that keeps to the edges of a picture (a guided filter, He et al. 2010).

    Args:
        guide: Picture, float32 of 0..1, shape (h, w, 3).
        radius: Half of the window's side, in pixels.
        softness: Variance of the picture in a window below which it counts as flat.
    """

    def __init__(self, guide: Floats, radius: int, softness: float = 1e-3) -> None:
        self._guide, self._side = guide, 2 * radius + 1
        self._mean = self._box(guide)
        spread = np.empty((*guide.shape, 3), np.float32)
        for i in range(3):
            spread[..., i] = self._box(guide * guide[..., i : i + 1])
            spread[..., i] -= self._mean * self._mean[..., i : i + 1]
        self._inverse = np.linalg.inv(spread + softness * np.eye(3, dtype=np.float32))

    def planes(self, values: Floats) -> tuple[Floats, Floats]:
        """Slopes, shape (h, w, 3), and offsets, shape (h, w): values as functions of the colour."""
        mean = self._box(values)
        together = self._box(self._guide * values[..., None]) - self._mean * mean[..., None]
        slopes = np.einsum("hwij,hwj->hwi", self._inverse, together)
        offsets = mean - (slopes * self._mean).sum(axis=-1)
        return self._box(slopes), self._box(offsets)

    def smooth(self, values: Floats) -> Floats:
        """Values, shape (h, w), smoothed."""
        slopes, offsets = self.planes(values)
        smoothed: Floats = (slopes * self._guide).sum(axis=-1) + offsets
        return smoothed

    def enlarged(self, values: Floats, guide: Floats) -> Floats:
        """Values at the size of a larger copy of the picture, with its edges.

        Args:
            values: Shape (h, w).
            guide: The larger copy, float32 of 0..1, shape (H, W, 3).
        """
        size = guide.shape[1::-1]
        slopes, offsets = (
            cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in self.planes(values)
        )
        enlarged: Floats = np.einsum("hwc,hwc->hw", slopes, guide) + offsets
        return enlarged

    def _box(self, values: Floats) -> Floats:
        side = self._side, self._side
        return np.asarray(cv2.blur(values, side, borderType=cv2.BORDER_REFLECT), np.float32)


class Ways:
    """How much of a change of colour lies on the way from known places to each pixel.

    Args:
        guide: Picture, float32 of 0..1, shape (h, w, 3).
    """

    def __init__(self, guide: Floats) -> None:
        self._size: Size = guide.shape[0], guide.shape[1]
        share = min(1.0, GRID / max(self._size))
        self._cells = tuple(max(2, round(side * share)) for side in self._size)
        small = cv2.resize(guide, self._cells[::-1], interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), 0.7) * 255
        self._across = self._steps(small[:, 1:] - small[:, :-1])
        self._down = self._steps(small[1:] - small[:-1])

    @staticmethod
    def _steps(change: Floats) -> Floats:
        steps: Floats = np.maximum(np.linalg.norm(change, axis=-1) - NOISE, 0) + LENGTH
        return steps

    def costs(self, start: Mask) -> Floats:
        """Cost of the cheapest way to each pixel from a place where it starts, shape (h, w).

        Args:
            start: Where ways start, shape (h, w).
        """
        shares = cv2.resize(
            start.astype(np.float32), self._cells[::-1], interpolation=cv2.INTER_AREA
        )
        costs = np.where(shares > min(0.5, float(shares.max()) / 2), 0, np.inf).astype(np.float32)
        if not start.any():
            return np.full(self._size, np.inf, np.float32)
        across, down = self._across, self._down
        while True:
            before = costs.copy()
            np.minimum(costs[:, 1:], costs[:, :-1] + across, out=costs[:, 1:])
            np.minimum(costs[:, :-1], costs[:, 1:] + across, out=costs[:, :-1])
            np.minimum(costs[1:], costs[:-1] + down, out=costs[1:])
            np.minimum(costs[:-1], costs[1:] + down, out=costs[:-1])
            if np.array_equal(before, costs):
                break
        enlarged = cv2.resize(costs, self._size[::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(enlarged, np.float32)
