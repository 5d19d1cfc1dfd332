"""A segmenter whose graphs and states are on a Triton server: `mavos-triton`'s tracker model."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError, MavosError, ServerError, StreamLostError, one_line
from mavos_deploy.runtime.geometry import LARGEST_SIDE, Size
from mavos_deploy.runtime.objects import VOID, Labels
from mavos_deploy.runtime.protocol import (
    About,
    RgbFrame,
    check_followed,
    check_frame,
    check_labels,
    check_state,
)
from mavos_deploy.runtime.system.loading import load
from mavos_deploy.runtime.triton.wire import (
    LATER,
    OUTPUTS,
    TRACKER,
    UNKNOWN_STREAM,
    Untyped,
    check_array,
)

TIMEOUT = 30.0  # seconds that an answer may take
RETRIES = 3
FIRST_PAUSE = 0.2  # seconds before the first retry; each further pause is twice as long
LARGEST_ID = 2**63 - 1
LARGEST_ANSWER = 2 * LARGEST_SIDE**2  # bytes

# gRPC statuses after which the same request may be sent again: the tracker answers a frame that it
# has done already from its notes, so no frame is taken twice.
AGAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED")

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class RemoteState:
    """A stream on the server, after one of its frames. The state itself stays there.

    Unlike a local state it can be used once: the server keeps only the latest one.

    Attributes:
        stream: The correlation id.
        size: Height and width of the frames, in pixels.
        frame: Frames since the start.
        objects: Ids being followed.
        ids: Ids that the memory has a place for, removed ones among them.
        removed: Ids to stop following with the next frame.
        confidence: Confidence in the latest mask by id, 0..1; empty where the server's repository
            was written by a release that didn't tell.
    """

    stream: int
    size: Size
    frame: int
    objects: tuple[int, ...]
    ids: tuple[int, ...]
    removed: tuple[int, ...] = ()
    confidence: Mapping[int, float] = field(default_factory=dict)


class RemoteSegmenter:
    """Segments videos on a server, as `Segmenter` does here.

        with RemoteSegmenter("localhost:8001") as segmenter:
            state = segmenter.start(first_frame, first_labels)
            for frame in frames:
                labels, state = segmenter.step(frame, state)
            segmenter.end(state)

    It is a `VideoSegmenter` (runtime/protocol.py). Requests that got no answer are sent again, and
    a frame is never taken twice by that. A stream whose state the server lost raises
    `StreamLostError`; start it again with labels that are known.

    Args:
        address: The server's gRPC endpoint, `host:port`.
        model: Name of the tracker model.
        timeout: Seconds that an answer may take before the request is sent again.
        retries: How often a request is sent again.

    Attributes:
        about: The bundle behind the tracker model.

    Raises:
        InputError: The address is none.
        ServerError: The server can't be reached, or the model is no tracker.
        MavosError: Triton's client library is missing.
    """

    def __init__(
        self, address: str, model: str = TRACKER, timeout: float = TIMEOUT, retries: int = RETRIES
    ) -> None:
        self.address = address
        self._model = model
        self._timeout = timeout
        self._retries = retries
        self._grpc = _library("tritonclient.grpc")
        self._errors = _library("tritonclient.utils").InferenceServerException
        try:
            self._client = self._grpc.InferenceServerClient(
                address,
                channel_args=[
                    ("grpc.max_reconnect_backoff_ms", 1000),
                    # gRPC's own limit, 4 MB, is below the labels of a frame in 4K.
                    ("grpc.max_receive_message_length", LARGEST_ANSWER),
                ],
            )
        except Exception as error:  # gRPC's own, for a text that is no address
            raise InputError(f"server address {address!r}: {error}; expected host:port") from error
        self._open: set[int] = set()
        self._outputs = ["labels", "objects", "ids"]
        self.about, self._size = self._describe()

    def input_size(self, video: Size) -> Size:
        """Height and width in the network, which a server has but one of."""
        del video
        return self._size

    def prepare(self, frame: RgbFrame) -> RgbFrame:
        """The frame itself, once it is checked; the server resizes it.

        Raises:
            InputError: Shape or type is off.
        """
        check_frame(frame, floats=False)
        return frame

    def start(self, frame: RgbFrame, labels: Labels) -> RemoteState:
        """Begin a stream with its reference frame; see `VideoSegmenter.start`.

        Raises:
            InputError: The frame or the labels are refused, here or by the server.
            ServerError: The server can't be reached, or has no place for another stream.
        """
        frame = self.prepare(frame)
        check_labels(labels, _size(frame), first=True)
        stream = 1 + secrets.randbelow(LARGEST_ID)
        self._open.add(stream)
        tensors: Tensors = {"frame": frame, "labels": labels, "frame_index": _index(0)}
        try:
            answer = self._ask(stream, tensors, start=True)
        except MavosError:
            self._end(stream)
            raise
        return _state(stream, frame, answer, 0)

    def step(
        self, frame: RgbFrame, state: RemoteState, annotation: Labels | None = None
    ) -> tuple[Labels, RemoteState]:
        """Segment the next frame of a stream; see `VideoSegmenter.step`.

        Raises:
            InputError: The frame or the annotation is refused; the stream goes on.
            StreamLostError: The server has no state of this stream any more.
            ServerError: The server can't be reached, or failed.
        """
        check_state(state, RemoteState)
        frame = self.prepare(frame)
        if annotation is not None:
            check_labels(annotation, _size(frame))
        index = state.frame + 1
        tensors: Tensors = {"frame": frame, "frame_index": _index(index)}
        if annotation is not None and annotation.any():
            tensors["labels"] = annotation
        if state.removed:
            tensors["remove"] = np.array(state.removed, np.uint8)
        answer = self._ask(state.stream, tensors)
        return answer["labels"], _state(state.stream, frame, answer, index)

    def remove(self, state: RemoteState, ids: Iterable[int]) -> RemoteState:
        """Stop following objects from the next frame on; see `VideoSegmenter.remove`.

        Raises:
            InputError: An id that isn't being followed.
        """
        ids = set(ids)
        check_followed(ids, state.objects)
        kept = tuple(own for own in state.objects if own not in ids)
        removed = tuple(sorted({*state.removed, *ids}))
        return replace(state, objects=kept, removed=removed)

    def end(self, state: RemoteState) -> None:
        """Give the stream's place on the server back; safe to call twice."""
        self._end(state.stream)

    def close(self) -> None:
        """End all streams and close the connection."""
        for stream in list(self._open):
            self._end(stream)
        self._client.close()

    def __enter__(self) -> "RemoteSegmenter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _describe(self) -> tuple[About, Size]:
        """What the server says of the bundle, and the size of frames in the network."""

        def call() -> Untyped:
            return self._client.get_model_config(
                self._model, as_json=False, client_timeout=self._timeout
            )

        config = self._again(call, f"model {self._model}").config
        told = {output.name for output in config.output}
        self._outputs += [name for name in LATER if name in told]
        parameters = config.parameters
        found = {name: value.string_value for name, value in parameters.items()}
        try:
            about = About("triton", found["variant"], found["trained"] == "yes")
            height, width = int(found["height"]), int(found["width"])
            if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
                raise ValueError(f"frames of {height}x{width}")
            return about, (height, width)
        except (KeyError, ValueError) as error:
            raise ServerError(
                f"{self.address}: model {self._model} is no tracker of mavos-triton ({error})"
            ) from None

    def _ask(self, stream: int, tensors: Tensors, start: bool = False) -> Tensors:
        """Send a frame, again if need be, and return the answer's tensors."""
        inputs = [self._input(name, tensor) for name, tensor in tensors.items()]
        outputs = [self._grpc.InferRequestedOutput(name) for name in self._outputs]

        def call() -> Untyped:
            return self._client.infer(
                self._model,
                inputs,
                outputs=outputs,
                sequence_id=stream,
                sequence_start=start,
                client_timeout=self._timeout,
            )

        result = self._again(call, f"stream {stream}")
        try:
            answer = {output.name(): result.as_numpy(output.name()) for output in outputs}
            _check_answer(answer, _size(tensors["frame"]))
        except (InputError, ValueError, TypeError) as error:  # numpy's, where sizes don't fit
            raise ServerError(
                f"{self.address} answers stream {stream} with what is no answer of model "
                f"{self._model} ({one_line(error)}); look at the server's version"
            ) from None
        return answer

    def _input(self, name: str, tensor: NDArray[Any]) -> Untyped:
        tensor = np.ascontiguousarray(tensor)
        dtype = {"uint8": "UINT8", "int64": "INT64"}[tensor.dtype.name]
        made = self._grpc.InferInput(name, tensor.shape, dtype)
        made.set_data_from_numpy(tensor)
        return made

    def _again(self, call: Callable[[], Untyped], what: str) -> Untyped:
        """Call until there is an answer; errors become those of this package."""
        pause = FIRST_PAUSE
        for attempt in range(self._retries + 1):
            try:
                return call()
            except self._errors as error:
                status = (error.status() or "").removeprefix("StatusCode.")
                message = " ".join((error.message() or "").split())
                if UNKNOWN_STREAM in message or (status == "NOT_FOUND" and "stream" in message):
                    raise self._lost(what, message) from None
                if status == "INVALID_ARGUMENT":
                    raise InputError(f"{self.address} refuses {what}: {message}") from None
                if status not in AGAIN or attempt == self._retries:
                    tried = f" after {attempt + 1} attempts" if attempt else ""
                    raise ServerError(
                        f"{self.address} gave no answer for {what}{tried} ({status}: {message})"
                    ) from None
                time.sleep(pause)
                pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _lost(self, what: str, message: str) -> StreamLostError:
        if UNKNOWN_STREAM in message:
            message = (
                "it doesn't know the stream: it was restarted, or the stream was idle for too long"
            )
        return StreamLostError(
            f"{self.address} has lost the state of {what} ({message}); start it again with labels "
            "of a frame that are known"
        )

    def _end(self, stream: int) -> None:
        """Send END without a frame; where it is lost, idle expiry frees the place."""
        if stream not in self._open:
            return
        self._open.discard(stream)
        nothing = self._grpc.InferInput("frame_index", (1,), "INT64")
        nothing.set_data_from_numpy(_index(-1))
        with suppress(self._errors):
            self._client.infer(
                self._model,
                [nothing],
                outputs=[self._grpc.InferRequestedOutput("frame_index")],
                sequence_id=stream,
                sequence_end=True,
                client_timeout=self._timeout,
            )


