"""Frames that are read again are those of the first reading, in any order, in windows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.frames import FrameSource, open_frames
from mavos_deploy.runtime.media.part import Part
from mavos_deploy.runtime.media.passes import clip as clip_module
from mavos_deploy.runtime.media.passes.clip import Clip, windows
from mavos_deploy.runtime.media.rereading import Reread
from tests.made_videos import spoil, video

COUNT = 40
GROUPS = {"g": "12", "bf": "2"}
OPEN = {"x264-params": "open-gop=1:keyint=10:bframes=3"}
INTRA = {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}
QUIET = {"x265-params": "log-level=0:keyint=10:bframes=3"}


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of seven frames at most, so that a clip has several."""
    monkeypatch.setattr(clip_module, "MOST", 7)


def _compared(path: str, part: Part | None = None) -> None:
    with open_frames(path, part) as source:
        clip = Clip(source)
        first = list(clip.read())
        assert len(first) > 1
        for wanted in (first, first[3:-4]):
            for low, high, expected in (
                (wanted[-1].index, wanted[0].index, wanted[::-1]),
                (wanted[0].index, wanted[-1].index, wanted),
            ):
                again = list(clip.frames(low, high))
                assert [f.index for f in again] == [f.index for f in expected]
                for ours, theirs in zip(again, expected, strict=True):
                    assert (ours.stem, ours.time, ours.duration) == (
                        theirs.stem,
                        theirs.time,
                        theirs.duration,
                    )
                    assert np.array_equal(ours.rgb, theirs.rgb)


@pytest.mark.parametrize(
    ("name", "codec", "coding"),
    [
        pytest.param("a.mp4", "libx264", GROUPS, id="h264"),
        pytest.param("a.mkv", "libx264", OPEN, id="h264-open-groups"),
        pytest.param("a.mp4", "libx264", INTRA, id="h264-intra-refresh"),
        pytest.param("a.ts", "libx264", GROUPS, id="transport-stream"),
        pytest.param("a.mp4", "libx265", QUIET, id="hevc"),
        pytest.param("a.mkv", "mjpeg", {}, id="mjpeg"),
        pytest.param("a.avi", "mpeg4", GROUPS, id="avi"),
        pytest.param("a.mov", "mpeg4", GROUPS, id="mpeg4"),
    ],
)
def test_a_video_read_again_is_what_it_was(
    tmp_path: Path, name: str, codec: str, coding: dict[str, str]
) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = video(tmp_path / name, codec, pix_fmt, count=COUNT, coding=coding)
    _compared(str(path))


@pytest.mark.parametrize("part", [Part(start=15, end=33), Part(every=3)], ids=["part", "every"])
def test_parts_of_a_video_can_be_read_again(tmp_path: Path, part: Part) -> None:
    path = video(tmp_path / "a.mp4", "libx264", "yuv420p", count=COUNT, coding=GROUPS)
    _compared(str(path), part)


@pytest.mark.parametrize("packets", [[15], [24], [5, 16, 31]])
def test_frames_around_damage_can_be_read_again(tmp_path: Path, packets: list[int]) -> None:
    path = video(tmp_path / "a.mp4", "libx264", "yuv420p", count=COUNT, coding={"g": "10"})
    spoil(path, packets)
    _compared(str(path))


def test_images_without_the_broken_one_can_be_read_again(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (9, 6, 8, 3), np.uint8)
    for number, picture in enumerate(noise):
        Image.fromarray(picture).save(tmp_path / f"{number:05d}.png")
    (tmp_path / "00004.png").write_bytes(b"")
    _compared(str(tmp_path))


def test_grey_frames_of_16_bits_keep_the_range_of_the_whole_clip(tmp_path: Path) -> None:
    for number in range(9):
        values = np.full((6, 8), 1000 * (number + 1), np.uint16)
        Image.fromarray(values).save(tmp_path / f"{number:05d}.png")
    _compared(str(tmp_path))


def test_an_animation_can_be_read_again(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (9, 6, 8, 3), np.uint8)
    head, *rest = [Image.fromarray(picture) for picture in noise]
    head.save(tmp_path / "a.webp", save_all=True, append_images=rest, lossless=True, duration=40)
    _compared(str(tmp_path / "a.webp"))


def test_reading_begins_at_the_key_frame_before_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(tmp_path / "a.mp4", "libx264", "yuv420p", count=COUNT, coding={"g": "10"})
    begun = []
    own = Reread._from

    def noted(reread: Reread, landing: object, first: int, last: int) -> object:
        begun.append(getattr(landing, "number", None))
        return own(reread, landing, first, last)  # type: ignore[arg-type]

    monkeypatch.setattr(Reread, "_from", noted)
    with open_frames(str(path)) as source:
        clip = Clip(source)
        numbers = [frame.index for frame in clip.read()]
        list(clip.frames(numbers[-1], numbers[0]))
    # Each window begins at a key frame where one is in reach, and in the first group at frame 0.
    assert begun == [30, 30, 20, 20, 10, 10, None, None]


def test_reading_begins_further_before_where_a_key_frame_lacks_the_first_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Reread._from

    def lacking(reread: Reread, landing: object, first: int, last: int) -> object:
        found = own(reread, landing, first, last)  # type: ignore[arg-type]
        if landing is not None:
            next(found, None)
        return found

    monkeypatch.setattr(Reread, "_from", lacking)
    _compared(str(video(tmp_path / "a.mp4", "libx264", "yuv420p", count=COUNT, coding=GROUPS)))


def test_a_file_that_was_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", "libx264", "yuv420p", count=COUNT, coding=GROUPS)
    with open_frames(str(path)) as source:
        clip = Clip(source)
        list(clip.read())
        video(path, "libx264", "yuv420p", count=COUNT // 2, coding=GROUPS)
        with pytest.raises(InputError, match=r"read again|any more"):
            list(clip.frames(COUNT - 1, 0))


def test_a_camera_is_refused() -> None:
    source = FrameSource.__new__(FrameSource)
    source.name, source.again = "camera 0", None
    with pytest.raises(InputError, match="camera 0 can't be read backward: its frames come once"):
        Clip(source)


@pytest.mark.parametrize(
    ("starts", "parts"),
    [
        pytest.param([0, 10, 20], [(20, 25), (13, 19), (10, 12), (3, 9), (0, 2)], id="groups"),
        pytest.param([0], [(19, 25), (12, 18), (5, 11), (0, 4)], id="one-group"),
        pytest.param(None, [(19, 25), (12, 18), (5, 11), (0, 4)], id="images"),
    ],
)
def test_windows_begin_at_key_frames_where_one_is_in_reach(
    starts: list[int] | None, parts: list[tuple[int, int]]
) -> None:
    found = list(windows(range(26), starts, 7))
    assert [(window[0], window[-1]) for window in found] == parts
