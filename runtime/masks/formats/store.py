"""A run-length store: the label maps of one video in one file, to be read by frame number.

Records follow each other, each with its length and a checksum: names and palette, then a record for
each frame, at the end an index. A file that was not closed, because the process was killed, lacks
the index; it is read all the same, up to the last whole record. A frame's run lengths are deflated
with those of the frame before as a dictionary, and every `KEY_EVERY` frames without.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from mavos_deploy import records
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.runs import pack_numbers, runs_of, unpack_numbers
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.system.files import writing

SUFFIX = ".mavosmasks"
FORMAT_VERSION = 1
MAGIC = b"MAVOSRLE"
KEY_EVERY = 32  # frames; reading any frame decodes so many at most
LARGEST = 1 << 28  # pixels of a frame
_RECORD = struct.Struct("<4sII")  # kind, bytes, CRC-32
_FRAME = struct.Struct("<IIIBH")  # number, height, width, whether it needs no other, bytes of stem
_PLACE = struct.Struct("<IQ")  # number, position of the record
_END = struct.Struct("<Q8s")  # position of the index, magic


@dataclass(frozen=True)
class _Head:
    """The first record."""

    video: str
    names: Mapping[str, str]
    palette: str | None  # hex digits


@dataclass(frozen=True)
class _Record:
    """One record: where it starts and ends, in bytes, and its kind."""

    start: int
    end: int
    kind: bytes
    content: bytes


class StoreWriter:
    """Appends the frames of a video to a store, which can be read at any time.

    Args:
        path: The file to create or replace.
        legend: Names and palette.
        after: Keep the first frames of a store that exists, so many, and go on behind them.

    Raises:
        InputError: The place can't be written to, or the store that exists lacks these frames.
    """

    def __init__(self, path: Path, legend: Legend, after: int = 0) -> None:
        self._path = path
        self._places: list[tuple[int, int]] = []
        self._before = b""
        if after:
            self._open_again(after)
            return
        head = _Head(
            legend.video,
            {str(number): name for number, name in legend.names.items()},
            None if legend.palette is None else legend.palette.hex(),
        )
        text = json.dumps(records.encode(head, FORMAT_VERSION))
        with writing(path):
            path.resolve().parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("wb")
            self._file.write(MAGIC)
            self._append(b"HEAD", text.encode())

    def _open_again(self, after: int) -> None:
        store = MaskStore(self._path)
        if len(store) < after:
            raise InputError(
                f"{self._path} holds {len(store)} frames, and {after} were expected; it was "
                "changed since it was written"
            )
        self._places = store.places[:after]
        self._before = store.plain(after - 1)
        end = store.end_of(after - 1)
        with writing(self._path):
            self._file = self._path.open("r+b")
            self._file.truncate(end)
            self._file.seek(end)

    def write(self, frame: LabelledFrame) -> None:
        """Append a frame; the file is readable up to it from then on.

        Raises:
            InputError: The number isn't larger than the one before, or the disk is full.
        """
        if self._places and frame.index <= self._places[-1][0]:
            raise InputError(
                f"{self._path}: frame {frame.index} after frame {self._places[-1][0]}; numbers "
                "must ascend"
            )
        plain = _plain(frame.labels)
        key = len(self._places) % KEY_EVERY == 0
        height, width = frame.labels.shape
        stem = frame.stem.encode("utf-8", "surrogateescape")
        content = _FRAME.pack(frame.index, height, width, key, len(stem)) + stem
        content += _deflate(plain, b"" if key else self._before)
        with writing(self._path):
            place = self._file.tell()
            self._append(b"MASK", content)
        self._places.append((frame.index, place))
        self._before = plain

    def _append(self, kind: bytes, content: bytes) -> None:
        self._file.write(_RECORD.pack(kind, len(content), zlib.crc32(content)) + content)
        self._file.flush()

    def sync(self) -> None:
        """Wait until the frames so far are on the disk, also if the machine itself stops.

        Raises:
            InputError: The disk is full.
        """
        with writing(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Append the index. Safe to call twice.

        Raises:
            InputError: The disk is full; the frames can be read all the same.
        """
        if self._file.closed:
            return
        with writing(self._path), self._file:
            place = self._file.tell()
            self._append(b"INDX", b"".join(_PLACE.pack(*entry) for entry in self._places))
            self._file.write(_END.pack(place, MAGIC))

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


