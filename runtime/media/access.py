"""Any frame of a video by its number, from an index of its key frames."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.media.animations import is_animation
from mavos_deploy.runtime.media.decoding import open_video, time_of, video_stream
from mavos_deploy.runtime.media.folders import find_pictures
from mavos_deploy.runtime.media.frames import FrameSource, SourceFrame, one_size, open_frames
from mavos_deploy.runtime.media.levels import frame_reader
from mavos_deploy.runtime.media.part import Part
from mavos_deploy.runtime.media.recorded import Recording
from mavos_deploy.runtime.media.rereading import bytes_of
from mavos_deploy.runtime.media.screen import Screen, is_deep
from mavos_deploy.runtime.media.told import Told
from mavos_deploy.runtime.media.turning import Turn
from mavos_deploy.runtime.protocol import RgbFrame

HELD = 20 << 20  # bytes of the pictures of a window
CACHED = 8 << 20  # bytes of the pictures that were read last, beside the very last one
ADVICE = "re-encode what is whole of it: ffmpeg -i IN -c:v libx264 -crf 12 OUT.mp4"
BACK = (0, 1, 4, None)  # key frames further back from which reading is tried; None: the start
THREADS = 1  # of a decoder; each holds pictures, and on the way to a frame two are no faster
NEAR = 12  # frames ahead that are decoded rather than sought

Make = Callable[[], SourceFrame]


@dataclass(frozen=True, eq=False)
class Table:
    """Times of a video's pictures, in the order in which they are shown.

    Attributes:
        times: For each frame the time in units of the stream, int64, ascending.
        keys: Numbers of the frames at which decoding may begin, ascending, int64.
    """

    times: NDArray[np.int64]
    keys: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Clip:
    """A video that is on disk whole, as all its readers share it.

    Attributes:
        source: Path of a video file, or of a folder of images.
        size: Height and width of every frame in pixels.
        length: Number of frames.
        stems: Name of each frame in files.
        fps: Frames per second; None for images.
        told: What is told about the source.
        table: Times of the frames; None where each read begins at the start of the source, and
            for images.
        files: The images; none for a video.
        read_file: Reads one of them.
    """

    source: str
    size: Size
    length: int
    stems: tuple[str, ...]
    fps: float | None
    told: Told
    table: Table | None = None
    files: tuple[Path, ...] = ()
    read_file: Callable[[Path], RgbFrame] | None = None


def open_clip(source: str) -> Clip:
    """Look at a video, and index it.

    Args:
        source: Path of a video file, or of a folder of images.

    Raises:
        InputError: It is missing or unusable, or its frames can't be reached by number.
    """
    path = Path(source)
    if "://" in source or not path.exists():
        raise InputError(f"{source} does not exist; expected a video file or a folder of images")
    if path.is_dir():
        return _images(source)
    with open_frames(source) as frames:
        first = next(iter(frames))
        told, size, rate = frames.told, frames.size, frames.original.rate
    if first.index:
        raise InputError(
            f"{source}: damaged, and its first whole frame is {first.index:05d}; {ADVICE}"
        )
    fps = None if rate is None else float(rate)
    table = None if is_animation(path) or _deep(source) else _table(source)
    length = _count(source) if table is None else len(table.times)
    stems = tuple(f"{index:05d}" for index in range(length))
    return Clip(source, size, length, stems, fps, told, table)


def _images(source: str) -> Clip:
    found = find_pictures(source, None)
    told = Told(notes=found.notes)
    read = frame_reader(found.files, None, told)
    height, width = read(found.files[0]).shape[:2]
    stems = tuple(file.stem for file in found.files)
    files = tuple(found.files)
    return Clip(source, (height, width), len(files), stems, None, told, None, files, read)


def _deep(source: str) -> bool:
    with open_video(source) as container:
        return is_deep(video_stream(source, container, []))


def _count(source: str) -> int:
    """Number of frames, all of which are decoded."""
    with open_frames(source) as frames:
        return sum(1 for _ in frames)


def _table(source: str) -> Table:
    """The table of a video file: from its packets, or from its pictures where they don't tell."""
    times: list[int | None] = []
    keys: list[bool] = []
    with open_video(source) as container:
        recording = Recording(source, container, video_stream(source, container, []))
        packets = recording.undecoded()
        try:
            if packets is not None:
                for packet in packets:
                    times.append(packet.pts)
                    keys.append(packet.is_keyframe)
            else:
                for _, picture in recording:
                    times.append(picture.pts)
                    keys.append(picture.key_frame)
        except InputError as error:
            raise InputError(
                f"{error} after frame {max(0, len(times) - 1):05d}; {ADVICE}"
            ) from None
        if problems := recording.damage(0, None) + recording.joined():
            raise InputError(f"{problems[0]}; {ADVICE}")
    if None in times:
        raise InputError(
            f"{source}: its frames have no times, so none can be shown by its number; {ADVICE}"
        )
    given = np.array(times, np.int64)
    starts = given[np.array(keys, np.bool_)]
    if not starts.size:
        raise InputError(f"{source}: no frame can be decoded; {ADVICE}")
    shown = np.unique(given[given >= starts[0]])
    if len(shown) < np.count_nonzero(given >= starts[0]):
        raise InputError(f"{source}: two of its frames have the same time; {ADVICE}")
    return Table(shown, np.searchsorted(shown, np.sort(starts)))


