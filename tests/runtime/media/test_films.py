"""Films: what they show of objects and background, and that alpha survives its codecs."""

from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.writing import LabelledFrame
from mavos_deploy.runtime.media import drawings, films
from mavos_deploy.runtime.media.encoding import Encoding
from mavos_deploy.runtime.media.overlay import draw_objects
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame
from tests.made_videos import pictures_of

RANDOM = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
SQUARE = np.zeros((48, 64), np.uint8)
SQUARE[8:40, 16:48] = 3
INSIDE = SQUARE > 0


def test_a_matte_is_white_on_black_also_in_the_file(tmp_path: Path) -> None:
    with films.FilmWriter(tmp_path / "a.mp4", (48, 64), drawings.matte) as writer:
        writer.write(LabelledFrame(0, "00000", SQUARE, RANDOM))
    with av.open(str(tmp_path / "a.mp4")) as container:
        (frame,) = container.decode(video=0)
        seen = frame.to_ndarray(format="rgb24")
    assert (seen[10:38, 18:46] > 250).all()
    assert (seen[:6] < 5).all()


@pytest.mark.parametrize(
    ("encoding", "decoder"),
    [
        pytest.param(films.PRORES, None, id="prores"),
        pytest.param(films.VP9, "libvpx-vp9", id="vp9"),
    ],
)
def test_alpha_and_times_survive(tmp_path: Path, encoding: Encoding, decoder: str | None) -> None:
    path = tmp_path / f"a{encoding.suffixes[0]}"
    grey = np.full((48, 64, 3), 90, np.uint8)
    times = [Fraction(0), Fraction(1, 25), Fraction(9, 25)]
    with films.FilmWriter(path, (48, 64), drawings.with_alpha, encoding=encoding) as writer:
        for number, time in enumerate(times):
            writer.write(LabelledFrame(number, "x", SQUARE, grey, time=time))
    seen, shown = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        # FFmpeg's own VP9 decoder leaves alpha out; the encoder's library has both.
        codec = av.CodecContext.create(decoder, "r") if decoder else stream.codec_context
        for packet in container.demux(stream):
            assert isinstance(codec, av.VideoCodecContext)
            for frame in codec.decode(packet if packet.size else None):
                seen.append(frame.to_ndarray(format="rgba"))
                assert frame.pts is not None
                assert stream.time_base is not None
                shown.append(frame.pts * stream.time_base)
    assert len(seen) == 3
    assert [float(time) for time in shown] == pytest.approx([float(t) for t in times], abs=1e-3)
    for picture in seen:
        assert (picture[12:36, 20:44, 3] > 250).all()
        assert (picture[:6, :, 3] < 5).all()
        assert abs(picture[12:36, 20:44, :3].astype(int) - 90).max() < 8


def test_colours_of_an_overlay_survive_the_encoding(tmp_path: Path) -> None:
    red = palette_colors(bytes([0] * 9 + [200, 0, 0])).astype(np.uint16)
    grey = np.full((48, 64, 3), 100, np.uint8)
    path = tmp_path / "a.mp4"
    with films.FilmWriter(path, (48, 64), partial(draw_objects, colors=red)) as writer:
        for number in range(3):
            writer.write(LabelledFrame(number, "x", SQUARE, grey))
    frame = pictures_of(path)[-1].astype(int)
    assert abs(frame[20:28, 24:40].mean((0, 1)) - [150, 50, 50]).max() < 6
    assert abs(frame[:4].mean((0, 1)) - [100, 100, 100]).max() < 6


@pytest.mark.parametrize(
    ("rgb", "labels", "message"),
    [
        pytest.param(np.zeros((40, 64, 3), np.uint8), SQUARE, "differ in size", id="frame"),
        pytest.param(RANDOM, np.zeros((40, 64), np.uint8), "differ in size", id="labels"),
        pytest.param(RANDOM[:40], SQUARE[:40], r"expected \(48, 64\)", id="both"),
    ],
)
def test_another_size_is_refused(
    tmp_path: Path, rgb: RgbFrame, labels: Labels, message: str
) -> None:
    with (
        films.FilmWriter(tmp_path / "a.mp4", (48, 64), drawings.matte) as writer,
        pytest.raises(InputError, match=message),
    ):
        writer.write(LabelledFrame(0, "x", labels, rgb))


def test_a_frame_without_its_picture_is_refused(tmp_path: Path) -> None:
    with (
        films.FilmWriter(tmp_path / "a.mp4", (48, 64), drawings.matte) as writer,
        pytest.raises(InputError, match="a video needs pictures, and 00000 has none"),
    ):
        writer.write(LabelledFrame(0, "00000", SQUARE))
