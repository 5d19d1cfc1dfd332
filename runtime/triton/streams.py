"""The tracker on the server: the state of every stream, and the effect of each request on it.

Nothing here knows Triton, so that every rule can be tested without a server.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.errors import InputError, MavosError, ServerError, StreamLostError
from mavos_deploy.runtime.geometry import LARGEST_SIDE
from mavos_deploy.runtime.masks.numbering import Numbering
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.media.pictures import SERVED, read_rgb
from mavos_deploy.runtime.objects import VOID, Labels, ids_of
from mavos_deploy.runtime.protocol import RgbFrame
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.state import State
from mavos_deploy.runtime.triton.wire import StreamLimits, check_array

REMEMBERED = 4096  # streams that are gone, for which the reason can still be told
LARGEST_FILE = 64 * 2**20  # bytes of an encoded frame or mask
MOST_REMOVED = VOID - 1  # ids in `remove`


class FullError(ServerError):
    """All places for streams are taken; another server or a later time may help."""


@dataclass(frozen=True, eq=False)
class StreamRequest:
    """One request, as it came.

    Attributes:
        stream: The correlation id.
        start: First of its stream.
        end: Last of its stream; may come without a frame.
        frame: RGB uint8 [H, W, 3].
        frame_file: A JPEG or PNG file in place of `frame`.
        labels: Ids uint8 [H, W]; needed at the start.
        labels_file: A PNG file with a mask of any kind, in place of `labels`.
        remove: Ids to stop following before this frame.
        frame_index: Number of the stream's frames before this one; None is not checked.
    """

    stream: int
    start: bool = False
    end: bool = False
    frame: RgbFrame | None = None
    frame_file: bytes | None = None
    labels: Labels | None = None
    labels_file: bytes | None = None
    remove: tuple[int, ...] = ()
    frame_index: int | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to a request.

    Attributes:
        labels: Ids uint8 [H, W]; [0, 0] where the request had no frame.
        palette: Palette of the stream's first mask, for a PNG.
        objects: Ids being followed.
        ids: Ids that have a place in the memory.
        frame_index: Index of the frame; -1 without one.
        confidence: Confidence in the masks of `objects`, 0..1; NaN for one that is unknown.
    """

    labels: Labels
    palette: bytes | None
    objects: tuple[int, ...]
    ids: tuple[int, ...]
    frame_index: int
    confidence: tuple[float, ...] = ()

    def labels_file(self) -> bytes:
        """The labels as a palette PNG file; empty where there are none."""
        if not self.labels.size:
            return b""
        image = Image.fromarray(self.labels)
        image.putpalette(palette_colors(self.palette).tobytes())
        file = BytesIO()
        image.save(file, format="PNG")
        return file.getvalue()


def request_of(
    stream: int, start: bool, end: bool, tensors: Mapping[str, NDArray[Any]]
) -> StreamRequest:
    """A request out of the tensors that came with it.

    Args:
        stream: The correlation id.
        start: Whether it is the first of its stream.
        end: Whether it is the last of its stream.
        tensors: Arrays by the names in `INPUTS`.

    Raises:
        InputError: A tensor is unknown, or of another type or shape.
    """
    for name, array in tensors.items():
        check_array(name, array)
    remove, index = tensors.get("remove", ()), tensors.get("frame_index")
    if len(remove) > MOST_REMOVED:
        raise InputError(f"remove: {len(remove)} ids; there are {MOST_REMOVED} at most")
    files = {
        name: bytes(tensors[name][0]) for name in ("frame_file", "labels_file") if name in tensors
    }
    return StreamRequest(
        stream=stream,
        start=start,
        end=end,
        frame=tensors.get("frame"),
        frame_file=files.get("frame_file"),
        labels=tensors.get("labels"),
        labels_file=files.get("labels_file"),
        remove=tuple(map(int, remove)),
        frame_index=None if index is None else int(index[0]),
    )


NOTHING = Answer(np.zeros((0, 0), np.uint8), None, (), (), -1)


@dataclass(eq=False)
class Stream:
    """A stream that is being followed.

    Attributes:
        state: State after the stream's latest frame.
        last: The answer to that frame, for a client that asks again.
        used: Time of the latest request, in seconds of the clock.
        numbering: What its label files have shown, so that all are read alike.
    """

    state: State
    last: Answer
    used: float
    numbering: Numbering


