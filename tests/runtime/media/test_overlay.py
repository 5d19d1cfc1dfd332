"""Overlays show the objects in their colours over the frames."""

import numpy as np

from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.media.overlay import draw_objects

GREY = np.full((48, 64, 3), 100, np.uint8)
SQUARE = np.zeros((48, 64), np.uint8)
SQUARE[8:40, 16:48] = 1
RED = bytes([0, 0, 0, 200, 0, 0])


def test_objects_are_blended_inside_a_white_contour_and_the_rest_is_untouched() -> None:
    before = GREY.copy()
    picture = draw_objects(GREY, SQUARE, palette_colors(RED).astype(np.uint16))
    assert np.array_equal(GREY, before)
    assert (picture[SQUARE == 0] == 100).all()
    assert (picture[9:39, 17:47] == [150, 50, 50]).all()
    contour = SQUARE.astype(bool)
    contour[9:39, 17:47] = False
    assert (picture[contour] == 255).all()


def test_objects_that_touch_are_told_apart_and_contours_grow_with_the_frame() -> None:
    labels = np.ones((960, 1000), np.uint8)
    labels[:, 500:] = 2
    frame = np.zeros((960, 1000, 3), np.uint8)
    picture = draw_objects(frame, labels, palette_colors(None).astype(np.uint16))
    white = (picture == 255).all(2)
    assert np.flatnonzero(white[480]).tolist() == [498, 499, 500, 501]
