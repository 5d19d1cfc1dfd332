"""What the segmenter asks of an inference library."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import BackendError, BundleError, MavosError
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import TensorSpec

# A backend's own kind of tensor. It may live on a device; the segmenter only hands it on.
Tensor = Any
Array = NDArray[np.generic]


@dataclass
class Transfers:
    """What went between the host and a device.

    Attributes:
        up: Tensors brought to the device.
        bytes_up: Their bytes.
        down: Tensors brought to the host.
        bytes_down: Their bytes.
    """

    up: int = 0
    bytes_up: int = 0
    down: int = 0
    bytes_down: int = 0


class Backend(Protocol):
    """Runs the graphs of one bundle on one device.

    Tensors that went in or came out stay valid and unchanged for as long as they are referred to,
    so a state is a value: a backend may reuse a buffer only when nobody holds its tensor. Several
    names of a state may refer to one tensor (all slots do after the start), so what looks like the
    dynamic slot must not be written in place while anything else refers to it.
    """

    @property
    def name(self) -> str:
        """For reports, such as `onnxruntime-cpu`."""

    @property
    def arithmetic(self) -> str:
        """What products are computed in, such as `fp32`; limits of a comparison depend on it."""

    @property
    def any_shape(self) -> bool:
        """Whether inputs may change their open extents from call to call at no cost."""

    @property
    def enqueues(self) -> bool:
        """Whether `run` returns before its work is done, so that its time means nothing."""

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph.

        Args:
            graph: A name of the contract.
            inputs: All of its inputs by name.

        Returns:
            All of its outputs by name.

        Raises:
            BackendError: The library failed.
        """

    def upload(self, array: Array) -> Tensor:
        """Bring a host array to the device."""

    def download(self, tensor: Tensor) -> Array:
        """Bring a tensor to the host."""

    def close(self) -> None:
        """Free what the backend holds; its tensors are invalid from then on."""


class WatchedBackend:
    """Hands everything on to another backend; a subclass looks at the runs.

    Args:
        backend: That does the work.
    """

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.arithmetic = backend.arithmetic
        self.any_shape = backend.any_shape
        self.enqueues = backend.enqueues
        self._backend = backend

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        return self._backend.run(graph, inputs)

    def upload(self, array: Array) -> Tensor:
        """See `Backend.upload`."""
        return self._backend.upload(array)

    def download(self, tensor: Tensor) -> Array:
        """See `Backend.download`."""
        return self._backend.download(tensor)

    def close(self) -> None:
        """See `Backend.close`."""
        self._backend.close()


def _onnxruntime_cpu(bundle: Bundle, threads: int | None) -> Backend:
    from mavos_deploy.runtime.onnxruntime_cpu import OnnxRuntimeCpu

    return OnnxRuntimeCpu(bundle, threads)


def _openvino_cpu(bundle: Bundle, threads: int | None, arithmetic: str | None = None) -> Backend:
    from mavos_deploy.runtime.openvino_cpu import OpenVinoCpu

    return OpenVinoCpu(bundle, threads, arithmetic)


def _tensorrt(bundle: Bundle, threads: int | None, library: str) -> Backend:
    from mavos_deploy.runtime.tensorrt_device import TensorRtDevice
    from mavos_deploy.runtime.tensorrt_gpu import TensorRtGpu

    del threads  # all work is the GPU's
    return TensorRtGpu(bundle, TensorRtDevice(bundle, library))


def _onnxruntime_cuda(bundle: Bundle, threads: int | None) -> Backend:
    from mavos_deploy.runtime.onnxruntime_gpu import open_cuda

    return open_cuda(bundle, threads)


def _onnxruntime_tensorrt(bundle: Bundle, threads: int | None) -> Backend:
    from mavos_deploy.runtime.onnxruntime_gpu import open_tensorrt

    return open_tensorrt(bundle, threads)


def _onnxruntime_tensorrt_rtx(bundle: Bundle, threads: int | None) -> Backend:
    from mavos_deploy.runtime.onnxruntime_gpu import open_tensorrt_rtx

    return open_tensorrt_rtx(bundle, threads)


