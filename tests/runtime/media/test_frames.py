"""Every kind of source yields the same frames, and damage is named after the whole frames."""

import socket
import struct
import sys
import threading
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media import decoding
from mavos_deploy.runtime.media.frames import SourceFrame, open_frames

HEIGHT, WIDTH, COUNT = 48, 64, 12
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def _video(
    path: Path,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    count: int = COUNT,
    sound_seconds: int = 0,
    faststart: bool = True,
) -> Path:
    """Ten frames per second; noise that moves, so that every frame takes bytes."""
    options = {"movflags": "faststart"} if faststart and path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        sound = container.add_stream("aac", rate=8000) if sound_seconds else None
        for index in range(count):
            picture = av.VideoFrame.from_ndarray(np.roll(NOISE, 3 * index, 1), format="rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_sound(container, sound, sound_seconds)
    return path


def _add_sound(container: av.container.OutputContainer, sound: AudioStream, seconds: int) -> None:
    for start in range(0, 8000 * seconds, 1000):
        silence = np.zeros((1, 1000), np.float32)
        samples = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        samples.sample_rate, samples.pts = 8000, start
        samples.time_base = Fraction(1, 8000)
        container.mux(sound.encode(samples))
    container.mux(sound.encode(None))


def _cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def _patch(path: Path, box: bytes, offset: int, data: bytes) -> Path:
    """Overwrite bytes of an MP4, counted from the end of a box's name."""
    content = bytearray(path.read_bytes())
    start = content.index(box) + len(box) + offset
    content[start : start + len(data)] = data
    path.write_bytes(content)
    return path


def _images(folder: Path, names: list[str], size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    folder.mkdir(exist_ok=True)
    for value, name in enumerate(names):
        Image.new("RGB", size, (value, 0, 0)).save(folder / name)
    return folder


def _read_until_refused(source: Path, match: str) -> list[SourceFrame]:
    given: list[SourceFrame] = []
    with open_frames(str(source)) as opened, pytest.raises(InputError, match=match):
        given.extend(_collecting(opened, given))
    return given


def _collecting(source: Iterable[SourceFrame], into: list[SourceFrame]) -> list[SourceFrame]:
    for frame in source:
        into.append(frame)
    return []


# Folders of images


def test_images_come_in_natural_order_with_their_stems(tmp_path: Path) -> None:
    folder = _images(
        tmp_path / "clip", ["1.png", "2.jpg", "10.bmp", "11.webp", "a2.tif", "a10.png"]
    )
    (folder / ".0.png").touch()
    (folder / "notes.txt").touch()
    with open_frames(str(folder)) as source:
        assert (source.kind, source.size, source.length) == ("images", (HEIGHT, WIDTH), 6)
        assert source.name == str(folder)
        assert source.fps is None
        given = list(source)
    assert [frame.stem for frame in given] == ["1", "2", "10", "11", "a2", "a10"]
    assert [frame.index for frame in given] == list(range(6))
    assert all(frame.rgb.shape == (HEIGHT, WIDTH, 3) for frame in given)
    assert all(frame.rgb.dtype == np.uint8 for frame in given)
    assert given[2].rgb[0, 0].tolist() == [2, 0, 0]


def test_thinned_images_keep_their_numbers(tmp_path: Path) -> None:
    folder = _images(tmp_path / "clip", [f"{index:05d}.png" for index in range(8)])
    with open_frames(str(folder), every=3, max_frames=2) as source:
        assert source.length == 2
        assert [(frame.index, frame.stem) for frame in source] == [(0, "00000"), (3, "00003")]


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_images_of_every_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    Image.new("RGB", (8, 6), (255, 255, 255)).convert(mode).save(tmp_path / f"a.{suffix}")
    with open_frames(str(tmp_path)) as source:
        (frame,) = source
    assert frame.rgb.shape == (6, 8, 3)
    assert (frame.rgb == 255).all()


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 6))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    with open_frames(str(tmp_path)) as source:
        assert source.size == (8, 6)


def test_an_image_of_another_size_is_named_with_both_sizes(tmp_path: Path) -> None:
    _images(tmp_path, ["0.png", "1.png"])
    _images(tmp_path, ["2.png"], size=(10, 20))
    given = _read_until_refused(tmp_path, r"frame 2 is 20x10 but the first one is 48x64")
    assert len(given) == 2


def test_a_damaged_image_is_named_after_the_whole_ones(tmp_path: Path) -> None:
    _images(tmp_path, ["0.png", "1.png"])
    (tmp_path / "2.png").write_bytes(b"\x89PNG")
    assert len(_read_until_refused(tmp_path, r"2\.png: not a readable picture")) == 2


def test_an_image_of_16_bits_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: more than 8 bits"):
        open_frames(str(tmp_path))


def test_two_images_of_one_stem_are_refused(tmp_path: Path) -> None:
    _images(tmp_path, ["0.png", "0.jpg"])
    with pytest.raises(InputError, match=r"holds 0\.jpg and 0\.png"):
        open_frames(str(tmp_path))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "480p").mkdir()
    with pytest.raises(InputError, match=r"holds no images \(\.jpg, "):
        open_frames(str(tmp_path))


