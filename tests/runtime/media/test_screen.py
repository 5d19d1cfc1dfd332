"""Frames are what players show: in shape, upright, and of light that a screen can show."""

import gc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import ClassVar

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media import decoding
from mavos_deploy.runtime.media.access import FrameAccess, open_clip
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.pictures import read_rgb
from mavos_deploy.runtime.media.screen import PQ, Screen
from mavos_deploy.runtime.media.told import Told
from mavos_deploy.runtime.media.turning import OF_EXIF, STORED, Turn
from tests.made_videos import HEIGHT, NOISE, WIDTH, transformed, video

LOSSLESS = {"qp": "0"}
EXIF_SINCE = (62, 28, 0)  # of libavcodec, at the latest


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(2), (48, 128)),
        (Fraction(1, 2), (96, 64)),
        (Fraction(16, 11), (48, 93)),
        (Fraction(10, 11), (53, 64)),
        (Fraction(4, 3), (48, 85)),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_pixels_that_are_not_square_count(
    tmp_path: Path, name: str, aspect: Fraction, size: tuple[int, int]
) -> None:
    path = video(tmp_path / name, count=2, pixel_aspect=aspect)
    with open_frames(str(path)) as source:
        assert source.size == size
        assert source.told.stored == (HEIGHT, WIDTH)
        assert all(frame.rgb.shape[:2] == size for frame in source)
        (note,) = source.told.notes
    assert f"stores {HEIGHT}x{WIDTH} pixels that are not square" in note
    assert f"as players show it, {size[0]}x{size[1]}" in note


