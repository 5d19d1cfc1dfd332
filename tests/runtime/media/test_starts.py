"""Parts of videos that were cut or joined without coding them again begin and end where told."""

from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.access import open_clip
from mavos_deploy.runtime.media.frames import SourceFrame, open_frames
from mavos_deploy.runtime.media.part import Part
from tests.made_videos import shown_at, video

OPEN = {"x264-params": "open-gop=1:keyint=10:bframes=3"}
QUIET = {"x265-params": "log-level=0:open-gop=1:keyint=10:bframes=3"}


def _read(path: Path, part: Part | None = None) -> tuple[list[SourceFrame], list[str]]:
    with open_frames(str(path), part) as source:
        frames = list(source)
    return frames, source.told.notes + source.told.damage


def _same(frames: list[SourceFrame], wanted: list[SourceFrame]) -> None:
    assert [frame.index for frame in frames] == [frame.index for frame in wanted]
    for actual, expected in zip(frames, wanted, strict=True):
        assert np.array_equal(actual.rgb, expected.rgb)


def _cut(path: Path, source: Path, first: Fraction, edits: bool) -> Path:
    """A video from its last key frame before a time on, whose edit list begins at that time."""
    options = {"use_editlist": str(int(edits))}
    with av.open(str(source)) as given, av.open(str(path), "w", options=options) as container:
        stream = given.streams.video[0]
        into = container.add_stream_from_template(stream)
        packets = [packet for packet in given.demux(stream) if packet.size]
        before = [p.is_keyframe and shown_at(p) <= first for p in packets]
        for packet in packets[len(before) - 1 - before[::-1].index(True) :]:
            assert packet.pts is not None
            assert packet.dts is not None
            packet.pts -= round(first / packet.time_base)
            packet.dts -= round(first / packet.time_base)
            packet.stream = into
            container.mux(packet)
    return path


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_times_count_from_the_first_frame_that_an_edit_list_shows(
    tmp_path: Path, codec: str
) -> None:
    coding = OPEN if codec == "libx264" else QUIET
    source = video(tmp_path / "whole.mp4", codec, count=40, coding=coding)
    for tenths in (12, 13, 14, 15):
        path = _cut(tmp_path / "a.mp4", source, Fraction(tenths, 10), edits=True)
        whole, _ = _read(path)
        assert len(whole) in (40 - tenths, 39 - tenths)
        _same(_read(path, Part(Fraction(0)))[0], whole)
        _same(_read(path, Part(end=Fraction(1, 2)))[0], whole[:6])
        _same(_read(path, Part(Fraction(2), Fraction("2.2")))[0], whole[20:23])
        _same(_read(path, Part(20, Fraction("2.2")))[0], whole[20:23])


def test_pictures_that_lack_what_they_need_are_not_counted(tmp_path: Path) -> None:
    source = video(tmp_path / "whole.mp4", "libx265", count=60, coding=QUIET)
    path = _cut(tmp_path / "a.mp4", source, Fraction(2), edits=False)
    whole, _ = _read(path)
    for start in (0, 25, 35):
        _same(_read(path, Part(start))[0], whole[start:])
        _same(_read(path, Part(Fraction(start, 10)))[0], whole[start:])


def _joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def _first(path: Path, count: int, seconds: int) -> Path:
    """A transport stream of frames whose clock begins at a time."""
    times = [1000 * seconds + 100 * index for index in range(count)]
    return video(path, count=count, times=times, coding={"g": "10", "bf": "2"})


@pytest.mark.parametrize("seconds", [(0, 0), (500, 0), (0, 500)], ids=["same", "back", "ahead"])
def test_joined_streams_keep_their_numbers_and_times_from_any_start(
    tmp_path: Path, seconds: tuple[int, int]
) -> None:
    parts = [_first(tmp_path / f"{n}.ts", 20 + n, at) for n, at in enumerate(seconds)]
    path = _joined(tmp_path / "a.ts", *parts)
    whole, (note,) = _read(path)
    pictures = [frame.rgb for part in parts for frame in _read(part)[0]]
    assert len(whole) == len(pictures) == 41
    for frame, picture in zip(whole, pictures, strict=True):
        assert np.array_equal(frame.rgb, picture)
    times = [frame.time for frame in whole if frame.time is not None]
    assert [b - a for a, b in pairwise(times)] == [Fraction(1, 10)] * 40
    assert note == (
        f"{path}: its clock jumps at frame 00020, as where recordings were joined; times go on "
        "by the usual step"
    )
    for start in (1, 15, 21, 33):
        _same(_read(path, Part(start))[0], whole[start:])
        _same(_read(path, Part(Fraction(start, 10), start + 3))[0], whole[start : start + 4])
    assert _read(path, Part(end=12))[1] == []


