"""Frames from a folder of images, a video file, a camera or a stream address."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.media.decoding import (
    decode_file,
    decode_live,
    open_live,
    open_video,
    turns_of,
    upright,
    video_stream,
)
from mavos_deploy.runtime.media.encoding import Original
from mavos_deploy.runtime.media.pictures import read_rgb
from mavos_deploy.runtime.protocol import RgbFrame

Kind = Literal["video", "images", "camera", "stream"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One frame of a source.

    Attributes:
        index: Number in the source, from 0; skipped frames are counted.
        stem: File stem of an image; the five-digit index otherwise.
        rgb: The picture, uint8, shape (H, W, 3).
        time: Time at which it is shown, in seconds, by the source's clock; None for images.
        duration: Time until the next frame that comes, in seconds; None where it is unknown.
        turns: Quarter turns counterclockwise by which the stored picture was turned.
        file: Name of the picture's file; empty where frames are no files.
    """

    index: int
    stem: str
    rgb: RgbFrame
    time: Fraction | None = None
    duration: Fraction | None = None
    turns: int = 0
    file: str = ""


class FrameSource:
    """Frames of one size, read as they are asked for. Use it in a `with` block and iterate once.

    Attributes:
        name: Name of the source in messages.
        kind: "video", "images", "camera" or "stream".
        size: Height and width of every frame in pixels, upright.
        length: Number of frames that will come, where the container states it; else None.
        original: What a video that shows these frames takes over from the source.
        turns: Quarter turns counterclockwise by which the stored pictures were turned.
        stems: Stems of all frames that come, for images; None where frames are named by number.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        frames: Iterator[SourceFrame],
        length: int | None = None,
        original: Original | None = None,
        container: InputContainer | None = None,
        stems: tuple[str, ...] | None = None,
    ) -> None:
        """Read the first frame, so that the size is known and an unusable source fails early."""
        first = next(frames, None)
        if first is None:
            raise InputError(f"{name}: no frame can be decoded")
        self.name = name
        self.kind = kind
        self.size: Size = first.rgb.shape[:2]
        self.length = length
        self.original = original or Original()
        self.turns = first.turns
        self.stems = stems
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
        container = open_live(source, source, camera=False)
        return _opened(source, "stream", container, every, max_frames)
    if path.is_dir():
        return _open_folder(path, every, max_frames)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.exists():
        raise InputError(f"{source} is a single image; give the folder of the video's frames")
    if path.exists():
        return _opened(source, "video", open_video(source), every, max_frames)
    if source.isascii() and source.isdigit():
        container = open_live(source, f"camera {source}", camera=True)
        return _opened(f"camera {source}", "camera", container, every, max_frames)
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
    chosen = list(islice(enumerate(files), 0, None, every))[:max_frames]
    frames = (
        SourceFrame(index, file.stem, read_rgb(file), file=file.name) for index, file in chosen
    )
    stems = tuple(file.stem for _, file in chosen)
    return FrameSource(str(folder), "images", frames, len(chosen), stems=stems)


def natural_order(file: Path) -> tuple[list[tuple[int, str]], str]:
    """A key to sort files by, with which the numbers in their names count up: a2 before a10."""
    # A number is compared by its length first: Python makes no integer of thousands of digits.
    parts = re.split(r"([0-9]+)", file.stem)
    digits = (part.lstrip("0") if place % 2 else part for place, part in enumerate(parts))
    return [(len(d) if n % 2 else 0, d) for n, d in enumerate(digits)], file.name


def _opened(
    name: str, kind: Kind, container: InputContainer, every: int, max_frames: int | None
) -> FrameSource:
    try:
        stream = video_stream(name, container)
        rate = stream.average_rate or stream.guessed_rate
        original = Original(
            time_base=stream.time_base,
            rate=Fraction(rate) / every if rate else None,
            sound=Path(name) if kind == "video" else None,
        )
        decode = decode_file if kind == "video" else decode_live
        pictures = _to_the_end(decode(name, container, stream), original)
        chosen = islice(enumerate(pictures), 0, None, every)
        frames = (_frame(index, picture, every) for index, picture in chosen)
        known = kind == "video" and stream.frames > 0
        length = _taken(stream.frames, every, max_frames) if known else None
        return FrameSource(name, kind, islice(frames, max_frames), length, original, container)
    except BaseException:
        container.close()
        raise


def _to_the_end(pictures: Iterator[av.VideoFrame], original: Original) -> Iterator[av.VideoFrame]:
    """The same pictures; behind the last one, sound is known to belong to the end."""
    yield from pictures
    original.ended = True


def _frame(index: int, picture: av.VideoFrame, every: int) -> SourceFrame:
    time = duration = None
    if picture.pts is not None and picture.time_base:
        time = picture.pts * picture.time_base
        duration = picture.duration * every * picture.time_base if picture.duration else None
    turns = turns_of(picture)
    return SourceFrame(index, f"{index:05d}", upright(picture), time, duration, turns)