DEFAULT_BACKEND = "onnxruntime-cpu"
# Loaders by name; each imports its library itself.
BACKENDS: dict[str, Callable[[Bundle, int | None], Backend]] = {
    "onnxruntime-cpu": _onnxruntime_cpu,
    "openvino-cpu": _openvino_cpu,
    "openvino-cpu-fp32": partial(_openvino_cpu, arithmetic="fp32"),
    "openvino-cpu-bf16": partial(_openvino_cpu, arithmetic="bf16"),
    "tensorrt": partial(_tensorrt, library="tensorrt"),
    "tensorrt-rtx": partial(_tensorrt, library="tensorrt_rtx"),
    "onnxruntime-cuda": _onnxruntime_cuda,
    "onnxruntime-tensorrt": _onnxruntime_tensorrt,
    "onnxruntime-tensorrt-rtx": _onnxruntime_tensorrt_rtx,
}
# Those that take a GPU; all others run on the CPU.
GPU_BACKENDS = (
    "tensorrt",
    "tensorrt-rtx",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
    "onnxruntime-tensorrt-rtx",
)
AUTO = "auto"  # the first of these that works
# A preference, not measured on GPUs yet. One that computes in less than the bundle's arithmetic is
# passed over: masks must not change because a machine has another library.
AUTO_ORDER = ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda", DEFAULT_BACKEND)


def open_backend(
    bundle: Bundle, threads: int | None = None, backend: str = DEFAULT_BACKEND
) -> Backend:
    """Load a bundle's graphs. Another backend is never taken in place of a named one that fails.

    Args:
        bundle: Opened, and so checked.
        threads: Of the CPU; None takes all that this process may use.
        backend: A name of `BACKENDS`, or `auto` for what `choose_backend` takes.

    Raises:
        BackendError: The name is unknown, the library is missing or refuses a graph, or this
            machine lacks what the backend needs.
    """
    if backend == AUTO:
        chosen, refused = choose_backend(bundle, threads)
        if refused:
            reasons = "; ".join(f"not {name}: {reason}" for name, reason in refused.items())
            warnings.warn(f"backend {chosen.name}; {reasons}", UserWarning, stacklevel=2)
        return chosen
    if backend not in BACKENDS:
        raise BackendError(
            f"backend {backend!r} is unknown; accepted are {', '.join(BACKENDS)}, {AUTO}"
        )
    return BACKENDS[backend](bundle, threads)


def choose_backend(bundle: Bundle, threads: int | None = None) -> tuple[Backend, dict[str, str]]:
    """Load a bundle's graphs with the first backend of `AUTO_ORDER` that works here.

    Returns:
        The backend, and why each one before it can't be used, by name.

    Raises:
        BackendError: None can be used.
    """
    refused: dict[str, str] = {}
    for name in AUTO_ORDER:
        try:
            backend = BACKENDS[name](bundle, threads)
        except MavosError as error:  # also a plan that is missing or altered
            refused[name] = str(error)
            continue
        if backend.arithmetic == bundle.manifest.arithmetic:
            return backend, refused
        refused[name] = f"it computes in {backend.arithmetic}"
        backend.close()
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
    raise BackendError(f"no backend works here: {reasons}")


def check_tensors(
    found: Mapping[str, tuple[str | None, Sequence[object]]],
    expected: Sequence[TensorSpec],
    path: str,
) -> None:
    """Refuse a graph that isn't the one its manifest describes.

    Args:
        found: Type and shape of the loaded graph's tensors by name; what is no number may vary.
        expected: By the contract.
        path: The graph's file, for the message.

    Raises:
        BundleError: A tensor is missing, or of another type or shape.
    """
    given = {name: (dtype, _fixed(shape)) for name, (dtype, shape) in found.items()}
    for tensor in expected:
        if given.get(tensor.name) != (tensor.dtype, _fixed(tensor.shape)):
            raise BundleError(
                f"{path} has no tensor {tensor.name} of {tensor.dtype} {list(tensor.shape)}, which "
                "the manifest promises; export the bundle again"
            )


def _fixed(shape: Sequence[object]) -> list[int | None]:
    """A shape with None where it may vary."""
    return [extent if isinstance(extent, int) else None for extent in shape]


def one_line(error: BaseException, longest: int | None = 300) -> str:
    """The start of a library's message, without its line breaks.

    Args:
        error: With the message.
        longest: Characters to keep; None for all.
    """
    return " ".join(str(error).split())[:longest]
