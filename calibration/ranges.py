"""Ranges of tensors over many samples, in memory that doesn't grow with their number."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.quantisation import Range

BINS = 4096  # of a histogram, half of them for negative values
# Share of the values that lie within the range by `percentile`; half of the others beyond each end.
PERCENTILE = 0.9999
LEVELS = 128  # magnitudes that 8 bits tell apart
ENTROPY_STEP = 16  # bins between two thresholds that `entropy` tries

Values = NDArray[np.float64]


@dataclass
class Histogram:
    """The values of one tensor, sorted into bins around 0 whose width doubles when they run out.

    Attributes:
        low: The lowest value seen.
        high: The highest value seen.
        reach: The bins cover -reach to reach.
        counts: [BINS], of the values in each bin.
    """

    low: float = np.inf
    high: float = -np.inf
    reach: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: NDArray[np.floating]) -> None:
        """Take the values of another sample; any shape, all finite."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(-low, high)
        if self.reach == 0.0:
            if largest == 0.0:
                self.counts[BINS // 2] += values.size
                return
            # A power of two, so that the bins don't depend on the order of the samples.
            self.reach = float(2.0 ** np.ceil(np.log2(largest)))
        while largest > self.reach:
            self._widen()
        found, _ = np.histogram(values, BINS, (-self.reach, self.reach))
        self.counts += found

    def _widen(self) -> None:
        """Merge pairs of bins, so that they reach twice as far."""
        merged = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros(BINS, np.int64)
        self.counts[BINS // 4 : -BINS // 4] = merged
        self.reach *= 2

    def range(self, method: str) -> Range:
        """The range to quantise to; it holds 0, which must be exact for padding and for ReLU.

        Args:
            method: `minmax`: all values. `percentile`: 99.99% of them. `entropy`: up to the
                magnitude at which 8 bits keep most of the distribution's information
                (the threshold with the least Kullback-Leibler divergence, on magnitudes).

        Source of `entropy`: Migacz, "8-bit Inference with TensorRT", GTC 2017.
        """
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        if method == "minmax" or self.reach == 0.0:
            return low, high
        if method == "percentile":
            tail = (1 - PERCENTILE) / 2 * self.counts.sum()
            edges = np.linspace(-self.reach, self.reach, BINS + 1)
            below = np.flatnonzero(np.cumsum(self.counts) > tail)[0]
            above = BINS - 1 - np.flatnonzero(np.cumsum(self.counts[::-1]) > tail)[0]
            lowest, highest = float(edges[below]), float(edges[above + 1])
        else:
            assert method == "entropy", method
            magnitudes = self.counts[BINS // 2 :] + self.counts[: BINS // 2][::-1]
            highest = _entropy_threshold(magnitudes) * self.reach / len(magnitudes)
            lowest = -highest
        return max(low, min(lowest, 0.0)), min(high, max(highest, 0.0))


@dataclass
class Extremes:
    """The lowest and the highest value of each channel of a tensor.

    Attributes:
        low: [channels]; empty before the first sample.
        high: Likewise.
    """

    low: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    high: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def add(self, values: NDArray[np.float32]) -> None:
        """Take the values of another sample, [groups, channels, ...], all finite."""
        others = (0, *range(2, values.ndim))
        low, high = values.min(axis=others), values.max(axis=others)
        known = self.low.size > 0
        self.low = np.minimum(self.low, low) if known else low
        self.high = np.maximum(self.high, high) if known else high


def _entropy_threshold(magnitudes: NDArray[np.int64]) -> int:
    """The number of bins to keep, such that 8 bits change the distribution the least."""
    last = int(np.flatnonzero(magnitudes)[-1]) + 1
    best, least = last, np.inf
    for kept in (*range(LEVELS, last, ENTROPY_STEP), last):
        inside = magnitudes[:kept].astype(np.float64)
        clipped = inside.copy()
        clipped[-1] += magnitudes[kept:].sum()
        starts = np.arange(min(LEVELS, kept)) * kept // min(LEVELS, kept)
        present = (inside > 0).astype(np.float64)
        sums, sizes = np.add.reduceat(inside, starts), np.add.reduceat(present, starts)
        spread = np.repeat(sums / np.maximum(sizes, 1), np.diff([*starts, kept])) * present
        divergence = _divergence(clipped, spread)
        if divergence < least:
            best, least = kept, divergence
    return best


def _divergence(wanted: Values, given: Values) -> float:
    """Kullback-Leibler divergence of two histograms; infinite where only one of them has mass."""
    if not given.sum() or np.any((wanted > 0) & (given == 0)):
        return float("inf")
    p, q = wanted[wanted > 0] / wanted.sum(), given[wanted > 0] / given.sum()
    return float(np.sum(p * np.log(p / q)))
