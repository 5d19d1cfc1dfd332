"""Sound is copied packet by packet, in step with the pictures; what isn't copied is named."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.encoding import Original, VideoWriter
from mavos_deploy.runtime.media.frames import open_frames
from tests.made_videos import seconds_of, shown_at, video

GREY = np.full((48, 64, 3), 100, np.uint8)
TENTH = Fraction(1, 10)


def _packets(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        streams = container.streams.audio
        if not streams:
            return []
        packets = [p for p in container.demux(streams[0]) if p.size]
        return [(shown_at(p), bytes(p)) for p in packets]


def _shown(
    path: Path, original: Original, frames: range, offset: Fraction = Fraction(0)
) -> VideoWriter:
    with VideoWriter(path, (48, 64), original) as writer:
        for index in frames:
            writer.write(GREY, offset + index * TENTH, TENTH)
    return writer


@pytest.mark.parametrize(
    ("name", "codec", "target"),
    [
        pytest.param("a.mp4", "aac", "b.mp4", id="aac"),
        pytest.param("a.mkv", "aac", "b.mp4", id="aac-of-matroska"),
        pytest.param("a.webm", "libopus", "b.mp4", id="opus"),
        pytest.param("a.mkv", "libmp3lame", "b.mov", id="mp3"),
        pytest.param("a.mkv", "flac", "b.mkv", id="flac"),
    ],
)
def test_packets_are_equal_to_the_source_with_their_times(
    tmp_path: Path, name: str, codec: str, target: str
) -> None:
    picture = "libvpx-vp9" if name.endswith("webm") else "libx264"
    source = video(tmp_path / name, picture, sound_seconds=2, sound_codec=codec)
    original = Original(rate=Fraction(10), sound=source, ended=True)
    writer = _shown(tmp_path / target, original, range(12))
    expected, actual = _packets(source), _packets(tmp_path / target)
    assert [data for _, data in actual] == [data for _, data in expected]
    for (before, _), (after, _) in zip(expected, actual, strict=True):
        assert abs(before - after) < Fraction(1, 500)
    assert writer.notes == []


def test_samples_without_a_codec_are_equal_however_they_are_packed(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mov", sound_seconds=2, sound_codec="pcm_s16le")
    _shown(tmp_path / "b.mp4", Original(rate=Fraction(10), sound=source, ended=True), range(12))
    before, after = (
        b"".join(data for _, data in _packets(file)) for file in (source, tmp_path / "b.mp4")
    )
    assert before == after


def test_sound_keeps_its_distance_to_a_video_that_starts_late(tmp_path: Path) -> None:
    source = video(tmp_path / "a.ts", sound_seconds=2, sound_codec="libmp3lame")
    with av.open(str(source)) as container:
        first = next(container.decode(video=0))
        offset = shown_at(first)
    original = Original(rate=Fraction(10), sound=source, ended=True)
    _shown(tmp_path / "b.mp4", original, range(12), offset)
    expected, actual = _packets(source), _packets(tmp_path / "b.mp4")
    assert [data for _, data in actual] == [data for _, data in expected]
    for (before, _), (after, _) in zip(expected, actual, strict=True):
        assert abs(before - offset - after) < Fraction(1, 1000)


def test_sound_of_a_part_is_that_of_its_frames(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mkv", sound_seconds=3, sound_codec="libmp3lame")
    original = Original(rate=Fraction(10), sound=source, part=True)
    _shown(tmp_path / "b.mkv", original, range(5, 10))
    whole, part = _packets(source), _packets(tmp_path / "b.mkv")
    inside = [data for time, data in whole if Fraction(1, 2) <= time < 1]
    found = [data for _, data in part]
    assert found[-len(inside) :] == inside
    assert len(found) <= len(inside) + 1  # one packet lies across the start
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert abs(seconds_of(container) - 0.5) < 0.2


@pytest.mark.parametrize("ended", [False, True], ids=["stopped", "whole"])
def test_sound_behind_the_last_frame_is_copied_if_the_video_ended_there(
    tmp_path: Path, ended: bool
) -> None:
    source = video(tmp_path / "a.mp4", sound_seconds=4)
    _shown(tmp_path / "b.mp4", Original(rate=Fraction(10), sound=source, ended=ended), range(12))
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert abs(seconds_of(container) - (4 if ended else 1.2)) < 0.3


def test_sound_that_the_container_cannot_hold_is_named_and_the_video_is_whole(
    tmp_path: Path,
) -> None:
    source = video(tmp_path / "a.mkv", sound_seconds=1, sound_codec="libopus")
    original = Original(rate=Fraction(10), sound=source)
    writer = _shown(tmp_path / "b.mov", original, range(3))
    assert writer.notes == [f"sound of {source} (opus) is not copied, because mov can't hold it"]
    with av.open(str(tmp_path / "b.mov")) as container:
        assert len(list(container.decode(video=0))) == 3
        assert not container.streams.audio


def test_sound_of_a_file_that_is_cut_off_is_copied_as_far_as_it_goes(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mkv", sound_seconds=4)
    whole = _packets(source)
    source.write_bytes(source.read_bytes()[:-200])
    _shown(tmp_path / "b.mp4", Original(rate=Fraction(10), sound=source, ended=True), range(12))
    kept = _packets(tmp_path / "b.mp4")
    assert len(whole) > len(kept) > 3
    assert [data for _, data in kept] == [data for _, data in whole[: len(kept)]]


def test_a_source_without_sound_gives_none(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    writer = _shown(tmp_path / "b.mp4", Original(rate=Fraction(10), sound=source), range(3))
    assert not _packets(tmp_path / "b.mp4")
    assert writer.notes == []


def test_a_source_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.mp4: its sound cannot be read"):
        VideoWriter(tmp_path / "b.mp4", (48, 64), Original(sound=tmp_path / "gone.mp4"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds", [(9, 9), (9, 500), (500, 9)], ids=["same", "ahead", "back"])
def test_sound_of_joined_recordings_stays_with_their_pictures(
    tmp_path: Path, seconds: tuple[int, int]
) -> None:
    content = b""
    for place, start in enumerate(seconds):
        times = [1000 * start + 100 * index for index in range(20)]
        part = video(tmp_path / f"{place}.ts", count=20, times=times)
        with av.open(str(part)) as given, av.open(str(tmp_path / "c.ts"), "w") as container:
            shown = container.add_stream_from_template(given.streams.video[0])
            sound = container.add_stream("aac", rate=48000)
            assert isinstance(sound, AudioStream)
            packets = [packet for packet in given.demux(video=0) if packet.size]
            for number, packet in enumerate(packets):  # side by side, as a camera writes them
                packet.stream = shown
                container.mux(packet)
                noise = np.random.default_rng(number + 100 * place).normal(0, 0.1, (1, 4800))
                samples = av.AudioFrame.from_ndarray(
                    noise.astype(np.float32), format="fltp", layout="mono"
                )
                samples.sample_rate, samples.time_base = 48000, Fraction(1, 48000)
                samples.pts = 48000 * start + 4800 * number
                container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
        content += (tmp_path / "c.ts").read_bytes()
    source = tmp_path / "a.ts"
    source.write_bytes(content)
    with (
        open_frames(str(source)) as frames,
        VideoWriter(tmp_path / "b.mp4", frames.size, frames.original) as writer,
    ):
        for frame in frames:
            writer.write(frame.rgb, frame.time, frame.duration)
    (note,) = writer.notes
    assert note.startswith("1 damaged or overlapping packets, where recordings meet, of the sound")
    whole, kept = _packets(source), _packets(tmp_path / "b.mp4")
    assert len(whole) - 3 <= len(kept) <= len(whole)
    heard = [time for time, _ in kept]
    assert heard == sorted(set(heard))
    assert 3.8 < heard[-1] < 4.2
    first, second = (
        next(time for time, data in kept if whole[place][1].endswith(data))
        for place in (10, len(whole) // 2 + 10)
    )
    assert abs(second - first - 2) < TENTH / 2
