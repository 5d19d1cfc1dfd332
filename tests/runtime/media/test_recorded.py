"""Videos go on behind damage, with the right numbers, and start anywhere without decoding all."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.stream import VideoStream

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.access import open_clip
from mavos_deploy.runtime.media.encoding import VideoWriter
from mavos_deploy.runtime.media.frames import SourceFrame, open_frames
from mavos_deploy.runtime.media.part import Part
from mavos_deploy.runtime.media.recorded import Recording
from tests.made_videos import COUNT, punch, read_until_refused, shown_at, spoil, video

GROUPS = {"g": "10"}  # a key frame every ten frames
OPEN = {"x264-params": "open-gop=1:keyint=10:bframes=3"}
QUIET = {"x265-params": "log-level=0:keyint=10:bframes=3"}


def _read(path: Path, part: Part | None = None) -> tuple[list[SourceFrame], list[str]]:
    with open_frames(str(path), part) as source:
        frames = list(source)
    return frames, source.told.damage


@pytest.mark.parametrize(
    ("name", "codec", "coding", "packets"),
    [
        pytest.param("a.mp4", "libx264", GROUPS, [15], id="h264"),
        pytest.param("a.mp4", "libx264", GROUPS, [5, 15, 31], id="h264-in-three-places"),
        pytest.param("a.mp4", "libx264", GROUPS, [20], id="h264-key-frame"),
        pytest.param("a.mp4", "libx264", GROUPS, [39], id="h264-the-last"),
        pytest.param("a.mp4", "libx265", QUIET, [15], id="hevc"),
        pytest.param("a.mov", "mpeg4", GROUPS, [15, 16, 30], id="mpeg4"),
        pytest.param("a.avi", "mjpeg", {}, [7, 21], id="mjpeg"),
        pytest.param("a.mov", "prores_ks", {}, [3], id="prores"),
    ],
)
def test_frames_behind_damage_keep_their_numbers(
    tmp_path: Path, name: str, codec: str, coding: dict[str, str], packets: list[int]
) -> None:
    pix_fmt = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}.get(codec, "yuv420p")
    path = video(tmp_path / name, codec, pix_fmt, count=40, coding=coding)
    whole, damage = _read(path)
    assert damage == []
    spoiled = spoil(path, packets)
    frames, (line,) = _read(path)
    numbers = [frame.index for frame in frames]
    assert numbers == sorted(set(numbers))
    assert set(spoiled).isdisjoint(numbers)
    assert len(numbers) >= 40 - 10 * len(packets)
    # Each frame has the time, and with it the number, that it has in the whole video.
    assert [frame.time for frame in frames] == [whole[number].time for number in numbers]
    assert [frame.stem for frame in frames] == [f"{number:05d}" for number in numbers]
    assert f"{name}: damaged and left out: frame" in line
    for number in spoiled:
        assert f"{number:05d}" in line or " to " in line


def test_frames_before_damage_and_of_the_next_group_are_untouched(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", count=40, coding=GROUPS)
    whole, _ = _read(path)
    (lost,) = spoil(path, [15])
    frames, (line,) = _read(path)
    assert line.endswith(f"damaged and left out: frame {lost:05d}")
    for frame in frames:
        if frame.index < 10 or frame.index >= 30:
            assert np.array_equal(frame.rgb, whole[frame.index].rgb)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_half_a_frame_is_shown_and_named(tmp_path: Path, codec: str) -> None:
    path = video(tmp_path / "a.mov", codec, count=40, coding=GROUPS)
    (flawed,) = spoil(path, [15], "half")
    frames, (line,) = _read(path)
    assert len(frames) == 40
    assert f"damaged, shown as far as possible: frame {flawed:05d}" in line


@pytest.mark.parametrize("threads", [1, 2, 6])
@pytest.mark.parametrize(("codec", "group"), [("mpeg4", "1"), ("libx264", "4")])
def test_damage_near_the_end_costs_no_whole_frame_with_any_number_of_threads(
    tmp_path: Path, codec: str, group: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = Recording.__iter__

    def with_threads(self: Recording) -> Iterator[tuple[int, av.VideoFrame]]:
        self.stream.codec_context.thread_count = threads
        return decode(self)

    monkeypatch.setattr(Recording, "__iter__", with_threads)
    path = video(tmp_path / "clip.mp4", codec, coding={"g": group})
    spoil(path, [COUNT - 3])
    with open_frames(str(path)) as source:
        given = {frame.index for frame in source}
    named = " ".join(source.told.damage)
    assert given >= set(range(COUNT - 4))
    assert all(f"{number:05d}" in named or number in given for number in range(COUNT - 3, COUNT))
    if group == "1":  # each frame stands alone
        assert given == set(range(COUNT)) - {COUNT - 3}


def test_what_a_decoder_leaves_out_in_silence_is_named(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", "libx265", count=40, coding=QUIET)
    spoil(path, [16], "half")
    frames, (line,) = _read(path)
    (lost,) = set(range(40)) - {frame.index for frame in frames}
    assert line.endswith(f"damaged and left out: frame {lost:05d}")


def test_a_hole_in_a_transport_stream_is_named(tmp_path: Path) -> None:
    path = video(tmp_path / "a.ts", count=60, coding=GROUPS)
    content = bytearray(path.read_bytes())
    middle = len(content) // 188 // 2
    del content[middle * 188 : (middle + 8) * 188]
    path.write_bytes(content)
    frames, damage = _read(path)
    assert 40 < len(frames) < 60
    assert damage


def test_a_damaged_first_frame_is_refused_with_advice_that_works(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", count=40, coding=GROUPS)
    spoil(path, [0])
    with pytest.raises(InputError, match=r"first whole frame is 00010; .*give --start 10 and the"):
        open_frames(str(path))
    frames, damage = _read(path, Part(start=10))
    assert [frame.index for frame in frames] == list(range(10, 40))
    assert damage == []


def test_damage_outside_of_the_part_does_not_matter(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", count=60, coding=GROUPS)
    spoil(path, [5, 55])
    frames, damage = _read(path, Part(start=20, end=35))
    assert [frame.index for frame in frames] == list(range(20, 36))
    assert damage == []


def test_a_video_of_which_nothing_can_be_decoded_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mov", "mpeg4", count=5)
    spoil(path, [0, 1, 2, 3, 4])
    with pytest.raises(InputError, match=r"a\.mov: damaged \(.*\) at frame 00000; get a whole"):
        open_frames(str(path))


def test_a_recording_that_starts_in_the_middle_is_whole(tmp_path: Path) -> None:
    path = video(tmp_path / "a.ts", count=40, coding=GROUPS)
    with av.open(str(path)) as container:
        start = [packet.pos for packet in container.demux(video=0) if packet.size][4]
    assert start is not None
    path.write_bytes(path.read_bytes()[start:])
    frames, damage = _read(path)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert 28 <= len(frames) <= 36
    assert damage == []


@pytest.mark.parametrize("stated", [9999, 0, 13], ids=["too-many", "none", "some-more"])
def test_a_wrong_count_of_frames_does_not_matter(tmp_path: Path, stated: int) -> None:
    path = video(tmp_path / "a.avi", "mjpeg", "yuvj420p")
    content = bytearray(path.read_bytes())
    for name, offset in ((b"avih", 20), (b"strh", 36)):
        place = content.index(name) + 4 + offset
        content[place : place + 4] = stated.to_bytes(4, "little")
    path.write_bytes(content)
    frames, damage = _read(path)
    assert len(frames) == COUNT
    assert damage == []


def test_a_wrong_length_of_a_matroska_file_does_not_matter(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv")
    content = bytearray(path.read_bytes())
    place = content.index(b"\x44\x89\x88") + 3  # the element Duration, a float64
    content[place : place + 8] = np.float64(9e6).astype(">f8").tobytes()
    path.write_bytes(content)
    frames, damage = _read(path)
    assert len(frames) == COUNT
    assert damage == []


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")])
@pytest.mark.parametrize("missing", [1, 3, 4.5])
def test_a_matroska_file_that_lacks_less_than_half_a_second_is_cut_off(
    tmp_path: Path, name: str, codec: str, missing: float
) -> None:
    path = video(tmp_path / name, codec, count=30, coding={"g": "5", "bf": "0"})
    whole, _ = _read(path)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    first = packets[int(-missing)]
    assert first.pos is not None
    inside = first.size // 2 if missing % 1 else 0  # of the first packet that isn't there whole
    path.write_bytes(path.read_bytes()[: first.pos + inside])
    given = read_until_refused(path, rf"{name}: the file is cut off at frame \d{{5}}; get a whole")
    assert len(given) == 30 - int(missing)
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(whole, given, strict=False))
    with pytest.raises(InputError, match="cut off"):
        open_clip(str(path))


def test_a_matroska_file_that_lacks_only_its_index_is_whole(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", count=30)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"\x1c\x53\xbb\x6b") + 13])
    frames, damage = _read(path)
    assert (len(frames), damage) == (30, [])


@pytest.mark.parametrize("name", ["a.mkv", "a.flv"])
def test_frames_behind_a_hole_in_the_container_keep_their_numbers(
    tmp_path: Path, name: str
) -> None:
    path = video(tmp_path / name, count=300, coding=GROUPS)
    whole, _ = _read(path)
    punch(path, 100, before=20)
    frames, (line, *_) = _read(path)
    assert 200 < len(frames) < 300
    for frame in frames:
        assert frame.time == whole[frame.index].time
    assert "damaged and left out: frame" in line


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_a_broken_container_names_the_frame_from_which_nothing_comes(
    tmp_path: Path, name: str
) -> None:
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    path = video(tmp_path / name, codec, count=40)
    spoil(path, [20])
    frames, (line,) = _read(path)
    assert 10 < len(frames) < 40
    assert f"from frame {len(frames):05d} on it can't be read" in line


VIDEOS = [
    pytest.param("a.mp4", "libx264", GROUPS, id="mp4"),
    pytest.param("a.mp4", "libx264", OPEN, id="open-groups"),
    pytest.param("a.mkv", "libx265", QUIET, id="hevc"),
    pytest.param("a.webm", "libvpx-vp9", GROUPS, id="webm"),
    pytest.param("a.ts", "libx264", GROUPS, id="ts"),
    pytest.param("a.avi", "mpeg4", GROUPS, id="avi"),
    pytest.param("a.mov", "prores_ks", {}, id="prores"),
]


@pytest.mark.parametrize(("name", "codec", "coding"), VIDEOS)
@pytest.mark.parametrize("timed", [False, True], ids=["by-number", "by-time"])
def test_a_start_gives_the_frames_that_decoding_everything_gives(
    tmp_path: Path, name: str, codec: str, coding: dict[str, str], timed: bool
) -> None:
    pix_fmt = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    path = video(tmp_path / name, codec, pix_fmt, count=40, coding=coding)
    whole, _ = _read(path)
    assert whole[0].time is not None
    for start in (0, 1, 9, 10, 19, 21, 28, 39):
        time = whole[start].time
        assert time is not None
        place = time - whole[0].time if timed else start
        frames, damage = _read(path, Part(place, max_frames=3))
        wanted = whole[start : start + 3]
        assert [frame.index for frame in frames] == [frame.index for frame in wanted]
        assert [frame.time for frame in frames] == [frame.time for frame in wanted]
        for actual, expected in zip(frames, wanted, strict=True):
            assert np.array_equal(actual.rgb, expected.rgb)
        assert damage == []


def test_frames_before_the_start_are_counted_and_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(tmp_path / "a.mp4", count=300, coding=GROUPS)
    decoded = []
    decode = Recording._decoded

    def counting(self: Recording, packet: object) -> list[av.VideoFrame]:
        decoded.append(packet)
        return decode(self, packet)  # type: ignore[arg-type]

    monkeypatch.setattr(Recording, "_decoded", counting)
    frames, _ = _read(path, Part(start=290))
    assert [frame.index for frame in frames] == list(range(290, 300))
    assert len(decoded) < 40


def test_a_start_with_variable_times_is_the_first_frame_that_is_not_earlier(tmp_path: Path) -> None:
    times = [0, 40, 300, 310, 900, 1500, 1510, 1600, 2500, 2600, 3000, 4000]
    path = video(tmp_path / "a.mp4", times=times)
    frames, _ = _read(path, Part(Fraction("0.9"), Fraction("2.5")))
    assert [frame.index for frame in frames] == [4, 5, 6, 7, 8]


def test_a_start_behind_the_end_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4")
    for start in (12, Fraction(5)):
        with pytest.raises(
            InputError, match=r"nothing lies in the part from .* there are 12 frames"
        ):
            open_frames(str(path), Part(start))


def _with_two(path: Path, sizes: list[tuple[int, int]], default: int | None) -> Path:
    with av.open(str(path), "w") as container:
        streams = []
        for width, height in sizes:
            stream = container.add_stream("libx264", rate=10)
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for index, stream in enumerate(streams):
            if default is not None:
                stream.disposition = Disposition(int(index == default))
        for (width, height), stream in zip(sizes, streams, strict=True):
            picture = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), "rgb24")
            container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("sizes", "default", "read", "why"),
    [
        pytest.param([(32, 32), (64, 64)], 1, (64, 64), "the default", id="second-is-default"),
        pytest.param([(32, 32), (64, 64)], 0, (32, 32), "the default", id="first-is-default"),
        pytest.param([(32, 32), (96, 64), (64, 64)], None, (64, 96), "the largest", id="no-mark"),
    ],
)
def test_of_several_videos_the_default_is_read_or_the_largest(
    tmp_path: Path,
    sizes: list[tuple[int, int]],
    default: int | None,
    read: tuple[int, int],
    why: str,
) -> None:
    path = _with_two(tmp_path / "a.mkv", sizes, default)
    with open_frames(str(path)) as source:
        assert source.size == read
        (note,) = source.told.notes
    assert f"holds {len(sizes)} videos; stream " in note
    assert f"{why}, {read[0]}x{read[1]}" in note


def test_the_cover_of_a_file_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        clip = container.add_stream("libx264", rate=10)
        for stream, size, pix_fmt in ((cover, (96, 96), "yuvj420p"), (clip, (64, 48), "yuv420p")):
            assert isinstance(stream, VideoStream)
            (stream.width, stream.height), stream.pix_fmt = size, pix_fmt
        cover.disposition = Disposition.attached_pic
        for stream, shape in ((cover, (96, 96, 3)), (clip, (48, 64, 3))):
            picture = av.VideoFrame.from_ndarray(np.zeros(shape, np.uint8), "rgb24")
            container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
    with open_frames(str(path)) as source:
        assert source.size == (48, 64)
        assert source.told.notes == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mov"])
@pytest.mark.parametrize("start", [0, 1234, 3_600_000], ids=["from-0", "later", "an-hour-later"])
def test_written_videos_have_the_times_of_any_source(tmp_path: Path, name: str, start: int) -> None:
    times = [start + time for time in (0, 40, 300, 310, 900, 1500, 1510, 1600, 2500, 2600, 3000)]
    path = video(tmp_path / name, count=11, times=times, sound_seconds=2)
    with (
        open_frames(str(path)) as source,
        VideoWriter(tmp_path / "b.mp4", source.size, source.original) as writer,
    ):
        for frame in source:
            writer.write(frame.rgb, frame.time, frame.duration)
    with av.open(str(tmp_path / "b.mp4")) as container:
        found = [shown_at(frame) for frame in container.decode(video=0)]
    for expected, actual in zip(times, found, strict=True):
        assert abs(Fraction(expected - start, 1000) - actual) < Fraction(1, 1000)
