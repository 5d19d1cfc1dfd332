"""A mask's holes, specks and outline."""

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio.drawing import Mask
from mavos_deploy.runtime.studio.refining import ACTIONS, refine


def picture(*rows: str) -> Mask:
    return np.array([[mark == "#" for mark in row] for row in rows])


RING = picture(".......", ".#####.", ".#...#.", ".#.#.#.", ".#...#.", ".#####.", "......#")


def test_all_holes_are_filled_and_what_touches_the_border_is_none() -> None:
    bay = picture("###.", "#...", "###.", "....")
    assert refine(RING, "fill-holes", 0)[1:6, 1:6].all()
    assert np.array_equal(refine(bay, "fill-holes", 0), bay)


def test_larger_holes_stay() -> None:
    assert np.array_equal(refine(RING, "fill-holes", 7), RING)
    assert refine(RING, "fill-holes", 8)[2, 2]


def test_specks_go_and_zero_leaves_the_largest_part_alone() -> None:
    assert not refine(RING, "drop-specks", 0)[3, 3]
    assert refine(RING, "drop-specks", 0).sum() == 16
    assert refine(RING, "drop-specks", 2).sum() == 16
    assert np.array_equal(refine(RING, "drop-specks", 1), RING)


def test_growing_and_shrinking_move_the_outline_by_the_amount() -> None:
    square = np.zeros((21, 21), np.bool_)
    square[8:13, 8:13] = True
    grown = refine(square, "grow", 3)
    assert grown[10, 5]
    assert grown[10, 15]
    assert not grown[10, 4]
    assert not grown[5, 5], "corners are round"
    shrunk = refine(square, "shrink", 2)
    assert shrunk.sum() == 1
    assert shrunk[10, 10]


def test_shrinking_does_not_eat_from_the_border_of_the_picture() -> None:
    half = np.zeros((10, 10), np.bool_)
    half[:, :6] = True
    assert np.array_equal(refine(half, "shrink", 2).any(axis=0), np.arange(10) < 4)
    assert refine(np.ones((4, 4), np.bool_), "shrink", 3).all()


def test_smoothing_rounds_a_tooth_off() -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[20:] = True
    mask[15:20, 20] = True
    assert not refine(mask, "smooth", 4)[16, 20]
    assert refine(mask, "smooth", 4)[25:].all()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("value", [False, True])
def test_full_and_empty_masks_stay_what_they_are(action: str, value: bool) -> None:
    mask = np.full((7, 9), value)
    refined = refine(mask, action, 3)
    assert np.array_equal(refined, mask)
    assert refined is not mask


def test_unknown_actions_and_amounts_are_refused() -> None:
    with pytest.raises(InputError, match="there is no action 'melt'; there are fill-holes"):
        refine(RING, "melt", 1)
    with pytest.raises(InputError, match=r"amount -1: grow takes 0 to 1024 pixels"):
        refine(RING, "grow", -1)
    with pytest.raises(InputError, match=r"amount 50: fill-holes takes 0 to 49 pixels"):
        refine(RING, "fill-holes", 50)