@dataclass(eq=False)
class Streams:
    """All streams of one instance of the tracker.

    Attributes:
        segmenter: Segmenter of all streams; one request at a time uses it.
        limits: Limits beyond which requests are refused.
        clock: Function that returns seconds, which only go forward.
    """

    segmenter: Segmenter
    limits: StreamLimits
    clock: Callable[[], float] = time.monotonic
    _open: dict[int, Stream] = field(default_factory=dict)
    _gone: OrderedDict[int, str] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self._open)

    def handle(self, request: StreamRequest) -> Answer:
        """Carry out a request. A refused one changes nothing; its tensors are checked before all.

        Raises:
            InputError: The request can't be used; the stream goes on.
            StreamLostError: The stream has no state here.
            FullError: There is no place for another stream.
            BackendError: A graph failed; the stream goes on.
        """
        self._check_tensors(request)
        with self._lock:
            self._evict()
            try:
                answer = self._answer(request)
            except MavosError as error:
                # The requests after it must be told why it hasn't begun; an open one goes on.
                if request.start and request.stream not in self._open:
                    self._forget(request.stream, f"its START was refused ({error})")
                raise
            finally:
                if request.end:
                    self._forget(request.stream, "it was ended")
            return answer

    def evict(self) -> int:
        """Drop streams that were idle for too long; returns the number of those left."""
        with self._lock:
            self._evict()
            return len(self._open)

    def _answer(self, request: StreamRequest) -> Answer:
        if request.start:
            # Of a stream that is open, too, which it begins anew, as Triton has it.
            return self._start(request)
        stream = self._open.get(request.stream)
        if stream is None:
            reason = self._gone.get(request.stream, "it was never started here")
            raise StreamLostError(f"stream {request.stream} has no state: {reason}; start it again")
        stream.used = self.clock()
        done = stream.last.frame_index
        if request.frame_index == done:
            return stream.last
        if request.frame is None and request.frame_file is None and request.end:
            return NOTHING
        if request.frame_index is not None and request.frame_index != done + 1:
            raise InputError(
                f"frame_index {request.frame_index} of stream {request.stream}; frame {done + 1} "
                "is next"
            )
        return self._step(request, stream)

    def _start(self, request: StreamRequest) -> Answer:
        if len(self._open.keys() - {request.stream}) >= self.limits.max_streams:
            raise FullError(
                f"this server follows {self.limits.max_streams} streams at once and all are taken; "
                "end one, wait, or raise --max-streams"
            )
        if request.frame_index not in (None, 0):
            raise InputError(f"frame_index {request.frame_index} at START; the first frame is 0")
        frame = self._frame(request)
        numbering = Numbering()
        labels, palette = _labels(request, frame, numbering)
        if labels is None:
            raise InputError("START without labels; send the objects' ids in the first frame")
        self._check_objects((), labels)
        state = self.segmenter.start(frame, labels)
        last = _answer(labels, palette, state, 0)
        self._open[request.stream] = Stream(state, last, self.clock(), numbering)
        self._gone.pop(request.stream, None)
        return last

    def _step(self, request: StreamRequest, stream: Stream) -> Answer:
        frame = self._frame(request)
        annotation, _ = _labels(request, frame, stream.numbering)
        state = stream.state
        if request.remove:
            state = self.segmenter.remove(state, request.remove)
        if annotation is not None:
            self._check_objects(state.ids, annotation)
        labels, state = self.segmenter.step(frame, state, annotation)
        stream.state, stream.used = state, self.clock()
        stream.last = _answer(labels, stream.last.palette, state, stream.last.frame_index + 1)
        return stream.last

    def _frame(self, request: StreamRequest) -> RgbFrame:
        if (request.frame is None) == (request.frame_file is None):
            what = "neither" if request.frame is None else "both"
            raise InputError(f"the request has {what} of frame and frame_file; send one of them")
        if request.frame is not None:
            return request.frame
        assert request.frame_file is not None
        return read_rgb(Path("frame_file"), request.frame_file, self._check_size, SERVED)

    def _check_tensors(self, request: StreamRequest) -> None:
        """Refuse tensors by their types and shapes, which costs nothing and needs no lock."""
        if request.frame is not None:
            check_array("frame", request.frame)
            self._check_size(request.frame.shape[0], request.frame.shape[1])
        if request.labels is not None:
            check_array("labels", request.labels)
            self._check_size(request.labels.shape[0], request.labels.shape[1])
            if request.frame is not None:
                _check_fit("labels", request.labels.shape, request.frame)
        for name in ("frame_file", "labels_file"):
            content = getattr(request, name)
            if content is not None and len(content) > LARGEST_FILE:
                raise InputError(f"{name}: {len(content)} bytes; the limit is {LARGEST_FILE}")

    def _check_size(self, height: int, width: int) -> None:
        longest, pixels = LARGEST_SIDE, self.limits.max_pixels
        if max(height, width) > longest or height * width > pixels or not height * width:
            raise InputError(
                f"a frame of {height}x{width}; this server takes up to {pixels} pixels, and sides "
                f"up to {longest}"
            )

    def _check_objects(self, known: tuple[int, ...], labels: Labels) -> None:
        ids = (set(ids_of(labels)) | set(known)) - {VOID}
        if len(ids) > self.limits.max_objects:
            raise InputError(
                f"{len(ids)} objects in one stream; this server follows up to "
                f"{self.limits.max_objects}"
            )

    def _evict(self) -> None:
        now, limit = self.clock(), self.limits.idle_seconds
        for number in [n for n, s in self._open.items() if now - s.used > limit]:
            self._forget(number, f"it was idle for more than {limit:g} seconds")

    def _forget(self, stream: int, reason: str) -> None:
        self._open.pop(stream, None)
        self._gone.pop(stream, None)
        self._gone[stream] = reason
        while len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)


def _answer(labels: Labels, palette: bytes | None, state: State, index: int) -> Answer:
    """The answer to a frame, with the state after it."""
    confidence = tuple(state.confidence.get(own, math.nan) for own in state.objects)
    return Answer(labels, palette, state.objects, state.ids, index, confidence)


def _labels(
    request: StreamRequest, frame: RgbFrame, numbering: Numbering
) -> tuple[Labels | None, bytes | None]:
    """The labels of a request and their palette."""
    if request.labels is not None and request.labels_file is not None:
        raise InputError("the request has both labels and labels_file; send one of them")
    if request.labels_file is None:
        if request.labels is not None:
            _check_fit("labels", request.labels.shape, frame)
        return request.labels, None

    def check_size(height: int, width: int) -> None:
        _check_fit("labels_file", (height, width), frame)

    reading = read_mask(
        Path("labels_file"), numbering, request.labels_file, check_size, formats=SERVED
    )
    return reading.labels, reading.palette


def _check_fit(name: str, shape: tuple[int, ...], frame: RgbFrame) -> None:
    if shape != frame.shape[:2]:
        raise InputError(
            f"{name}: {shape[0]}x{shape[1]} pixels with a frame of {frame.shape[0]}x"
            f"{frame.shape[1]}; send labels of the frame's size"
        )
