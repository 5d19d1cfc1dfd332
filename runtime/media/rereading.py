"""Frames that are read again; those of a video file from any of them on."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar
from zlib import crc32

import av
import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.decoding import open_video
from mavos_deploy.runtime.media.part import Place
from mavos_deploy.runtime.media.recorded import Landing, Recording

FrameT = TypeVar("FrameT")

# Frames with their numbers, each as a function that makes it.
Later = Generator[tuple[int, Callable[[], FrameT]], None, None]


@dataclass(frozen=True)
class Again(Generic[FrameT]):
    """A source's way to give frames again that it has given before.

    Attributes:
        between: Frames from one number to another, both taken, ascending: each with its number, and
            a function that makes it. The frames between them that the source left out may come,
            too. Raises an InputError where the source isn't what it was.
        held: Gives the bytes that a frame holds until it is made.
        starts: Gives the numbers of frames at which reading begins at no cost, as far as is known;
            None where it may begin anywhere.
    """

    between: Callable[[int, int], Later[FrameT]]
    held: Callable[[], int]
    starts: Callable[[], list[int] | None]


@dataclass
class Reread:
    """What is known of the pictures of a file, once they were read.

    Attributes:
        name: Path of the file.
        stream: Number of the video in it.
        start: First frame that was wanted; None for the first one of the file.
        landings: Key frames that reading may begin at, ascending; they grow while the file is read.
        picture_bytes: Bytes that a decoded picture holds.
    """

    name: str
    stream: int
    start: Place | None
    landings: list[Landing]
    picture_bytes: int = 0
    _numbers: "array[int]" = field(default_factory=lambda: array("q"))
    _marks: "array[int]" = field(default_factory=lambda: array("Q"))

    def seen(self, number: int, picture: av.VideoFrame) -> None:
        """Note a picture that was read and is wanted.

        Args:
            number: Its number in the video.
            picture: The picture.
        """
        self.picture_bytes = bytes_of(picture)
        self._numbers.append(number)
        self._marks.append(_mark(picture))

    def pictures(self, first: int, last: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """The wanted pictures from one number to another, both taken, ascending.

        Decoding begins at the last key frame before them. Where that brings another picture than
        the first time, or lacks the first one, because pictures in between need earlier ones, it
        begins further before.

        Raises:
            InputError: The file isn't what it was, or its pictures depend on where decoding begins.
        """
        place = self._place(first)
        before = [landing for landing in self.landings if landing.number <= first]
        for landing in (*reversed(before[-2:]), None):
            found = self._from(landing, first, last)  # None: as the first time
            head = next(found, None)
            if head is not None and head[0] == self._numbers[place] and self._known(*head):
                for number, picture in chain([head], found):
                    if not self._known(number, picture):
                        raise self._unlike(number)
                    yield number, picture
                return
            found.close()
        if place < self._place(last + 1):
            raise self._unlike(first)

    def _place(self, number: int) -> int:
        """Place of a number among those of the wanted pictures, or of the next one."""
        return bisect_left(self._numbers, number)

    def _wanted(self, number: int) -> bool:
        place = self._place(number)
        return place < len(self._numbers) and self._numbers[place] == number

    def _known(self, number: int, picture: av.VideoFrame) -> bool:
        """Whether a picture is what it was the first time."""
        return self._marks[self._place(number)] == _mark(picture)

    def _from(
        self, landing: Landing | None, first: int, last: int
    ) -> Generator[tuple[int, av.VideoFrame], None, None]:
        with open_video(self.name) as container:
            stream = container.streams[self.stream]
            assert isinstance(stream, av.VideoStream)
            for number, picture in Recording(self.name, container, stream, self.start, landing):
                if first <= number <= last and self._wanted(number):
                    yield number, picture
                if number >= last:
                    return

    def _unlike(self, number: int) -> InputError:
        return InputError(
            f"{self.name}: frame {number:05d} comes out otherwise when it is read again; if the "
            "file didn't change meanwhile, it can't be read from the middle, so re-encode it with "
            "ffmpeg, or give its frames as images"
        )


def bytes_of(picture: av.VideoFrame) -> int:
    """Bytes that a decoded picture holds."""
    return sum(plane.buffer_size for plane in picture.planes)


def _mark(picture: av.VideoFrame) -> int:
    """A number that tells a picture from others, made of bytes spread over its first plane."""
    plane = picture.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return crc32(rows[::5, : plane.width : 7].tobytes())
