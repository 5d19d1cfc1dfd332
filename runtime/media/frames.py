"""Frames from a folder of images, a video file, a camera or a stream address."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.media.animations import is_animation, no_video, read_animation
from mavos_deploy.runtime.media.decoding import (
    decode_live,
    open_live,
    open_video,
    time_of,
    video_stream,
)
from mavos_deploy.runtime.media.encoding import Original
from mavos_deploy.runtime.media.folders import IMAGE_SUFFIXES, find_pictures, is_pattern
from mavos_deploy.runtime.media.levels import (
    SAMPLES,
    Levels,
    frame_reader,
    no_levels,
    sampled_levels,
)
from mavos_deploy.runtime.media.part import Chosen, Part, Place, stepped_over
from mavos_deploy.runtime.media.recorded import Recording
from mavos_deploy.runtime.media.rereading import Again, Later, Reread
from mavos_deploy.runtime.media.screen import Screen, is_deep
from mavos_deploy.runtime.media.told import Told
from mavos_deploy.runtime.protocol import RgbFrame

Kind = Literal["video", "images", "camera", "stream"]


@dataclass(frozen=True, eq=False)
class SourceFrame:
    """One frame of a source.

    Attributes:
        index: Number in the source, from 0; skipped frames are counted.
        stem: File stem of an image; the five-digit index otherwise.
        rgb: The picture, uint8, shape (H, W, 3).
        time: Time at which it is shown, in seconds, by the source's clock; None for images.
        duration: Time until the next frame that comes, in seconds; None where it is unknown.
        file: Name of the picture's file; empty where frames are no files.
    """

    index: int
    stem: str
    rgb: RgbFrame
    time: Fraction | None = None
    duration: Fraction | None = None
    file: str = ""


class FrameSource:
    """Frames of one size, read as they are asked for. Use it in a `with` block and iterate once.

    Attributes:
        name: Name of the source in messages.
        kind: "video", "images", "camera" or "stream".
        size: Height and width of every frame in pixels, upright and with square pixels.
        length: Number of frames that will come, where the container states it; else None.
        original: What a video that shows these frames takes over from the source.
        stems: Stems of all frames that come, for images; None where frames are named by number.
        told: What is told about the source.
        folder: Folder of the images; None where frames are no files.
        again: Gives frames again that were given before; None for cameras and streams.
        skipped: Gives the names of the frames that were read so far and stepped over, since each
            n-th one alone is wanted; and for each the start with which it would be taken.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        frames: Iterator[SourceFrame],
        told: Told,
        length: int | None = None,
        original: Original | None = None,
        container: InputContainer | None = None,
        stems: tuple[str, ...] | None = None,
        folder: Path | None = None,
        again: Again[SourceFrame] | None = None,
        skipped: Callable[[], Mapping[str, int]] = dict,
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
        self.stems = stems
        self.told = told
        self.folder = folder
        self.again = again
        self.skipped = skipped
        self._container = container
        self._source = frames
        self._frames = chain([first], _same_size(frames, name, kind, self.size))

    @property
    def live(self) -> bool:
        """Whether frames come as they are taken, from a camera or a stream."""
        return self.kind in ("camera", "stream")

    def __iter__(self) -> Iterator[SourceFrame]:
        return self._frames

    def close(self) -> None:
        """End the reading, and release the file or device. Safe to call twice."""
        if isinstance(self._source, Generator):
            self._source.close()
        if self._container is not None:
            self._container.close()

    def __enter__(self) -> "FrameSource":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_frames(
    source: str,
    part: Part | None = None,
    *,
    masks: Path | None = None,
    levels: Levels | None = None,
) -> FrameSource:
    """Open a folder of images, a video file, a camera or a stream.

    Args:
        source: A path; a pattern of image names, such as `frames/*.png` or `frames/%05d.png`; a
            camera number, unless a path of that name exists; or an address with "://", for example
            rtsp://host/path.
        part: Frames that are wanted; None takes all.
        masks: The first mask, or a folder of masks, none of which is a frame; None for none.
        levels: Values that become black and white in grey frames of more than 8 bits; None takes
            the clip's own range.

    Returns:
        The open source. Images come in natural order of their stems, turned as EXIF says;
        videos as players show them.

    Raises:
        InputError: The source is missing or unusable, or its first frame is. While iterating: a
            frame has another size, a file is cut off, or a stream stopped; the frames before were
            given.
    """
    part = part or Part()
    path = Path(source)
    if "://" in source:
        return _open_live(source, "stream", open_live(source, source, camera=False), part)
    if path.is_dir() or (is_pattern(source) and not path.exists()):
        return _open_pictures(source, part, masks, levels)
    if path.exists() and is_animation(path):
        if levels is not None:
            raise InputError(no_levels(levels, source))
        return _open_animation(path, part)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.exists():
        raise InputError(no_video(path))
    if path.exists():
        return _open_video(source, open_video(source), part, levels)
    if source.isascii() and source.isdigit():
        container = open_live(source, f"camera {source}", camera=True)
        return _open_live(f"camera {source}", "camera", container, part)
    raise InputError(
        f"{source} does not exist; expected a video file, a folder of images, a camera number or "
        "a stream address"
    )


