"""Which backends there are, and which one opens."""

import warnings
from collections.abc import Callable
from functools import partial

from mavos_deploy.errors import BackendError, MavosError
from mavos_deploy.runtime.backends.protocol import Backend
from mavos_deploy.runtime.bundle import Bundle


def _onnxruntime_cpu(bundle: Bundle, threads: int | None) -> Backend:
    from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu

    return OnnxRuntimeCpu(bundle, threads)


def _openvino_cpu(bundle: Bundle, threads: int | None, arithmetic: str | None = None) -> Backend:
    from mavos_deploy.runtime.backends.openvino_cpu import OpenVinoCpu

    return OpenVinoCpu(bundle, threads, arithmetic)


def _tensorrt(bundle: Bundle, threads: int | None, library: str) -> Backend:
    from mavos_deploy.runtime.backends.tensorrt_device import TensorRtDevice
    from mavos_deploy.runtime.backends.tensorrt_gpu import TensorRtGpu

    del threads  # all work is the GPU's
    return TensorRtGpu(bundle, TensorRtDevice(bundle, library))


def _onnxruntime_cuda(bundle: Bundle, threads: int | None) -> Backend:
    from mavos_deploy.runtime.backends.onnxruntime_gpu import open_cuda

    return open_cuda(bundle, threads)


def _onnxruntime_tensorrt(bundle: Bundle, threads: int | None) -> Backend:
    from mavos_deploy.runtime.backends.onnxruntime_gpu import open_tensorrt

    return open_tensorrt(bundle, threads)


def _onnxruntime_tensorrt_rtx(bundle: Bundle, threads: int | None) -> Backend:
    from mavos_deploy.runtime.backends.onnxruntime_gpu import open_tensorrt_rtx

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
            warnings.warn(f"backend {chosen.traits.name}; {reasons}", UserWarning, stacklevel=2)
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
        if backend.traits.arithmetic == bundle.manifest.arithmetic:
            return backend, refused
        refused[name] = f"it computes in {backend.traits.arithmetic}"
        backend.close()
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
    raise BackendError(f"no backend works here: {reasons}")