def _library(name: str) -> Untyped:
    try:
        return load(name)
    except (ImportError, TypeError) as error:  # a TypeError where protobuf is too new for it
        raise MavosError(
            f"Triton's client library can't be imported ({error}); install it with "
            "pip install 'mavos-deploy[triton]'"
        ) from error


def _check_answer(answer: Tensors, size: Size) -> None:
    """Refuse an answer whose tensors are not labels and ids of a frame of that size."""
    for name, array in answer.items():
        check_array(name, array, OUTPUTS)
    if answer["labels"].shape != size:
        raise InputError(f"labels of {list(answer['labels'].shape)} for a frame of {list(size)}")
    for name in ("objects", "ids"):
        ids = answer[name].tolist()
        if len(set(ids)) < len(ids) or not all(0 < number < VOID for number in ids):
            raise InputError(f"{name} are {ids!r:.60}, and ids go from 1 to {VOID - 1}, each once")
    known = np.zeros(VOID + 1, np.bool_)
    known[0] = known[answer["ids"]] = True
    if not known[answer["objects"]].all():
        raise InputError("objects that are none of the ids")
    if not known[answer["labels"]].all():
        raise InputError("labels of objects that are none of the ids")
    if (confidence := answer.get("confidence")) is not None:
        if len(confidence) != len(answer["objects"]):
            raise InputError(f"{len(confidence)} confidences of {len(answer['objects'])} objects")
        if not (np.isnan(confidence) | ((confidence >= 0) & (confidence <= 1))).all():
            raise InputError(f"confidence is {confidence.tolist()!r:.60}, and goes from 0 to 1")


def _size(frame: RgbFrame) -> Size:
    return frame.shape[0], frame.shape[1]


def _state(stream: int, frame: RgbFrame, answer: Tensors, index: int) -> RemoteState:
    objects, ids = (tuple(answer[name].tolist()) for name in ("objects", "ids"))
    told = answer.get("confidence")
    values = [] if told is None else told.tolist()
    confidence = {own: value for own, value in zip(objects, values, strict=False) if value >= 0}
    return RemoteState(stream, _size(frame), index, objects, ids, confidence=confidence)


def _index(frame: int) -> NDArray[np.int64]:
    return np.array([frame], np.int64)
