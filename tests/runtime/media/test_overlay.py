"""Overlays show the objects in their colours over the frames."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.media.overlay import OverlayWriter, draw_objects
from tests.made_videos import pictures_of

GREY = np.full((48, 64, 3), 100, np.uint8)
SQUARE = np.zeros((48, 64), np.uint8)
SQUARE[8:40, 16:48] = 1
RED = bytes([0, 0, 0, 200, 0, 0])


def test_colours_survive_the_encoding(tmp_path: Path) -> None:
    with OverlayWriter(tmp_path / "a.mp4", (48, 64), palette=RED) as writer:
        for _ in range(3):
            writer.write(GREY, SQUARE)
    frame = pictures_of(tmp_path / "a.mp4")[-1].astype(int)
    assert abs(frame[20:28, 24:40].mean((0, 1)) - [150, 50, 50]).max() < 6
    assert abs(frame[:4].mean((0, 1)) - [100, 100, 100]).max() < 6


def test_frames_have_the_times_that_they_are_given(tmp_path: Path) -> None:
    with OverlayWriter(tmp_path / "a.mp4", (48, 64)) as writer:
        for time in (0, 1, 5):
            writer.write(GREY, SQUARE, Fraction(time))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert [frame.time for frame in container.decode(video=0)] == [0, 1, 5]


@pytest.mark.parametrize(
    ("rgb", "labels", "message"),
    [
        pytest.param(np.zeros((40, 64, 3), np.uint8), SQUARE, "differ in size", id="frame"),
        pytest.param(GREY, np.zeros((40, 64), np.uint8), "differ in size", id="labels"),
        pytest.param(GREY[:40], SQUARE[:40], r"expected \(48, 64\)", id="both"),
    ],
)
def test_another_size_is_refused(
    tmp_path: Path, rgb: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with (
        OverlayWriter(tmp_path / "a.mp4", (48, 64)) as writer,
        pytest.raises(InputError, match=message),
    ):
        writer.write(rgb, labels)


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
