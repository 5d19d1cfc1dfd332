"""Every rule of the tracker that needs no server: places, order, idleness, limits."""

import struct
import zlib
from collections.abc import Iterable
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError, MavosError, StreamLostError
from mavos_deploy.runtime.triton.streams import (
    Answer,
    FullError,
    StreamRequest,
    Streams,
    request_of,
)
from mavos_deploy.runtime.triton.tracker import TritonPythonModel
from mavos_deploy.runtime.triton.wire import CONTROLS, StreamLimits

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
FRAME = np.zeros((20, 30, 3), np.uint8)
LABELS = np.zeros((20, 30), np.uint8)
LABELS[:5] = 3


class CountingSegmenter:
    """Answers with the number of the frame; its states are namespaces."""

    def __init__(self) -> None:
        self.steps = 0

    def start(self, frame: np.ndarray, labels: np.ndarray) -> SimpleNamespace:
        ids = tuple(int(i) for i in np.unique(labels) if i)
        return SimpleNamespace(ids=ids, objects=ids, number=0, confidence=dict.fromkeys(ids, 1.0))

    def step(
        self, frame: np.ndarray, state: SimpleNamespace, annotation: np.ndarray | None
    ) -> tuple[np.ndarray, SimpleNamespace]:
        self.steps += 1
        new = () if annotation is None else tuple(int(i) for i in np.unique(annotation) if i)
        ids = tuple(dict.fromkeys((*state.ids, *new)))
        number = state.number + 1
        confidence = {own: own / 10 for own in ids}
        following = SimpleNamespace(ids=ids, objects=ids, number=number, confidence=confidence)
        return np.full(frame.shape[:2], number, np.uint8), following

    def remove(self, state: SimpleNamespace, ids: Iterable[int]) -> SimpleNamespace:
        left = tuple(i for i in state.ids if i not in set(ids))
        return SimpleNamespace(
            ids=left, objects=left, number=state.number, confidence=state.confidence
        )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def streams(clock: Clock) -> Streams:
    limits = StreamLimits(max_streams=2, max_objects=4, max_pixels=1000, idle_seconds=10)
    return Streams(CountingSegmenter(), limits, clock)  # type: ignore[arg-type]


def start(streams: Streams, stream: int = 1, **others: np.ndarray | bytes | int | None) -> Answer:
    request: dict[str, Any] = {"frame": FRAME, "labels": LABELS, **others}
    return streams.handle(StreamRequest(stream, start=True, **request))


def refusal(streams: Streams, request: StreamRequest) -> str:
    with pytest.raises(MavosError) as refused:
        streams.handle(request)
    return str(refused.value)


def test_a_stream_starts_steps_and_ends(streams: Streams) -> None:
    assert start(streams).objects == (3,)
    assert streams.handle(StreamRequest(1, frame=FRAME)).frame_index == 1
    added = np.where(LABELS == 0, 9, 0).astype(np.uint8)
    assert streams.handle(StreamRequest(1, frame=FRAME, labels=added)).objects == (3, 9)
    assert streams.handle(StreamRequest(1, frame=FRAME, remove=(3,))).objects == (9,)
    assert streams.handle(StreamRequest(1, end=True)).labels.size == 0
    assert len(streams) == 0
    assert "it was ended" in refusal(streams, StreamRequest(1, frame=FRAME))


def test_a_repeated_frame_is_answered_again_and_not_taken_again(streams: Streams) -> None:
    start(streams, frame_index=0)
    first = streams.handle(StreamRequest(1, frame=FRAME, frame_index=1))
    again = streams.handle(StreamRequest(1, frame=FRAME, frame_index=1))
    assert again is first
    assert streams.segmenter.steps == 1  # type: ignore[attr-defined]
    assert streams.handle(StreamRequest(1, frame=FRAME, frame_index=2)).frame_index == 2


def test_a_frame_out_of_order_is_refused_and_the_stream_goes_on(streams: Streams) -> None:
    start(streams)
    assert "frame 1 is next" in refusal(streams, StreamRequest(1, frame=FRAME, frame_index=2))
    assert streams.handle(StreamRequest(1, frame=FRAME, frame_index=1)).frame_index == 1


