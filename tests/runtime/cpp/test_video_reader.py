"""The reader of mavos-track gives the frames of Python's, byte for byte."""

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.frames import SourceFrame, open_frames
from tests.cpp_library import CppLibrary
from tests.made_videos import COUNT as COUNT_MADE
from tests.made_videos import MATRICES, collecting, punch, spoil, transformed, video
from tests.runtime.cpp.conftest import built_program

Frames = list[tuple[int, np.ndarray]]
COUNT = 5
# Frames that refer to the fourth one after them, and are stored behind it.
LATER_FIRST = {"g": "12", "x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:scenecut=0"}
RANGE = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture
def program(cpp: CppLibrary) -> Path:
    return built_program("tests/mavos_frames")


def coloured(
    path: Path,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (64, 96),
    matrix: int | None = None,
    whole: bool = False,
    coding: dict[str, str] | None = None,
) -> Path:
    """Write a video whose stream says its matrix and range, of patches that move."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=coding or {})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        if whole:
            stream.codec_context.color_range = ColorRange.JPEG
        patches = np.kron(RANGE, np.ones((size[0] // 8 + 1, size[1] // 8 + 1, 1), np.uint8))
        for index in range(COUNT):
            rgb = np.ascontiguousarray(np.roll(patches, 3 * index, 1)[: size[0], : size[1]])
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def by_cpp(program: Path, source: Path) -> tuple[Frames, int, str]:
    """Frames as RGB with their numbers, exit code, and what was said."""
    result = source.with_suffix(".frames")
    ran = subprocess.run([program, source, result], capture_output=True, text=True, check=False)
    frames: Frames = []
    if result.exists():
        with result.open("rb") as file:
            while line := file.readline():
                number, height, width = map(int, line.split())
                rgb = np.frombuffer(file.read(3 * height * width), np.uint8)
                frames.append((number, rgb.reshape(height, width, 3)))
    return frames, ran.returncode, ran.stderr


def by_python(source: Path) -> tuple[list[SourceFrame], int, list[str]]:
    """Frames, exit code, and lines about damage or why it was refused."""
    frames: list[SourceFrame] = []
    try:
        with open_frames(str(source)) as opened:
            collecting(opened, frames)
            return frames, 1 if opened.told.damage else 0, opened.told.damage
    except InputError as error:
        return frames, 2, [str(error)]


def assert_same(program: Path, source: Path) -> None:
    frames, code, said = by_cpp(program, source)
    expected, expected_code, lines = by_python(source)
    assert said.splitlines() == lines
    assert code == expected_code
    assert [number for number, _ in frames] == [frame.index for frame in expected]
    for (_, rgb), frame in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(rgb, frame.rgb)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"matrix": Colorspace.ITU709}, id="bt709"),
        pytest.param({"matrix": Colorspace.ITU601}, id="bt601"),
        pytest.param({"matrix": Colorspace.BT2020}, id="bt2020"),
        pytest.param({"matrix": Colorspace.ITU709, "whole": True}, id="bt709-whole-range"),
        pytest.param({"pix_fmt": "yuvj420p"}, id="yuvj420p"),
        pytest.param({"pix_fmt": "yuv422p"}, id="yuv422p"),
        pytest.param({"pix_fmt": "yuv444p", "matrix": Colorspace.ITU709}, id="yuv444p"),
        pytest.param({"pix_fmt": "yuv420p10le", "matrix": Colorspace.ITU709}, id="10-bits"),
        pytest.param({"pix_fmt": "nv12"}, id="nv12"),
        pytest.param({"pix_fmt": "gray"}, id="grey"),
        pytest.param({"codec": "libx264rgb", "pix_fmt": "rgb24"}, id="rgb"),
        pytest.param({"codec": "ffv1", "pix_fmt": "bgr0"}, id="bgr0"),
        pytest.param({"codec": "ffv1", "pix_fmt": "yuv411p"}, id="yuv411p"),
        pytest.param({"codec": "ffv1", "pix_fmt": "yuv420p10le"}, id="10-bits-ffv1"),
        pytest.param({"codec": "ffv1", "pix_fmt": "yuv420p", "size": (64, 93)}, id="odd-width"),
        pytest.param({"codec": "mjpeg", "pix_fmt": "yuvj422p"}, id="mjpeg"),
        pytest.param({"codec": "mpeg4"}, id="mpeg4"),
        pytest.param({"codec": "libvpx-vp9"}, id="vp9"),
        pytest.param({"codec": "prores_ks", "pix_fmt": "yuv422p10le"}, id="prores"),
        pytest.param({"coding": {"x264-params": "interlaced=1"}}, id="interlaced"),
        pytest.param({"codec": "mpeg2video", "coding": {"flags": "+ildct"}}, id="interlaced-mpeg2"),
        pytest.param(
            {"pix_fmt": "yuv420p10le", "coding": {"x264-params": "interlaced=1"}},
            id="interlaced-10-bits",
        ),
    ],
)
def test_colours(program: Path, tmp_path: Path, told: dict[str, Any]) -> None:
    assert_same(program, coloured(tmp_path / "clip.mkv", **told))


@pytest.mark.parametrize("size", [(61, 93), (61, 96)])
def test_an_odd_number_of_lines(program: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    source = coloured(tmp_path / "clip.mkv", "ffv1", size=size)
    frames, code, _ = by_cpp(program, source)
    assert code == 0
    for (_, rgb), frame in zip(frames, by_python(source)[0], strict=True):
        apart = np.abs(rgb.astype(int) - frame.rgb)
        # FFmpeg before 8 rounds the colours between two lines once more.
        assert apart.max() <= 1
        assert (apart > 0).mean() < 0.01


def test_fields_with_an_odd_number_of_lines(program: Path, tmp_path: Path) -> None:
    coding = {"flags": "+ildct"}
    source = coloured(tmp_path / "clip.mkv", "mpeg2video", size=(62, 96), coding=coding)
    with av.open(str(source)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    frames, code, _ = by_cpp(program, source)
    assert code == 0
    assert len(frames) == COUNT
    for (_, rgb), frame in zip(frames, by_python(source)[0], strict=True):
        apart = np.abs(rgb.astype(int) - frame.rgb)
        # In Python, FFmpeg takes a line past the end of the second field for its last colours.
        apart = np.delete(apart, [57, 59, 61], axis=0)
        assert apart.max() <= 3
        assert (apart > 0).mean() < 0.01


@pytest.mark.parametrize("lines", [1, 2, 6, 62])
def test_the_last_line_of_colours_is_repeated(program: Path, tmp_path: Path, lines: int) -> None:
    # The file ends with the picture, so that bytes behind its planes are no part of it.
    picture = np.full(32 * lines + 2 * 16 * ((lines + 1) // 2), 128, np.uint8)
    source = tmp_path / "clip.y4m"
    header = f"YUV4MPEG2 W32 H{lines} F10:1 It A1:1 C420jpeg\nFRAME\n"
    source.write_bytes(header.encode() + picture.tobytes())
    frames, code, said = by_cpp(program, source)
    assert (code, said) == (0, "")
    (rgb,) = [rgb for _, rgb in frames]
    assert (rgb == rgb[0, 0, 0]).all()  # grey


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned(program: Path, tmp_path: Path, turn: int) -> None:
    assert_same(program, video(tmp_path / "clip.mp4", rotation=turn))


@pytest.mark.parametrize("matrix", [*MATRICES, (0.9848, 0.1736, -0.1736, 0.9848), (1, 0, 1, 0)])
def test_every_display_matrix(
    program: Path, tmp_path: Path, matrix: tuple[float, float, float, float]
) -> None:
    assert_same(program, transformed(video(tmp_path / "clip.mp4", count=4), matrix))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "mov"])
def test_containers(program: Path, tmp_path: Path, suffix: str) -> None:
    codec = "mpeg4" if suffix == "avi" else "libx264"
    assert_same(program, video(tmp_path / f"clip.{suffix}", codec, coding={"g": "6"}))


@pytest.mark.parametrize("how", ["whole", "half"])
@pytest.mark.parametrize("places", [[4], [3, 7, 8], [11]])
def test_damaged(program: Path, tmp_path: Path, how: str, places: list[int]) -> None:
    source = video(tmp_path / "clip.mp4", coding={"g": "4"})
    spoil(source, places, how)
    frames, code, said = by_cpp(program, source)
    expected, _, damage = by_python(source)
    assert damage
    assert said.splitlines() == damage
    assert code == 1
    assert [number for number, _ in frames] == [frame.index for frame in expected]


@pytest.mark.parametrize("share", [0.3, 0.45, 0.6, 0.75, 0.9, 0.98])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.flv"])
def test_cut_off(program: Path, tmp_path: Path, name: str, share: float) -> None:
    source = video(tmp_path / name, count=30, coding={"bf": "2", "g": "10"})
    content = source.read_bytes()
    source.write_bytes(content[: int(len(content) * share)])
    assert_same(program, source)


@pytest.mark.parametrize("lacking", range(1, 5))
@pytest.mark.parametrize(("name", "codec"), [("clip.mkv", "libx264"), ("clip.webm", "libvpx-vp9")])
def test_matroska_that_lacks_less_than_half_a_second(
    program: Path, tmp_path: Path, name: str, codec: str, lacking: int
) -> None:
    source = video(tmp_path / name, codec, count=30, coding={"g": "10"})
    with av.open(str(source)) as container:
        end = [packet.pos for packet in container.demux(video=0) if packet.size][-lacking]
    assert end is not None
    content = source.read_bytes()
    source.write_bytes(content[: end + 4])
    assert by_cpp(program, source)[1] == 2
    assert_same(program, source)
    source.write_bytes(content[: content.rindex(b"\x1c\x53\xbb\x6b") + 10 + lacking])  # its index
    assert by_cpp(program, source)[1] == (0 if lacking > 1 else 2)
    assert_same(program, source)


@pytest.mark.parametrize("packet", range(13, 19))
def test_cut_off_between_frames_that_refer_to_later_ones(
    program: Path, tmp_path: Path, packet: int
) -> None:
    source = video(tmp_path / "clip.mp4", count=30, coding=LATER_FIRST)
    with av.open(str(source)) as container:
        places = [found.pos for found in container.demux(video=0) if found.size]
    end = places[packet]
    assert end is not None
    source.write_bytes(source.read_bytes()[: end + 4])
    assert by_cpp(program, source)[1] == 2
    assert_same(program, source)


@pytest.mark.parametrize("stated", [9999, 13])
def test_a_wrong_length_is_no_damage(program: Path, tmp_path: Path, stated: int) -> None:
    source = video(tmp_path / "clip.avi", "mjpeg", "yuvj420p")
    content = bytearray(source.read_bytes())
    for name, offset in ((b"avih", 20), (b"strh", 36)):
        place = content.index(name) + 4 + offset
        content[place : place + 4] = stated.to_bytes(4, "little")
    source.write_bytes(content)
    assert by_cpp(program, source)[1] == 0
    assert_same(program, source)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.flv"])
def test_frames_behind_a_hole_keep_their_numbers(program: Path, tmp_path: Path, name: str) -> None:
    source = video(tmp_path / name, count=120, coding={"g": "10"})
    punch(source, 50)
    frames, code, said = by_cpp(program, source)
    expected, _, lines = by_python(source)
    assert (code, said.splitlines()) == (1, lines)
    assert [number for number, _ in frames] == [frame.index for frame in expected]
    assert frames[-1][0] == 119


def test_a_hole_at_an_unsteady_rate_is_named(program: Path, tmp_path: Path) -> None:
    times = [100 * n + 40 * (n % 3) for n in range(60)]
    source = video(tmp_path / "clip.mkv", count=60, coding={"g": "10"}, times=times)
    punch(source, 25, before=4)
    _, code, said = by_cpp(program, source)
    assert code == 1
    assert "no steady rate tells how many frames; re-encode it with ffmpeg" in said


@pytest.mark.parametrize("places", [[9], [9, 11], [10]])
def test_whole_pictures_behind_damage_at_the_end(
    program: Path, tmp_path: Path, places: list[int]
) -> None:
    source = video(tmp_path / "clip.mp4", "mpeg4", coding={"g": "1"})
    spoil(source, places)
    frames, code, said = by_cpp(program, source)
    assert code == 1
    assert [number for number, _ in frames] == [n for n in range(COUNT_MADE) if n not in places]
    assert said.startswith(f"{source}: damaged and left out: frame")


def test_refusals(program: Path, tmp_path: Path) -> None:
    whole = video(tmp_path / "whole.mp4", "mpeg4").read_bytes()
    stretched = tmp_path / "stretched.mp4"
    video(stretched, pixel_aspect=Fraction(4, 3))
    deep = coloured(tmp_path / "deep.mkv", "ffv1", "gray16le")
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "text.mp4").write_text("no video")
    video(tmp_path / "sound.mp4", sound_seconds=1, count=0)
    spoilt = video(tmp_path / "first.mp4", coding={"g": "4"})
    spoil(spoilt, [0, 1, 2, 3])
    for source, reason in {
        stretched: "its pixels are not square; stretch them first",
        deep: "is grey with more than 8 bits",
        tmp_path / "cut.mp4": "the file is cut off at frame 0000",
        tmp_path / "text.mp4": "not a video, or cut off",
        tmp_path / "sound.mp4": "holds no video",
        spoilt: "damaged, and the first whole frame is 00004",
    }.items():
        _, code, said = by_cpp(program, source)
        assert code == 2
        assert reason in said
        assert said.count("\n") == 1
