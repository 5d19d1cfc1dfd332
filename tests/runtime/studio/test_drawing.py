"""Strokes and polygons become the pixels that they cover."""

import numpy as np
import pytest

from mavos_deploy.runtime.studio.drawing import Stroke, draw_polygon, draw_strokes, scaled


@pytest.mark.parametrize("point", [(0.0, 0.0), (2.5, 1.5), (3.99, 2.99)])
def test_thin_click_covers_the_pixel_it_is_in(point: tuple[float, float]) -> None:
    mask = draw_strokes([Stroke((point,), 0.0, True)], (3, 4))
    rows, columns = np.nonzero(mask)
    assert (int(point[1]), int(point[0])) in set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert mask.sum() <= 4


def test_click_covers_a_disc_of_its_radius() -> None:
    mask = draw_strokes([Stroke(((32.5, 32.5),), 10.0, True)], (65, 65))
    y, x = np.mgrid[:65, :65]
    distance = np.hypot(x - 32, y - 32)
    assert mask[distance <= 9].all()
    assert not mask[distance > 11].any()


def test_stroke_covers_all_between_its_points_and_nothing_far_from_them() -> None:
    mask = draw_strokes([Stroke(((5, 20), (40, 20), (40, 50)), 3.0, False)], (60, 60))
    assert mask[19:21, 5:40].all()
    assert mask[20:50, 39:41].all()
    assert not mask[:16].any()
    assert not mask[30:, :35].any()


def test_strokes_outside_and_far_away_cover_nothing() -> None:
    strokes = [Stroke(((-1e9, 1e12),), 4.0, True), Stroke(((-50, -50), (-20, -90)), 4.0, True)]
    assert not draw_strokes(strokes, (20, 30)).any()


def test_polygon_covers_pixels_whose_centre_is_inside() -> None:
    mask = draw_polygon([(1.6, 0.4), (4.4, 0.4), (4.4, 2.6), (1.6, 2.6)], (4, 6))
    expected = np.zeros((4, 6), np.bool_)
    expected[0:3, 2:4] = True
    assert np.array_equal(mask, expected)


def test_polygon_that_crosses_itself_has_a_hole_where_it_lies_twice() -> None:
    star = [(50, 2), (80, 95), (3, 38), (97, 38), (20, 95)]
    mask = draw_polygon(star, (100, 100))
    assert not mask[50, 50]
    assert mask[20, 50]


def test_polygon_beyond_the_picture_is_cut_off_at_its_border() -> None:
    assert draw_polygon([(-10, -10), (90, -10), (90, 90), (-10, 90)], (8, 9)).all()
    assert not draw_polygon([(0, 0), (5, 5)], (8, 9)).any()


def test_scaled_stroke_lies_in_the_part() -> None:
    stroke = scaled(Stroke(((30, 40),), 8.0, True), (10, 20), (0.5, 0.5))
    assert stroke == Stroke(((10, 10),), 4.0, True)