def test_decoded_pictures_do_not_wait_for_the_garbage_collector(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", count=30)
    clip = open_clip(str(path))

    def held() -> int:
        pictures = (one for one in gc.get_objects() if isinstance(one, av.VideoFrame))
        formats = [picture.format.name for picture in pictures if picture.format is not None]
        return sum(name != "rgb24" for name in formats)  # those of RGB hold arrays that are kept

    gc.collect()
    gc.disable()
    try:
        with open_frames(str(path)) as frames:
            assert len(list(frames)) == 30
        in_order = held()
        access = FrameAccess(clip)
        for place in range(0, 210, 7):
            access.read(place % 30)
        jumping = held()
        access.close()
    finally:
        gc.enable()
    assert in_order < 8
    assert jumping < 8


def test_the_picture_is_the_stored_one_stretched(tmp_path: Path) -> None:
    with open_frames(
        str(video(tmp_path / "a.mp4", pix_fmt="yuv444p", count=1, coding=LOSSLESS))
    ) as source:
        (square,) = source
    wide = video(
        tmp_path / "b.mp4",
        pix_fmt="yuv444p",
        count=1,
        coding=LOSSLESS,
        pixel_aspect=Fraction(3),
    )
    with open_frames(str(wide)) as source:
        (shown,) = source
    assert shown.rgb.shape == (HEIGHT, 3 * WIDTH, 3)
    assert abs(shown.rgb[:, 1::3].astype(int) - square.rgb).mean() < 12


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(1281, 1280), Fraction(853, 854)])
def test_pixels_that_are_nearly_square_stay_as_they_are(tmp_path: Path, aspect: Fraction) -> None:
    with open_frames(str(video(tmp_path / "a.mp4", count=2, pixel_aspect=aspect))) as source:
        assert source.size == (HEIGHT, WIDTH)
        assert source.told.notes == []
        assert source.original.pixel_aspect == aspect


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.fractions(Fraction(1, 4), 4, max_denominator=40))
def test_shown_sides_have_the_shape_and_are_never_shorter_than_stored_ones(
    height: int, width: int, aspect: Fraction
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
            stream.codec_context.sample_aspect_ratio = aspect
            noise = np.zeros((height, width, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
            container.mux(stream.encode(None))
        with av.open(str(path)) as container:  # whatever the encoder rounded
            stated = container.streams.video[0].sample_aspect_ratio or Fraction(1)
        with open_frames(str(path)) as source:
            shown = source.size
    if abs(stated - 1) < Fraction(1, 100):
        assert shown == (height, width)
    elif stated > 1:
        assert shown == (height, round(width * stated))
    else:
        assert shown == (round(height / stated), width)


def _pq(light: np.ndarray) -> np.ndarray:
    """Codes 0..1 of light in candela per square metre, by SMPTE ST 2084."""
    power = (light / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def _hdr(path: Path, codes: np.ndarray, transfer: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = 9, transfer, 9
        context.color_range = 1
        picture = np.repeat((codes * 65535).astype(np.uint16)[..., None], 3, 2)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb48le")
        for index in range(2):
            shown = frame.reformat(format="yuv420p10le", dst_colorspace="ITU709")
            shown.pts = index
            container.mux(stream.encode(shown))
        container.mux(stream.encode(None))
    return path


def test_light_in_pq_is_tone_mapped_and_said(tmp_path: Path) -> None:
    light = np.repeat(np.array([0.0, 5, 30, 100, 203, 400, 1000, 4000]), 8)
    codes = np.broadcast_to(_pq(light), (64, 64))
    with open_frames(str(_hdr(tmp_path / "a.mkv", codes, PQ))) as source:
        frames = list(source)
        (note,) = source.told.notes
    assert "HDR in PQ; its light is tone-mapped" in note
    found = frames[0].rgb[32, 4::8, 1].astype(int)
    assert (np.diff(found)[:-1] > 0).all()
    # Ordinary screens show light by a power of 2.2, diffuse white of 203 a little below the top.
    assert abs(found[3] - 255 * (100 / 203) ** (1 / 2.2)) < 8
    assert 220 < found[4] < 250
    assert found[-1] > 245
    assert found[0] < 4


def test_hlg_stays_as_it_is(tmp_path: Path) -> None:
    codes = np.broadcast_to(np.linspace(0, 1, 64), (64, 64))
    with open_frames(str(_hdr(tmp_path / "a.mkv", codes, 18))) as source:
        (frame, _) = source
        assert source.told.notes == []
    with open_frames(str(_hdr(tmp_path / "b.mkv", codes, 14))) as source:
        (plain, _) = source
    assert np.array_equal(frame.rgb, plain.rgb)


def _screen() -> Screen:
    context = SimpleNamespace(sample_aspect_ratio=None)
    stream = SimpleNamespace(sample_aspect_ratio=Fraction(2), codec_context=context)
    return Screen("a.mp4", stream, Told())  # type: ignore[arg-type]


def test_a_frame_of_too_many_pixels_as_shown_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 16 * 12 * 2 - 1)
    with pytest.raises(InputError, match=r"a\.mp4: 32x12 pixels"):
        _screen().frame(av.VideoFrame(16, 12, "rgb24"))


def test_a_frame_that_cannot_be_converted_is_an_input_error() -> None:
    class Odd:
        format, height, width, rotation = SimpleNamespace(name="odd"), 12, 16, 0
        side_data: ClassVar[dict[str, bytes]] = {}

        def reformat(self, *_: object, **__: object) -> None:
            raise ValueError("no such format")

    with pytest.raises(InputError, match="a frame of format odd can't be converted"):
        _screen().frame(Odd())  # type: ignore[arg-type]


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_rotation_and_shape_of_pixels_go_together(tmp_path: Path, name: str, degrees: int) -> None:
    plain = video(tmp_path / f"plain{name}", count=1, pixel_aspect=Fraction(2))
    turned = video(tmp_path / name, count=1, pixel_aspect=Fraction(2), rotation=degrees)
    with open_frames(str(plain)) as source:
        (upright,) = source
    with open_frames(str(turned)) as source:
        (frame,) = source
        assert source.told.stored == ((WIDTH, HEIGHT) if degrees % 180 else (HEIGHT, WIDTH))
        assert source.told.turn == Turn(degrees // 90)
    assert np.array_equal(frame.rgb, np.rot90(upright.rgb, degrees // 90))


@pytest.mark.parametrize(
    ("degrees", "said"),
    [(90, "90 degrees to the left"), (180, "180 degrees"), (270, "90 degrees to the right")],
)
def test_a_rotation_is_said(tmp_path: Path, degrees: int, said: str) -> None:
    path = video(tmp_path / "a.mp4", count=2, rotation=degrees)
    with open_frames(str(path)) as source:
        assert len(list(source)) == 2
        (note,) = source.told.notes
    assert f"a.mp4 is shown turned by {said}, as its file says" in note


SLANTED = (0.9848, 0.1736, -0.1736, 0.9848)  # 10 degrees


@pytest.mark.parametrize(
    ("matrix", "shown", "said"),
    [
        ((-1, 0, 0, 1), lambda x: x[:, ::-1], "mirrored left to right"),
        ((1, 0, 0, -1), lambda x: x[::-1], "mirrored top to bottom"),
        (
            (0, 1, 1, 0),
            lambda x: x.transpose(1, 0, 2),
            "turned by 90 degrees to the right, then mirrored left to right",
        ),
        (
            (0, -1, -1, 0),
            lambda x: x[::-1, ::-1].transpose(1, 0, 2),
            "turned by 90 degrees to the left, then mirrored left to right",
        ),
        ((0, -1, 1, 0), np.rot90, "turned by 90 degrees to the left"),
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2), "turned by 180 degrees"),
        ((0, 1, -1, 0), lambda x: np.rot90(x, 3), "turned by 90 degrees to the right"),
        # An angle and scales that are off by the rounding of a muxer.
        ((-0.998, 0.001, -0.005, 1.002), lambda x: x[:, ::-1], "mirrored left to right"),
    ],
)
def test_a_display_matrix_with_a_mirror_is_applied_whole_and_said(
    tmp_path: Path,
    matrix: tuple[float, float, float, float],
    shown: Callable[[np.ndarray], np.ndarray],
    said: str,
) -> None:
    path = video(tmp_path / "a.mp4", count=3)
    with open_frames(str(path)) as source:
        stored = [frame.rgb for frame in source]
    transformed(path, matrix)
    with open_frames(str(path)) as source:
        frames = list(source)
        (note,) = source.told.notes
        turn = source.told.turn
    assert f"a.mp4 is shown {said}, as its file says, and its masks are, too" in note
    clip = open_clip(str(path))
    access = FrameAccess(clip)
    assert clip.told.turn == turn
    for before, after in zip(stored, frames, strict=True):
        assert np.array_equal(after.rgb, shown(before))
        assert np.array_equal(access.read(after.index).rgb, shown(before))
    access.close()


@pytest.mark.parametrize("matrix", [SLANTED, (1, 0, 1, 0), (0, 0, 0, 1), (1, 0, 0.1, 1)])
def test_a_display_matrix_that_is_no_quarter_turn_is_said(
    tmp_path: Path, matrix: tuple[float, float, float, float]
) -> None:
    path = video(tmp_path / "a.mp4", count=2)
    with open_frames(str(path)) as source:
        stored = [frame.rgb for frame in source]
    with open_frames(str(transformed(path, matrix))) as source:
        frames = list(source)
        (note,) = source.told.notes
        assert source.told.turn == STORED
    assert "a.mp4: its display matrix is neither quarter turns nor a mirror" in note
    assert all(np.array_equal(a, b.rgb) for a, b in zip(stored, frames, strict=True))


@pytest.mark.parametrize("number", range(2, 9))
def test_pictures_in_a_video_that_have_exif_are_shown_as_it_says(
    tmp_path: Path, number: int
) -> None:
    about = Image.Exif()
    about[ExifTags.Base.Orientation] = number
    file = tmp_path / "a.jpg"
    Image.fromarray(NOISE).save(file, exif=about, quality=95, subsampling=0)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj444p"
        packet = av.Packet(file.read_bytes())
        packet.stream, packet.pts, packet.dts = stream, 0, 0
        packet.time_base, packet.is_keyframe = Fraction(1, 10), True
        container.mux(packet)
    with open_frames(str(path)) as source:
        (frame,) = source
    if av.library_versions["libavcodec"] >= EXIF_SINCE:
        assert source.told.turn == OF_EXIF[number]
        assert abs(frame.rgb.astype(int) - read_rgb(file)).mean() < 6
    else:
        assert source.told.turn == STORED


def test_a_shape_of_nearly_square_pixels_turns_with_the_picture(tmp_path: Path) -> None:
    aspect = Fraction(853, 854)
    path = video(tmp_path / "a.mp4", count=1, pixel_aspect=aspect, rotation=90)
    with open_frames(str(path)) as source:
        assert source.size == (WIDTH, HEIGHT)
        assert source.original.pixel_aspect == 1 / aspect
