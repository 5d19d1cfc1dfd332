"""Decodes video files, cameras and streams with PyAV, and notices where one isn't whole."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from mavos_deploy.errors import InputError
from mavos_deploy.reading import open_regular
from mavos_deploy.runtime.geometry import MAX_PIXELS
from mavos_deploy.runtime.protocol import RgbFrame

LIVE_TIMEOUT = 10.0  # seconds that a camera or stream may stay silent
# A file is cut off if it ends this much before the length it states: the larger of a time and a
# share, because the length that a muxer writes may include the pause after the last frame.
MISSING_SECONDS = 0.5
MISSING_SHARE = 0.01


def open_video(source: str) -> InputContainer:
    """Open a video file.

    Raises:
        InputError: It can't be read, or is no video or cut off.
    """
    try:
        # With "file:", a name with a colon is not taken for a protocol.
        return av.open(f"file:{source}", metadata_errors="replace")
    except PermissionError as error:
        raise InputError(f"{source} cannot be read: permission denied") from error
    except (av.FFmpegError, ValueError) as error:
        is_mp4 = False
        with suppress(OSError), open_regular(Path(source)) as file:
            is_mp4 = file.read(12)[4:8] == b"ftyp"
        reason = (
            "its index (moov) is missing, so the recording or the copy was cut off"
            if is_mp4
            else "not a video, or cut off"
        )
        raise InputError(f"{source} cannot be opened: {reason}") from error


def open_live(source: str, name: str, camera: bool) -> InputContainer:
    """Open a camera or a stream.

    Args:
        source: Number of the camera, or address of the stream.
        name: Name of the source in messages.
        camera: Whether it is a camera.

    Raises:
        InputError: It doesn't exist, or doesn't answer in time.
    """
    target = source
    device_format: str | None = None
    options: dict[str, str] = {}
    if camera:
        target, device_format, options = _camera(int(source))
    elif source.startswith(("rtsp://", "rtsps://")):
        options = {"rtsp_transport": "tcp"}  # over UDP, lost packets damage frames silently
    try:
        return av.open(
            target,
            format=device_format,
            options=options,
            timeout=LIVE_TIMEOUT,
            metadata_errors="replace",
        )
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"{name} cannot be opened ({_reason(error)}); a source must answer within "
            f"{LIVE_TIMEOUT:g} seconds"
        ) from error


def _camera(number: int) -> tuple[str, str, dict[str, str]]:
    """Device, FFmpeg input format and options of a camera on this system."""
    if sys.platform == "darwin":
        # AVFoundation refuses FFmpeg's default rate of 29.97 on most cameras.
        return str(number), "avfoundation", {"framerate": "30"}
    if sys.platform == "win32":
        try:
            from av.device import enumerate_input_devices
        except ImportError as error:
            raise InputError(
                "cameras on Windows need PyAV 17 or later: pip install -U av"
            ) from error
        devices = [d for d in enumerate_input_devices("dshow") if "video" in d.media_types]
        if number >= len(devices):
            raise InputError(f"camera {number} does not exist; {len(devices)} are connected")
        return f"video={devices[number].name}", "dshow", {}
    device = Path(f"/dev/video{number}")
    if not device.exists():
        raise InputError(f"camera {number} does not exist: there is no {device}")
    return str(device), "v4l2", {}


def video_stream(name: str, container: InputContainer) -> VideoStream:
    """The video in a container.

    Raises:
        InputError: There is none, or no decoder for it, or its frames are too large.
    """
    for stream in container.streams.video:
        if Disposition.attached_pic not in stream.disposition:  # the cover of a sound file
            context = stream.codec_context
            if context is None:
                raise InputError(f"{name}: no decoder for its video; re-encode it as H.264")
            _check_pixels(name, context.height, context.width)
            # For frames that are larger than the container says, before they get memory.
            context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
            return stream
    raise InputError(f"{name} holds no video")


def _check_pixels(name: str, height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise InputError(
            f"{name}: {width}x{height} pixels; the limit is {MAX_PIXELS} in all; scale it down "
            "with ffmpeg"
        )


def upright(picture: av.VideoFrame) -> RgbFrame:
    """A picture as uint8 RGB of shape (H, W, 3), with its display rotation applied.

    Raises:
        InputError: It is too large, or of a kind that can't be converted.
    """
    name = f"a frame of format {picture.format.name}"
    _check_pixels(name, picture.height, picture.width)
    try:
        rgb = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
    except MemoryError as error:
        raise InputError(f"{name}: there is not enough memory to convert it") from error
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"{name} can't be converted to RGB ({_reason(error)})") from error
    turns = turns_of(picture)
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def turns_of(picture: av.VideoFrame) -> int:
    """Quarter turns counterclockwise, as np.rot90 takes them, by which a picture is shown."""
    return round(picture.rotation / 90) % 4


def decode_live(
    name: str, container: InputContainer, stream: VideoStream
) -> Iterator[av.VideoFrame]:
    """Pictures of a camera or a stream, without damaged ones.

    Raises:
        InputError: The source stopped.
    """
    count = 0
    try:
        for packet in container.demux(stream):
            pictures = []
            # Lost packets, or a start in the middle of a group of pictures: the next key frame
            # mends it.
            with suppress(av.InvalidDataError):
                pictures = stream.decode(packet)
            yield from pictures
            count += len(pictures)
    except av.FFmpegError as error:
        raise InputError(f"{name} stopped after {count} frames ({_reason(error)})") from error


def decode_file(
    name: str, container: InputContainer, stream: VideoStream
) -> Iterator[av.VideoFrame]:
    """Pictures of a file, up to the first that is damaged or missing.

    Raises:
        InputError: The file is damaged or cut off, once the pictures before were given.
    """
    stream.thread_type = "AUTO"  # frame threads: faster, but some frames late
    # In a recorded transport stream the last packet is commonly incomplete, and nothing states a
    # length; every other container marks a packet as corrupt only if the file ends inside it.
    complete_packets = container.format.name != "mpegts"
    count = 0
    own_end = any_end = 0.0  # seconds
    problem = ""
    last: av.VideoFrame | None = None
    try:
        for packet in container.demux():
            own = packet.stream is stream
            if own and packet.is_corrupt and complete_packets:
                problem = "the file is cut off"
                break
            start = packet.dts if packet.pts is None else packet.pts
            if start is not None and packet.time_base:
                end = float((start + (packet.duration or 0)) * packet.time_base)
                any_end = max(any_end, end)
                own_end = max(own_end, end) if own else own_end
            if own and packet.size:
                for last in stream.decode(packet):
                    yield last
                    count += 1
        if not problem and _ends_early(container, stream, own_end, any_end):
            problem = "the file is cut off"
        for picture in stream.decode(None):
            # Frames are stored out of order: a cut also loses frames that belong before the last
            # ones kept, which would then get wrong numbers.
            if problem and last is not None and _is_gap(last, picture):
                break
            yield picture
            count += 1
            last = picture
    except av.FFmpegError as error:
        problem = problem or f"damaged ({_reason(error)})"
    if problem:
        raise InputError(
            f"{name}: {problem} at frame {count:05d}; get a whole copy, or re-encode what is left "
            "of it with ffmpeg"
        )


def _is_gap(before: av.VideoFrame, after: av.VideoFrame) -> bool:
    if before.pts is None or after.pts is None or not before.duration:
        return False
    return after.pts > before.pts + 1.5 * before.duration


def _ends_early(
    container: InputContainer, stream: VideoStream, own_end: float, any_end: float
) -> bool:
    """Whether the packets end well before the length that the container states.

    Args:
        container: Only formats that state a length are judged; for others FFmpeg estimates it.
        stream: The video stream.
        own_end: End of its last packet in seconds.
        any_end: End of the last packet of all streams in seconds; sound may be the longer one.
    """
    formats = container.format.name.split(",")
    stated, reached = 0.0, own_end
    if "mp4" in formats and stream.duration is not None and stream.time_base:
        stated = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    elif "avi" in formats and stream.average_rate:
        stated = float(stream.frames / stream.average_rate)
    elif ("matroska" in formats or "flv" in formats) and container.duration:
        stated, reached = container.duration / av.time_base, any_end
    return stated - reached > max(MISSING_SECONDS, MISSING_SHARE * stated)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
