"""Frames from a folder of images, a video file, a camera or a stream address."""

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import ImageOps

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.media.pictures import open_image
from mavos_deploy.runtime.protocol import RgbFrame

Kind = Literal["video", "images", "camera", "stream"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
LIVE_TIMEOUT = 10.0  # seconds that a camera or stream may stay silent
# A file is cut off if it ends this much before the length it states: the larger of a time and a
# share, because the length that a muxer writes may include the pause after the last frame.
MISSING_SECONDS = 0.5
MISSING_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One frame of a source.

    Attributes:
        index: Number in the source, from 0; skipped frames are counted.
        stem: File stem of an image; the five-digit index otherwise.
        rgb: The picture, uint8, shape (H, W, 3).
    """

    index: int
    stem: str
    rgb: RgbFrame


class FrameSource:
    """Frames of one size, read as they are asked for. Use it in a `with` block and iterate once.

    Attributes:
        name: Name of the source in messages.
        kind: "video", "images", "camera" or "stream".
        size: Height and width of every frame in pixels, upright.
        length: Number of frames that will come, where the container states it; else None.
        fps: Frames per second of the frames that come; None for images or where it is unknown.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        frames: Iterator[SourceFrame],
        length: int | None = None,
        fps: float | None = None,
        container: InputContainer | None = None,
    ) -> None:
        """Read the first frame, so that the size is known and an unusable source fails early."""
        first = next(frames, None)
        if first is None:
            raise InputError(f"{name}: no frame can be decoded")
        self.name = name
        self.kind = kind
        self.size: Size = first.rgb.shape[:2]
        self.length = length
        self.fps = fps
        self._container = container
        self._frames = chain([first], _same_size(frames, name, self.size))

    def __iter__(self) -> Iterator[SourceFrame]:
        return self._frames

    def close(self) -> None:
        """Release the file or device. Safe to call twice."""
        if self._container is not None:
            self._container.close()

    def __enter__(self) -> "FrameSource":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_frames(source: str, every: int = 1, max_frames: int | None = None) -> FrameSource:
    """Open a folder of images, a video file, a camera or a stream.

    Args:
        source: A path; a camera number, unless a path of that name exists; or an address with
            "://", for example rtsp://host/path.
        every: Take each N-th frame, starting with the first.
        max_frames: Stop after this many taken frames; None takes all.

    Returns:
        The open source. Images come in natural order of their stems, with EXIF rotation applied;
        videos with their display rotation applied.

    Raises:
        InputError: The source is missing or unusable. While iterating: a frame is damaged or of
            another size, a file is cut off, or a stream stopped; the frames before were given.
    """
    if every < 1 or (max_frames is not None and max_frames < 1):
        raise InputError(
            f"every is {every} and max_frames {max_frames}: both need to be at least 1"
        )
    path = Path(source)
    if "://" in source:
        return _open_live(source, "stream", every, max_frames)
    if path.is_dir():
        return _open_folder(path, every, max_frames)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.exists():
        raise InputError(f"{source} is a single image; give the folder of the video's frames")
    if path.exists():
        return _open_video(source, every, max_frames)
    if source.isascii() and source.isdigit():
        return _open_live(source, "camera", every, max_frames)
    raise InputError(
        f"{source} does not exist; expected a video file, a folder of images, a camera number or "
        "a stream address"
    )


def _same_size(frames: Iterator[SourceFrame], name: str, size: Size) -> Iterator[SourceFrame]:
    for frame in frames:
        height, width = frame.rgb.shape[:2]
        if (height, width) != size:
            raise InputError(
                f"{name}: frame {frame.stem} is {height}x{width} but the first one is "
                f"{size[0]}x{size[1]}; all frames of a video must have one size"
            )
        yield frame