def missing(clip: Clip, number: int) -> InputError:
    """What is said of a frame that can't be decoded."""
    return InputError(f"{clip.source}: frame {number:05d} is damaged or missing; {ADVICE}")


def _shown(screen: Screen, index: int, picture: av.VideoFrame) -> SourceFrame:
    duration = None
    if picture.duration and picture.time_base:
        duration = picture.duration * picture.time_base
    rgb = screen.frame(picture)
    return SourceFrame(index, f"{index:05d}", rgb, time_of(picture), duration)


def _same(frame: SourceFrame) -> SourceFrame:
    return frame


class FrameAccess:
    """Reads frames of a clip by number. One thread uses it; several may share the clip.

    Args:
        clip: The video.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._container: InputContainer | None = None
        self._source: FrameSource | None = None
        self._ahead: Iterator[tuple[int, Make]] | None = None  # with the frames' numbers
        self._next = -1  # number of the frame that `_ahead` gives next
        self._turns: dict[int, Turn] = {}  # of pictures, for the screen behind every jump
        self._picture_bytes = 0  # that a picture holds until it is shown; 0 before the first
        self._cache: OrderedDict[int, SourceFrame] = OrderedDict()

    def read(self, number: int) -> SourceFrame:
        """One frame.

        Raises:
            InputError: There is no such frame, or it is damaged.
        """
        self._check(number)
        if self.clip.files:
            return self._image(number)
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        frame = next(self._forward(number, number))
        self._keep(frame)
        return frame

    def span(self, first: int, last: int) -> Iterator[SourceFrame]:
        """Frames from one number to another, both included, in either order.

        Pictures that are read against their order are decoded in windows, so memory stays flat.

        Raises:
            InputError: There is no such frame, or one is damaged.
        """
        self._check(first)
        self._check(last)
        self._cache.clear()  # of frames that were read one by one
        if self.clip.files:
            step = 1 if first <= last else -1
            yield from map(self._image, range(first, last + step, step))
            return
        if first <= last:
            yield from self._forward(first, last)
            return
        while first >= last:  # the first picture tells how many can be held
            window = max(1, HELD // self._picture_bytes) if self._picture_bytes else 1
            start = max(last, first - window + 1)
            held = list(self._pictures(start, first))
            while held:
                yield held.pop()()  # nothing holds the picture any more
            first = start - 1

    def _forward(self, first: int, last: int) -> Iterator[SourceFrame]:
        for make in self._pictures(first, last):
            yield make()

    def _pictures(self, first: int, last: int) -> Iterator[Make]:
        """Decoded pictures, each as a function that makes the frame of it."""
        for number in range(first, last + 1):
            make = None
            if self._ahead is not None and 0 <= number - self._next <= NEAR:
                make = self._reached(number)
            for earlier in BACK:  # containers without an index, such as MPEG-TS, seek too far
                if make is not None:
                    break
                self._begin(number, earlier)
                make = self._reached(number)
            if make is None:
                self.close()
                raise missing(self.clip, number)
            yield make

    def _reached(self, number: int) -> Make | None:
        """The picture of a number among those that come; None where they lack it."""
        assert self._ahead is not None
        found = next((pair for pair in self._ahead if pair[0] >= number), None)
        self._next = number + 1
        return found[1] if found is not None and found[0] == number else None

    def _begin(self, number: int, earlier: int | None) -> None:
        """Start to read at the key frame before a frame, or `earlier` ones before; None: at 0."""
        self.close()
        if self.clip.table is None:
            start = None if earlier is None else number
            self._source = open_frames(self.clip.source, Part(start=start))
            self._ahead = self._decoded(self._source)
        else:
            self._container = open_video(self.clip.source)
            self._ahead = self._sought(self._container, self.clip.table, number, earlier)

    def _decoded(self, source: FrameSource) -> Iterator[tuple[int, Make]]:
        for frame in source:
            self._picture_bytes = frame.rgb.nbytes
            yield frame.index, partial(_same, frame)

    def _sought(
        self, container: InputContainer, table: Table, number: int, earlier: int | None
    ) -> Iterator[tuple[int, Make]]:
        stream = video_stream(self.clip.source, container, [])
        stream.thread_type, stream.codec_context.thread_count = "AUTO", THREADS
        if earlier is not None:
            place = max(0, bisect_right(table.keys, number) - 1 - earlier)
            container.seek(int(table.times[table.keys[place]]), stream=stream)
        target, context = int(table.times[number]), stream.codec_context
        screen = Screen(self.clip.source, stream, Told(), turns=self._turns)
        for packet in container.demux(stream):
            pictures: list[av.VideoFrame] = []
            # Pictures that no other is built on are left out on the way to the target.
            passed = packet.pts is not None and packet.pts < target
            context.skip_frame = "NONREF" if passed else "DEFAULT"
            with suppress(av.InvalidDataError):  # the frame that is missing is named
                pictures = stream.decode(packet)
            for picture in pictures:
                picture.time_base = stream.time_base
                if picture.pts is None or picture.pts < target:
                    continue
                index = int(np.searchsorted(table.times, picture.pts))
                if index == len(table.times) or int(table.times[index]) != picture.pts:
                    continue
                screen.begin(picture)  # the file may be closed when the frame is made
                self._picture_bytes = bytes_of(picture)
                yield index, partial(_shown, screen, index, picture)

    def _image(self, number: int) -> SourceFrame:
        clip, file = self.clip, self.clip.files[number]
        assert clip.read_file is not None
        rgb = clip.read_file(file)
        if rgb.shape[:2] != clip.size:
            raise InputError(
                f"{file} is {rgb.shape[0]}x{rgb.shape[1]} but the first frame is "
                f"{clip.size[0]}x{clip.size[1]}; all frames of a video must have one size; "
                f"{one_size('images', clip.size)}"
            )
        return SourceFrame(number, file.stem, rgb, file=file.name)

    def _keep(self, frame: SourceFrame) -> None:
        self._cache[frame.index] = frame
        while sum(h.rgb.nbytes for h in self._cache.values()) > CACHED and len(self._cache) > 1:
            self._cache.popitem(last=False)

    def _check(self, number: int) -> None:
        if not 0 <= number < self.clip.length:
            raise InputError(
                f"no frame {number}; {self.clip.source} has frames 0 to {self.clip.length - 1}"
            )

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        self._ahead, self._next = None, -1
        if self._source is not None:
            self._source.close()
            self._source = None
        if self._container is not None:
            self._container.close()
            self._container = None
