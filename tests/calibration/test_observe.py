"""Ranges over streamed samples."""

import numpy as np
import pytest

from mavos_deploy.calibration.observe import Extremes, widened
from mavos_deploy.runtime.bundles.quantisation import Range


def _range(values: np.ndarray, parts: int = 1) -> Range:
    limits = (0.0, 0.0)
    for part in np.array_split(values, parts):
        limits = widened(limits, part)
    return limits


@pytest.fixture
def normal() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, 200_000).astype(np.float32)


def test_a_range_is_exact_and_holds_zero(normal: np.ndarray) -> None:
    assert _range(normal, 7) == (float(normal.min()), float(normal.max()))
    assert _range(normal**2 + 3)[0] == 0.0
    assert _range(-(normal**2) - 3)[1] == 0.0


def test_order_and_size_of_the_samples_do_not_matter(normal: np.ndarray) -> None:
    grown = np.concatenate([normal / 100, normal, normal * 3]).astype(np.float32)
    once = _range(grown)
    assert _range(grown, 50) == once
    assert _range(grown[::-1], 3) == once


def test_a_tensor_of_zeros_or_without_values_has_no_range() -> None:
    assert _range(np.zeros(10, np.float32)) == (0.0, 0.0)
    assert _range(np.zeros(0, np.float32)) == (0.0, 0.0)


def test_extremes_are_those_of_each_channel_over_groups_positions_and_samples() -> None:
    extremes = Extremes()  # two groups of two channels, then one
    extremes.add(np.array([[[1, 2], [-3, 4]], [[0, 1], [5, 6]]], np.float32))
    extremes.add(np.array([[[7, 1], [-2, 0]]], np.float32))
    assert extremes.low.tolist() == [0, -3]
    assert extremes.high.tolist() == [7, 6]