def test_an_idle_stream_loses_its_state_and_is_told_so(streams: Streams, clock: Clock) -> None:
    start(streams, 1)
    clock.now = 6
    start(streams, 2)
    clock.now = 12
    assert streams.evict() == 1
    with pytest.raises(
        StreamLostError, match=r"stream 1 .* idle for more than 10 seconds; start it"
    ):
        streams.handle(StreamRequest(1, frame=FRAME))
    assert streams.handle(StreamRequest(2, frame=FRAME)).frame_index == 1


def test_a_start_beyond_the_places_is_refused_until_one_is_free(streams: Streams) -> None:
    start(streams, 1)
    start(streams, 2)
    with pytest.raises(FullError, match="2 streams at once"):
        start(streams, 3)
    told = refusal(streams, StreamRequest(3, frame=FRAME))
    assert "its START was refused" in told
    streams.handle(StreamRequest(1, end=True))
    assert start(streams, 3).frame_index == 0


def test_a_start_of_an_open_stream_begins_it_anew(streams: Streams) -> None:
    start(streams, 1)
    streams.handle(StreamRequest(1, frame=FRAME))
    assert start(streams, 1).frame_index == 0
    assert len(streams) == 1


def test_reasons_of_streams_that_are_gone_do_not_pile_up(streams: Streams) -> None:
    for number in range(1, 5000):
        streams.handle(StreamRequest(number, start=True, end=True, frame=FRAME, labels=LABELS))
    assert len(streams._gone) == 4096
    assert "never started here" in refusal(streams, StreamRequest(1, frame=FRAME))


