"""Ranges over streamed samples."""

import numpy as np
import pytest

from mavos_deploy.calibration.ranges import BINS, Extremes, Histogram


def _histogram(values: np.ndarray, parts: int = 1) -> Histogram:
    histogram = Histogram()
    for part in np.array_split(values, parts):
        histogram.add(part)
    return histogram


@pytest.fixture
def normal() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, 200_000).astype(np.float32)


def test_minmax_is_exact_and_holds_zero(normal: np.ndarray) -> None:
    assert _histogram(normal, 7).range("minmax") == (float(normal.min()), float(normal.max()))
    assert _histogram(normal**2 + 3).range("minmax")[0] == 0.0
    assert _histogram(-(normal**2) - 3).range("minmax")[1] == 0.0


def test_percentile_leaves_single_values_out(normal: np.ndarray) -> None:
    low, high = _histogram(np.append(normal, 1000.0).astype(np.float32)).range("percentile")
    wanted = np.quantile(normal, [5e-5, 1 - 5e-5])
    assert np.allclose([low, high], wanted, atol=2 * 1024 / BINS)


def test_entropy_cuts_a_long_tail_and_keeps_a_flat_range(normal: np.ndarray) -> None:
    tail = np.append(normal, [40.0, -35.0]).astype(np.float32)
    low, high = _histogram(tail).range("entropy")
    assert 2.5 < high < 10
    assert low == pytest.approx(-high)
    flat = np.linspace(-1, 1, 200_001, dtype=np.float32)
    assert _histogram(flat).range("entropy") == pytest.approx((-1, 1), abs=0.02)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_order_and_size_of_the_samples_do_not_matter(method: str, normal: np.ndarray) -> None:
    grown = np.concatenate([normal / 100, normal, normal * 3]).astype(np.float32)
    once = _histogram(grown).range(method)
    assert _histogram(grown, 50).range(method) == pytest.approx(once, rel=1e-3)
    assert _histogram(grown[::-1], 3).range(method) == pytest.approx(once, rel=1e-3)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_a_tensor_of_zeros_has_no_range(method: str) -> None:
    assert _histogram(np.zeros(10, np.float32)).range(method) == (0.0, 0.0)


def test_extremes_are_those_of_each_channel_over_groups_positions_and_samples() -> None:
    extremes = Extremes()  # two groups of two channels, then one
    extremes.add(np.float32([[[1, 2], [-3, 4]], [[0, 1], [5, 6]]]))
    extremes.add(np.float32([[[7, 1], [-2, 0]]]))
    assert extremes.low.tolist() == [0, -3]
    assert extremes.high.tolist() == [7, 6]