def _taken(total: int, every: int, max_frames: int | None) -> int:
    count = -(-total // every)
    return count if max_frames is None else min(count, max_frames)


# Folders of images


def _open_folder(folder: Path, every: int, max_frames: int | None) -> FrameSource:
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    ]
    if not files:
        raise InputError(f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    files.sort(key=natural_order)
    for before, after in pairwise(files):
        if before.stem == after.stem:
            raise InputError(
                f"{folder} holds {before.name} and {after.name}: each stem names one frame and "
                "its mask; remove one of them"
            )
    chosen = islice(enumerate(files), 0, None, every)
    frames = (SourceFrame(index, file.stem, read_image(file)) for index, file in chosen)
    return FrameSource(
        str(folder), "images", islice(frames, max_frames), _taken(len(files), every, max_frames)
    )


def natural_order(file: Path) -> tuple[list[str | int], str]:
    """A key to sort files by, with which the numbers in their names count up: a2 before a10."""
    parts = re.split(r"([0-9]+)", file.stem)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], file.name


def read_image(file: Path) -> RgbFrame:
    """Read a picture as uint8 RGB of shape (H, W, 3), with EXIF rotation applied.

    Raises:
        InputError: The file is missing, damaged or of a kind that is not read.
    """
    upright = ImageOps.exif_transpose(open_image(file))
    return np.array(upright.convert("RGB"), np.uint8)


# Video files, cameras and streams


def _open_video(source: str, every: int, max_frames: int | None) -> FrameSource:
    try:
        # With "file:", a name with a colon is not taken for a protocol.
        container = av.open(f"file:{source}", metadata_errors="replace")
    except PermissionError as error:
        raise InputError(f"{source} cannot be read: permission denied") from error
    except (av.FFmpegError, ValueError) as error:
        with Path(source).open("rb") as file:
            is_mp4 = file.read(12)[4:8] == b"ftyp"
        reason = (
            "its index (moov) is missing, so the recording or the copy was cut off"
            if is_mp4
            else "not a video, or cut off"
        )
        raise InputError(f"{source} cannot be opened: {reason}") from error
    return _opened(source, "video", container, every, max_frames)


def _open_live(source: str, kind: Kind, every: int, max_frames: int | None) -> FrameSource:
    name = f"camera {source}" if kind == "camera" else source
    target = source
    device_format: str | None = None
    options: dict[str, str] = {}
    if kind == "camera":
        target, device_format, options = _camera(int(source))
    elif source.startswith(("rtsp://", "rtsps://")):
        options = {"rtsp_transport": "tcp"}  # over UDP, lost packets damage frames silently
    try:
        container = av.open(
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
    return _opened(name, kind, container, every, max_frames)


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


def _opened(
    name: str, kind: Kind, container: InputContainer, every: int, max_frames: int | None
) -> FrameSource:
    try:
        stream = _video_stream(name, container)
        if kind == "video":
            stream.thread_type = "AUTO"  # frame threads: faster, but some frames late
            pictures = _decode_file(name, container, stream)
        else:
            pictures = _decode_live(name, container, stream)
        chosen = islice(enumerate(pictures), 0, None, every)
        frames = (SourceFrame(i, f"{i:05d}", _upright(picture)) for i, picture in chosen)
        known = kind == "video" and stream.frames > 0
        length = _taken(stream.frames, every, max_frames) if known else None
        rate = stream.average_rate or stream.guessed_rate
        fps = float(rate) / every if rate else None
        return FrameSource(name, kind, islice(frames, max_frames), length, fps, container)
    except BaseException:
        container.close()
        raise


def _video_stream(name: str, container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if Disposition.attached_pic not in stream.disposition:  # the cover of a sound file
            if stream.codec_context is None:
                raise InputError(f"{name}: no decoder for its video; re-encode it as H.264")
            return stream
    raise InputError(f"{name} holds no video")


def _upright(picture: av.VideoFrame) -> RgbFrame:
    rgb = np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
    turns = round(picture.rotation / 90) % 4  # counterclockwise, as np.rot90 turns
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


def _decode_live(
    name: str, container: InputContainer, stream: VideoStream
) -> Iterator[av.VideoFrame]:
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


def _decode_file(
    name: str, container: InputContainer, stream: VideoStream
) -> Iterator[av.VideoFrame]:
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
