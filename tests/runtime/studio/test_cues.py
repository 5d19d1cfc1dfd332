"""Colours, edges and ways speak for the object."""

import cv2
import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.studio.cues import Colours, EdgeFilter, Ways


def two_halves(height: int = 40, width: int = 60) -> np.ndarray:
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, : width // 2], rgb[:, width // 2 :] = (200, 40, 40), (40, 60, 200)
    lab: np.ndarray = cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab)
    return lab


def guide_of(lab: np.ndarray) -> NDArray[np.float32]:
    guide: NDArray[np.float32] = lab.astype(np.float32) / np.float32(255)
    return guide


def test_a_colour_speaks_for_where_it_is_commoner() -> None:
    lab = two_halves()
    inside = np.zeros(lab.shape[:2], np.float32)
    inside[10:20, :10] = 1
    evidence = Colours(lab).evidence(inside, 1 - inside)
    assert (evidence[:, :30] > 0.5).all()
    assert (evidence[:, 30:] < -0.5).all()


def test_smoothing_stops_at_an_edge() -> None:
    guide = guide_of(two_halves())
    noise = np.random.default_rng(1).random(guide.shape[:2]).astype(np.float32)
    smoothed = EdgeFilter(guide, 4).smooth((np.arange(60) < 30) * 0.5 + noise * 0.5)
    assert (smoothed[:, :30] > 0.6).all()
    assert (smoothed[:, 30:] < 0.4).all()


def test_enlarging_puts_the_outline_on_the_edge_of_the_larger_picture() -> None:
    large = guide_of(two_halves(120, 180))
    small = cv2.resize(large, (60, 40), interpolation=cv2.INTER_AREA).astype(np.float32)
    mask = np.zeros((40, 60), np.float32)
    mask[:, :29] = 1  # a pixel off: three of the larger picture
    enlarged = EdgeFilter(small, 2).enlarged(mask, large) > 0.5
    assert enlarged[:, :89].all()
    assert not enlarged[:, 90:].any()


def test_ways_over_an_edge_cost_more_than_longer_ones_without() -> None:
    guide = guide_of(two_halves())
    start = np.zeros(guide.shape[:2], np.bool_)
    start[18:22, 26:29] = True
    costs = Ways(guide).costs(start)
    assert costs[20, 2] < costs[20, 33]
    assert costs[20, 27] == 0


def test_ways_from_nowhere_cost_everything() -> None:
    guide = guide_of(two_halves())
    assert np.isinf(Ways(guide).costs(np.zeros(guide.shape[:2], np.bool_))).all()