class MaskStore:
    """The label maps of a video, by frame number.

        store = MaskStore("masks.mavosmasks")
        labels = store[120]
        for number, labels in store.items():
            ...

    Attributes:
        path: The file.
        legend: Names and palette.
        complete: Whether the store was closed; otherwise the process that wrote it was killed, and
            later frames may be missing.
        places: Number of each frame, ascending, and the position of its record.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the index, or make it anew where it is missing.

        Raises:
            InputError: The file is missing, or is no store or damaged at its beginning.
        """
        self.path = Path(path)
        try:
            self._file: BinaryIO = self.path.open("rb")
        except OSError as error:
            raise InputError(f"{path} cannot be opened: {error.strerror}") from None
        try:
            if self._file.read(len(MAGIC)) != MAGIC:
                raise self._unlike("it does not begin as one")
            head = self._record(len(MAGIC))
            if head is None or head.kind != b"HEAD":
                raise self._unlike("its first record is damaged")
            self.legend = self._legend(head.content)
            self._first = head.end
            places = self._index()
            self.complete = places is not None
            self.places = self._scan(head.end) if places is None else places
        except BaseException:
            self._file.close()
            raise
        self._at = {number: order for order, (number, _) in enumerate(self.places)}
        self._last: tuple[int, bytes] = (-1, b"")

    def extend(self) -> None:
        """Take in the frames that a writer has appended since, here or in another process."""
        start = self.end_of(len(self.places) - 1) if self.places else self._first
        found = self._scan(start)
        self._at |= {number: order for order, (number, _) in enumerate(found, len(self.places))}
        self.places += found

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the frames, ascending."""
        return tuple(number for number, _ in self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, number: object) -> bool:
        return number in self._at

    def __getitem__(self, number: int) -> Labels:
        """Labels of a frame, uint8, shape (H, W).

        Raises:
            InputError: There is no such frame, or its record is damaged.
        """
        order = self._order(number)
        plain = self.plain(order)
        _, height, width, _, _ = self._header(order)
        try:
            return _labels(plain, height, width)
        except ValueError as error:
            raise self._damaged(order, str(error)) from None

    def items(self) -> Iterator[tuple[int, Labels]]:
        """Numbers and labels of all frames in order."""
        for number, _ in self.places:
            yield number, self[number]

    def stem(self, number: int) -> str:
        """Name of a frame; see `__getitem__`."""
        return self._header(self._order(number))[4]

    def _order(self, number: int) -> int:
        if number not in self._at:
            raise InputError(f"{self.path}: no frame {number}; {self._range()}")
        return self._at[number]

    def plain(self, order: int) -> bytes:
        """The frame's run lengths in bytes, for a writer that goes on behind it.

        Args:
            order: Place of the frame among all, from 0.
        """
        first = order
        while first != self._last[0] and not self._header(first)[3]:
            first -= 1
            if first < 0:
                raise self._damaged(order, "the frame that it builds on is missing")
        for here in range(first, order + 1):
            if here != self._last[0]:
                self._last = (here, self._inflated(here))
        return self._last[1]

    def end_of(self, order: int) -> int:
        """Position behind a frame's record, in bytes."""
        return self._checked(order).end

    def _inflated(self, order: int) -> bytes:
        content = self._checked(order).content
        _, height, width, key, stem = _FRAME.unpack_from(content)
        deflated = content[_FRAME.size + stem :]
        try:
            return _inflate(deflated, b"" if key else self._last[1], height * width)
        except (zlib.error, ValueError) as error:
            raise self._damaged(order, str(error)) from None

    def _header(self, order: int) -> tuple[int, int, int, bool, str]:
        content = self._checked(order).content
        number, height, width, key, length = _FRAME.unpack_from(content)
        stem = content[_FRAME.size : _FRAME.size + length].decode("utf-8", "surrogateescape")
        return number, height, width, bool(key), stem

    def _checked(self, order: int) -> _Record:
        record = self._record(self.places[order][1])
        if record is None or record.kind != b"MASK" or len(record.content) < _FRAME.size:
            raise self._damaged(order, "its checksum differs")
        return record

    def _record(self, start: int) -> _Record | None:
        """The record at a position; None where there is no whole one."""
        self._file.seek(start)
        head = self._file.read(_RECORD.size)
        if len(head) < _RECORD.size:
            return None
        kind, length, checksum = _RECORD.unpack(head)
        content = self._file.read(length)
        if len(content) < length or zlib.crc32(content) != checksum:
            return None
        return _Record(start, start + _RECORD.size + length, kind, content)

    def _index(self) -> list[tuple[int, int]] | None:
        """Frames by the index at the end; None where it is missing."""
        size = self._file.seek(0, 2)
        if size < _END.size:
            return None
        self._file.seek(size - _END.size)
        start, magic = _END.unpack(self._file.read(_END.size))
        record = self._record(start) if magic == MAGIC and start < size else None
        if record is None or record.kind != b"INDX" or record.end != size - _END.size:
            return None
        return list(_PLACE.iter_unpack(record.content))

    def _scan(self, start: int) -> list[tuple[int, int]]:
        """Frames by the records themselves, up to the first that isn't whole."""
        places: list[tuple[int, int]] = []
        while (record := self._record(start)) is not None and record.kind == b"MASK":
            if len(record.content) < _FRAME.size:
                break
            places.append((_FRAME.unpack_from(record.content)[0], start))
            start = record.end
        return places

    def _legend(self, content: bytes) -> Legend:
        head = records.decode(_Head, content, self._unlike, FORMAT_VERSION)
        try:
            names = {int(number): name for number, name in head.names.items()}
            palette = None if head.palette is None else bytes.fromhex(head.palette)
        except ValueError as error:
            raise self._unlike(str(error)) from None
        return Legend(head.video, names, palette)

    def _range(self) -> str:
        numbers = self.numbers
        return f"it holds {numbers[0]} to {numbers[-1]}" if numbers else "it holds no frame"

    def _unlike(self, reason: str) -> InputError:
        remedy = records.advice(reason, "give a file that --write store wrote")
        return InputError(f"{self.path} is no run-length store ({reason}){remedy}")

    def _damaged(self, order: int, reason: str) -> InputError:
        return InputError(
            f"{self.path}: frame {self.places[order][0]} is damaged ({reason}); copy the file "
            "again, or write it anew"
        )

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()

    def __enter__(self) -> "MaskStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


