"""Copies the sound of a video file into a video that is being written, without encoding again."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.clock import AHEAD, BACK, may_jump


class SoundCopy:
    """The sound of a file on its way into a container, packet by packet as its pictures advance."""

    def __init__(
        self, source: Path, target: OutputContainer, shifts: Sequence[Fraction] = ()
    ) -> None:
        """Find the sound; the container gets a stream for each of the source's that it can hold.

        Args:
            source: The file with the sound.
            target: A container that nothing was written to yet.
            shifts: How far pictures behind each jump of the source's clock are moved, in seconds,
                as far as they were read; it may grow.

        Raises:
            InputError: The source can't be read.
        """
        self._name = str(source)
        self._target = target
        self._notes: list[str] = []
        self._origin = Fraction(0)
        self._begin: Fraction | None = None
        self._left_out = 0
        self._shifts = shifts
        self._before: dict[int, Fraction] = {}  # times of the last packets, as in the file
        self._jumps: dict[int, int] = {}  # of the clock, up to them
        try:
            self._container = av.open(f"file:{source}", metadata_errors="replace")
        except (av.FFmpegError, ValueError, OSError) as error:
            raise InputError(f"{source}: its sound cannot be read ({error})") from error
        self._may_jump = may_jump(self._container)
        self._streams: dict[int, AudioStream] = {}
        for stream in self._container.streams.audio:
            if _holds(target.format.name, source, stream.index):
                self._streams[stream.index] = target.add_stream_from_template(stream)
            else:
                codec = "unknown" if stream.codec_context is None else stream.codec_context.name
                self._notes.append(
                    f"sound of {self._name} ({codec}) is not copied, because {target.format.name} "
                    "can't hold it"
                )
        self._last: dict[int, int] = {}
        self._packets = self._read()
        self._next = next(self._packets, None)

    def begin(self, origin: Fraction, cut: bool) -> None:
        """Say where the video begins, before anything is copied.

        Args:
            origin: Time in the source that is 0 in the video, in seconds.
            cut: Whether to leave out sound before it.
        """
        self._origin = origin
        self._begin = origin if cut else None

    def copy(self, until: Fraction | None) -> None:
        """Copy the sound up to a time.

        Args:
            until: Time in the source, in seconds; None copies to the end.

        Raises:
            OSError: The container can't be written to.
        """
        self._copy(until, ended=False)

    def end(self, until: Fraction | None) -> None:
        """Copy what is left of the sound up to a time, once all pictures were read.

        Args:
            until: See `copy`.

        Raises:
            OSError: The container can't be written to.
        """
        self._copy(until, ended=True)

    def _copy(self, until: Fraction | None, ended: bool) -> None:
        while (packet := self._next) is not None:
            stream, time = packet.stream.index, _time(packet)
            assert time is not None
            before, jumps = self._before.get(stream, time), self._jumps.get(stream, 0)
            if self._may_jump and not -BACK <= time - before <= AHEAD:
                if jumps < len(self._shifts):
                    jumps += 1
                elif not ended and (until is None or until < before + self._shift(jumps) + AHEAD):
                    return  # pictures may still come to where the clock jumps
            end = time + self._shift(jumps) + (packet.duration or 0) * packet.time_base
            if until is not None and time + self._shift(jumps) >= until:
                return
            self._before[stream], self._jumps[stream] = time, jumps
            self._next = next(self._packets, None)
            if self._begin is None or end > self._begin:
                self._write(packet, self._shift(jumps))

    def _shift(self, jumps: int) -> Fraction:
        return self._shifts[jumps - 1] if jumps else Fraction(0)

    def close(self) -> list[str]:
        """Close the source.

        Returns:
            Lines that say which sound was not copied, and why.
        """
        self._container.close()
        notes = list(self._notes)
        if self._left_out:
            joined = any(self._jumps.values())
            what = "or overlapping packets, where recordings meet," if joined else "packets"
            notes.append(f"{self._left_out} damaged {what} of the sound of {self._name} left out")
        return notes

    def _read(self) -> "Iterator[Packet[Stream]]":
        """Packets with a time, as far as the file can be read."""
        own = [s for s in self._container.streams.audio if s.index in self._streams]
        if not own:
            return
        try:
            for packet in self._container.demux(own):
                if not packet.size:
                    continue  # the end of a stream
                if _time(packet) is None or packet.is_corrupt:
                    self._left_out += 1
                else:
                    yield packet
        except IndexError:  # PyAV's, of a stream that began after the file was opened
            self._notes.append(f"the sound of {self._name} ends early, because another begins")
        except av.FFmpegError as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._notes.append(f"the sound of {self._name} ends early, because {reason}")

    def _write(self, packet: "Packet[Stream]", moved: Fraction) -> None:
        index = packet.stream.index
        shift = round((self._origin - moved) / packet.time_base)
        if packet.pts is not None:
            packet.pts -= shift
        order = packet.pts if packet.dts is None else packet.dts - shift
        # A container refuses times that go back, and with them all that follows.
        if order is None or order <= self._last.get(index, order - 1):
            self._left_out += 1
            return
        packet.dts = self._last[index] = order
        packet.stream = self._streams[index]
        try:
            self._target.mux(packet)
        except (av.InvalidDataError, av.ArgumentError):
            self._left_out += 1


def _holds(container: str, source: Path, index: int) -> bool:
    """Whether a container takes a stream.

    Lists of codecs promise more than headers keep, and headers more than trailers, so a packet is
    written.
    """
    try:
        with (
            av.open(f"file:{source}", metadata_errors="replace") as given,
            av.open(BytesIO(), "w", format=container) as trial,
        ):
            stream = given.streams[index]
            into = trial.add_stream_from_template(stream)
            packet = next(packet for packet in given.demux(stream) if packet.size)
            packet.stream = into
            packet.pts = packet.dts = 0
            trial.mux(packet)
    except (av.FFmpegError, ValueError, StopIteration):
        return False
    return True


def _time(packet: "Packet[Stream]") -> Fraction | None:
    time = packet.dts if packet.pts is None else packet.pts
    return None if time is None or packet.time_base is None else time * packet.time_base
