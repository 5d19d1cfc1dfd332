"""Two passes become one by trust, which falls with uncertainty, and by what each knows."""

import numpy as np
import pytest

from mavos_deploy.runtime.contract import UNUSED_OBJECT
from mavos_deploy.runtime.media.passes.fusion import (
    FULL,
    Enlarger,
    blend,
    by_object,
    nearest,
    overlap,
    risk,
    shares_of,
    trust,
    weight,
)
from mavos_deploy.runtime.resize import bilinear_matrix

RANDOM = np.random.default_rng(3)


def test_shares_are_a_softmax_over_the_channels_in_use() -> None:
    logits = RANDOM.normal(0, 3, (1, 11, 4, 5)).astype(np.float32)
    mask = np.zeros((1, 11), np.float32)
    mask[0, [2, *range(4, 11)]] = UNUSED_OBJECT
    shares = shares_of(logits, mask, [1, 3])
    powers = np.exp(logits[0, [0, 1, 3]])
    assert shares.shape == (3, 4, 5)
    np.testing.assert_allclose(shares / FULL, powers / powers.sum(0), atol=0.003)


def test_groups_of_ten_share_a_pixel() -> None:
    logits = np.full((2, 11, 1, 1), -9, np.float32)
    logits[0, 0] = logits[1, 2] = 9  # nothing of the first group, the second one's object 12
    shares = shares_of(logits, np.zeros((2, 11), np.float32), list(range(1, 13)))
    assert shares.shape == (13, 1, 1)
    assert shares[12, 0, 0] == FULL
    assert shares.sum() == FULL


def test_an_object_is_at_risk_where_its_pixels_are_uncertain() -> None:
    assert risk(np.full((4, 4), FULL, np.uint8)) == 0
    assert risk(np.zeros((4, 4), np.uint8)) == 0
    assert risk(np.array([[FULL, 128], [0, 0]], np.uint8)) == 0.5


def test_trust_falls_to_the_overlap_at_the_end_most_where_the_object_is_at_risk() -> None:
    steady = trust([0, 0, 0, 0], 0.5)
    assert steady == pytest.approx([0.5**0.25, 0.5**0.5, 0.5**0.75, 0.5])
    early = trust([1, 0, 0, 0], 0.5)
    assert early[0] < steady[1]
    assert early[-1] == pytest.approx(0.5)
    assert trust([0, 0], 1) == [1, 1]
    assert min(trust([0.5, 0.1], 0)) > 0


def test_weights_are_those_of_the_one_pass_that_is_right() -> None:
    assert weight(1, 0.7) == 1
    assert weight(0.7, 1) == 0
    assert weight(0.6, 0.6) == pytest.approx(0.5)
    assert weight(1, 1) == 0.5
    assert weight(0.9, 0.5) == pytest.approx(0.9)


def test_overlap_counts_pixels_of_one_object() -> None:
    one, other = np.array([[1, 1, 2]], np.uint8), np.array([[1, 2, 2]], np.uint8)
    assert overlap(one, other, 1) == 0.5
    assert overlap(one, other, 7) == 1


def test_an_object_of_one_pass_is_taken_whole_and_others_are_mixed() -> None:
    forward = by_object(np.array([[[0]], [[255]], [[0]]], np.uint8), (4, 6))
    backward = by_object(np.array([[[255]], [[0]]], np.uint8), (4,))
    mixed = blend(forward, backward, {4: 0.75})
    assert mixed[4].item() == pytest.approx(0.75)
    assert mixed[6].item() == 0


@pytest.mark.parametrize("aligned", [True, False])
def test_probabilities_of_one_pass_become_the_labels_that_the_decoder_makes(aligned: bool) -> None:
    logits = RANDOM.normal(0, 1, (1, 11, 9, 13)).astype(np.float32)
    mask = np.zeros((1, 11), np.float32)
    mask[0, 4:] = UNUSED_OBJECT
    size, inside = (40, 60), (33, 49) if aligned else (36, 52)
    rows, columns = (
        bilinear_matrix(few, many, aligned) for few, many in zip((9, 13), size, strict=True)
    )
    expected = np.stack([rows @ one @ columns.T for one in logits[0, :4]]).argmax(0)
    shares = shares_of(logits, mask, [1, 2, 3])
    labels = Enlarger(size, inside, aligned).labels(by_object(shares, (1, 2, 3)))
    assert labels.dtype == np.uint8
    assert np.mean(labels != expected) < 0.02  # shares are rounded to 8 bits


def test_the_farther_pass_fills_what_the_nearer_one_leaves_free() -> None:
    near, far = np.array([[1, 1, 0, 0]], np.uint8), np.array([[2, 3, 3, 1]], np.uint8)
    assert nearest(near, far, [3]).tolist() == [[1, 1, 3, 0]]
    assert nearest(near, far, []) is near
