"""Parts of videos that were cut or joined without coding them again begin and end where told."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mavos_deploy.runtime.media.frames import SourceFrame, open_frames
from mavos_deploy.runtime.media.part import Part
from tests.made_videos import video

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
        before = [p.is_keyframe and p.pts * p.time_base <= first for p in packets]
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