def test_frames_of_joined_streams_are_read_again(tmp_path: Path) -> None:
    parts = [_first(tmp_path / f"{n}.ts", 30 + n, at) for n, at in enumerate((500, 0))]
    with open_frames(str(_joined(tmp_path / "a.ts", *parts))) as source:
        whole = list(source)
        assert source.again is not None
        again = [(number, make()) for number, make in source.again.between(25, 40)]
    assert [number for number, _ in again] == list(range(25, 41))
    _same([frame for _, frame in again], whole[25:41])


def test_damage_before_a_joint_takes_no_frame_behind_it(tmp_path: Path) -> None:
    parts = [_first(tmp_path / f"{n}.ts", 20 + n, at) for n, at in enumerate((500, 0))]
    with av.open(str(parts[0])) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = bytearray(parts[0].read_bytes())
    place = places[14]
    assert place is not None
    content[place + 188 : place + 376] = bytes(188)
    parts[0].write_bytes(content)
    frames, _ = _read(_joined(tmp_path / "a.ts", *parts))
    second, _ = _read(parts[1])
    assert [frame.index for frame in frames[-21:]] == list(range(20, 41))
    for frame, expected in zip(frames[-21:], second, strict=True):
        assert np.array_equal(frame.rgb, expected.rgb)


def test_a_hole_far_before_a_picture_that_is_shown_for_long_is_no_joint(tmp_path: Path) -> None:
    times = [100 * index + 800_000 * (index > 29) for index in range(50)]
    path = video(tmp_path / "a.ts", count=50, times=times, coding={"g": "10", "bf": "2"})
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    place = places[12]
    assert place is not None
    whole = [frame.time for frame in _read(path)[0]]
    content = bytearray(path.read_bytes())
    del content[place + 188 : place + 376]
    path.write_bytes(content)
    frames, lines = _read(path)
    (damaged,) = lines
    assert "damaged, shown as far as possible: frame 00012" in damaged
    assert [frame.time for frame in frames][-20:] == whole[-20:]


@pytest.mark.parametrize("probed", [None, 5_000], ids=["known", "found-late"])
def test_a_joined_recording_of_another_stream_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probed: int | None
) -> None:
    parts = [_first(tmp_path / f"{n}.ts", 20, 0) for n in range(2)]
    other = tmp_path / "other.ts"
    options = {"mpegts_start_pid": "300", "mpegts_pmt_start_pid": "5000"}
    with av.open(str(parts[1])) as given, av.open(str(other), "w", options=options) as container:
        stream = given.streams.video[0]
        into = container.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.size:
                packet.stream = into
                container.mux(packet)
    path = _joined(tmp_path / "a.ts", parts[0], other)
    if probed is not None:
        options = {"probesize": str(probed), "analyzeduration": "100000"}
        monkeypatch.setattr(av, "open", partial(av.open, options=options))
    frames, lines = _read(path)
    assert [frame.index for frame in frames] == list(range(20))
    assert lines[-1] == (
        f"{path}: from frame 00020 on it can't be read (another video begins, as where recordings "
        "were joined; give each recording by itself)"
    )
    assert any("holds 2 videos" in line for line in lines) == (probed is None)


def test_joined_streams_are_no_clip_of_any_order(tmp_path: Path) -> None:
    parts = [_first(tmp_path / f"{n}.ts", 20, at) for n, at in enumerate((0, 0))]
    with pytest.raises(InputError, match=r"clock goes back after frame 00019; re-encode"):
        open_clip(str(_joined(tmp_path / "a.ts", *parts)))
