"""Reads the pictures of a video file with their numbers, past damage and from any frame on."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, islice

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.decoding import open_video, reason_of, time_of
from mavos_deploy.runtime.media.numbering import Numbering, named
from mavos_deploy.runtime.media.packets import Packets
from mavos_deploy.runtime.media.part import Place

HELD = 8  # pictures that wait for earlier ones, once damage has brought them out of order
KEPT_PACKETS = 2000  # packets of two groups of pictures that are kept while frames are skipped
APART = 8  # frames at least between key frames that are noted
# Decoders that leave out what they can't show without an error.
SILENT = ("h264", "hevc", "vp9", "av1")
# Containers whose recordings may start between key frames. In others a packet at the start that is
# no key frame is a damaged one.
STREAMED = ("mpegts", "mpeg", "h264", "hevc", "mpegvideo", "m4v", "flv")
# Codecs of which every packet becomes one picture, so that packets can be counted undecoded.
COUNTED = ("h264", "hevc", "av1", "vp9", "mjpeg", "prores", "dnxhd", "ffv1", "mpeg2video")


@dataclass
class Landing:
    """A key frame at which reading may begin.

    Attributes:
        number: Number of its picture.
        time: When the picture is shown, in the stream's own unit.
    """

    number: int
    time: int


class Recording:
    """Pictures of a video file with their numbers. Iterate once.

    Damaged packets are stepped over. Numbers are places in the whole video, whatever is missing
    and wherever reading starts.

    Attributes:
        name: Path of the file.
        stream: Its video.
        landings: Key frames so far, but for the first, at which another reading may begin; none
            where packets can't be counted.
    """

    def __init__(
        self,
        name: str,
        container: InputContainer,
        stream: VideoStream,
        start: Place | None = None,
        landing: Landing | None = None,
    ) -> None:
        """Take an open file.

        Args:
            name: Path of the file.
            container: The file, from which nothing was read yet.
            stream: Its video.
            start: First frame that is wanted, by number or time. Those before it may be left out:
                packets are counted up to the last but one key frame before it, undecoded.
            landing: Key frame to begin at, of an earlier reading; None counts packets.
        """
        self.landings: list[Landing] = []
        self._landing = landing
        self._counted = 0  # packets that become pictures
        self._origin: Fraction | None = None  # time of the first frame
        self._probed = False  # whether the file was opened once more to find it
        self.name = name
        self._container = container
        self.stream = stream
        self._start = start
        rate = stream.average_rate or stream.guessed_rate
        step = float(1 / (rate * stream.time_base)) if rate and stream.time_base else None
        self._joints: list[int] = []
        self._numbering = Numbering(
            step=step,
            silent=stream.codec_context.codec.canonical_name in SILENT
            and container.format.name != "avi",  # whose times may count packets
        )
        self._packets = Packets(name, container, stream, step, self._numbering.hole)
        self._flawed: list[int] = []
        self._last: av.VideoFrame | None = None
        self._given = 0
        self._first_error = ""

    def __iter__(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """The pictures with their numbers.

        Raises:
            InputError: The file is cut off, or nothing can be decoded; pictures before were given.
        """
        # Frame threads would be faster, but behind a damaged packet they lose whole pictures, and
        # which ones depends on the number of processors.
        self.stream.thread_type = "SLICE"
        held: list[tuple[int, int, av.VideoFrame]] = []  # times, order of arrival, pictures
        order = count()
        for picture in self._pictures():
            if self._packets.cut and self._is_gap(picture):
                break  # a cut also loses frames that belong before the last ones kept
            self._last = picture
            if picture.pts is None or not (held or self._numbering.misses(picture.pts)):
                yield from self._numbered(picture)
                continue
            heapq.heappush(held, (picture.pts, next(order), picture))
            if len(held) > HELD:
                yield from self._numbered(heapq.heappop(held)[2])
        while held:
            yield from self._numbered(heapq.heappop(held)[2])
        if self._packets.cut or (not self._given and self._first_error):
            damaged = f"damaged ({self._first_error})"
            problem = "the file is cut off" if self._packets.cut else damaged
            raise InputError(
                f"{self.name}: {problem} at frame {self._numbering.reached:05d}; get a whole "
                "copy, or re-encode what is left of it with ffmpeg"
            )
        self._numbering.end()

    @property
    def lost(self) -> list[int]:
        """Numbers of the pictures that are missing so far, ascending."""
        return self._numbering.lost

    @property
    def shifts(self) -> list[Fraction]:
        """How far times behind each jump of the clock are moved, in seconds; it grows."""
        return self._packets.clock.shifts

    def since_start(self, picture: av.VideoFrame) -> Fraction | None:
        """Seconds from the video's first frame to a picture; None where it has no time."""
        time = time_of(picture)
        return None if time is None else time - (self._begin() or 0)

    def _begin(self) -> Fraction | None:
        """Time of the first frame, for which the file is opened again where it isn't decoded."""
        if self._origin is None and not self._probed:
            self._probed = True
            with open_video(self.name) as container:
                stream = container.streams[self.stream.index]
                assert isinstance(stream, VideoStream)
                whole = Recording(self.name, container, stream)
                next(iter(whole), None)
                self._origin = whole._origin
        return self._origin

    def joined(self) -> list[str]:
        """Lines that say where the clock jumps, as far as the file was read."""
        if not self._joints:
            return []
        return [
            f"{self.name}: its clock jumps at {_frames(self._joints)}, as where recordings were "
            "joined; times go on by the usual step"
        ]

    def damage(self, first: int, last: int | None) -> list[str]:
        """Lines that say what is missing or damaged, once reading is over.

        Args:
            first: Number of the first frame that matters.
            last: Number of the last one; None for all.
        """
        lines = []

        def inside(numbers: list[int]) -> list[int]:
            return [n for n in numbers if n >= first and (last is None or n <= last)]

        if lost := inside(self._numbering.lost):
            lines.append(f"{self.name}: damaged and left out: {_frames(lost)}")
        if flawed := inside(self._flawed):
            lines.append(f"{self.name}: damaged, shown as far as possible: {_frames(flawed)}")
        if self._packets.unread:
            lines.append(
                f"{self.name}: from frame {self._numbering.reached:05d} on it can't be read "
                f"({self._packets.unread})"
            )
        return lines

    def _numbered(self, picture: av.VideoFrame) -> Iterator[tuple[int, av.VideoFrame]]:
        number = self._numbering.picture(picture.pts, picture.interlaced_frame)
        if number is None:
            return
        self._given += 1
        jumps = self._packets.clock.jumps
        while (n := len(self._joints)) < len(jumps) and (picture.pts or 0) >= jumps[n]:
            self._joints.append(number)
        if self._origin is None and not self._numbering.resumed:
            # Packets with earlier times may show nothing: at an edit, or without what they need.
            first = picture.pts if number == 0 else self._numbering.first
            unit = self.stream.time_base
            self._origin = None if first is None or unit is None else first * unit
        if picture.is_corrupt:
            self._flawed.append(number)
        yield number, picture

    def _pictures(self) -> Iterator[av.VideoFrame]:
        """Pictures in the order in which the decoder gives them."""
        for packet in self._from_start():
            yield from self._decoded(packet)
        self._packets.check_end()
        yield from self._decoded(None)

    def undecoded(self) -> "Iterator[Packet[Stream]] | None":
        """The packets of a whole file, of which each becomes a picture, for an index.

        Returns:
            The packets in the order of decoding; None where packets can't tell the pictures. While
            iterating, InputError is raised where some are lost.
        """
        self._packets.clock.ahead_too = False  # an index needs the times that the file has
        return self._whole() if self._countable() else None

    def _whole(self) -> Iterator["Packet[Stream]"]:
        begun = False
        for packet in self._packets:
            if self._packets.clock.jumps:
                raise InputError(f"{self.name}: its clock goes back")
            begun = begun or packet.is_keyframe
            if begun and not packet.is_discard:
                yield packet
        self._packets.check_end()
        read = self._packets
        if read.cut or read.unread or read.holed:
            reason = "cut off" if read.cut else read.unread or "a part of it is lost"
            raise InputError(f"{self.name} is damaged ({reason})")

    def _decoded(self, packet: "Packet[Stream] | None") -> list[av.VideoFrame]:
        if packet is not None and not packet.is_discard:
            self._note_key(packet)
            self._numbering.packet(packet.pts, self._is_key(packet))
        try:
            pictures = self.stream.decode(packet)
            for picture in pictures:  # those that wait for the end come without their unit
                picture.time_base = self.stream.time_base
            return pictures
        except av.FFmpegError as error:
            self._first_error = self._first_error or reason_of(error)
            # At the start of a recording, what comes before the first key frame is no damage.
            if self._numbering.begun:
                self._numbering.error()
            return []

    def _note_key(self, packet: "Packet[Stream]") -> None:
        """Count a packet, and note it where reading may begin at it."""
        begun = self._numbering.begun
        if not (begun or self._is_key(packet)):
            return
        far = not self.landings or self._counted >= self.landings[-1].number + APART
        if self._packets.clock.jumps:
            self.landings.clear()  # no time leads to a packet behind a jump, or only to it
        elif begun and far and packet.is_keyframe and packet.pts is not None and self._countable():
            self.landings.append(Landing(self._counted, packet.pts))
        elif self.landings and packet.pts is not None and packet.pts < self.landings[-1].time:
            self.landings[-1].number += 1  # shown before its key frame
        self._counted += 1

    def _from_start(self) -> Iterator["Packet[Stream]"]:
        """Packets from a key frame on from which the first wanted frame can be decoded."""
        if self._landing is not None:
            yield from self._from_landing(self._landing)
            return
        packets = iter(self._packets)
        if self._start is None or self._packets.clock.may_jump or not self._countable():
            yield from packets
            return
        begin = self._begin()

        def shown(packet: "Packet[Stream]") -> bool:
            """Whether a packet becomes a picture; some before the first lack what they need."""
            if begin is None or packet.pts is None:
                return not packet.is_discard
            return not packet.is_discard and packet.pts * packet.time_base >= begin

        groups: list[list[Packet[Stream]]] = []
        passed = 0  # pictures of groups that were dropped
        for packet in packets:
            if not groups and not self._is_key(packet):
                yield packet  # it gets no number, and may tell the decoder something
                continue
            if not groups or packet.is_keyframe:
                groups.append([])
                if len(groups) > 2:
                    passed += sum(map(shown, groups.pop(0)))
            groups[-1].append(packet)
            if packet.pts is None or sum(map(len, groups)) > KEPT_PACKETS:
                break
            number = passed + sum(shown(p) for group in groups for p in group) - 1
            if self._reaches(packet, number):
                break
        if passed:
            first = groups[0][0].pts
            assert first is not None
            # Pictures that are shown before their key frame need the group before it.
            leading = sum(p.pts is not None and p.pts < first for p in groups[0])
            self._numbering.resume(passed + leading, first)
            self._counted = passed
        yield from (packet for group in groups for packet in group)
        yield from packets

    def _from_landing(self, landing: Landing) -> Iterator["Packet[Stream]"]:
        """Packets from a key frame on; none where the container doesn't lead to it."""
        try:
            self._container.seek(landing.time, stream=self.stream)
        except av.FFmpegError:
            return
        packets = iter(self._packets)
        for packet in islice(packets, KEPT_PACKETS):
            if packet.is_keyframe and packet.pts == landing.time:
                self._numbering.resume(landing.number, landing.time)
                yield packet
                yield from packets
                return

    def _is_key(self, packet: "Packet[Stream]") -> bool:
        """Whether decoding may begin here."""
        if packet.is_keyframe:
            return True
        return not self._numbering.begun and self._container.format.name not in STREAMED

    def _countable(self) -> bool:
        context = self.stream.codec_context
        return (
            context.codec.canonical_name in COUNTED
            and context.field_order in (0, 1)  # a picture of two fields may come in two packets
            and self._container.format.name != "avi"  # its times count packets
        )

    def _reaches(self, packet: "Packet[Stream]", number: int) -> bool:
        """Whether the start lies within the packets up to this one, the `number`-th."""
        if isinstance(self._start, int):
            return number >= self._start
        begin = self._begin()
        if packet.pts is None or self._start is None or begin is None:
            return False
        return packet.pts * packet.time_base - begin >= self._start

    def _is_gap(self, after: av.VideoFrame) -> bool:
        before = self._last
        if before is None or before.pts is None or after.pts is None or not before.duration:
            return False
        return after.pts > before.pts + 1.5 * before.duration


def _frames(numbers: list[int]) -> str:
    return f"frame{'s' if len(numbers) > 1 else ''} {named(numbers)}"
