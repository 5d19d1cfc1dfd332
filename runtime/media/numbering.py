"""Numbers the pictures of a video, also where damage has taken some of them."""

import heapq

STEPS = 200  # pictures whose distance tells whether the rate is constant
FEWEST_STEPS = 4
MOST_GONE = 1000  # pictures that one hole may have taken


class Numbering:
    """Finds each picture's number by its place among the times of all packets.

    Packets come in the order in which they are decoded, pictures in the order in which they are
    shown. Of an undamaged video pictures are simply counted. Where some are missing, the times of
    the packets that became no picture tell how many.

    Attributes:
        lost: Numbers of the pictures that are missing so far, ascending.
        first: Time of the key frame at which decoding began; None until it came.
        resumed: Whether that is in the middle of the video.
    """

    def __init__(self, silent: bool, step: float | None = None) -> None:
        """Start at number 0.

        Args:
            silent: Whether each packet becomes a picture, so that one is missing even if no error
                says so. Some codecs have packets that show nothing.
            step: Time between pictures by the rate that the container states; None for none.
        """
        self.lost: list[int] = []
        self._silent = silent
        self._next = 0
        self._waiting: list[int] = []  # times of packets whose pictures haven't come yet, a heap
        self.first: int | None = None
        self._last: int | None = None
        self.resumed = False
        # Whether pictures come in the order of their packets' times, as far as was seen.
        self._orderly = True
        self._damaged = False
        self._errors = 0  # since the last picture
        self._holed = False
        self._stated_step = step
        self._steps: list[int] = []  # between the first pictures

    def misses(self, time: int) -> bool:
        """Whether pictures may be missing before this one, or still come after it.

        Damage brings decoders out of order; the next few pictures tell.
        """
        if self._damaged or self._holed:
            return True
        return self._silent and self._orderly and bool(self._waiting) and self._waiting[0] < time

    @property
    def begun(self) -> bool:
        """Whether a key frame came, at which decoding can begin."""
        return self.first is not None

    @property
    def reached(self) -> int:
        """Number of the next picture."""
        return self._next

    def resume(self, number: int, first: int) -> None:
        """Begin in the middle of a video, before anything else.

        Args:
            number: Number of the key frame at which decoding begins.
            first: Its time.
        """
        self._next, self.first, self.resumed = number, first, True

    def packet(self, time: int | None, key: bool) -> None:
        """Note a packet that goes to the decoder and should become a picture.

        Args:
            time: When its picture is shown.
            key: Whether it is a key frame. What is before the first one, in either order, can't be
                decoded and gets no number.
        """
        if self.first is None:
            if not key:
                return
            self.first = time
        if time is None or self.first is None:
            self._orderly = False
        elif time >= self.first:
            heapq.heappush(self._waiting, time)

    def error(self) -> None:
        """Note that the decoder could make nothing of a packet."""
        self._damaged = True
        self._errors += 1

    def hole(self) -> None:
        """Note that the container lost packets, nobody knows how many.

        At a constant rate the times of the pictures around the hole tell it.
        """
        self._holed = True

    def picture(self, time: int | None, fields: bool = False) -> int | None:
        """The number of the next picture.

        Args:
            time: When it is shown.
            fields: Whether it is interlaced, and may have come in two packets.

        Returns:
            The number; None for one that can't be given, because later ones came before it or it
            is from before the beginning.
        """
        if self.resumed and time is not None and self.first is not None and time < self.first:
            return None
        if self._damaged and time is not None and self._last is not None and time <= self._last:
            return None
        if self._orderly:
            self._place(time, fields)
        if not self._orderly:
            self._lose(self._errors)
        self._errors = 0
        self._last = time
        self._next += 1
        return self._next - 1

    def end(self) -> None:
        """Note that no picture will follow."""
        if self._orderly and (self._damaged or self._silent):
            self._lose(len(self._waiting))
        elif not self._orderly:
            self._lose(self._errors)

    def _place(self, time: int | None, fields: bool) -> None:
        """Find the picture's packet, and those before it that became nothing."""
        if time is None:
            self._orderly = False
            return
        missing = 0
        while self._waiting and self._waiting[0] < time:
            heapq.heappop(self._waiting)
            missing += 1
        if not self._waiting or self._waiting[0] != time:
            self._orderly = False
            return
        heapq.heappop(self._waiting)
        begun = self._last is not None
        gone = self._gone(time)
        if missing and not (gone or self._damaged or (self._silent and begun and not fields)):
            self._orderly = False
            return
        self._lose(max(missing, gone))

    def _gone(self, time: int) -> int:
        """Pictures that a hole in the container took before this one, at a constant rate."""
        if self._last is None:
            return 0
        step = time - self._last
        if not self._holed:
            if len(self._steps) < STEPS:
                self._steps.append(step)
            return 0
        if len(self._steps) < FEWEST_STEPS:
            usual, spread = self._stated_step, 0
        else:
            usual = sum(self._steps) / len(self._steps)
            spread = max(self._steps) - min(self._steps)
        if not usual or spread > max(2, usual / 10):
            return 0
        gone = round(step / usual) - 1
        return gone if 0 < gone <= MOST_GONE else 0  # a larger step is another clock

    def _lose(self, count: int) -> None:
        if count:
            self._damaged = True
            self.lost += range(self._next, self._next + count)
            self._next += count


def named(numbers: list[int]) -> str:
    """Frame numbers as messages write them: `00003, 00007 to 00009`.

    Args:
        numbers: Ascending, at least one.
    """
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(f"{a:05d}" if a == b else f"{a:05d} to {b:05d}" for a, b in spans)
