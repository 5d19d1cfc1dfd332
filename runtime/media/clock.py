"""Continues the times of videos that were joined byte by byte, where their clock jumps."""

from fractions import Fraction

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from mavos_deploy.runtime.media.numbering import MOST_GONE

TS_DISCONT = 0x200  # of FFmpeg's flags: the times of files in this format may jump
# Times of decoding jump where they go back, and behind a hole so far ahead that no count of lost
# pictures can tell.
BACK = 0.1  # seconds
AHEAD = 10.0  # seconds


def may_jump(container: InputContainer) -> bool:
    """Whether files of this format can be joined byte by byte, so that their clock may jump."""
    return bool(container.format.flags & TS_DISCONT)


class Clock:
    """Moves the times of a stream's packets so that they go on where the clock jumps.

    Attributes:
        may_jump: Whether files of this format can be joined byte by byte; others aren't touched.
        ahead_too: Whether jumps ahead count, too, besides those that go back.
        jumps: Times of the first packets behind the jumps, as moved, in the stream's own unit.
        shifts: How far times behind each jump are moved, in seconds.
    """

    def __init__(self, container: InputContainer, step: float | None) -> None:
        """Begin before the first packet.

        Args:
            container: The file of the stream.
            step: Time from one picture to the next by what the file states, in the stream's own
                unit; None if unknown.
        """
        self.may_jump = may_jump(container)
        self.ahead_too = True
        self.jumps: list[int] = []
        self.shifts: list[Fraction] = []
        self._step = step
        self._shift = 0
        self._holed = False  # since the last time of decoding
        self._decoded: int | None = None  # time of decoding of the last packet, as moved
        self._shown = -(1 << 62)  # the latest time at which one so far is shown, as moved

    def move(self, packet: "Packet[Stream]", holed: bool) -> None:
        """Move the times of the next packet.

        Args:
            packet: The packet, which is changed.
            holed: Whether packets were lost between the last one and it, as it seems where
                recordings meet. Else a time far ahead is that of a picture that was shown for long.
        """
        if not self.may_jump:
            return
        self._holed = self._holed or holed
        step = max(1, round(self._step or packet.duration or 1))
        if packet.dts is not None and self._decoded is not None:
            ahead = float((packet.dts + self._shift - self._decoded) * packet.time_base)
            most = max(AHEAD, MOST_GONE * float(step * packet.time_base))
            if ahead < -BACK or (ahead > most and self._holed and self.ahead_too):
                first = packet.dts if packet.pts is None else packet.pts
                self._shift = max(self._decoded + step - packet.dts, self._shown + step - first)
                self.jumps.append(first + self._shift)
                self.shifts.append(self._shift * packet.time_base)
            elif packet.dts + self._shift > self._decoded:
                self._step = packet.dts + self._shift - self._decoded
        if packet.dts is not None:
            packet.dts += self._shift
            self._decoded = packet.dts
            self._holed = False
        if packet.pts is not None:
            packet.pts += self._shift
            self._shown = max(self._shown, packet.pts)