def test_a_single_image_is_refused_with_advice(tmp_path: Path) -> None:
    _images(tmp_path, ["0.png"])
    with pytest.raises(InputError, match="is a single image; give the folder"):
        open_frames(str(tmp_path / "0.png"))


# Video files

KINDS = [
    pytest.param("a.mp4", "libx264", id="mp4"),
    pytest.param("a.mov", "mpeg4", id="mov"),
    pytest.param("a.mkv", "libx264", id="mkv"),
    pytest.param("a.webm", "libvpx-vp9", id="webm"),
    pytest.param("a.avi", "mpeg4", id="avi"),
    pytest.param("a.ts", "libx264", id="ts"),
    pytest.param("a.flv", "libx264", id="flv"),
]


@pytest.mark.parametrize(("name", "codec"), KINDS)
def test_every_frame_of_a_whole_video_is_given(tmp_path: Path, name: str, codec: str) -> None:
    path = _video(tmp_path / name, codec)
    with open_frames(str(path)) as source:
        assert (source.kind, source.size, source.fps) == ("video", (HEIGHT, WIDTH), 10)
        assert source.length in (COUNT, None)
        given = list(source)
    assert [frame.stem for frame in given] == [f"{index:05d}" for index in range(COUNT)]
    for index, frame in enumerate(given):
        assert np.abs(np.roll(NOISE, 3 * index, 1).astype(int) - frame.rgb).mean() < 60


def test_thinned_videos_keep_their_numbers(tmp_path: Path) -> None:
    with open_frames(str(_video(tmp_path / "a.mp4")), every=5) as source:
        assert (source.length, source.fps) == (3, 2)
        assert [frame.stem for frame in source] == ["00000", "00005", "00010"]
    with open_frames(str(tmp_path / "a.mp4"), max_frames=4) as source:
        assert source.length == 4
        assert len(list(source)) == 4


def test_videos_of_10_bits_become_rgb(tmp_path: Path) -> None:
    path = _video(tmp_path / "a.mkv", "ffv1", "yuv422p10le", count=2)
    with open_frames(str(path)) as source:
        assert all(frame.rgb.dtype == np.uint8 for frame in source)


@pytest.mark.parametrize(
    ("matrix", "turns"),
    [
        pytest.param((0, 1, -1, 0), -1, id="clockwise"),
        pytest.param((-1, 0, 0, -1), 2, id="upside-down"),
        pytest.param((0, -1, 1, 0), 1, id="counterclockwise"),
    ],
)
def test_display_rotation_is_applied(
    tmp_path: Path, matrix: tuple[int, int, int, int], turns: int
) -> None:
    path = _video(tmp_path / "a.mp4", count=2)
    with open_frames(str(path)) as source:
        upright = [frame.rgb for frame in source]
    a, b, c, d = (value * 65536 for value in matrix)
    # The matrix of the track header follows version, times, ids, reserved words and volume.
    _patch(path, b"tkhd", 40, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30))
    with open_frames(str(path)) as source:
        turned = list(source)
        assert source.size == turned[0].rgb.shape[:2]
    for before, after in zip(upright, turned, strict=True):
        assert np.array_equal(np.rot90(before, turns), after.rgb)


def test_a_video_trimmed_by_an_edit_list_is_whole(tmp_path: Path) -> None:
    path = _video(tmp_path / "a.mp4", count=30)
    _patch(path, b"elst", 8, struct.pack(">I", 1000))  # show one of three seconds
    with open_frames(str(path)) as source:
        assert len(list(source)) == 10


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_longer_than_the_picture_is_no_damage(tmp_path: Path, name: str) -> None:
    with open_frames(str(_video(tmp_path / name, sound_seconds=4))) as source:
        assert len(list(source)) == COUNT


@pytest.mark.parametrize(("name", "codec"), [kind for kind in KINDS if kind.id != "ts"])
def test_a_video_cut_in_half_gives_its_whole_frames_and_then_says_so(
    tmp_path: Path, name: str, codec: str
) -> None:
    path = _video(tmp_path / name, codec, count=30)
    with open_frames(str(path)) as source:
        whole = list(source)
    _cut(path, 0.6)
    given = _read_until_refused(path, rf"{name}: the file is cut off at frame \d{{5}}")
    assert 3 < len(given) < 25
    for expected, actual in zip(whole, given, strict=False):
        assert np.array_equal(expected.rgb, actual.rgb)


def test_the_number_of_the_first_missing_frame_is_given(tmp_path: Path) -> None:
    path = _cut(_video(tmp_path / "a.mov", "mpeg4", count=30), 0.6)
    given = _read_until_refused(path, "cut off at frame")
    with open_frames(str(path)) as source, pytest.raises(InputError) as caught:
        list(source)
    assert f"cut off at frame {len(given):05d}" in str(caught.value)


def test_a_cut_behind_the_last_wanted_frame_does_not_matter(tmp_path: Path) -> None:
    path = _cut(_video(tmp_path / "a.mp4", count=30), 0.6)
    with open_frames(str(path), max_frames=2) as source:
        assert len(list(source)) == 2


