"""ONNX Runtime on NVIDIA GPUs by CUDA; memories stay on the device."""

import contextlib
import io
from types import ModuleType
from typing import Any

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends.onnxruntime_bound import DEVICE, OnnxRuntimeBound
from mavos_deploy.runtime.backends.onnxruntime_library import CUDA, open_library
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.system.gpu import require_gpu

NAME = "onnxruntime-cuda"
NO_FALLBACK = {"enable_fallback": 0}  # without it the library prints an error and runs on the CPU
# TF32 is the provider's default, which rounds the factors of float32 products to 10 bits.
ON_CUDA = (CUDA, {"device_id": str(DEVICE), "use_tf32": "0"})


def open_cuda(bundle: Bundle, threads: int | None = None) -> OnnxRuntimeBound:
    """The bundle's graphs on CUDA, in their own precision.

    Args:
        bundle: An opened bundle.
        threads: CPU threads for the operators left to the CPU; None takes one.

    Raises:
        BackendError: The package, the driver, a library or the GPU is missing, or a graph would
            not run on the GPU.

    Source: ONNX Runtime, CUDA Execution Provider.
    """
    ort = look_for()

    def open_session(graph: str, options: Any) -> Any:  # noqa: ANN401  # the library is untyped
        content = bundle.graph(graph)
        return ort.InferenceSession(content, options, providers=[ON_CUDA], **NO_FALLBACK)

    arithmetic = bundle.manifest.arithmetic
    return OnnxRuntimeBound(bundle, NAME, arithmetic, CUDA, "cuda", open_session, threads)


def look_for() -> ModuleType:
    """The library, after everything but a bundle that this backend needs was found.

    Raises:
        BackendError: The library, its provider for CUDA or the GPU is missing.
    """
    ort = open_library()
    if not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
        raise BackendError(
            f"{NAME}: onnxruntime {ort.__version__} can't say which nodes run on the GPU; update "
            "it to 1.24 or later, which needs Python 3.11"
        )
    # A provider that can't be loaded is raised here, and must not be printed as well.
    ort.set_default_logger_severity(4)
    require_gpu(NAME)  # before any advice to install something
    # CUDA and cuDNN that pip installed are where no loader looks, and a provider may be there only
    # once they are loaded. The library prints the name of each one that it doesn't find, though the
    # system may have its own.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
        ort.preload_dlls()
    available = ort.get_available_providers()
    if CUDA not in available:
        raise BackendError(
            f"{NAME}: this onnxruntime has no {CUDA}, only {', '.join(available)}; "
            "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'mavos-deploy[gpu]'"
        )
    return ort
