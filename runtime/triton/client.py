"""A segmenter whose graphs and states are on a Triton server: `mavos-triton`'s tracker model."""

import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError, MavosError, ServerError, StreamLostError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.triton.wire import TRACKER, UNKNOWN_STREAM, Untyped

TIMEOUT = 30.0  # seconds that an answer may take
RETRIES = 3
FIRST_PAUSE = 0.2  # seconds before the first retry; each further pause is twice as long
LARGEST_ID = 2**63 - 1

# gRPC statuses after which the same request may be sent again: the tracker answers a frame that it
# has done already from its notes, so no frame is taken twice.
AGAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED")

Frame = NDArray[np.uint8]
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
        ids: Ids that the memory has a place for.
        removed: Ids to stop following with the next frame.
    """

    stream: int
    size: tuple[int, int]
    frame: int
    objects: tuple[int, ...]
    ids: tuple[int, ...]
    removed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Served:
    """What a server says of the bundle behind a tracker model.

    Attributes:
        variant: Name of the network.
        size: Height and width of frames in the network, in pixels.
        trained: False where masks mean nothing.
        identity: `Manifest.identity` of the bundle.
    """

    variant: str
    size: Size
    trained: bool
    identity: str

    def input_size(self, video: Size) -> Size:
        """See `Manifest.input_size`; a server's bundle has one size."""
        del video
        return self.size


