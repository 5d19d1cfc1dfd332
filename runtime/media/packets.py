"""Packets of a video file, past damage of its container, up to where it is cut off."""

from collections.abc import Callable, Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from mavos_deploy.runtime.media.clock import Clock
from mavos_deploy.runtime.media.decoding import reason_of
from mavos_deploy.runtime.media.structure import ends_early, outline

SLACK = 256  # bytes that may follow the last packet within its part of a file
RETRIES = 8  # errors of reading in a row, without a packet, after which the rest is given up
# Containers whose packets lie one behind the other, with headers of a few bytes, so that a larger
# distance is a hole.
DENSE = ("matroska", "webm", "flv")
HEADER = 64  # bytes
JOINED = "another video begins, as where recordings were joined; give each recording by itself"


class Packets:
    """The packets of a video. Iterate once.

    Attributes:
        cut: Whether the file is cut off, as far as it was read.
        unread: Why the rest of the file isn't read; empty where it is.
        holed: Whether the container lost packets.
        clock: Moves the packets' times where the file's clock jumps.
    """

    def __init__(
        self,
        name: str,
        container: InputContainer,
        stream: VideoStream,
        step: float | None,
        on_hole: Callable[[], None],
    ) -> None:
        """Take an open file.

        Args:
            name: Path of the file.
            container: The file, from which nothing was read yet.
            stream: Its video.
            step: Time from one picture to the next, in the stream's own unit; None if unknown.
            on_hole: Called before a packet in front of which others were lost.
        """
        self.cut = False
        self.unread = ""
        self.holed = False
        self.clock = Clock(container, step)
        self._name = name
        self._container = container
        self._stream = stream
        self._on_hole = on_hole
        self._own_end = self._any_end = 0.0  # seconds
        self._read_end = 0  # bytes
        self._last = 0  # bytes; the place of the video's last packet
        self._other = 0  # bytes; the place of the first packet of another video; 0 for none

    def __iter__(self) -> Iterator["Packet[Stream]"]:
        """Packets of the video, up to where the file is cut off or its container unreadable."""
        # In a recorded transport stream the last packet is commonly incomplete, and nothing states
        # a length; every other container marks a packet as corrupt only if the file ends inside.
        complete_packets = self._container.format.name != "mpegts"
        dense = any(name in DENSE for name in self._container.format.name.split(","))
        failures, torn, news = 0, False, False
        # The video's packets that may follow a hole: a parser marks the one before the torn one.
        behind = 0
        while failures < RETRIES:
            try:
                for packet in self._container.demux():
                    own = packet.stream is self._stream
                    if own and packet.is_corrupt and complete_packets:
                        self.cut = True
                        return
                    if packet.size:
                        failures = 0
                        place = packet.pos or 0
                        far = dense and 0 < self._read_end + HEADER < place
                        # If something follows, a torn packet was not the end of the recording.
                        if (far and self._read_end) or torn:
                            self.holed, behind = True, 2
                            self._on_hole()
                        torn = own and packet.is_corrupt
                        self._note(packet, own)
                        if own:
                            self.clock.move(packet, behind > 0)
                            behind -= 1
                            yield packet
                # A stream of its own, of which nothing comes before the end of this one.
                if news or self._other > self._last:
                    self.unread = JOINED
                return
            except IndexError:  # PyAV's, of a stream that began after the file was opened
                news = True
            except av.FFmpegError as error:
                failures += 1
                self.unread = reason_of(error)
        # The container gave up; what it said last is the reason.

    def _note(self, packet: "Packet[Stream]", own: bool) -> None:
        self.unread = ""  # reading went on behind an error
        start = packet.dts if packet.pts is None else packet.pts
        if start is not None and packet.time_base:
            end = float((start + (packet.duration or 0)) * packet.time_base)
            self._any_end = max(self._any_end, end)
            self._own_end = max(self._own_end, end) if own else self._own_end
        if packet.pos is not None:
            if own:
                self._last = max(self._last, packet.pos)
            elif packet.stream.type == "video" and self.clock.may_jump:
                self._other = self._other or packet.pos
            self._read_end = max(self._read_end, packet.pos + packet.size)

    def check_end(self) -> None:
        """Once all packets were read, find out whether some are missing at the end."""
        if self.cut or self.unread:
            return
        formats = self._container.format.name.split(",")
        early = ends_early(self._container, self._stream, self._own_end, self._any_end)
        # The reader of Matroska passes over a packet that is not there whole, without a word.
        if not early and "matroska" not in formats:
            return
        found = outline(Path(self._name), formats)
        if (found is None and early) or (found is not None and not found.complete):
            self.cut = True
        elif early and found is not None and self._read_end + SLACK < found.data_end:
            self.unread = "its container is damaged"
