"""Tells from the outline of a video file whether all of it is there."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

# A file is cut off if it ends this much before the length it states: the larger of a time and a
# share, because the length that a muxer writes may include the pause after the last frame.
MISSING_SECONDS = 0.5
MISSING_SHARE = 0.01

# Elements of the top levels of Matroska: header, index of the parts, description, tracks, clusters,
# index of the packets, attachments, chapters, tags, padding, checksum.
MATROSKA = frozenset(
    (
        *(0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B),
        *(0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF),
    )
)
SEGMENT, CLUSTER, PADDING = 0x18538067, 0x1F43B675, 0xEC
HEAD = 12  # bytes that hold the name and the length of an element
MAX_PARTS = 1_000_000  # boxes, chunks or elements that are looked at


@dataclass(frozen=True)
class Outline:
    """The outline of a file, by the sizes that it states.

    Attributes:
        complete: Whether all that the file states lies inside of it; for Matroska, whether all
            pictures and sound do, because an index behind them may be missed.
        data_end: Position where its pictures and sound end, in bytes; 0 where an index lists every
            packet, so that none can be missed.
    """

    complete: bool
    data_end: int


def outline(path: Path, formats: list[str]) -> Outline | None:
    """Read the outline of a file.

    Args:
        path: The file.
        formats: FFmpeg's names of its format.

    Returns:
        The outline, or None where the format or the file has none that could be trusted.
    """
    for name, read in (("mp4", _mp4), ("avi", _avi), ("matroska", _matroska)):
        if name in formats:
            try:
                with path.open("rb") as file:
                    return read(file, os.fstat(file.fileno()).st_size)
            except (OSError, ValueError):
                return None
    return None


def ends_early(
    container: InputContainer, stream: VideoStream, own_end: float, any_end: float
) -> bool:
    """Whether the packets end well before the length that the container states.

    Only formats that state a length are judged; for others FFmpeg estimates it.

    Args:
        container: The file.
        stream: Its video.
        own_end: End of the video's last packet, in seconds.
        any_end: End of the last packet, in seconds.
    """
    formats = container.format.name.split(",")
    stated, reached = 0.0, own_end
    if "mp4" in formats and stream.duration is not None and stream.time_base:
        stated = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    elif "avi" in formats and stream.average_rate:
        stated = float(stream.frames / stream.average_rate)
    elif ("matroska" in formats or "flv" in formats) and container.duration:
        # Sound may be the longer one.
        stated, reached = container.duration / av.time_base, any_end
    return stated - reached > max(MISSING_SECONDS, MISSING_SHARE * stated)


def _mp4(file: BinaryIO, size: int) -> Outline | None:
    """Boxes of the top level. A file in fragments lists no packets in one place."""
    position = 0
    for _ in range(MAX_PARTS):
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return Outline(complete=position == size, data_end=0)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if kind in (b"moof", b"sidx"):
            return None
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            return Outline(complete=True, data_end=0)
        if length < 8:
            return None
        position += length
        if position > size:
            return Outline(complete=False, data_end=0)
    return None


def _avi(file: BinaryIO, size: int) -> Outline | None:
    """The RIFF chunks, and in them the lists of packets."""
    position = data_end = 0
    while position + 12 <= size:
        file.seek(position)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or not length:
            break
        end = position + 8 + length
        if end > size:
            return Outline(complete=False, data_end=0)
        data_end = max(data_end, _movi_end(file, position + 12, end))
        position = end + end % 2
    return Outline(complete=True, data_end=data_end) if data_end else None


def _movi_end(file: BinaryIO, position: int, end: int) -> int:
    found = 0
    for _ in range(MAX_PARTS):
        if position + 12 > end:
            break
        file.seek(position)
        head = file.read(12)
        length = int.from_bytes(head[4:8], "little")
        position += 8 + length + length % 2
        if head[:4] == b"LIST" and head[8:12] == b"movi":
            found = min(position, end)
    return found


def _matroska(file: BinaryIO, size: int) -> Outline | None:
    """The segment, and in it the clusters of packets."""
    position, data_end = 0, 0
    end, inside = size, False
    for _ in range(MAX_PARTS):
        if position >= end:
            return Outline(complete=True, data_end=data_end) if data_end else None
        kind, length, start = _element(file, position)
        if length is None:
            return None  # a stream that was recorded as it came
        if kind == SEGMENT:
            if start + length > size:
                return _torn_matroska(file, start, size)
            position, end, inside = start, start + length, True
            continue
        if kind not in MATROSKA:  # damaged: nobody knows what lies from here on
            return Outline(complete=True, data_end=end) if inside else None
        position = start + length
        if kind == CLUSTER:
            data_end = position
    return None


def _torn_matroska(file: BinaryIO, position: int, size: int) -> Outline:
    """A segment that is longer than its file: whether the cut lies behind the clusters."""
    torn = Outline(complete=False, data_end=0)
    data_end = 0
    for _ in range(MAX_PARTS):
        if position + HEAD > size:
            return torn  # a cluster may have followed
        try:
            kind, length, start = _element(file, position)
        except ValueError:
            return torn
        if length is None or kind not in MATROSKA:
            return torn
        position = start + length
        if kind == CLUSTER:
            data_end = position
        elif position > size and data_end and kind != PADDING:
            return Outline(complete=True, data_end=data_end)
    return torn


def _element(file: BinaryIO, position: int) -> tuple[int, int | None, int]:
    """Name, length and start of the content of an EBML element; no length where it is unknown."""
    file.seek(position)
    head = file.read(12)
    if not head or not head[0] or head[0] < 0x10:
        raise ValueError
    name_bytes = 9 - head[0].bit_length()
    rest = head[name_bytes:]
    if not rest or not rest[0]:
        raise ValueError
    length_bytes = 9 - rest[0].bit_length()
    value = int.from_bytes(rest[:length_bytes], "big") & ((1 << 7 * length_bytes) - 1)
    unknown = value == (1 << 7 * length_bytes) - 1
    start = position + name_bytes + length_bytes
    return int.from_bytes(head[:name_bytes], "big"), None if unknown else value, start
