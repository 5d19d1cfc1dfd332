"""J and F against hand-made cases, a slow, literal computation, and figures of DAVIS's toolkit."""

import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.metrics import (
    boundary_accuracy,
    boundary_map,
    region_similarity,
    score_frame,
    score_labels,
    statistics,
)
from tests import made_sequences
from tests.made_clips import synthetic_clip

Mask = NDArray[np.bool_]
TOOLKIT: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data/davis_toolkit.json").read_text()
)


def rectangle(top: int, left: int, bottom: int, right: int, size: tuple[int, int]) -> Mask:
    mask = np.zeros(size, dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def literal_boundary(mask: Mask) -> Mask:
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y, x in itertools.product(range(height), range(width)):
        others = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
        if y == height - 1:
            others = [(y, x + 1)]
        if x == width - 1:
            others = [(y + 1, x)]
        if y == height - 1 and x == width - 1:
            others = []
        edge[y, x] = any(mask[y, x] != mask[other] for other in others)
    return edge


def literal_dilation(edge: Mask, radius: int) -> Mask:
    wide = np.zeros_like(edge)
    for y, x in np.argwhere(edge):
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                inside = 0 <= y + dy < edge.shape[0] and 0 <= x + dx < edge.shape[1]
                if inside and dy * dy + dx * dx <= radius * radius:
                    wide[y + dy, x + dx] = True
    return wide


def literal_f(truth: Mask, prediction: Mask, tolerance: float) -> float:
    radius = math.ceil(tolerance * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))
    truth_edge, predicted_edge = literal_boundary(truth), literal_boundary(prediction)
    near_truth = literal_dilation(truth_edge, radius)
    near_prediction = literal_dilation(predicted_edge, radius)
    if not truth_edge.any() and not predicted_edge.any():
        return 1.0
    precision = near_truth[predicted_edge].mean() if predicted_edge.any() else 1.0
    recall = near_prediction[truth_edge].mean() if truth_edge.any() else 1.0
    if precision + recall == 0:
        return 0.0
    return float(2 * precision * recall / (precision + recall))


def random_blobs(seed: int, size: tuple[int, int]) -> Mask:
    coarse = np.random.default_rng(seed).random((size[0] // 6 + 1, size[1] // 6 + 1)) > 0.8
    grown = np.kron(coarse, np.ones((6, 6), dtype=np.bool_))
    return grown[: size[0], : size[1]]


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        pytest.param((0, 0, 4, 4), (0, 0, 4, 4), 1.0, id="equal"),
        pytest.param((0, 0, 4, 4), (4, 4, 8, 8), 0.0, id="apart"),
        pytest.param((0, 0, 4, 4), (0, 2, 4, 6), 8 / 24, id="half-overlap"),
        pytest.param((0, 0, 4, 4), (0, 0, 2, 2), 4 / 16, id="part-of-it"),
        pytest.param((0, 0, 0, 0), (0, 0, 0, 0), 1.0, id="both-empty"),
        pytest.param((0, 0, 4, 4), (0, 0, 0, 0), 0.0, id="nothing-predicted"),
        pytest.param((0, 0, 0, 0), (0, 0, 4, 4), 0.0, id="nothing-there"),
    ],
)
def test_region_similarity_is_intersection_over_union(
    truth: tuple[int, int, int, int], prediction: tuple[int, int, int, int], expected: float
) -> None:
    size = (8, 8)
    actual = region_similarity(rectangle(*truth, size), rectangle(*prediction, size))
    assert actual == pytest.approx(expected)


def test_the_outline_of_a_square_lies_half_a_pixel_up_and_left() -> None:
    expected = np.zeros((6, 6), dtype=np.bool_)
    expected[1, 1:4] = expected[3, 1:4] = True
    expected[1:4, 1] = expected[1:4, 3] = True
    np.testing.assert_array_equal(boundary_map(rectangle(2, 2, 4, 4, (6, 6))), expected)


def test_the_border_of_the_picture_is_no_outline() -> None:
    assert not boundary_map(np.ones((5, 7), dtype=np.bool_)).any()


def test_the_last_row_and_column_compare_along_the_border_only() -> None:
    edge = boundary_map(rectangle(3, 4, 6, 8, (6, 8)))  # touches the lower right corner
    np.testing.assert_array_equal(np.flatnonzero(edge[-1]), [3])
    np.testing.assert_array_equal(np.flatnonzero(edge[:, -1]), [2])


