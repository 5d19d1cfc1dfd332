"""Encodes videos with the times, the shape and the sound of the video that they show."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Final

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mavos_deploy.errors import InputError, one_line
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.media.sound import SoundCopy
from mavos_deploy.runtime.system.files import replacing, writing
from mavos_deploy.runtime.system.opencv import opencv

FALLBACK_FPS = Fraction(25)  # frames per second where the source has no rate
# Values of the colour fields in H.264. Players assume BT.709 for HD, and swscale does not.
BT709 = LIMITED_RANGE = 1
CONTAINERS: Final = MappingProxyType(
    {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
)


@dataclass(frozen=True)
class Encoding:
    """One way to encode videos.

    Attributes:
        name: Name in messages.
        encoder: FFmpeg's encoder.
        pix_fmt: FFmpeg's pixel format; one with an alpha plane keeps transparency.
        suffixes: Endings of files that can hold it.
        options: Options of the encoder.
    """

    name: str
    encoder: str
    pix_fmt: str
    suffixes: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)


# Without B-frames a frame's time is also the time of its packet: MP4 then holds every time and the
# length exactly, also at a variable rate. Macroblock trees are left out: with AVX-512, x264's core
# 165 makes them of memory that was never written, and one of some hundred encodings of the same
# pictures had other bytes. Without them they are also those of AVX2; crf 19 makes up for it.
H264 = Encoding(
    "H.264",
    "libx264",
    "yuv420p",
    (".mp4", ".mov", ".mkv"),
    {"crf": "19", "preset": "veryfast", "bf": "0", "mbtree": "0"},
)


@dataclass
class Original:
    """The properties that a written video takes over from the one that it shows.

    Attributes:
        time_base: Unit of the frames' times in seconds; None counts frames at the rate.
        rate: Frames per second, on average; None or 0 means 25.
        pixel_aspect: Width of a pixel by its height, as shown.
        sound: File whose sound is copied; None for silence.
        shifts: How far the times of frames, and of sound with them, are moved behind each jump of
            the source's clock, in seconds. The reader adds to it.
        part: Whether the video is shown from a later frame on, and sound before it is left out.
        ended: Whether the last frame of the video was read, so that all sound after it is copied
            too. The reader sets it; until then sound ends with the last frame written.
    """

    time_base: Fraction | None = None
    rate: Fraction | None = None
    pixel_aspect: Fraction = Fraction(1)
    sound: Path | None = None
    shifts: list[Fraction] = field(default_factory=list)
    part: bool = False
    ended: bool = False


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn failures of the disk and of FFmpeg inside the block into one line each."""
    try:
        with writing(path):
            yield
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError(
            f"cannot write {path}: FFmpeg refuses it ({reason}); write no video, or one of smaller "
            "pictures or with more memory"
        ) from error
    except MemoryError as error:
        raise InputError(
            f"cannot write {path}: there is not enough memory to encode it; write no video, or "
            "raise the limit of memory"
        ) from error