def _plain(labels: Labels) -> bytes:
    """Number of runs, their values, their lengths."""
    lengths, values = runs_of(labels)
    return struct.pack("<I", len(values)) + values.tobytes() + pack_numbers(lengths)


def _labels(plain: bytes, height: int, width: int) -> Labels:
    """Labels out of what `_plain` made.

    Raises:
        ValueError: They don't fill the frame.
    """
    if len(plain) < 4:
        raise ValueError("its runs are missing")
    (count,) = struct.unpack_from("<I", plain)
    values = np.frombuffer(plain, np.uint8, min(count, len(plain) - 4), 4)
    lengths = unpack_numbers(plain[4 + count :])
    if len(values) != count or len(lengths) != count or (lengths < 0).any():
        raise ValueError("its runs are incomplete")
    if lengths.sum() != height * width or lengths.max(initial=0) > height * width:
        raise ValueError("its runs do not fill the frame")
    return np.repeat(values, lengths).reshape(height, width)


def _deflate(plain: bytes, dictionary: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zdict=dictionary)
    return packer.compress(plain) + packer.flush()


def _inflate(deflated: bytes, dictionary: bytes, pixels: int) -> bytes:
    """Undo `_deflate`, for a frame of so many pixels.

    Raises:
        ValueError: The frame is too large, or holds more than its runs can be.
        zlib.error: The bytes are damaged.
    """
    if pixels > LARGEST:
        raise ValueError(f"a frame of {pixels} pixels; {LARGEST} are accepted")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS, zdict=dictionary)
    plain = unpacker.decompress(deflated, 4 + 3 * pixels + 16)
    if not unpacker.eof:
        raise ValueError("its runs are incomplete")
    return plain
