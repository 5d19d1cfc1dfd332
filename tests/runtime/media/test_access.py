"""Any frame by its number is the frame that reading from the start gives."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media import access
from mavos_deploy.runtime.media.access import FrameAccess, open_clip
from mavos_deploy.runtime.media.frames import SourceFrame, open_frames
from tests.made_videos import HEIGHT, NOISE, WIDTH, spoil, video

MANY = 30  # frames, in several groups of pictures
TIMES = [0, 10, 50, 60, 200, 210, 220, 400, 410, 500, 501, 800]  # milliseconds

KINDS = [
    pytest.param("a.mp4", {}, id="one-group"),
    pytest.param("a.mp4", {"coding": {"x264-params": "keyint=6:open-gop=1:bframes=3"}}, id="open"),
    pytest.param("a.mkv", {"coding": {"g": "5", "bf": "2"}}, id="mkv"),
    pytest.param("a.webm", {"codec": "libvpx-vp9", "coding": {"g": "8"}}, id="webm"),
    pytest.param("a.ts", {"coding": {"g": "4", "bf": "2"}}, id="ts"),
    pytest.param("a.avi", {"codec": "mpeg4"}, id="avi"),
    pytest.param("a.mp4", {"times": TIMES, "count": len(TIMES)}, id="variable-rate"),
    pytest.param("a.mp4", {"rotation": 90, "coding": {"g": "4"}}, id="turned"),
    pytest.param("a.mp4", {"pixel_aspect": Fraction(4, 3)}, id="not-square"),
]


def same(one: SourceFrame, other: SourceFrame) -> bool:
    facts = ("index", "stem", "time", "duration", "file")
    alike = all(getattr(one, name) == getattr(other, name) for name in facts)
    return alike and np.array_equal(one.rgb, other.rgb)


@pytest.mark.parametrize(("name", "made"), KINDS)
def test_frames_in_any_order_are_those_read_in_order(
    tmp_path: Path, name: str, made: dict[str, Any]
) -> None:
    path = video(tmp_path / name, **{"count": MANY, **made})
    with open_frames(str(path)) as source:
        frames = list(source)
    clip = open_clip(str(path))
    assert (clip.length, clip.size) == (len(frames), frames[0].rgb.shape[:2])
    reader = FrameAccess(clip)
    for number in np.random.default_rng(0).permutation(clip.length).tolist():
        assert same(reader.read(number), frames[number]), number
    reader.close()


def test_backward_is_forward_in_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video(tmp_path / "a.mp4", count=MANY, coding={"g": "7", "bf": "2"})
    monkeypatch.setattr(access, "HELD", 4 * 3 * HEIGHT * WIDTH)
    clip = open_clip(str(path))
    forward = list(FrameAccess(clip).span(3, 25))
    backward = list(FrameAccess(clip).span(25, 3))
    assert [frame.index for frame in backward] == list(range(25, 2, -1))
    assert all(same(a, b) for a, b in zip(forward, reversed(backward), strict=True))


@pytest.mark.parametrize(
    ("codec", "kind", "pixel"),
    [
        pytest.param("libx264", "yuv420p", 1.5),
        pytest.param("libx264", "yuv444p10le", 6),
        pytest.param("ffv1", "gbrp16le", 6),
    ],
)
def test_windows_fit_whatever_a_pixel_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, kind: str, pixel: float
) -> None:
    path = video(tmp_path / "a.mkv", codec, kind, count=MANY)
    clip, pictures, windows = open_clip(str(path)), FrameAccess._pictures, []
    most = 40 * HEIGHT * WIDTH

    def noted(self: FrameAccess, first: int, last: int) -> Any:  # noqa: ANN401
        windows.append(last - first + 1)
        return pictures(self, first, last)

    monkeypatch.setattr(access, "HELD", most)
    monkeypatch.setattr(FrameAccess, "_pictures", noted)
    backward = FrameAccess(clip).span(MANY - 1, 0)
    assert [frame.index for frame in backward] == list(range(MANY - 1, -1, -1))
    assert 1 < max(windows) <= most / (pixel * HEIGHT * WIDTH)


def test_images_are_read_by_number(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (1, 2, 10):
        Image.fromarray(np.roll(NOISE, number, 1)).save(folder / f"a{number}.png")
    clip = open_clip(str(folder))
    assert (clip.stems, clip.fps) == (("a1", "a2", "a10"), None)
    backward = [frame.stem for frame in FrameAccess(clip).span(2, 0)]
    assert backward == ["a10", "a2", "a1"]
    with open_frames(str(folder)) as source:
        assert all(same(FrameAccess(clip).read(frame.index), frame) for frame in source)


def test_an_animation_is_read_by_number(tmp_path: Path) -> None:
    pictures = [Image.fromarray(np.roll(NOISE, n, 1)) for n in range(4)]
    path = tmp_path / "a.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    with open_frames(str(path)) as source:
        frames = list(source)
    reader = FrameAccess(open_clip(str(path)))
    assert all(same(reader.read(n), frames[n]) for n in (3, 0, 2))


def test_a_frame_that_is_not_there_is_refused(tmp_path: Path) -> None:
    reader = FrameAccess(open_clip(str(video(tmp_path / "a.mp4"))))
    with pytest.raises(InputError, match=r"no frame 12; .* has frames 0 to 11"):
        reader.read(12)


def test_a_damaged_frame_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", coding={"g": "4"})
    (gone,) = spoil(path, [5])
    reader = FrameAccess(open_clip(str(path)))
    with pytest.raises(InputError, match=f"frame {gone:05d} is damaged or missing; re-encode"):
        reader.read(gone)
    assert reader.read(8).index == 8


@pytest.mark.parametrize(
    ("codec", "pix_fmt"), [pytest.param("libx264", "yuv420p"), pytest.param("mjpeg", "yuvj420p")]
)
def test_a_video_that_lost_frames_is_refused(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    path = video(tmp_path / "a.mkv", codec, pix_fmt, coding={"g": "4"})
    spoil(path, [5])
    with pytest.raises(InputError, match=r"damaged.*; re-encode what is whole"):
        open_clip(str(path))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        pytest.param("a.mp4", b"no video", "not a video, or cut off", id="no-video"),
        pytest.param("missing.mp4", None, "does not exist", id="missing"),
    ],
)
def test_what_is_no_video_is_refused(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        open_clip(str(tmp_path / name))


def test_a_video_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(
        InputError, match=r"damaged \(cut off\) after frame .*; re-encode what is whole"
    ):
        open_clip(str(path))
