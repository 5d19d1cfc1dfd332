"""Opens video files, cameras and streams with PyAV."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.filter import Graph
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.stream import VideoStream

from mavos_deploy.errors import InputError
from mavos_deploy.reading import open_regular
from mavos_deploy.runtime.geometry import MAX_PIXELS
from mavos_deploy.runtime.media.turning import STORED, Turn, turn_of_matrix

DATA_KINDS = 64  # numbers that FFmpeg may give to kinds of data beside pictures; 32 are in use
LIVE_TIMEOUT = 10.0  # seconds that a camera or stream may stay silent


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
            f"{name} cannot be opened ({reason_of(error)}); a source must answer within "
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


def video_stream(name: str, container: InputContainer, notes: list[str]) -> VideoStream:
    """The video in a container.

    Of several, the one that is marked as the default counts, and then the largest.

    Args:
        name: Name of the source in messages.
        container: The container.
        notes: Gets a line where there are several.

    Raises:
        InputError: There is none, or no decoder for it, or its frames are too large.
    """
    videos = [
        stream
        for stream in container.streams.video
        # the cover of a sound file
        if Disposition.attached_pic not in stream.disposition
    ]
    if not videos:
        raise InputError(f"{name} holds no video")
    readable = [stream for stream in videos if stream.codec_context is not None]
    if not readable:
        raise InputError(f"{name}: no decoder for its video; re-encode it as H.264")
    for stream in readable:
        # For frames that are larger than the container says, before they get memory.
        context = stream.codec_context
        context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
    marked = [stream for stream in readable if Disposition.default in stream.disposition]
    chosen = max(marked or readable, key=lambda stream: stream.width * stream.height)
    check_pixels(name, chosen.height, chosen.width)
    if len(videos) > 1:
        why = "the default" if len(marked) == 1 else "the largest"
        notes.append(
            f"{name} holds {len(videos)} videos; stream {chosen.index} is read, {why}, "
            f"{chosen.height}x{chosen.width}"
        )
    return chosen


def check_pixels(name: str, height: int, width: int) -> None:
    """Refuse frames that are too large.

    Raises:
        InputError: They have more than `MAX_PIXELS`.
    """
    if height * width > MAX_PIXELS:
        raise InputError(
            f"{name}: {width}x{height} pixels; the limit is {MAX_PIXELS} in all; scale it down "
            "with ffmpeg"
        )


def turn_of(picture: av.VideoFrame) -> Turn | None:
    """How a picture is turned and mirrored to be shown; None where it is none of the eight ways.

    PyAV then ties the picture into a cycle, which only the garbage collector frees, so this is not
    for every picture of a video.
    """
    try:
        beside = picture.side_data
    except ValueError:  # a kind of data that this PyAV has no name for, such as EXIF
        beside = _with_named_data(picture).side_data
    matrix: Any = beside.get("DISPLAYMATRIX")
    return STORED if matrix is None else turn_of_matrix(bytes(matrix))


def _with_named_data(picture: av.VideoFrame) -> av.VideoFrame:
    """The picture without the data beside it that PyAV has no name for, and so can't list."""
    graph = Graph()
    last = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format,
        time_base=picture.time_base or Fraction(1),
    )
    kinds: Iterable[Any] = Type
    known = {int(kind.value) for kind in kinds}
    for kind in sorted({*range(DATA_KINDS)} - known):
        following = graph.add("sidedata", f"mode=delete:type={kind}")
        last.link_to(following)
        last = following
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(picture)
    found = graph.pull()
    assert isinstance(found, av.VideoFrame)
    return found


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
        raise InputError(f"{name} stopped after {count} frames ({reason_of(error)})") from error
    except IndexError as error:  # PyAV's
        raise InputError(f"{name} stopped after {count} frames (another stream began)") from error


def time_of(picture: av.VideoFrame) -> Fraction | None:
    """When a picture is shown, in seconds by its source's clock; None where nothing says so."""
    if picture.pts is None or not picture.time_base:
        return None
    return picture.pts * picture.time_base


def reason_of(error: Exception) -> str:
    """FFmpeg's words for an error."""
    return getattr(error, "strerror", None) or str(error)