def png_header(width: int, height: int) -> bytes:
    """A PNG that states a size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def picture(array: np.ndarray, form: str) -> bytes:
    file = BytesIO()
    Image.fromarray(array).save(file, format=form)
    return file.getvalue()


many = np.arange(300, dtype=np.uint16).reshape(15, 20)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        pytest.param({"frame": None}, "neither of frame and frame_file", id="no-frame"),
        pytest.param({"frame_file": b"x"}, "both of frame and frame_file", id="two-frames"),
        pytest.param({"labels": None}, "START without labels", id="no-labels"),
        pytest.param(
            {"frame": None, "frame_file": b"\xff\xd8\xff\xe0 no more"},
            "frame_file: not a readable picture, or damaged",
            id="malformed-jpeg",
        ),
        pytest.param(
            {"frame": None, "frame_file": picture(FRAME, "JPEG")[:-40]},
            "damaged",
            id="jpeg-cut-off",
        ),
        pytest.param(
            {"frame": None, "frame_file": png_header(40000, 40000)},
            "frame_file: too many pixels",
            id="forty-thousand-pixels-encoded",
        ),
        pytest.param(
            {"frame": None, "frame_file": png_header(400, 300)},
            "a frame of 300x400; this server takes up to 1000 pixels",
            id="beyond-the-limit-encoded",
        ),
        pytest.param(
            {"frame": np.zeros((40000, 1, 3), np.uint8)},
            "a frame of 40000x1",
            id="forty-thousand-pixels-raw",
        ),
        pytest.param(
            {"frame": np.zeros((1, 40000, 3), np.uint8)},
            "a frame of 1x40000",
            id="forty-thousand-pixels-wide",
        ),
        pytest.param(
            {"frame": None, "frame_file": png_header(40000, 20)},
            "a frame of 20x40000",
            id="forty-thousand-pixels-wide-encoded",
        ),
        pytest.param({"frame": np.zeros((0, 9, 3), np.uint8)}, "a frame of 0x9", id="empty"),
        pytest.param(
            {"labels": np.arange(600, dtype=np.uint16).astype(np.uint8).reshape(20, 30)},
            "254 objects in one stream; this server follows up to 4",
            id="all-ids",
        ),
        pytest.param(
            {"labels": None, "labels_file": picture(np.resize(many, (20, 30)), "PNG")},
            "labels_file: 16 bits per pixel with values from",
            id="three-hundred-objects",
        ),
        pytest.param(
            {"labels": None, "labels_file": picture(LABELS[:10], "PNG")},
            "labels_file: 10x30 pixels with a frame of 20x30",
            id="labels-of-another-size",
        ),
        pytest.param(
            {"labels": None, "labels_file": picture(NOISE, "PNG")},
            "labels_file: a picture of .* colours, most of them no region",
            id="coloured-labels",
        ),
        pytest.param({"frame_index": 4}, "the first frame is 0", id="index-at-start"),
    ],
)
def test_a_request_that_cannot_be_used_is_refused_with_its_reason(
    streams: Streams, tensors: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        start(streams, **tensors)
    assert len(streams) == 0


def test_a_refused_frame_leaves_the_stream_as_it_was(streams: Streams) -> None:
    start(streams)
    streams.handle(StreamRequest(1, frame=FRAME))
    refusal(streams, StreamRequest(1, frame_file=b"no picture"))
    assert streams.handle(StreamRequest(1, frame=FRAME)).frame_index == 2


def test_label_files_of_any_kind_are_read_alike_in_one_stream(streams: Streams) -> None:
    levels = np.array([0, 85, 170, 255], np.uint8)
    labels = np.minimum(np.repeat(np.arange(4, dtype=np.uint8), 150).reshape(20, 30), 3)
    first = picture(levels[labels], "PNG")
    answer = start(streams, labels=None, labels_file=first)
    assert np.array_equal(answer.labels, labels)
    fewer = np.where(labels == 2, 0, labels)
    later = StreamRequest(1, frame=FRAME, labels_file=picture(levels[fewer], "PNG"))
    assert streams.handle(later).objects == (1, 2, 3)


def test_encoded_frames_and_labels_are_read_and_labels_written(streams: Streams) -> None:
    indexed = Image.fromarray(LABELS)
    indexed.putpalette([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    file = BytesIO()
    indexed.save(file, format="PNG")
    answer = start(
        streams,
        frame=None,
        frame_file=picture(FRAME, "JPEG"),
        labels=None,
        labels_file=file.getvalue(),
    )
    written = Image.open(BytesIO(answer.labels_file()))
    assert np.array_equal(np.array(written), LABELS)
    assert (written.getpalette() or [])[:12] == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


class UnusedSegmenter:
    """Fails a test that gets as far as segmenting."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        pytest.fail(f"{name} was used")


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        pytest.param(
            {"frame": np.zeros((20, 30), np.uint8)}, r"frame is uint8 \[20, 30\]", id="2d"
        ),
        pytest.param({"frame": np.zeros((20, 30, 4), np.uint8)}, r"frame is uint8", id="rgba"),
        pytest.param({"frame": FRAME.astype(np.float32)}, "frame is float32", id="float-frame"),
        pytest.param({"labels": LABELS.astype(np.int64)}, "labels is int64", id="wide-labels"),
        pytest.param({"labels": LABELS[None]}, r"labels is uint8 \[1, 20, 30\]", id="batch"),
        pytest.param(
            {"labels": LABELS[:7]}, "labels: 7x30 pixels with a frame of 20x30", id="less"
        ),
        pytest.param(
            {"labels": np.broadcast_to(np.uint8(0), (60000, 60000))},
            "a frame of 60000x60000",
            id="giant-labels",
        ),
    ],
)
def test_types_and_shapes_are_checked_before_the_lock_and_before_any_work(
    tensors: dict[str, Any], reason: str
) -> None:
    streams = Streams(UnusedSegmenter(), StreamLimits())  # type: ignore[arg-type]
    with streams._lock, pytest.raises(InputError, match=reason):  # another request is being done
        start(streams, **tensors)
    assert len(streams) == 0


def test_a_refused_start_of_an_open_stream_leaves_it_as_it_was(streams: Streams) -> None:
    start(streams)
    for refused in ({"labels": None}, {"labels": LABELS[:3]}, {"frame_index": 4}):
        with pytest.raises(InputError):
            start(streams, **refused)
    answer = streams.handle(StreamRequest(stream=1, frame=FRAME))
    assert answer.frame_index == 1


