"""Measures of made-up logits: each of them must say what its name says."""

import numpy as np
import pytest

from mavos_deploy.runtime.review.measures import (
    NOWHERE,
    Measures,
    Trace,
    colour_shares,
    follow,
    grid_of,
    measure,
    measure_given,
    sample,
)
from tests.made_logits import COLUMNS, FRAME, ROWS, logits


def seen(made: np.ndarray, count: int = 1, past: dict[int, Trace] | None = None) -> list[Measures]:
    found = sample(made, list(range(1, count + 1)), FRAME)
    return measure(found, colour_shares(found, count + 1), past or {})


def test_a_sure_box_has_its_area_its_place_and_no_doubt() -> None:
    (box,) = seen(logits((6, 18, 10, 30)))
    assert box.cells == 12 * 20
    assert box.area == pytest.approx(0.25)
    assert (box.y, box.x) == pytest.approx((11.5 / ROWS, 19.5 / ROWS))
    assert box.sure > 0.99
    assert box.unsure == 0
    assert not box.touches


def test_unsure_pixels_are_told() -> None:
    made = logits((6, 18, 10, 30))
    made[0, 1, 6:18, 28:30] = made[0, 0, 6:18, 28:30] + 0.1  # a band that may be either
    (box,) = seen(made)
    (sharp,) = seen(logits((6, 18, 10, 30)))
    assert box.unsure == pytest.approx(24 / 240)
    assert box.sure < sharp.sure


def test_growth_and_jump_are_against_the_past() -> None:
    (small,) = seen(logits((6, 12, 10, 20)))
    trace = follow(small, None, ())._replace(colours=(0,) * 64)
    (large,) = seen(logits((6, 18, 10, 20)), past={1: trace})
    assert large.growth == pytest.approx(2.0)
    (away,) = seen(logits((6, 12, 20, 30)), past={1: trace})
    assert away.growth == pytest.approx(1.0)
    assert away.jump == pytest.approx(10 / 60**0.5)


def test_an_object_that_moves_on_as_before_does_not_jump() -> None:
    trace: Trace | None = None
    for left in range(2, 26, 3):
        past = {} if trace is None else {1: trace}
        (found,) = seen(logits((6, 12, left, left + 6)), past=past)
        trace = follow(found, trace, (0,) * 64)
    assert found.jump < 0.05


def test_what_two_objects_share_is_told_of_both() -> None:
    made = logits((6, 18, 4, 16), (6, 18, 16, 28))
    apart = seen(made, 2)
    made[0, 2, 6:18, 10:16] = made[0, 1, 6:18, 10:16] - 0.2
    close = seen(made, 2)
    assert max(one.rival for one in apart) < 0.01
    assert min(one.rival for one in close) > 0.1


def test_another_colour_than_at_the_reference_is_unlike() -> None:
    frame = FRAME.copy()
    frame[:, : FRAME.shape[1] // 2] = 255
    mask = np.zeros((ROWS, COLUMNS), np.bool_)
    mask[6:12, 2:10] = True
    given, colours = measure_given(mask, frame, step=1)
    past = {1: follow(given, None, colours)}
    for left, likeness in ((4, 1.0), (30, 0.0)):
        found = sample(logits((6, 12, left, left + 8)), [1], frame)
        (box,) = measure(found, colour_shares(found, 2), past)
        assert box.likeness == pytest.approx(likeness, abs=0.01)


def test_an_object_without_pixels_is_nowhere_and_its_trace_keeps_the_place() -> None:
    (before,) = seen(logits((0, 6, 10, 20)))
    assert before.touches
    trace = follow(before, None, (0,) * 64)
    (gone,) = seen(logits(), past={1: trace})
    assert (gone.cells, gone.y, gone.x) == (0, NOWHERE, NOWHERE)
    after = follow(gone, trace, (0,) * 64)
    assert (after.y, after.x, after.edge) == (trace.y, trace.x, True)
    assert after.trust < trace.trust


def test_an_object_that_was_never_seen_is_compared_with_its_first_sight() -> None:
    found = sample(logits(), [1], FRAME)
    (hidden,) = measure(found, colour_shares(found, 2), {})
    trace = follow(hidden, None, tuple(colour_shares(found, 2)[1].tolist()))
    for _ in range(2):
        found = sample(logits((6, 12, 10, 20)), [1], FRAME)
        colours = colour_shares(found, 2)
        (box,) = measure(found, colours, {1: trace})
        assert (box.likeness, box.growth, box.jump) == (1.0, 1.0, 0.0)
        trace = follow(box, trace, tuple(colours[1].tolist()))
    assert sum(trace.colours) >= 250


def test_groups_share_a_background() -> None:
    made = np.concatenate([logits((6, 18, 4, 16)), logits((6, 18, 20, 30))])
    found = sample(made, [1, 11], FRAME)
    np.testing.assert_allclose(found.probability.sum(0), 1, atol=1e-5)
    assert [found.labels[8, column] for column in (8, 24, 38)] == [1, 2, 0]


def test_a_removed_object_takes_no_pixel() -> None:
    found = sample(logits((6, 18, 4, 16), (6, 18, 20, 30)), [2], FRAME)
    assert [found.labels[8, column] for column in (8, 24)] == [0, 1]


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        pytest.param((241, 433), (61, 109, 1), id="small"),
        pytest.param((481, 849), (61, 107, 2), id="every-second-cell"),
    ],
)
def test_the_grid_of_a_large_frame_is_coarse(
    size: tuple[int, int], grid: tuple[int, int, int]
) -> None:
    assert grid_of(*size) == grid
    rows, columns = -(-size[0] // 4), -(-size[1] // 4)
    found = sample(np.zeros((1, 11, rows, columns), np.float32), [1], np.zeros((*size, 3)))
    assert found.labels.shape == grid[:2]
