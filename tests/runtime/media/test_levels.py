"""Grey frames of more than 8 bits are scaled by the clip's own range, or by given levels."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.levels import Levels, own_levels, parse_levels

GREY = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)


def _clip(folder: Path, values: list[np.ndarray], suffix: str = ".png") -> str:
    folder.mkdir()
    for index, frame in enumerate(values):
        Image.fromarray(frame).save(folder / f"{index}{suffix}")
    return str(folder)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_scaled_by_the_range_of_the_clip(tmp_path: Path, suffix: str) -> None:
    warm = (7000 + 10 * GREY.astype(np.uint16)).astype(np.uint16)
    source = _clip(tmp_path / "a", [warm, warm[::-1]], suffix)
    with open_frames(source) as opened:
        first, second = (frame.rgb for frame in opened)
        (note,) = opened.told.notes
    assert np.array_equal(first, np.repeat(GREY[..., None], 3, 2))
    assert np.array_equal(second, first[::-1])
    assert "7000 becomes black, 9550 white, the range of the clip (--levels LOW,HIGH" in note


def test_all_frames_have_one_scale(tmp_path: Path) -> None:
    values = [np.full((48, 64), level, np.uint16) for level in (1000, 2000, 3000)]
    with open_frames(_clip(tmp_path / "a", values)) as opened:
        assert [int(frame.rgb[0, 0, 0]) for frame in opened] == [0, 128, 255]


def test_floats_are_scaled_and_what_is_no_number_is_black(tmp_path: Path) -> None:
    depth = GREY.astype(np.float32) / 100
    depth[0, 0], depth[0, 1] = np.nan, np.inf
    with open_frames(_clip(tmp_path / "a", [depth], ".tif")) as opened:
        (frame,) = opened
    assert frame.rgb[0, 0].tolist() == [0, 0, 0]
    assert frame.rgb[0, 1].tolist() == [255, 255, 255]
    assert np.array_equal(frame.rgb[1:, :, 0], GREY[1:])


def test_given_levels_count_and_are_said(tmp_path: Path) -> None:
    values = np.array([[0, 100, 150, 200, 60000]] * 8, np.uint16)
    with open_frames(_clip(tmp_path / "a", [values]), levels=Levels(100, 200)) as opened:
        (frame,) = opened
        (note,) = opened.told.notes
    assert frame.rgb[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert "100 becomes black, 200 white" in note
    assert "--levels" not in note


def test_a_dead_pixel_does_not_make_all_others_black(tmp_path: Path) -> None:
    warm = (7000 + 10 * GREY.astype(np.uint16)).astype(np.uint16)
    warm[5, 5] = 65535
    levels = own_levels([warm], lambda values: values)
    assert levels.high < 10000


def test_a_clip_of_one_value_is_black() -> None:
    levels = own_levels([np.full((4, 4), 7, np.uint16)], lambda values: values)
    assert levels.frame(np.full((4, 4), 7, np.uint16)).max() == 0


def test_frames_that_cannot_be_read_do_not_count() -> None:
    def read(value: int) -> np.ndarray:
        if value < 0:
            raise InputError("broken")
        return np.full((2, 2), value, np.uint16)

    assert own_levels([-1, 5, 9], read) == Levels(5, 9)
    with pytest.raises(InputError, match="broken"):
        own_levels([-1], read)


def test_colours_of_sixteen_bits_are_cut_and_said(tmp_path: Path) -> None:
    import cv2

    (tmp_path / "a").mkdir()
    colours = np.random.default_rng(1).integers(0, 65536, (8, 8, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a" / "0.png"), colours)
    with open_frames(str(tmp_path / "a")) as opened:
        (frame,) = opened
        assert "16 bits per channel, of which the higher 8 are read" in opened.told.notes[0]
    assert np.array_equal(frame.rgb, (colours >> 8).astype(np.uint8)[..., ::-1])


def test_levels_for_ordinary_pictures_are_refused(tmp_path: Path) -> None:
    source = _clip(tmp_path / "a", [GREY])
    with pytest.raises(InputError, match=r"levels 1,2 are for grey frames .*0\.png has none"):
        open_frames(source, levels=Levels(1, 2))


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "5,5", "9,1", "nan,2", "0,inf"])
def test_other_levels_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="levels"):
        parse_levels(text, "--levels")


def test_levels_are_two_numbers() -> None:
    assert parse_levels("7000,9500.5") == Levels(7000, 9500.5)


def _thermal(path: Path, count: int = 3) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray16le"
        for index in range(count):
            values = (7000 + 10 * np.roll(GREY, index, 1).astype(np.uint16)).astype(np.uint16)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="gray16le")))
        container.mux(stream.encode(None))
    return path


def test_grey_videos_of_16_bits_are_scaled_and_said(tmp_path: Path) -> None:
    path = _thermal(tmp_path / "a.mkv")
    with open_frames(str(path)) as opened:
        frames = list(opened)
        (note,) = opened.told.notes
    assert "7000 becomes black, 9550 white, the range of up to 100 frames" in note
    for index, frame in enumerate(frames):
        assert np.array_equal(frame.rgb, np.repeat(np.roll(GREY, index, 1)[..., None], 3, 2))
    with open_frames(str(path), levels=Levels(7000, 7001)) as opened:
        assert set(np.unique(next(iter(opened)).rgb)) == {0, 255}
