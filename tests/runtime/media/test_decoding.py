"""Videos, cameras and streams give all their frames, and damage is named after the whole ones."""

import socket
import struct
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media import decoding
from mavos_deploy.runtime.media.frames import SourceFrame, open_frames
from mavos_deploy.runtime.media.part import Part
from tests.made_videos import (
    COUNT,
    HEIGHT,
    KINDS,
    WIDTH,
    add_sound,
    collecting,
    read_until_refused,
    video,
)


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


def test_videos_of_10_bits_become_rgb(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", "ffv1", "yuv422p10le", count=2)
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
    path = video(tmp_path / "a.mp4", count=2)
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
    path = video(tmp_path / "a.mp4", count=30)
    _patch(path, b"elst", 8, struct.pack(">I", 1000))  # show one of three seconds
    with open_frames(str(path)) as source:
        assert len(list(source)) == 10


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_longer_than_the_picture_is_no_damage(tmp_path: Path, name: str) -> None:
    with open_frames(str(video(tmp_path / name, sound_seconds=4))) as source:
        assert len(list(source)) == COUNT


@pytest.mark.parametrize(("name", "codec"), [kind for kind in KINDS if kind.id != "ts"])
def test_a_video_cut_in_half_gives_its_whole_frames_and_then_says_so(
    tmp_path: Path, name: str, codec: str
) -> None:
    coding = {"g": "1"} if codec == "mpeg4" else {}  # frames of about the same number of bytes
    path = video(tmp_path / name, codec, count=30, coding=coding)
    with open_frames(str(path)) as source:
        whole = list(source)
    _cut(path, 0.6)
    given = read_until_refused(path, rf"{name}: the file is cut off at frame \d{{5}}")
    assert 3 < len(given) < 25
    for expected, actual in zip(whole, given, strict=False):
        assert np.array_equal(expected.rgb, actual.rgb)


def test_the_number_of_the_first_missing_frame_is_given(tmp_path: Path) -> None:
    path = _cut(video(tmp_path / "a.mov", "mpeg4", count=30), 0.6)
    given = read_until_refused(path, "cut off at frame")
    with open_frames(str(path)) as source, pytest.raises(InputError) as caught:
        list(source)
    assert f"cut off at frame {len(given):05d}" in str(caught.value)


def test_a_cut_behind_the_last_wanted_frame_does_not_matter(tmp_path: Path) -> None:
    path = _cut(video(tmp_path / "a.mp4", count=30), 0.6)
    with open_frames(str(path), Part(max_frames=2)) as source:
        assert len(list(source)) == 2


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_an_mp4_without_its_index_is_refused(tmp_path: Path, share: float) -> None:
    path = _cut(video(tmp_path / "a.mp4", faststart=False), share)
    with pytest.raises(InputError, match=r"a\.mp4 cannot be opened: its index \(moov\) is missing"):
        open_frames(str(path))


@pytest.mark.parametrize("content", [b"", b"no video at all" * 99], ids=["empty", "text"])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4 cannot be opened: not a video"):
        open_frames(str(tmp_path / "a.mp4"))


def test_a_video_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    path = _cut(video(tmp_path / "a.mp4"), 0.2)
    with pytest.raises(InputError, match=r"a\.mp4: the file is cut off at frame 00000"):
        open_frames(str(path))


def test_a_video_without_a_frame_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", "mpeg4", count=1)
    with av.open(str(path)) as container:
        packet = next(container.demux(video=0))
        start = packet.pos
    path.write_bytes(path.read_bytes()[:start])
    with pytest.raises(InputError, match=r"a\.avi"):
        open_frames(str(path))


def test_a_file_with_sound_only_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        add_sound(container, container.add_stream("aac", rate=8000), 1)
    with pytest.raises(InputError, match=r"a\.m4a holds no video"):
        open_frames(str(tmp_path / "a.m4a"))


def test_a_missing_camera_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(InputError, match=r"camera 987 does not exist: there is no /dev/video987"):
        open_frames("987")


def test_a_stream_is_read_to_its_end(tmp_path: Path) -> None:
    path = video(tmp_path / "a.ts")
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
    content = video(tmp_path / "a.ts", count=40).read_bytes()
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
            collecting(iter(source), given)
    finally:
        sender.join()
        for connection in connections:
            connection.close()
    return given


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(InputError, match=r"foo://x cannot be opened \(Protocol not found\)"):
        open_frames("foo://x")


def test_a_video_of_too_many_pixels_is_refused_undecoded(tmp_path: Path) -> None:
    Image.new("P", (9000, 9000)).save(tmp_path / "a.gif")
    with pytest.raises(InputError, match=r"a\.gif: 9000x9000 pixels; the limit is \d+ in all"):
        open_frames(str(tmp_path / "a.gif"))


def test_a_frame_that_is_larger_than_its_container_says_gets_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video(tmp_path / "a.mp4", count=2)
    monkeypatch.setattr(decoding, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    monkeypatch.setattr(decoding, "check_pixels", lambda *_: None)
    with (
        pytest.raises(InputError, match=r"a\.mp4: "),
        open_frames(str(tmp_path / "a.mp4")) as source,
    ):
        list(source)
