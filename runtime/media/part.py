"""The part of a video that is wanted: where it starts, where it ends, and every which frame."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from mavos_deploy.errors import InputError

T = TypeVar("T")
Place = int | Fraction  # number of a frame, or time in seconds since the first one

_CLOCK = re.compile(r"(?:(?:([0-9]+):)?([0-9]{1,2}):)?([0-9]{1,2}(?:\.[0-9]*)?)")
_FRACTION = re.compile(r"[0-9]+\.[0-9]*|\.[0-9]+")
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)s")


def parse_place(text: str, called: str = "place") -> Place:
    """Read a place in a video.

    Args:
        text: Number of a frame, as `120`; or a time since the first frame, as `12.5s` or
            `00:01:02.5`.
        called: Name of the text in errors, such as the option that it came from.

    Returns:
        An integer for a frame number, a fraction for seconds.

    Raises:
        InputError: The text is neither.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,12}", text):
        return int(text)
    if match := _SECONDS.fullmatch(text):
        return Fraction(match[1])
    if ":" in text and (match := _CLOCK.fullmatch(text)):
        hours, minutes, seconds = match[1] or "0", match[2] or "0", match[3]
        if float(seconds) < 60 and (match[1] is None or int(minutes) < 60):
            return Fraction(int(hours) * 3600 + int(minutes) * 60) + Fraction(seconds)
    missing = f"a time in seconds ends in s, as {text}s; " if _FRACTION.fullmatch(text) else ""
    raise InputError(
        f"{called} {text!r}: {missing}expected the number of a frame, for example 120, or a "
        "time since the first frame, for example 12.5s or 00:01:02.5"
    )


@dataclass(frozen=True)
class Part:
    """The part of a video that is wanted.

    Attributes:
        start: First frame, by number or time; None begins with the first of the video.
        end: Last frame, by number or time, which is taken too; None goes on to the end.
        every: Take each N-th frame, counted from the first that is taken.
        max_frames: Stop after so many; None takes all.
    """

    start: Place | None = None
    end: Place | None = None
    every: int = 1
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or (self.max_frames is not None and self.max_frames < 1):
            raise InputError(
                f"every is {self.every} and max_frames {self.max_frames}: both need to be at "
                "least 1"
            )
        for place in (self.start, self.end):
            if place is not None and place < 0:
                raise InputError(f"frame or time {place}: videos start at 0")
        start, end = self.start, self.end
        if start is not None and end is not None and type(start) is type(end) and end < start:
            raise InputError(f"the part ends at {told(end)}, before it starts at {told(start)}")

    @property
    def timed(self) -> bool:
        """Whether it is told by time, which only sources with times can follow."""
        return isinstance(self.start, Fraction) or isinstance(self.end, Fraction)

    def before(self, index: int, time: Fraction | None) -> bool:
        """Whether a frame comes before the part; `time` counts from the video's first frame."""
        return self.start is not None and _behind(self.start, index, time) < 0

    def after(self, index: int, time: Fraction | None) -> bool:
        """Whether a frame comes after the part; `time` counts from the video's first frame."""
        return self.end is not None and _behind(self.end, index, time) > 0

    def length(self, total: int) -> int | None:
        """Frames of a video of `total` frames that are taken; None where times decide."""
        return None if self.timed else len(self._range(total))

    def places(self, total: int, name: str) -> Sequence[int]:
        """Numbers of the frames that are taken.

        Args:
            total: Frames that there are, which have no times.
            name: Name of the source in messages.

        Raises:
            InputError: There is none, or the part is told by time.
        """
        if self.timed:
            raise InputError(f"{name}: images have no times; give the numbers of frames")
        if not (places := self._range(total)):
            raise InputError(self.beyond(name, total))
        return places

    def beyond(self, name: str, total: int) -> str:
        """A message for a part in which no frame lies."""
        start = "its start" if self.start is None else told(self.start)
        end = "" if self.end is None else f" and up to {told(self.end)}"
        return f"{name}: nothing lies in the part from {start} on{end}; there are {total} frames"

    def _range(self, total: int) -> range:
        start = 0 if self.start is None else int(self.start)
        stop = total if self.end is None else min(total, int(self.end) + 1)
        places = range(start, max(start, stop), self.every)
        return places if self.max_frames is None else places[: self.max_frames]


def part_of(frames: range, length: int) -> Part:
    """Frames as a part of a video of `length` frames, which says nothing that it needn't."""
    last = None if frames[-1] == length - 1 else frames[-1]
    return Part(frames[0] or None, last)


class Chosen:
    """Takes the frames of a part out of those of a video.

    Attributes:
        first: Number of the first frame taken; None until then.
        last: Number of the last frame that was looked at and lies in the part.
        stopped: Whether the part ended before the video, as far as was looked.
    """

    def __init__(self, part: Part, name: str) -> None:
        """Take the part that is wanted; `name` is that of the video in messages."""
        self.first: int | None = None
        self.last = -1
        self.stopped = False
        self._part = part
        self._name = name

    def skipped(self) -> dict[str, int]:
        """Names of frames that were stepped over so far; see `FrameSource.skipped`."""
        first = 0 if self.first is None else self.first
        over = stepped_over(first, self.last, self._part.every)
        return {f"{number:05d}": start for number, start in over.items()}

    def of(
        self, frames: Iterable[tuple[int, T]], time: Callable[[T], Fraction | None]
    ) -> Iterator[tuple[int, T]]:
        """The frames that are taken, with their numbers.

        Args:
            frames: All frames with their numbers, ascending. None is asked for after the last one
                that is taken, where that can be known.
            time: Gives a frame's time in seconds since the first one; asked for if times tell the
                part.

        Raises:
            InputError: No frame lies in the part.
        """
        part, taken, seen = self._part, 0, 0
        for index, frame in frames:
            seen = index + 1
            at = time(frame) if part.timed else None
            if part.before(index, at):
                continue
            if part.after(index, at):
                self.stopped = True
                break
            self.first = index if self.first is None else self.first
            self.last = index
            if (index - self.first) % part.every == 0:
                yield index, frame
                taken += 1
            if taken == part.max_frames or (isinstance(part.end, int) and index >= part.end):
                self.stopped = True
                return
        if self.first is None and seen:
            raise InputError(part.beyond(self._name, seen))


def stepped_over(first: int, last: int, every: int) -> dict[int, int]:
    """Numbers of frames that are left out because each n-th one alone is taken.

    Args:
        first: Number of the first frame that is taken.
        last: Number of the last frame of the part.
        every: Frames from one that is taken to the next.

    Returns:
        For each of them the number of the first frame to take so that it is among those taken.
    """
    numbers = range(first, last + 1)
    return {number: first + by for number in numbers if (by := (number - first) % every)}


def told(place: Place) -> str:
    """A place as messages write it."""
    return f"frame {place}" if isinstance(place, int) else f"{float(place):g}s"


def _behind(place: Place, index: int, time: Fraction | None) -> Fraction | int:
    """How far a frame is behind a place; negative where it comes before."""
    if isinstance(place, int):
        return index - place
    if time is None:
        raise InputError(f"{told(place)}: these frames have no times; give the number of a frame")
    return time - place
