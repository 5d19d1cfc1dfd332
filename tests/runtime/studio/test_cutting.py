"""Boxes, strokes and clicks become masks."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio.cutting import Hints, cut
from mavos_deploy.runtime.studio.drawing import Box, Mask, Stroke

SIZE = (120, 160)
NOTHING = np.zeros(SIZE, np.bool_)


def disc(x: int, y: int, radius: int) -> Mask:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.asarray(np.hypot(columns - x, rows - y) <= radius)


BALL, OTHER = disc(60, 60, 24), disc(125, 50, 16)


def scene() -> NDArray[np.uint8]:
    """A red and an orange ball before grass."""
    random = np.random.default_rng(7)
    frame = np.empty((*SIZE, 3))
    frame[:] = (70, 120, 60)
    frame[BALL], frame[OTHER] = (190, 50, 60), (220, 150, 40)
    return np.clip(frame + random.normal(0, 12, frame.shape), 0, 255).astype(np.uint8)


def overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / (first | second).sum())


def hints(box: Box | None = None, *strokes: Stroke, before: Mask = NOTHING) -> Hints:
    return Hints(box, strokes, before, NOTHING)


AROUND = (33.0, 33.0, 88.0, 87.0)


def test_box_around_an_object_gives_its_mask() -> None:
    assert overlap(cut(scene(), hints(AROUND)), BALL) > 0.95


def test_corners_of_a_box_come_in_any_order_and_the_same_box_gives_the_same_mask() -> None:
    frame, turned = scene(), (AROUND[2], AROUND[3], AROUND[0], AROUND[1])
    assert np.array_equal(cut(frame, hints(AROUND)), cut(frame, hints(turned)))


def test_mask_of_a_larger_frame_keeps_to_its_edges() -> None:
    frame = scene().repeat(6, axis=0).repeat(6, axis=1)
    truth = BALL.repeat(6, axis=0).repeat(6, axis=1)
    box = (AROUND[0] * 6, AROUND[1] * 6, AROUND[2] * 6, AROUND[3] * 6)
    nothing = np.zeros(truth.shape, np.bool_)
    assert overlap(cut(frame, Hints(box, (), nothing, nothing)), truth) > 0.95


def test_click_on_an_object_gives_its_mask() -> None:
    click = Stroke(((58.0, 62.0),), 6.0, True)
    assert overlap(cut(scene(), hints(None, click)), BALL) > 0.9


def test_stroke_that_says_no_takes_an_object_out_of_a_box() -> None:
    both: Box = (30.0, 30.0, 145.0, 90.0)
    frame = scene()
    frame[OTHER] = frame[BALL].mean(axis=0)
    no = Stroke(((115.0, 50.0), (135.0, 50.0)), 3.0, False)
    mask = cut(frame, hints(both, no))
    assert overlap(mask, BALL) > 0.9
    assert overlap(cut(frame, hints(both)), BALL | OTHER) > 0.9


def test_stroke_adds_to_a_mask_and_leaves_the_rest_of_it() -> None:
    click = Stroke(((125.0, 50.0),), 8.0, True)
    mask = cut(scene(), hints(None, click, before=BALL))
    assert overlap(mask, BALL | OTHER) > 0.9


def test_a_stroke_on_a_mask_goes_its_own_way_alone() -> None:
    frame, before = scene(), disc(60, 60, 20) | disc(92, 60, 6)
    yes, no = Stroke(((60.0, 40.0),), 3.0, True), Stroke(((92.0, 60.0),), 3.0, False)
    more, less = (cut(frame, hints(None, stroke, before=before)) for stroke in (yes, no))
    assert (more & before).sum() == before.sum()
    assert more.sum() > before.sum()
    assert not (less & ~before).any()
    assert overlap(less, disc(60, 60, 20)) > 0.9

    through = Stroke(((60.0, 40.0), (66.0, 40.0)), 3.0, False)  # all of the ball looks like this
    rest = cut(frame, hints(None, through, before=disc(60, 60, 20)))
    assert 0.9 * disc(60, 60, 20).sum() < rest.sum() < disc(60, 60, 20).sum()


def test_strokes_are_obeyed_to_the_pixel() -> None:
    yes, no = Stroke(((10.5, 10.5),), 3.0, True), Stroke(((60.5, 60.5),), 3.0, False)
    mask = cut(scene(), hints(AROUND, yes, no))
    assert mask[10, 10]
    assert not mask[60, 60]


def test_other_objects_are_left_out() -> None:
    frame = scene()
    frame[OTHER] = frame[BALL].mean(axis=0)
    both: Box = (30.0, 30.0, 145.0, 90.0)
    mask = cut(frame, Hints(both, (), NOTHING, OTHER))
    assert (mask & OTHER).sum() < (cut(frame, hints(both)) & OTHER).sum()


@pytest.mark.parametrize("box", [(0.0, 0.0, 160.0, 120.0), (-40.0, -9.0, 900.0, 500.0)])
def test_box_as_large_as_the_picture_works(box: Box) -> None:
    assert cut(scene(), hints(box)).any()


def test_nothing_to_go_by_is_refused() -> None:
    with pytest.raises(InputError, match="nothing says where the object is; draw a box"):
        cut(scene(), hints(None, Stroke(((3.0, 3.0),), 2.0, False)))
    with pytest.raises(InputError, match="the box is empty, or outside of the picture"):
        cut(scene(), hints((200.0, 20.0, 300.0, 90.0)))