class RemoteSegmenter:
    """Segments videos on a server, as `Segmenter` does here.

        with RemoteSegmenter("localhost:8001") as segmenter:
            state = segmenter.start(first_frame, first_labels)
            for frame in frames:
                labels, state = segmenter.step(frame, state)
            segmenter.end(state)

    Requests that got no answer are sent again, and a frame is never taken twice by that. A stream
    whose state the server lost raises `StreamLostError`; start it again with labels that are known.

    Args:
        address: Of the server's gRPC endpoint, `host:port`.
        model: Name of the tracker model.
        timeout: Seconds that an answer may take before the request is sent again.
        retries: How often a request is sent again.
        shared_memory: Pass frames and labels through the memory of this machine; the server must
            run on it, and see the same /dev/shm.
    """

    def __init__(
        self,
        address: str,
        model: str = TRACKER,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
        shared_memory: bool = False,
    ) -> None:
        self.address = address
        self._model = model
        self._timeout = timeout
        self._retries = retries
        self._grpc = _library("tritonclient.grpc")
        self._errors = _library("tritonclient.utils").InferenceServerException
        try:
            self._client = self._grpc.InferenceServerClient(
                address, channel_args=[("grpc.max_reconnect_backoff_ms", 1000)]
            )
        except Exception as error:  # of gRPC, for an address that is none
            raise InputError(f"server address {address!r}: {error}; expected host:port") from error
        self._open: set[int] = set()
        self.served = self._describe()
        self._shared = _SharedMemory(self._client) if shared_memory else None

    def prepare(self, frame: Frame) -> Frame:
        """The frame itself; the server resizes it. See `Segmenter.prepare`.

        Raises:
            InputError: Shape or type is off.
        """
        _check(frame, None)
        return frame

    def start(self, frame: Frame, labels: Labels) -> RemoteState:
        """Begin a stream with its reference frame; see `Segmenter.start`.

        Raises:
            InputError: The server refuses the frame or the labels.
            ServerError: It can't be reached, or has no place for another stream.
        """
        _check(frame, labels)
        stream = 1 + secrets.randbelow(LARGEST_ID)
        self._open.add(stream)
        tensors: Tensors = {"frame": frame, "labels": labels, "frame_index": _index(0)}
        try:
            answer = self._ask(stream, tensors, start=True)
        except MavosError:
            self._end(stream)
            raise
        return self._state(stream, frame, answer, 0)

    def step(
        self, frame: Frame, state: RemoteState, annotation: Labels | None = None
    ) -> tuple[Labels, RemoteState]:
        """Segment the next frame of a stream; see `Segmenter.step`.

        Raises:
            InputError: The server refuses the frame or the annotation; the stream goes on.
            StreamLostError: It has no state of this stream any more.
            ServerError: It can't be reached, or failed.
        """
        if not isinstance(state, RemoteState):
            raise InputError(
                f"state of type {type(state).__name__}; expected what `start` or the previous "
                "`step` of this client returned"
            )
        _check(frame, annotation)
        index = state.frame + 1
        tensors: Tensors = {"frame": frame, "frame_index": _index(index)}
        if annotation is not None and annotation.any():
            tensors["labels"] = annotation
        if state.removed:
            tensors["remove"] = np.array(state.removed, np.uint8)
        answer = self._ask(state.stream, tensors)
        return answer["labels"], self._state(state.stream, frame, answer, index)

    def add(self, frame: Frame, state: RemoteState, labels: Labels) -> tuple[Labels, RemoteState]:
        """`step` with new objects in the frame; see `Segmenter.add`."""
        return self.step(frame, state, labels)

    def remove(self, state: RemoteState, ids: Iterable[int]) -> RemoteState:
        """Stop following objects from the next frame on; see `Segmenter.remove`.

        Raises:
            InputError: An id that isn't being followed.
        """
        ids = set(ids)
        if unknown := sorted(ids - set(state.objects)):
            raise InputError(
                f"no object {unknown[0]} to remove; the video has {sorted(state.objects)}"
            )
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
        if self._shared is not None:
            self._shared.close()
        self._client.close()

    def __enter__(self) -> "RemoteSegmenter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _describe(self) -> Served:
        def call() -> Untyped:
            return self._client.get_model_config(
                self._model, as_json=False, client_timeout=self._timeout
            )

        parameters = self._again(call, f"model {self._model}").config.parameters
        found = {name: value.string_value for name, value in parameters.items()}
        try:
            return Served(
                found["variant"],
                (int(found["height"]), int(found["width"])),
                found["trained"] == "yes",
                found["identity"],
            )
        except (KeyError, ValueError) as error:
            raise ServerError(
                f"{self.address}: model {self._model} is no tracker of mavos-triton ({error})"
            ) from None

    def _ask(self, stream: int, tensors: Tensors, start: bool = False) -> Tensors:
        """Send a frame, again if need be, and return the answer's tensors."""
        size = tensors["frame"].shape[:2]

        def call() -> Tensors:
            # Made anew for each try: a server that was restarted knows no shared memory.
            inputs = [self._input(name, tensor) for name, tensor in tensors.items()]
            outputs = [self._grpc.InferRequestedOutput(name) for name in ("objects", "ids")]
            if self._shared is not None:
                outputs.append(self._shared.output(self._grpc, size))
            else:
                outputs.append(self._grpc.InferRequestedOutput("labels"))
            result = self._client.infer(
                self._model,
                inputs,
                outputs=outputs,
                sequence_id=stream,
                sequence_start=start,
                client_timeout=self._timeout,
            )
            labels = self._shared.labels(size) if self._shared else result.as_numpy("labels")
            return {
                "labels": labels,
                "objects": result.as_numpy("objects"),
                "ids": result.as_numpy("ids"),
            }

        answer: Tensors = self._again(call, f"stream {stream}")
        return answer

    def _input(self, name: str, tensor: NDArray[Any]) -> Untyped:
        tensor = np.ascontiguousarray(tensor)
        dtype = {"uint8": "UINT8", "int64": "INT64"}[tensor.dtype.name]
        made = self._grpc.InferInput(name, tensor.shape, dtype)
        if self._shared is not None and name in ("frame", "labels"):
            self._shared.fill(made, name, tensor)
        else:
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
                    if self._shared is not None and self._shared.forgotten(message):
                        continue
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

    def _state(self, stream: int, frame: Frame, answer: Tensors, index: int) -> RemoteState:
        return RemoteState(
            stream,
            (frame.shape[0], frame.shape[1]),
            index,
            tuple(answer["objects"].tolist()),
            tuple(answer["ids"].tolist()),
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


class _SharedMemory:
    """One region of this machine's memory for each of frame, labels and answer."""

    def __init__(self, client: Untyped) -> None:
        self._memory = _library("tritonclient.utils.shared_memory")
        self._client = client
        self._name = f"mavos-{secrets.token_hex(6)}"
        self._regions: dict[str, tuple[Untyped, int]] = {}

    def fill(self, tensor_input: Untyped, name: str, tensor: NDArray[Any]) -> None:
        """Put a tensor where the server reads it."""
        region = self._region(name, tensor.nbytes)
        self._memory.set_shared_memory_region(region, [tensor])
        tensor_input.set_shared_memory(self._key(name), tensor.nbytes)

    def output(self, grpc: Untyped, size: tuple[int, ...]) -> Untyped:
        """The labels, to be put where this process reads them."""
        self._region("answer", size[0] * size[1])
        output = grpc.InferRequestedOutput("labels")
        output.set_shared_memory(self._key("answer"), size[0] * size[1])
        return output

    def labels(self, size: tuple[int, ...]) -> Labels:
        """A copy of the answer."""
        region, _ = self._regions["answer"]
        return np.array(self._memory.get_contents_as_numpy(region, np.uint8, size))

    def forgotten(self, message: str) -> bool:
        """Whether a refusal means that the server was restarted; it is told of the memory again."""
        if "shared memory" not in message.lower():
            return False
        self.close()
        return True

    def close(self) -> None:
        """Give the memory back."""
        for name, (region, _) in self._regions.items():
            with suppress(Exception):  # a server that is gone has forgotten it anyway
                self._client.unregister_system_shared_memory(self._key(name), client_timeout=2)
            self._memory.destroy_shared_memory_region(region)
        self._regions.clear()

    def _key(self, name: str) -> str:
        return f"{self._name}-{name}"

    def _region(self, name: str, size: int) -> Untyped:
        if name in self._regions and self._regions[name][1] >= size:
            return self._regions[name][0]
        if name in self._regions:
            self.close()  # larger frames: all anew
        key = self._key(name)
        region = self._memory.create_shared_memory_region(key, f"/{key}", size)
        self._regions[name] = region, size
        self._client.register_system_shared_memory(key, f"/{key}", size)
        return region


def _library(name: str) -> Untyped:
    try:
        return import_module(name)
    except (ImportError, TypeError) as error:  # a TypeError where protobuf is too new for it
        raise MavosError(
            f"Triton's client library can't be imported ({error}); install it with "
            "pip install 'mavos-deploy[triton]'"
        ) from error


def _index(frame: int) -> NDArray[np.int64]:
    return np.array([frame], np.int64)


def _check(frame: Frame, labels: Labels | None) -> None:
    """Refuse at once what the server would refuse, before megabytes travel."""
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2:] != (3,):
        raise InputError("expected a frame as a NumPy array, RGB [height, width, 3]")
    if frame.dtype != np.uint8:
        raise InputError(f"frame of type {frame.dtype}; a server takes uint8")
    if labels is not None and (labels.dtype != np.uint8 or labels.shape != frame.shape[:2]):
        raise InputError(
            f"labels of shape {list(labels.shape)} and type {labels.dtype}; expected uint8 of the "
            f"frame's size, {list(frame.shape[:2])}"
        )