class VideoWriter:
    """Encodes pictures into a file that appears when the block ends.

    The first frame is shown at 0; frames keep their distance to each other and to the sound. After
    Ctrl-C the part so far becomes a whole, playable file. After any other error nothing is left
    behind. Use it in a `with` block.

    Attributes:
        notes: What could not be taken over from the source, and why: lines for people, complete
            once the block ended.
    """

    def __init__(
        self, path: Path, size: Size, original: Original | None = None, encoding: Encoding = H264
    ) -> None:
        """Open the encoder.

        Args:
            path: The file to create or replace; its ending is one of the encoding's.
            size: Height and width of the pictures in pixels. Where the encoding shares colour
                between pixels, odd sides are padded by one.
            original: What to take over from the source; None for 25 frames per second in silence.
            encoding: How to encode.

        Raises:
            InputError: This PyAV lacks the encoder, the ending is another, the sound's file can't
                be read, or the place can't be written to.
        """
        self.notes: list[str] = []
        self._path = path
        self._size = size
        self._original = original or Original()
        self._rate = self._original.rate or FALLBACK_FPS
        self._time_base = self._original.time_base or 1 / self._rate
        self._origin: Fraction | None = None  # the source's time that becomes 0
        self._last = -1  # time of the last frame written, in units of the time base
        self._untimed = True  # whether no frame so far had a time
        self._end = Fraction(0)  # end of the last frame, in the source's time
        self._durations: dict[int, int] = {}
        if path.suffix.lower() not in encoding.suffixes:
            raise InputError(
                f"{path}: {encoding.name} goes into files that end in "
                f"{' or '.join(encoding.suffixes)}"
            )
        if encoding.encoder not in av.codecs_available:
            raise InputError(
                f"cannot write {path}: this PyAV has no {encoding.name} encoder "
                f"({encoding.encoder}); install the wheel from PyPI with "
                "pip install --force-reinstall av"
            )
        self._converter = VideoReformatter()  # one for all frames: it keeps its tables
        self._stack = ExitStack()
        temporary = self._stack.enter_context(replacing(path))
        with self._stack, _writing(path):
            self._open(temporary, encoding)
            self._stack = self._stack.pop_all()  # no error: the file stays open for write()

    def _open(self, temporary: Path, encoding: Encoding) -> None:
        container = CONTAINERS[self._path.suffix.lower()]
        options = {}
        if container in ("mp4", "mov"):
            # Times of starts are kept in units of the film, a millisecond by default.
            unit = self._time_base.denominator
            options = {"movflags": "+faststart"}
            if 1000 < unit < 2**31:
                options["movie_timescale"] = str(unit)
        else:
            options["fflags"] = "+bitexact"  # no random numbers as names of the film and its tracks
        self._container = av.open(str(temporary), "w", format=container, options=options)
        stream = self._container.add_stream(encoding.encoder, self._rate, dict(encoding.options))
        assert isinstance(stream, VideoStream)
        self._stream = stream
        self._stream.pix_fmt = encoding.pix_fmt
        chroma = av.VideoFormat(encoding.pix_fmt)
        steps = (2 // chroma.chroma_height(2), 2 // chroma.chroma_width(2))
        self._padding = tuple(-side % step for side, step in zip(self._size, steps, strict=True))
        self._source = "rgba" if any(part.is_alpha for part in chroma.components) else "rgb24"
        self._stream.height, self._stream.width = (
            side + more for side, more in zip(self._size, self._padding, strict=True)
        )
        context = self._stream.codec_context
        context.time_base = self._stream.time_base = self._time_base
        context.sample_aspect_ratio = self._original.pixel_aspect
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = LIMITED_RANGE
        self._sound: SoundCopy | None = None
        if self._original.sound is not None:
            self._sound = SoundCopy(self._original.sound, self._container, self._original.shifts)

    def write(
        self,
        picture: NDArray[np.uint8],
        time: Fraction | None = None,
        duration: Fraction | None = None,
    ) -> None:
        """Encode one picture.

        Args:
            picture: uint8, shape (H, W, 3) for RGB, (H, W, 4) for RGB with alpha, or (H, W) for
                grey. An encoding without transparency takes no alpha, and one with it takes all
                three, where only alpha is ever transparent.
            time: Time of the frame in the source, in seconds; None follows the frame before at the
                rate, and so does the first time of all, if frames were written before. Any other
                time that isn't later than the frame before becomes the next possible one.
            duration: Time that it is shown, in seconds, which counts for the last frame; None
                takes that of the rate.

        Raises:
            InputError: The picture has another size, or the disk is full.
        """
        if picture.shape[:2] != self._size:
            raise InputError(
                f"cannot write {self._path}: picture {picture.shape[:2]}, expected {self._size}"
            )
        untimed, self._untimed = self._untimed, self._untimed and time is None
        if time is None:
            time = Fraction(0) if self._origin is None else self._end
        elif untimed and self._origin is not None and time < self._end:
            self._origin -= self._end - time  # the clock begins here, behind frames without times
        duration = duration or 1 / self._rate
        frame = self._frame(picture)
        if self._origin is None:
            self._origin = time
            if self._sound is not None:
                self._sound.begin(time, cut=self._original.part)
        frame.pts = max(self._last + 1, round((time - self._origin) / self._time_base))
        frame.time_base = self._time_base
        self._last, self._end = frame.pts, time + duration
        self._durations[frame.pts] = max(1, round(duration / self._time_base))
        with _writing(self._path):
            self._mux(frame)
            if self._sound is not None:
                self._sound.copy(until=time)

    def _frame(self, picture: NDArray[np.uint8]) -> av.VideoFrame:
        channels = 4 if self._source == "rgba" else 3
        if picture.ndim == 2:
            picture = np.asarray(opencv().merge((picture, picture, picture)), np.uint8)
        if picture.shape[2] < channels:
            picture = np.pad(picture, ((0, 0), (0, 0), (0, 1)), constant_values=255)
        if picture.shape[2] != channels:
            raise InputError(f"cannot write {self._path}: it can't hold transparency")
        if any(self._padding):
            rows, columns = self._padding
            picture = np.pad(picture, ((0, rows), (0, columns), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=self._source)
        return self._converter.reformat(
            frame, format=self._stream.pix_fmt, dst_colorspace=Colorspace.ITU709
        )

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if packet.pts in self._durations:
                packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)

    def close(self) -> None:
        """Finish the file and give it its name; without a frame there is no file.

        Raises:
            InputError: The disk is full or the place can't be written to; nothing is left behind.
        """
        if self._origin is None:
            self._discard(EOFError("no frame was written"))
            return
        # The stack removes the temporary file after an error, and renames it otherwise.
        with self._stack, _writing(self._path):
            try:
                if self._sound is not None:
                    self._sound.end(until=None if self._original.ended else self._end)
                self._mux(None)
            finally:
                self._close()
        self._origin = None

    def _close(self) -> None:
        if self._sound is not None:
            self.notes += self._sound.close()
        self._container.close()

    def _discard(self, error: BaseException) -> None:
        with suppress(OSError, av.FFmpegError):
            self._close()
        self._stack.__exit__(type(error), error, error.__traceback__)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, KeyboardInterrupt):
            self.close()
        else:
            self._discard(error)