@pytest.mark.parametrize("seed", range(4))
def test_the_outline_equals_the_literal_definition(seed: int) -> None:
    mask = random_blobs(seed, (31, 43))
    np.testing.assert_array_equal(boundary_map(mask), literal_boundary(mask))


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        pytest.param((10, 10, 30, 30), (10, 10, 30, 30), 1.0, id="equal"),
        pytest.param((10, 10, 30, 30), (11, 10, 31, 30), 1.0, id="shifted-within-tolerance"),
        pytest.param((10, 10, 14, 14), (30, 30, 34, 34), 0.0, id="apart"),
        pytest.param((0, 0, 0, 0), (0, 0, 0, 0), 1.0, id="both-empty"),
        pytest.param((10, 10, 30, 30), (0, 0, 0, 0), 0.0, id="nothing-predicted"),
        pytest.param((0, 0, 0, 0), (10, 10, 30, 30), 0.0, id="nothing-there"),
        pytest.param((0, 0, 40, 60), (0, 0, 0, 0), 1.0, id="a-full-picture-has-no-outline"),
    ],
)
def test_boundary_accuracy_of_simple_cases(
    truth: tuple[int, int, int, int], prediction: tuple[int, int, int, int], expected: float
) -> None:
    size = (40, 60)  # diagonal 72.1, so the tolerance is one pixel
    actual = boundary_accuracy(rectangle(*truth, size), rectangle(*prediction, size))
    assert actual == pytest.approx(expected)


def test_an_outline_one_pixel_beyond_the_tolerance_is_missed() -> None:
    # Two half planes: their outlines are full-height lines, at columns 19 and 21.
    truth, prediction = rectangle(0, 0, 40, 20, (40, 60)), rectangle(0, 0, 40, 22, (40, 60))
    assert boundary_accuracy(truth, prediction) == 0.0
    assert boundary_accuracy(truth, prediction, tolerance=0.02) == 1.0  # two pixels


