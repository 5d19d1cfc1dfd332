"""The tracker model inside Triton: requests of its Python backend in, label maps out.

A repository's `model.py` imports `TritonPythonModel` from here, so the server's Python needs
mavos-deploy, and numpy in a version that its Triton can use (docs/serving.md).
"""

import json
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from mavos_deploy.errors import BackendError, InputError, MavosError, StreamLostError, one_line
from mavos_deploy.runtime.backends.protocol import Array, Backend
from mavos_deploy.runtime.backends.table import made_for, open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.triton.served_graphs import ServedGraphs
from mavos_deploy.runtime.triton.streams import (
    Answer,
    FullError,
    StreamRequest,
    Streams,
    request_of,
)
from mavos_deploy.runtime.triton.wire import BUNDLE, CONTROLS, StreamLimits, Untyped

START_FLAG, END_FLAG = 1, 2  # Triton's numbers for the flags of a request in a sequence
SHORTEST_SWEEP = 0.1  # seconds between two looks for idle streams


class TritonPythonModel:
    """The class that Triton's Python backend looks for; one object for each instance."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the bundle and run it once, so that the first stream doesn't wait for it.

        Args:
            args: Arguments from the Python backend: the model's configuration, place and instance.

        Raises:
            MavosError: The bundle or the configuration can't be used. Triton prints the message
                and refuses the model.
        """
        self._pb: Untyped = import_module("triton_python_backend_utils")
        self._check_numpy()
        config = json.loads(args["model_config"])
        parameters = {
            name: value["string_value"] for name, value in config.get("parameters", {}).items()
        }
        limits = StreamLimits.from_parameters(parameters)
        bundle = Bundle.open(Path(args["model_repository"]) / args["model_version"] / BUNDLE)
        segmenter = Segmenter(bundle, self._backend(bundle, parameters))
        if "graph_models" not in parameters:  # those warm themselves up; here they can't be called
            segmenter.warm_up()
        self._streams = Streams(segmenter, limits)
        self._stopped = threading.Event()
        # Triton forgets idle streams without a word to the model, so the model looks for itself.
        every = max(SHORTEST_SWEEP, min(5.0, limits.idle_seconds / 4))
        self._sweeper = threading.Thread(target=self._sweep, args=(every,), daemon=True)
        self._sweeper.start()

    def execute(self, requests: Sequence[Untyped]) -> list[Untyped]:
        """Answer requests in their order; a refused one gets an error and disturbs no other."""
        return [self._respond(request) for request in requests]

    def finalize(self) -> None:
        """Free everything; Triton calls this when the model is unloaded."""
        self._stopped.set()
        self._sweeper.join()
        self._streams.segmenter.close()

    def _check_numpy(self) -> None:
        """Refuse a numpy with which this server would answer with empty tensors.

        Servers before 24.11 were built for numpy 1: with numpy 2 they read zeros and send nothing,
        without an error. A tensor that is made from another's memory shows it.
        """
        given = np.arange(1, 6, dtype=np.float32)
        # Not from_dlpack(given): the backend ends when it frees NumPy's own capsule.
        capsule = self._pb.Tensor("probe", given).to_dlpack()
        found = self._pb.Tensor.from_dlpack("probe", capsule).as_numpy()
        if not np.array_equal(found, given):
            raise BackendError(
                f"numpy {np.__version__} doesn't work with this server's Python backend, which "
                "would send empty answers; install numpy 1.26 in the server's Python"
            )

    def _backend(self, bundle: Bundle, parameters: dict[str, str]) -> Backend:
        if models := parameters.get("graph_models"):
            return ServedGraphs(bundle, self._pb, models, parameters.get("device") == "gpu")
        threads = parameters.get("threads", "")
        return open_backend(bundle, int(threads) if threads else None, made_for(bundle))

    def _sweep(self, every: float) -> None:
        while not self._stopped.wait(every):
            self._streams.evict()

    def _respond(self, request: Untyped) -> Untyped:
        pb = self._pb
        try:
            if request.is_cancelled():
                # The client has given the request up; it may send the same frame again.
                raise _CancelledError(f"stream {request.correlation_id()}: cancelled by the client")
            answer = self._streams.handle(self._read(request))
            wanted = set(request.requested_output_names())
            return pb.InferenceResponse(output_tensors=self._tensors(answer, wanted))
        except MavosError as error:
            return pb.InferenceResponse(error=pb.TritonError(str(error), self._code(error)))
        except Exception as error:  # a bug of ours must not fail the other requests
            what = f"internal error, {type(error).__name__}: {one_line(error)}"
            return pb.InferenceResponse(error=pb.TritonError(what, pb.TritonError.INTERNAL))

    def _code(self, error: MavosError) -> Untyped:
        codes = self._pb.TritonError
        for kind, code in (
            (StreamLostError, codes.NOT_FOUND),
            (FullError, codes.UNAVAILABLE),
            (_CancelledError, codes.CANCELLED),
            (InputError, codes.INVALID_ARG),
        ):
            if isinstance(error, kind):
                return code
        return codes.INTERNAL

    def _read(self, request: Untyped) -> StreamRequest:
        flags = request.flags()
        return request_of(
            int(request.correlation_id()),
            bool(flags & START_FLAG),
            bool(flags & END_FLAG),
            {
                tensor.name(): tensor.as_numpy()
                for tensor in request.inputs()
                if tensor.name() not in CONTROLS
            },
        )

    def _tensors(self, answer: Answer, wanted: set[str]) -> list[Untyped]:
        made: dict[str, Callable[[], Array]] = {
            "labels": lambda: answer.labels,
            "labels_file": lambda: np.array([answer.labels_file()], np.object_),
            "objects": lambda: np.array(answer.objects, np.uint8),
            "ids": lambda: np.array(answer.ids, np.uint8),
            "frame_index": lambda: np.array([answer.frame_index], np.int64),
            "confidence": lambda: np.array(answer.confidence, np.float32),
        }
        return [self._pb.Tensor(name, make()) for name, make in made.items() if name in wanted]


class _CancelledError(MavosError):
    """The client no longer waits for the answer."""