def one_size(kind: Kind, size: Size) -> str:
    """Advice for a source whose frames have several sizes.

    Args:
        kind: See `FrameSource`.
        size: Height and width of the first frame.
    """
    if kind == "images":
        return "scale it, or give a folder or a pattern that holds frames of one size"
    if kind != "video":
        return "keep the source at one size"
    height, width = (side - side % 2 for side in size)  # H.264 has no others
    return f"scale them: ffmpeg -i IN -vf scale={width}:{height},setsar=1 -crf 12 OUT.mp4"


def _same_size(
    frames: Iterator[SourceFrame], name: str, kind: Kind, size: Size
) -> Iterator[SourceFrame]:
    for frame in frames:
        height, width = frame.rgb.shape[:2]
        if (height, width) != size:
            raise InputError(
                f"{name}: frame {frame.stem} is {height}x{width} but the first one is "
                f"{size[0]}x{size[1]}; all frames of a video must have one size; "
                f"{one_size(kind, size)}"
            )
        yield frame


def _open_pictures(
    source: str, part: Part, masks: Path | None, levels: Levels | None
) -> FrameSource:
    found = find_pictures(source, masks)
    told = Told(notes=found.notes)
    places = part.places(len(found.files), source)
    chosen = [(place, found.files[place]) for place in places]
    read = frame_reader([file for _, file in chosen], levels, told)

    def frames() -> Iterator[SourceFrame]:
        for index, file in chosen:
            try:
                rgb = read(file)
            except InputError as error:
                if len(chosen) == 1:
                    raise
                if index == places[0]:
                    raise InputError(f"{error}; {_begin_later(index + part.every)}") from error
                told.damage.append(f"frame {file.stem} is left out: {error}")
                continue
            yield SourceFrame(index, file.stem, rgb, file=file.name)

    def made(index: int, file: Path) -> SourceFrame:
        return SourceFrame(index, file.stem, read(file), file=file.name)

    def between(first: int, last: int) -> Later[SourceFrame]:
        for index, file in chosen:
            if first <= index <= last:
                yield index, partial(made, index, file)

    again = Again(between, lambda: 0, lambda: None)
    stems = tuple(file.stem for _, file in chosen)
    folder = found.files[0].parent

    def skipped() -> dict[str, int]:
        last = min(places[-1] + part.every, len(found.files)) - 1
        over = stepped_over(places[0], last, part.every)
        inside = {index: start for index, start in over.items() if not part.after(index, None)}
        return {found.files[index].stem: start for index, start in inside.items()}

    return FrameSource(
        source, "images", frames(), told, len(chosen),
        stems=stems, folder=folder, again=again, skipped=skipped,
    )  # fmt: skip


def _open_animation(path: Path, part: Part) -> FrameSource:
    told = Told()
    chosen = Chosen(part, str(path))

    def frames() -> Iterator[SourceFrame]:
        pictures = enumerate(read_animation(path, told.damage))
        for index, (rgb, time, duration) in chosen.of(pictures, lambda picture: picture[1]):
            yield SourceFrame(index, f"{index:05d}", rgb, time, duration * part.every)

    def between(first: int, last: int) -> Later[SourceFrame]:
        for index, (rgb, time, duration) in enumerate(read_animation(path, [])):
            if first <= index <= last:
                frame = SourceFrame(index, f"{index:05d}", rgb, time, duration * part.every)
                yield index, partial(lambda f: f, frame)
            if index >= last:
                return

    original = Original(time_base=Fraction(1, 1000))
    again = Again(between, lambda: 3 * source.size[0] * source.size[1], list)
    source = FrameSource(
        str(path), "video", frames(), told,
        original=original, again=again, skipped=chosen.skipped,
    )  # fmt: skip
    return source


