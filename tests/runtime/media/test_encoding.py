"""Videos are whole and playable, with the times, shape and sound of their source, or absent."""

import subprocess
import sys
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.encoding import Encoding, Original, VideoWriter
from tests.made_videos import pictures_of, shown_at

GREY = np.full((48, 64, 3), 100, np.uint8)
TEN = Original(rate=Fraction(10))
ALPHA = Encoding(
    "VP9 with alpha", "libvpx-vp9", "yuva420p", (".webm",), {"auto-alt-ref": "0", "crf": "30"}
)


def _times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [shown_at(frame) for frame in container.decode(video=0)]


def _write(path: Path, original: Original, times: list[Fraction], last: Fraction) -> Path:
    with VideoWriter(path, (48, 64), original) as writer:
        for time, end in zip(times, [*times[1:], times[-1] + last], strict=True):
            writer.write(GREY, time, end - time)
    return path


def test_a_video_holds_every_frame_at_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.mp4"
    with VideoWriter(path, (48, 64), Original(rate=Fraction(30000, 1001))) as writer:
        for _ in range(5):
            writer.write(GREY)
        assert not path.exists()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"
        assert stream.average_rate == Fraction(30000, 1001)
    assert len(pictures_of(path)) == 5
    assert list(path.parent.iterdir()) == [path]


def test_x264_leaves_out_the_part_that_reads_memory_it_never_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, (48, 64)) as writer:
        writer.write(GREY)
    assert b" mbtree=0 " in path.read_bytes()  # x264 writes down how it encoded


@pytest.mark.parametrize("unit", [Fraction(1, 16000), Fraction(1, 90000), Fraction(1, 1000)])
@pytest.mark.parametrize("start", [0, 7, -3], ids=["from-0", "later", "before-0"])
def test_frames_keep_their_distances_at_a_variable_rate(
    tmp_path: Path, unit: Fraction, start: int
) -> None:
    times = [start + unit * step for step in (0, 131, 1000, 1001, 5000, 48000)]
    path = _write(tmp_path / "a.mp4", Original(unit, Fraction(24)), times, unit * 777)
    assert _times(path) == [time - times[0] for time in times]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.start_time == 0
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base == times[-1] - times[0] + unit * 777


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_other_containers_keep_times_as_well_as_they_can(tmp_path: Path, suffix: str) -> None:
    times = [Fraction(step, 16000) for step in (0, 131, 1000, 1900, 5000, 48000)]
    path = _write(tmp_path / f"a{suffix}", Original(Fraction(1, 16000)), times, Fraction(1, 10))
    for expected, actual in zip(times, _times(path), strict=True):
        assert abs(expected - actual) <= Fraction(1, 2000)  # Matroska counts milliseconds


def test_times_that_go_back_or_stand_still_do_not_lose_frames(tmp_path: Path) -> None:
    times = [Fraction(step, 10) for step in (0, 2, 1, 1, 9)]
    with VideoWriter(tmp_path / "a.mp4", (48, 64), Original(Fraction(1, 1000))) as writer:
        for time in times:
            writer.write(GREY, time)
    found = _times(tmp_path / "a.mp4")
    assert len(found) == 5
    assert found == sorted(set(found))
    assert found[-1] == Fraction(9, 10)


