"""A video whose frames can be read in any order, a window at a time."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import closing

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.frames import FrameSource, SourceFrame

WINDOW = 64 << 20  # bytes of the pictures that going backward holds
MOST = 512  # frames of a window


class Clip:
    """Frames of a source that were read once, forward, and can be read again in any order.

        clip = Clip(source)
        for frame in clip.read():
            ...
        for frame in clip.frames(clip.numbers[-1], clip.numbers[0]):
            ...

    Attributes:
        source: The source.
        numbers: Numbers of the frames that were read so far, ascending.

    Args:
        source: A video file, an animation or images, just opened.

    Raises:
        InputError: The source is a camera or a stream.
    """

    def __init__(self, source: FrameSource) -> None:
        if source.again is None:
            raise InputError(
                f"{source.name} can't be read backward: its frames come once; record the video "
                "first, or go forward alone"
            )
        self.source = source
        self.numbers: list[int] = []
        self._again = source.again
        self._unread = iter(source)

    def read(self) -> Iterator[SourceFrame]:
        """The frames that were not read yet, forward; several callers may take them in turns."""
        for frame in self._unread:
            self.numbers.append(frame.index)
            yield frame

    def frames(self, first: int, last: int) -> Iterator[SourceFrame]:
        """The frames from one number to another, both taken; backward where the first is larger.

        Args:
            first: Number of the first frame that comes.
            last: Number of the last one. Frames that were never read don't come.

        Raises:
            InputError: The source isn't what it was when it was read.
        """
        low, high = min(first, last), max(first, last)
        wanted = self.numbers[bisect_left(self.numbers, low) : bisect_right(self.numbers, high)]
        if first <= last:
            yield from self._forward(wanted)
            return
        held = self._again.held()
        most = min(MOST, max(1, WINDOW // held)) if held else MOST
        for window in windows(wanted, self._again.starts(), most):
            yield from self._backward(window)

    def _forward(self, wanted: Sequence[int]) -> Iterator[SourceFrame]:
        if not wanted:
            return
        missing = set(wanted)
        with closing(self._again.between(wanted[0], wanted[-1])) as found:
            for number, make in found:
                if number in missing:
                    missing.discard(number)
                    yield make()
        self._check(missing)

    def _backward(self, window: Sequence[int]) -> Iterator[SourceFrame]:
        wanted = set(window)
        with closing(self._again.between(window[0], window[-1])) as found:
            held = [(number, make) for number, make in found if number in wanted]
        self._check(wanted - {number for number, _ in held})
        while held:
            yield held.pop()[1]()  # nothing holds the picture any more

    def _check(self, missing: set[int]) -> None:
        if missing:
            raise InputError(
                f"{self.source.name}: frame {min(missing):05d} was there when it was read first "
                "and isn't any more; run it again when nothing changes it"
            )


def windows(
    numbers: Sequence[int], starts: Sequence[int] | None, most: int
) -> Iterator[Sequence[int]]:
    """Parts of a range of frames, the last one first, each of which is read at once.

    Args:
        numbers: Numbers of the frames, ascending.
        starts: Numbers of frames at which reading begins at no cost, ascending; None for any.
        most: Most frames of a window.

    Yields:
        Numbers of a window's frames, ascending. It begins at the earliest start that lies within
        its reach, so that few frames are decoded twice.
    """
    end = len(numbers)
    while end:
        begin = max(0, end - most)
        if begin and starts is not None:
            here = bisect_left(starts, numbers[begin])
            if here < len(starts) and starts[here] <= numbers[end - 1]:
                begin = bisect_left(numbers, starts[here])
        yield numbers[begin:end]
        end = begin