def _open_video(
    name: str, container: InputContainer, part: Part, levels: Levels | None
) -> FrameSource:
    told = Told()
    try:
        stream = video_stream(name, container, told.notes)
        original = _original(stream, part)
        original.sound = Path(name)
        if is_deep(stream):
            whose = f"the range of up to {SAMPLES} frames" if levels is None else None
            levels = levels or sampled_levels(name, stream.index)
            told.notes.append(levels.note(f"{name} is", whose))
        elif levels is not None:
            raise InputError(no_levels(levels, name))
        recording = Recording(name, container, stream, part.start)
        screen = Screen(name, stream, told, levels)
        original.shifts = recording.shifts
        reread = Reread(name, stream.index, part.start, recording.landings)
        chosen = Chosen(part, name)
        frames = _recorded(recording, screen, chosen, part, told, original, reread)

        def between(first: int, last: int) -> Later[SourceFrame]:
            for index, picture in reread.pictures(first, last):
                yield index, partial(_shown, screen, index, picture, part.every)

        again = Again(
            between,
            lambda: reread.picture_bytes,
            lambda: [landing.number for landing in recording.landings],
        )
        length = part.length(stream.frames) if stream.frames > 0 else None
        return FrameSource(
            name, "video", frames, told, length, original, container,
            again=again, skipped=chosen.skipped,
        )  # fmt: skip
    except BaseException:
        container.close()
        raise


def _recorded(
    recording: Recording,
    screen: Screen,
    chosen: Chosen,
    part: Part,
    told: Told,
    original: Original,
    reread: Reread,
) -> Iterator[SourceFrame]:
    """Frames of a file, and when they are over, what was damaged."""
    try:
        for index, picture in chosen.of(recording, recording.since_start):
            if index == chosen.first:
                _check_first(recording, index, part.start)
            reread.seen(index, picture)
            frame = _shown(screen, index, picture, part.every)
            original.pixel_aspect = screen.pixel_aspect
            yield frame
        original.ended = not chosen.stopped
    finally:
        told.notes += recording.joined()
        if chosen.first is not None:
            told.damage += recording.damage(chosen.first, chosen.last if chosen.stopped else None)


def _check_first(recording: Recording, index: int, start: Place | None) -> None:
    """Refuse a first frame in the place of a damaged one, whose mask it would get."""
    if index - 1 in recording.lost and not (isinstance(start, int) and start >= index):
        raise InputError(
            f"{recording.name}: damaged, and the first whole frame is {index:05d}; "
            f"{_begin_later(index)}"
        )


def _begin_later(index: int) -> str:
    return f"the first frame needs a mask of its own: give --start {index} and the mask of that one"


def _open_live(name: str, kind: Kind, container: InputContainer, part: Part) -> FrameSource:
    told = Told()
    try:
        stream = video_stream(name, container, told.notes)
        original = _original(stream, part)
        frames = _lived(decode_live(name, container, stream), name, stream, part, told)
        return FrameSource(name, kind, frames, told, original=original, container=container)
    except BaseException:
        container.close()
        raise


def _lived(
    pictures: Iterator[av.VideoFrame], name: str, stream: VideoStream, part: Part, told: Told
) -> Iterator[SourceFrame]:
    """Frames of a camera or a stream; numbers and times count from the first that came."""
    screen = Screen(name, stream, told)
    origin: Fraction | None = None

    def since_start(picture: av.VideoFrame) -> Fraction | None:
        nonlocal origin
        time = time_of(picture)
        if origin is None:
            origin = time
        return None if time is None or origin is None else time - origin

    for index, picture in Chosen(part, name).of(enumerate(pictures), since_start):
        yield _shown(screen, index, picture, part.every)


def _original(stream: VideoStream, part: Part) -> Original:
    rate = stream.average_rate or stream.guessed_rate
    return Original(stream.time_base, Fraction(rate) / part.every if rate else None)


def _shown(screen: Screen, index: int, picture: av.VideoFrame, every: int) -> SourceFrame:
    duration = None
    if picture.duration and picture.time_base:
        duration = picture.duration * every * picture.time_base
    return SourceFrame(index, f"{index:05d}", screen.frame(picture), time_of(picture), duration)