def test_an_open_stream_may_begin_anew_where_all_places_are_taken(clock: Clock) -> None:
    limits = StreamLimits(max_streams=1)
    streams = Streams(CountingSegmenter(), limits, clock)  # type: ignore[arg-type]
    start(streams)
    start(streams)
    assert len(streams) == 1


@pytest.mark.parametrize("served", ["TIFF", "BMP", "WEBP"])
def test_served_pictures_are_jpeg_or_png_only(streams: Streams, served: str) -> None:
    with pytest.raises(InputError, match="expected PNG, JPEG"):
        start(streams, frame=None, frame_file=picture(FRAME, served))


def test_a_broken_exif_block_is_refused_as_any_picture(streams: Streams) -> None:
    whole = picture(FRAME, "PNG")
    block = b"eXIfExif\0\0XX\0*\0\0\0\x08"
    chunk = struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
    with pytest.raises(InputError, match="its EXIF block"):
        start(streams, frame=None, frame_file=whole[:33] + chunk + whole[33:])


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        pytest.param({"frame_index": np.zeros(0, np.int64)}, "frame_index is int64", id="no-index"),
        pytest.param({"frame_index": np.zeros(1, np.int32)}, "frame_index is int32", id="int32"),
        pytest.param({"frame_file": np.zeros(0, np.object_)}, "frame_file is object", id="no-file"),
        pytest.param({"frame_file": np.array(["x"], np.object_)}, "frame_file is", id="text"),
        pytest.param({"remove": np.zeros((2, 2), np.uint8)}, "remove is uint8", id="square"),
        pytest.param({"remove": np.zeros(99999, np.uint8)}, "99999 ids; there are", id="many"),
        pytest.param({"other": FRAME}, "'other' is no tensor", id="unknown"),
    ],
)
def test_tensors_of_a_request_are_checked_as_they_come(
    tensors: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        request_of(1, False, False, tensors)


def test_a_request_is_made_of_its_tensors() -> None:
    file = np.array([b"png"], np.object_)
    index, remove = np.array([5]), np.array([1, 9], np.uint8)
    tensors = {"frame": FRAME, "labels_file": file, "remove": remove, "frame_index": index}
    request = request_of(7, True, False, tensors)
    assert (request.stream, request.start, request.end) == (7, True, False)
    assert request.frame is FRAME
    assert (request.labels_file, request.labels, request.frame_file) == (b"png", None, None)
    assert (request.remove, request.frame_index) == ((1, 9), 5)


def test_control_tensors_of_a_sequence_are_left_out() -> None:
    def tensor(name: str, value: object) -> SimpleNamespace:
        return SimpleNamespace(name=lambda: name, as_numpy=lambda: value)

    controls = [tensor(name, np.ones(1)) for name in CONTROLS]
    inputs = [*controls, tensor("frame", FRAME)]
    asked = SimpleNamespace(flags=lambda: 1, correlation_id=lambda: 7, inputs=lambda: inputs)
    request = TritonPythonModel()._read(asked)
    assert (request.stream, request.start, request.frame is FRAME) == (7, True, True)


class Failing:
    """A request whose tensors can't even be asked for."""

    def is_cancelled(self) -> bool:
        return False

    def flags(self) -> int:
        return 0

    def correlation_id(self) -> int:
        return 1

    def inputs(self) -> list[Any]:
        raise TypeError("a bug\nof ours")


def test_an_unforeseen_error_is_that_requests_own() -> None:
    model = TritonPythonModel()
    model._streams = Streams(UnusedSegmenter(), StreamLimits())  # type: ignore[arg-type]
    errors: list[tuple[str, object]] = []

    class TritonError:
        INTERNAL, INVALID_ARG = "internal", "invalid"

        def __init__(self, message: str, code: object) -> None:
            errors.append((message, code))

    model._pb = SimpleNamespace(InferenceResponse=dict, TritonError=TritonError)
    assert len(model.execute([Failing(), Failing()])) == 2
    assert errors == [("internal error, TypeError: a bug of ours", "internal")] * 2
