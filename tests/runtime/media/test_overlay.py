"""Overlays are whole, playable H.264 files, or absent."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.masks import palette_colors
from mavos_deploy.runtime.media.overlay import OverlayWriter, draw_objects

GREY = np.full((48, 64, 3), 100, np.uint8)
SQUARE = np.zeros((48, 64), np.uint8)
SQUARE[8:40, 16:48] = 1
RED = bytes([0, 0, 0, 200, 0, 0])


def _decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_an_overlay_holds_every_frame_at_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.mp4"
    with OverlayWriter(path, (48, 64), 30000 / 1001, RED) as writer:
        for _ in range(5):
            writer.write(GREY, SQUARE)
        assert not path.exists()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"
        assert stream.average_rate == Fraction(30000, 1001)
    assert len(_decode(path)) == 5
    assert list(path.parent.iterdir()) == [path]


def test_a_player_can_start_before_the_end_of_the_file(tmp_path: Path) -> None:
    with OverlayWriter(tmp_path / "a.mp4", (48, 64), 10) as writer:
        writer.write(GREY, SQUARE)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_colours_survive_the_encoding(tmp_path: Path) -> None:
    with OverlayWriter(tmp_path / "a.mp4", (48, 64), 10, RED) as writer:
        for _ in range(3):
            writer.write(GREY, SQUARE)
    frame = _decode(tmp_path / "a.mp4")[-1].astype(int)
    assert abs(frame[20:28, 24:40].mean((0, 1)) - [150, 50, 50]).max() < 6
    assert abs(frame[:4].mean((0, 1)) - [100, 100, 100]).max() < 6


@pytest.mark.parametrize("fps", [None, 0.0], ids=["unknown", "zero"])
def test_an_unknown_rate_becomes_25(tmp_path: Path, fps: float | None) -> None:
    with OverlayWriter(tmp_path / "a.mp4", (48, 64), fps) as writer:
        writer.write(GREY, SQUARE)
        writer.write(GREY, SQUARE)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == 25


def test_odd_sides_are_padded_with_their_edge(tmp_path: Path) -> None:
    frame = np.full((47, 63, 3), 200, np.uint8)
    with OverlayWriter(tmp_path / "a.mp4", (47, 63), 10) as writer:
        writer.write(frame, np.zeros((47, 63), np.uint8))
    (decoded,) = _decode(tmp_path / "a.mp4")
    assert decoded.shape == (48, 64, 3)
    assert abs(decoded[-1].astype(int) - 200).max() < 6


def _write_and_raise(path: Path, error: BaseException) -> None:
    with OverlayWriter(path, (48, 64), 10) as writer:
        writer.write(GREY, SQUARE)
        writer.write(GREY, SQUARE)
        raise error


def test_ctrl_c_leaves_the_part_so_far_as_a_whole_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _write_and_raise(tmp_path / "a.mp4", KeyboardInterrupt())
    assert len(_decode(tmp_path / "a.mp4")) == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="stop"):
        _write_and_raise(tmp_path / "a.mp4", RuntimeError("stop"))
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_no_frame_means_no_file(tmp_path: Path) -> None:
    with OverlayWriter(tmp_path / "a.mp4", (48, 64), 10):
        pass
    assert not list(tmp_path.iterdir())


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    writer = OverlayWriter(tmp_path / "a.mp4", (48, 64), 10)
    writer.write(GREY, SQUARE)
    writer.close()
    writer.close()
    assert len(_decode(tmp_path / "a.mp4")) == 1


@pytest.mark.parametrize("limit", [2000, 50000], ids=["at-the-end", "while-encoding"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.overlay import OverlayWriter
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
rng = np.random.default_rng(0)
try:
    with OverlayWriter(Path(sys.argv[1]), (48, 64), 10) as writer:
        for _ in range(60):
            writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8))
except InputError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.mp4"), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("\n") == 1
    assert f"cannot write {tmp_path / 'a.mp4'}: the file grew past the size" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_missing_encoder_is_refused_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(InputError, match=r"no H\.264 encoder \(libx264\).*pip install"):
        OverlayWriter(tmp_path / "a.mp4", (48, 64), 10)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_the_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        OverlayWriter(tmp_path, (48, 64), 10)


@pytest.mark.parametrize(
    ("rgb", "labels"),
    [
        pytest.param(np.zeros((40, 64, 3), np.uint8), SQUARE, id="frame"),
        pytest.param(GREY, np.zeros((40, 64), np.uint8), id="labels"),
    ],
)
def test_another_size_is_refused(tmp_path: Path, rgb: np.ndarray, labels: np.ndarray) -> None:
    with (
        OverlayWriter(tmp_path / "a.mp4", (48, 64), 10) as writer,
        pytest.raises(InputError, match=r"expected \(48, 64\)"),
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