def test_damage_in_the_middle_is_named_with_its_frame(tmp_path: Path) -> None:
    path = _video(tmp_path / "a.mp4", count=60)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        start, size = packets[40].pos, packets[40].size
    assert start is not None
    content = bytearray(path.read_bytes())
    content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    given = _read_until_refused(path, r"a\.mp4: damaged \(.*\) at frame 000\d\d; get a whole copy")
    assert 20 < len(given) < 60


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_an_mp4_without_its_index_is_refused(tmp_path: Path, share: float) -> None:
    path = _cut(_video(tmp_path / "a.mp4", faststart=False), share)
    with pytest.raises(InputError, match=r"a\.mp4 cannot be opened: its index \(moov\) is missing"):
        open_frames(str(path))


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99], ids=["empty", "text"])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4 cannot be opened: not a video"):
        open_frames(str(tmp_path / "a.mp4"))


def test_a_video_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    path = _cut(_video(tmp_path / "a.mp4"), 0.2)
    with pytest.raises(InputError, match=r"a\.mp4: the file is cut off at frame 00000"):
        open_frames(str(path))


def test_a_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    path = _video(tmp_path / "a.avi", "mpeg4", count=1)
    with av.open(str(path)) as container:
        packet = next(container.demux(video=0))
        start = packet.pos
    path.write_bytes(path.read_bytes()[:start])
    with pytest.raises(InputError, match=r"a\.avi"):
        open_frames(str(path))


def test_a_file_with_sound_only_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        _add_sound(container, container.add_stream("aac", rate=8000), 1)
    with pytest.raises(InputError, match=r"a\.m4a holds no video"):
        open_frames(str(tmp_path / "a.m4a"))


def test_a_video_that_changes_its_size_is_refused(tmp_path: Path) -> None:
    first, second = (tmp_path / "a.ts", tmp_path / "b.ts")
    _video(first)
    with av.open(str(second), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
        for index in range(COUNT):
            picture = av.VideoFrame(96, 80, "yuv420p")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    given = _read_until_refused(first, "frame 000.. is 80x96 but the first one is 48x64")
    assert len(given) >= COUNT - 3


@pytest.mark.parametrize("name", ["12:30.mp4", "100%d.mp4", "ü b.mp4"])
def test_odd_file_names_are_only_names(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _video(tmp_path / "a.mp4", count=2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with open_frames(name) as source:
        assert len(list(source)) == 2


def test_a_missing_path_is_refused_with_what_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"clip\.mp4 does not exist; expected a video file"):
        open_frames(str(tmp_path / "clip.mp4"))


@pytest.mark.parametrize("limits", [(0, None), (1, 0), (-1, 5)])
def test_limits_below_one_are_refused(tmp_path: Path, limits: tuple[int, int | None]) -> None:
    with pytest.raises(InputError, match="both need to be at least 1"):
        open_frames(str(tmp_path), *limits)


# Cameras and streams


def test_a_missing_camera_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(InputError, match=r"camera 987 does not exist: there is no /dev/video987"):
        open_frames("987")


def test_a_folder_named_like_a_camera_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _images(tmp_path / "0", ["0.png"])
    monkeypatch.chdir(tmp_path)
    with open_frames("0") as source:
        assert source.kind == "images"


def test_a_stream_is_read_to_its_end(tmp_path: Path) -> None:
    path = _video(tmp_path / "a.ts")
    with open_frames(f"file://{path}") as source:
        assert (source.kind, source.size, source.length) == ("stream", (HEIGHT, WIDTH), None)
        assert [frame.stem for frame in source] == [f"{index:05d}" for index in range(COUNT)]


@pytest.mark.parametrize("scheme", ["tcp", "rtsp", "http"])
def test_a_stream_that_stays_silent_is_given_up(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "LIVE_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{scheme}://127.0.0.1:{server.getsockname()[1]}/live"
        with pytest.raises(InputError, match=r"cannot be opened .* within 0\.2 seconds"):
            open_frames(address)


def test_a_stream_that_stops_gives_its_frames_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _video(tmp_path / "a.ts", count=40).read_bytes()
    monkeypatch.setattr(decoding, "LIVE_TIMEOUT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        given = _read_from(server, content)
    assert len(given) > COUNT


def _read_from(server: socket.socket, content: bytes) -> list[SourceFrame]:
    """Read a stream whose sender falls silent with the connection open."""
    connections: list[socket.socket] = []

    def send() -> None:
        connection, _ = server.accept()
        connection.sendall(content)
        connections.append(connection)

    sender = threading.Thread(target=send)
    sender.start()
    given: list[SourceFrame] = []
    address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    try:
        with open_frames(address) as source, pytest.raises(InputError, match="stopped after"):
            _collecting(iter(source), given)
    finally:
        sender.join()
        for connection in connections:
            connection.close()
    return given


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(InputError, match=r"foo://x cannot be opened \(Protocol not found\)"):
        open_frames("foo://x")