@pytest.mark.parametrize("tolerance", [0.008, 0.03, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_boundary_accuracy_equals_the_literal_computation(seed: int, tolerance: float) -> None:
    truth = random_blobs(seed, (47, 61))
    prediction = np.roll(truth, (1 + seed, 3), axis=(0, 1))
    prediction[:, 40:] = False
    expected = literal_f(truth, prediction, tolerance)
    assert 0 < expected < 1
    assert boundary_accuracy(truth, prediction, tolerance) == pytest.approx(expected, abs=1e-12)


def test_boundary_accuracy_at_video_size_equals_opencv_dilation() -> None:
    clip = synthetic_clip(480, 854, frames=2, seed=3)
    truth, prediction = clip.labels[0] == 1, clip.labels[1] == 1
    axis = np.arange(-8, 9)  # ceil(0.008 * 979.7) = 8
    disc = (axis[:, None] ** 2 + axis**2 <= 64).astype(np.uint8)
    truth_edge, predicted_edge = boundary_map(truth), boundary_map(prediction)
    precision = cv2.dilate(truth_edge.astype(np.uint8), disc)[predicted_edge].mean()
    recall = cv2.dilate(predicted_edge.astype(np.uint8), disc)[truth_edge].mean()
    expected = 2 * precision * recall / (precision + recall)
    assert 0 < expected < 1
    assert boundary_accuracy(truth, prediction) == pytest.approx(expected, abs=1e-12)


def test_perfect_labels_score_one_for_every_object() -> None:
    labels = synthetic_clip(96, 128, frames=2).labels
    scores = score_labels(labels, labels, ids=[1, 2, 3])
    assert list(scores) == [1, 2, 3]
    assert all((score.region, score.boundary, score.mean) == (1, 1, 1) for score in scores.values())


def test_scores_are_means_over_the_frames_given() -> None:
    truth = np.zeros((2, 40, 60), dtype=np.uint8)
    truth[:, 10:30, 10:30] = 7
    prediction = truth.copy()
    prediction[1] = 0
    score = score_labels(truth, prediction, ids=[7])[7]
    assert (score.region, score.boundary, score.mean) == (0.5, 0.5, 0.5)


def test_void_pixels_count_for_neither_side() -> None:
    truth = np.zeros((1, 40, 60), dtype=np.uint8)
    truth[:, 10:30, 10:30] = 1
    truth[:, :, 45:] = 255
    prediction = np.where(truth == 255, 1, truth).astype(np.uint8)
    score = score_labels(truth, prediction, ids=[1])[1]
    assert (score.region, score.boundary) == (1, 1)


def test_masks_of_different_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(4, 5\) and \(5, 4\): both need the same shape"):
        region_similarity(np.zeros((4, 5), np.bool_), np.zeros((5, 4), np.bool_))


def test_label_maps_in_place_of_masks_are_refused() -> None:
    labels = np.zeros((4, 5), np.uint8)
    with pytest.raises(InputError, match="uint8 and uint8: both need bool"):
        boundary_accuracy(labels, labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 8.0])
def test_a_tolerance_in_pixels_is_refused(tolerance: float) -> None:
    mask = np.zeros((4, 5), np.bool_)
    with pytest.raises(InputError, match="share of the image diagonal"):
        boundary_accuracy(mask, mask, tolerance)


def test_background_and_void_are_no_objects_to_score() -> None:
    labels = np.zeros((1, 4, 5), np.uint8)
    for object_id in (0, 255):
        with pytest.raises(InputError, match="ids go from 1 to 254"):
            score_labels(labels, labels, ids=[object_id])


def test_no_frames_have_no_score() -> None:
    labels = np.zeros((0, 4, 5), np.uint8)
    with pytest.raises(InputError, match="one frame or more"):
        score_labels(labels, labels, ids=[1])


def scored(name: str, object_id: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """J and F of every frame but the first and the last, as DAVIS scores them."""
    made = made_sequences.SEQUENCES[name]()
    scores = [
        score_frame(truth, prediction, [object_id])[object_id]
        for truth, prediction in zip(made.truth[1:-1], made.prediction[1:-1], strict=True)
    ]
    columns = np.array(scores)
    return columns[:, 0], columns[:, 1]


@pytest.mark.parametrize("key", TOOLKIT["objects"])
def test_figures_equal_those_of_the_davis_toolkit(key: str) -> None:
    name, _, object_id = key.rpartition("_")
    recorded = TOOLKIT["objects"][key]
    for measure, values in zip("JF", scored(name, int(object_id)), strict=True):
        ours = statistics(values)
        assert ours.mean == pytest.approx(recorded[f"{measure}-Mean"], abs=1e-6)
        assert ours.recall == pytest.approx(recorded[f"{measure}-Recall"], abs=1e-6)
        if name != "long":
            assert ours.decay == pytest.approx(recorded[f"{measure}-Decay"], abs=1e-6)


def test_void_pixels_are_left_out_as_in_the_davis_toolkit() -> None:
    made = made_sequences.three_objects()
    truth = made.truth.copy()
    truth[:, 30:60, 40:90] = 255
    for key, recorded in TOOLKIT["void"].items():
        for frame in range(5, 9):
            score = score_frame(truth[frame], made.prediction[frame], [int(key)])[int(key)]
            assert score.region == pytest.approx(recorded["J"][frame - 5], abs=1e-6)
            assert score.boundary == pytest.approx(recorded["F"][frame - 5], abs=1e-6)


@pytest.mark.parametrize("count", TOOLKIT["statistics"])
def test_statistics_equal_those_of_the_davis_toolkit(count: str) -> None:
    ours = statistics(made_sequences.values(int(count)))
    assert (ours.mean, ours.recall, ours.decay) == pytest.approx(
        TOOLKIT["statistics"][count], abs=1e-6
    )


@pytest.mark.parametrize("count", TOOLKIT["statistics_8_bit"])
def test_decay_of_long_sequences_is_right_where_the_toolkit_counts_in_8_bits(count: str) -> None:
    values = made_sequences.values(int(count))
    mean, recall, toolkit_decay = TOOLKIT["statistics_8_bit"][count]
    ours = statistics(values)
    assert (ours.mean, ours.recall) == pytest.approx((mean, recall), abs=1e-6)
    last = len(values) - 1
    first_quarter = values[: math.floor(last / 4 + 0.5) + 1]
    last_quarter = values[math.floor(3 * last / 4 + 0.5) :]
    assert ours.decay == pytest.approx(first_quarter.mean() - last_quarter.mean(), abs=1e-12)
    assert toolkit_decay is None or abs(toolkit_decay - ours.decay) > 1e-3


def test_decay_of_a_long_sequence_shows_which_end_is_worse() -> None:
    (fading, _), (recovering, _) = scored("long", 1), scored("long", 2)
    assert statistics(fading).decay > 0.4
    assert statistics(recovering).decay < -0.4


def test_a_single_frame_has_no_decay() -> None:
    ours = statistics(np.array([0.75]))
    assert (ours.mean, ours.recall, ours.decay) == (0.75, 1.0, 0.0)


def test_no_values_have_no_statistics() -> None:
    with pytest.raises(InputError, match="need one value or more"):
        statistics(np.zeros(0))


def test_half_an_overlap_is_not_recalled() -> None:
    assert statistics(np.array([0.5, 0.51])).recall == 0.5


def test_a_frame_at_480p_with_five_objects_takes_less_than_a_tenth_of_a_second() -> None:
    truth, prediction = synthetic_clip(480, 854, frames=2, objects=5, seed=3).labels
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        score_frame(truth, prediction, range(1, 6))
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.1
