"""Small videos that move, and what can be read of a damaged one."""

import itertools
import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.frames import SourceFrame, open_frames

HEIGHT, WIDTH, COUNT = 48, 64, 12
# Numbers 0, 1, 3 and 4 of the eight display matrices that turn by quarters and mirror.
MATRICES = [
    matrix
    for a, b in itertools.product((-1, 1), repeat=2)
    for matrix in ((a, 0, 0, b), (0, a, b, 0))
]
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def video(
    path: Path,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    count: int = COUNT,
    sound_seconds: int = 0,
    faststart: bool = True,
    sound_codec: str = "aac",
    coding: dict[str, str] | None = None,
    times: list[int] | None = None,
    pixel_aspect: Fraction | None = None,
    rotation: int = 0,
) -> Path:
    """Ten frames per second; noise that moves, so that every frame takes bytes.

    With `times`, frames have these times in milliseconds instead.
    """
    options = {"movflags": "faststart"} if faststart and path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10, options=coding or {})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:  # degrees counterclockwise
            stream.set_display_rotation(rotation)
        sound = container.add_stream(sound_codec, rate=48000) if sound_seconds else None
        for index in range(count):
            picture = av.VideoFrame.from_ndarray(np.roll(NOISE, 3 * index, 1), format="rgb24")
            picture.pts = index if times is None else times[index]
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if sound is not None:
            assert isinstance(sound, AudioStream)
            add_sound(container, sound, sound_seconds)
    return path


def transformed(path: Path, matrix: tuple[float, float, float, float]) -> Path:
    """Write numbers 0, 1, 3 and 4 of a display matrix into the track header of an MP4."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version, times, ids, reserved words, volume
    a, b, c, d = (round(value * 65536) for value in matrix)
    struct.pack_into(">9i", content, start, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def shown_at(packet: "av.Packet[Any] | av.VideoFrame") -> Fraction:
    """The time of a packet or frame in seconds."""
    assert packet.pts is not None
    assert packet.time_base is not None
    return packet.pts * packet.time_base


def seconds_of(container: av.container.InputContainer) -> float:
    """The length of a file in seconds."""
    assert container.duration is not None
    return container.duration / av.time_base


def add_sound(container: av.container.OutputContainer, sound: AudioStream, seconds: int) -> None:
    rate = sound.rate
    for start in range(0, rate * seconds, rate // 8):
        noise = np.random.default_rng(start).normal(0, 0.1, (1, rate // 8)).astype(np.float32)
        samples = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
        samples.sample_rate, samples.pts = rate, start
        samples.time_base = Fraction(1, rate)
        container.mux(sound.encode(samples))
    container.mux(sound.encode(None))


def spoil(path: Path, packets: list[int], how: str = "whole") -> list[int]:
    """Overwrite packets of a video, whole or the second half of each.

    Args:
        path: The video, which is changed.
        packets: Places of the packets in the file.
        how: "whole" or "half".

    Returns:
        Numbers of the frames that these packets hold.
    """
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for place in packets:
        start, size = found[place].pos, found[place].size
        assert start is not None
        kept = 0 if how == "whole" else size // 2
        filling = b"\xff" if how == "whole" else b"\0"
        content[start + kept : start + size] = filling * (size - kept)
    path.write_bytes(content)
    order = sorted(packet.pts for packet in found if packet.pts is not None)
    return [order.index(found[place].pts or 0) for place in packets]


def pictures_of(path: Path) -> list[np.ndarray]:
    """Pictures of a video as PyAV alone reads them."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def read_until_refused(source: Path, match: str) -> list[SourceFrame]:
    given: list[SourceFrame] = []
    with open_frames(str(source)) as opened, pytest.raises(InputError, match=match):
        given.extend(collecting(opened, given))
    return given


def collecting(source: Iterable[SourceFrame], into: list[SourceFrame]) -> list[SourceFrame]:
    for frame in source:
        into.append(frame)
    return []


KINDS = [
    pytest.param("a.mp4", "libx264", id="mp4"),
    pytest.param("a.mov", "mpeg4", id="mov"),
    pytest.param("a.mkv", "libx264", id="mkv"),
    pytest.param("a.webm", "libvpx-vp9", id="webm"),
    pytest.param("a.avi", "mpeg4", id="avi"),
    pytest.param("a.ts", "libx264", id="ts"),
    pytest.param("a.flv", "libx264", id="flv"),
]


def punch(path: Path, packet: int, before: int = 0) -> None:
    """Make a hole in the container of a video: 2000 zeros, and those before them.

    Args:
        path: The video, which is changed.
        packet: Place in the file of the packet where the 2000 zeros begin.
        before: Zeros before it, where the container says what the packet is.
    """
    with av.open(str(path)) as container:
        places = [found.pos for found in container.demux(video=0) if found.size]
    start = places[packet]
    assert start is not None
    content = bytearray(path.read_bytes())
    content[start - before : start + 2000] = bytes(before + 2000)
    path.write_bytes(content)