def test_frames_without_a_time_follow_at_the_rate(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", (48, 64), TEN) as writer:
        for time in (Fraction(3), None, Fraction(4), None):
            writer.write(GREY, time)
    assert _times(tmp_path / "a.mp4") == [0, Fraction(1, 10), 1, Fraction(11, 10)]


def test_times_that_begin_behind_frames_without_one_go_on_from_them(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", (48, 64), TEN) as writer:
        for time in (None, None, None, Fraction(0), Fraction(1), None):
            writer.write(GREY, time)
    tenths = [0, 1, 2, 3, 13, 14]
    assert _times(tmp_path / "a.mp4") == [Fraction(tenth, 10) for tenth in tenths]


def test_the_shape_of_pixels_is_kept(tmp_path: Path) -> None:
    original = Original(pixel_aspect=Fraction(16, 15))
    with VideoWriter(tmp_path / "a.mp4", (48, 64), original) as writer:
        writer.write(GREY)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


def test_transparency_is_kept_where_the_encoding_can(tmp_path: Path) -> None:
    picture = np.full((48, 64, 4), 200, np.uint8)
    picture[:, :32, 3], picture[:, 32:, 3] = 0, 255
    with VideoWriter(tmp_path / "a.webm", (48, 64), TEN, ALPHA) as writer:
        writer.write(picture)
        writer.write(GREY)
    with av.open(str(tmp_path / "a.webm")) as container:
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        packets = [packet for packet in container.demux(video=0) if packet.size]
        first, second = [f.to_ndarray(format="rgba") for p in packets for f in decoder.decode(p)]
    assert first[:, :28, 3].max() < 10
    assert first[:, 36:, 3].min() > 245
    assert second[..., 3].min() > 245


def test_transparency_is_refused_where_it_would_be_lost(tmp_path: Path) -> None:
    with (
        VideoWriter(tmp_path / "a.mp4", (48, 64)) as writer,
        pytest.raises(InputError, match=r"a\.mp4: it can't hold transparency"),
    ):
        writer.write(np.zeros((48, 64, 4), np.uint8))


def test_grey_pictures_are_written_as_they_are(tmp_path: Path) -> None:
    matte = np.zeros((48, 64), np.uint8)
    matte[:, 32:] = 255
    with VideoWriter(tmp_path / "a.mp4", (48, 64)) as writer:
        writer.write(matte)
    (shown,) = pictures_of(tmp_path / "a.mp4")
    assert shown[:, :28].max() < 6
    assert shown[:, 36:].min() > 249


def test_an_ending_of_another_container_is_refused_with_those_that_go(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.webm: H\.264 goes into files that end in \.mp4 or"):
        VideoWriter(tmp_path / "a.webm", (48, 64))


def test_a_player_can_start_before_the_end_of_the_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", (48, 64), TEN) as writer:
        writer.write(GREY)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("rate", [None, Fraction(0)], ids=["unknown", "zero"])
def test_an_unknown_rate_becomes_25(tmp_path: Path, rate: Fraction | None) -> None:
    with VideoWriter(tmp_path / "a.mp4", (48, 64), Original(rate=rate)) as writer:
        writer.write(GREY)
        writer.write(GREY)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == 25


def test_odd_sides_are_padded_with_their_edge(tmp_path: Path) -> None:
    frame = np.full((47, 63, 3), 200, np.uint8)
    with VideoWriter(tmp_path / "a.mp4", (47, 63), TEN) as writer:
        writer.write(frame)
    (decoded,) = pictures_of(tmp_path / "a.mp4")
    assert decoded.shape == (48, 64, 3)
    assert abs(decoded[-1].astype(int) - 200).max() < 6


def _write_and_raise(path: Path, error: BaseException) -> None:
    with VideoWriter(path, (48, 64), TEN) as writer:
        writer.write(GREY)
        writer.write(GREY)
        raise error


def test_ctrl_c_leaves_the_part_so_far_as_a_whole_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _write_and_raise(tmp_path / "a.mp4", KeyboardInterrupt())
    assert len(pictures_of(tmp_path / "a.mp4")) == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="stop"):
        _write_and_raise(tmp_path / "a.mp4", RuntimeError("stop"))
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_no_frame_means_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", (48, 64), TEN):
        pass
    assert not list(tmp_path.iterdir())


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", (48, 64), TEN)
    writer.write(GREY)
    writer.close()
    writer.close()
    assert len(pictures_of(tmp_path / "a.mp4")) == 1


@pytest.mark.parametrize("limit", [2000, 50000], ids=["at-the-end", "while-encoding"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.encoding import VideoWriter
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
rng = np.random.default_rng(0)
try:
    with VideoWriter(Path(sys.argv[1]), (48, 64)) as writer:
        for _ in range(60):
            writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8))
except InputError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.mp4"), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("\n") == 1
    assert f"cannot write {tmp_path / 'a.mp4'}: the file grew past the size" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_missing_encoder_is_refused_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(InputError, match=r"no H\.264 encoder \(libx264\).*pip install"):
        VideoWriter(tmp_path / "a.mp4", (48, 64), TEN)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_the_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        VideoWriter(tmp_path / "a.mp4", (48, 64), TEN)


def test_a_size_that_ffmpeg_refuses_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"cannot write .*a\.mp4: FFmpeg refuses it \([^\n]+\); "),
        VideoWriter(tmp_path / "a.mp4", (16, 20000)) as writer,
    ):
        writer.write(np.zeros((16, 20000, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [av.error.ExternalError(1, "x264 said no"), MemoryError()])
@pytest.mark.parametrize("when", ["write", "close"])
def test_whatever_the_encoder_raises_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, when: str
) -> None:
    whole = VideoWriter._mux

    def fail(writer: VideoWriter, frame: av.VideoFrame | None) -> None:
        if (frame is None) == (when == "close"):
            raise error
        whole(writer, frame)

    monkeypatch.setattr(VideoWriter, "_mux", fail)
    with (
        pytest.raises(InputError, match=r"a\.mp4: (FFmpeg refuses it|there is not enough memory)"),
        VideoWriter(tmp_path / "a.mp4", (16, 32)) as writer,
    ):
        writer.write(np.zeros((16, 32, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.integers(1, 5000), min_size=1, max_size=6),
    st.sampled_from(
        [Fraction(1, 1000), Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 24)]
    ),
)
def test_frames_of_any_size_come_back_with_their_times(
    height: int, width: int, steps: list[int], unit: Fraction
) -> None:
    times = [unit * total for total in accumulate(steps)]
    shade = np.arange(height * width, dtype=np.uint8).reshape(height, width) // 4 + 60
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        with VideoWriter(path, (height, width), Original(unit)) as writer:
            for time in times:
                writer.write(shade, time)
        assert _times(path) == [time - times[0] for time in times]
        for picture in pictures_of(path):
            assert picture.shape == (height + height % 2, width + width % 2, 3)
            assert abs(picture[:height, :width].astype(int) - shade[..., None]).mean() < 8
