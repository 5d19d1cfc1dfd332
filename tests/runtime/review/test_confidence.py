"""Confidence out of measures: its order, its range and what it compares with."""

import numpy as np
import pytest

from mavos_deploy.runtime.review.confidence import Review, features, review, review_given
from mavos_deploy.runtime.review.weights import GOOD, OVERLAP
from tests.made_logits import COLUMNS, FRAME, ROWS, logits

LABELS = np.zeros((96, 160), np.uint8)
LABELS[24:72, 40:120] = 7


def test_a_given_mask_is_certain_and_begins_the_past() -> None:
    given = review_given(LABELS, [7], FRAME)
    assert given[7].confidence == 1.0
    assert given[7].given
    assert given[7].trace.area == pytest.approx(0.25, abs=0.01)
    assert sum(given[7].trace.colours) == 255


def test_every_doubt_makes_confidence_smaller() -> None:
    past = Review(review_given(LABELS, [7], FRAME))
    box = (6, 18, 10, 30)
    good = review(logits(box), {1: 7}, FRAME, past).objects[7]
    torn = logits(box)
    torn[0, 1, 6:18, 20:30] = torn[0, 0, 6:18, 20:30] - 0.5
    worse = {
        "unsure": logits(box, sure=0.4),
        "torn": torn,
        "elsewhere": logits((0, 3, 0, 3)),
        "gone": logits(),
    }
    for name, made in worse.items():
        found = review(made, {1: 7}, FRAME, past).objects[7]
        assert 0 <= found.confidence < good.confidence <= 1, name
        assert 0 <= found.overlap < good.overlap <= 1, name


def test_other_ids_are_kept_apart() -> None:
    past = Review(review_given(LABELS, [7], FRAME))
    found = review(logits((6, 18, 10, 30), (0, 4, 0, 4)), {1: 7, 2: 3}, FRAME, past)
    assert list(found.confidence) == [7, 3]
    assert found.objects[7].trace.colours == past.objects[7].trace.colours


def test_each_feature_has_a_weight() -> None:
    past = Review(review_given(LABELS, [7], FRAME))
    found = review(logits((0, ROWS, 0, COLUMNS)), {1: 7}, FRAME, past).objects[7]
    values = features(found.measures)
    assert len(values) == len(GOOD) == len(OVERLAP)
    assert np.isfinite(values).all()
