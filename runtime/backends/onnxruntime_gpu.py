"""ONNX Runtime on NVIDIA GPUs, by CUDA, TensorRT or TensorRT-RTX; memories stay on the device."""

import contextlib
import io
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from mavos_deploy.errors import BackendError, one_line
from mavos_deploy.runtime.backends.onnxruntime_bound import DEVICE, OnnxRuntimeBound
from mavos_deploy.runtime.backends.onnxruntime_library import CUDA, TENSORRT, open_library
from mavos_deploy.runtime.backends.tensorrt_library import open_library as open_tensorrt_library
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.engines import Library
from mavos_deploy.runtime.system.files import cache_folder
from mavos_deploy.runtime.system.gpu import Gpu, require_gpu

PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"  # NVIDIA's package with the provider for TensorRT-RTX
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
    name = "onnxruntime-cuda"
    ort, _ = look_for(name, CUDA)

    def open_session(graph: str, options: Any) -> Any:  # noqa: ANN401  # the library is untyped
        path = str(bundle.graph_path(graph))
        return ort.InferenceSession(path, options, providers=[ON_CUDA], **NO_FALLBACK)

    arithmetic = bundle.manifest.arithmetic
    return OnnxRuntimeBound(bundle, name, arithmetic, CUDA, "cuda", open_session, threads)


def open_tensorrt(bundle: Bundle, threads: int | None = None) -> OnnxRuntimeBound:
    """The bundle's graphs on TensorRT within ONNX Runtime; operators that it lacks run on CUDA.

    Engines are built when a shape comes along for the first time, which takes minutes, and are kept
    in the user's cache folder. float32 products are computed in TF32 where the GPU has it: the
    provider has no option against it.

    Args:
        bundle: See `open_cuda`.
        threads: See `open_cuda`.

    Raises:
        BackendError: See `open_cuda`.

    Source: ONNX Runtime, TensorRT Execution Provider.
    """
    name = "onnxruntime-tensorrt"
    ort, gpu = look_for(name, TENSORRT)

    def open_session(graph: str, options: Any) -> Any:  # noqa: ANN401  # the library is untyped
        cache = str(engine_cache(bundle, graph, name, ort.__version__, gpu))
        own = {
            "device_id": str(DEVICE),
            # The graph's types rule: with this flag TensorRT would choose float16 where it likes,
            # norms and softmax included (onnxruntime pull request 18707).
            "trt_fp16_enable": "0",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": cache,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": cache,
        }
        path, providers = str(bundle.graph_path(graph)), [(TENSORRT, own), ON_CUDA]
        return ort.InferenceSession(path, options, providers=providers, **NO_FALLBACK)

    return OnnxRuntimeBound(bundle, name, _rounded(bundle), TENSORRT, "cuda", open_session, threads)


def open_tensorrt_rtx(bundle: Bundle, threads: int | None = None) -> OnnxRuntimeBound:
    """The bundle's graphs on TensorRT-RTX within ONNX Runtime, by NVIDIA's plug-in.

    Compiled kernels are kept in the user's cache folder. float32 products are computed in TF32
    where the GPU has it: the provider has no option against it.

    Args:
        bundle: See `open_cuda`.
        threads: See `open_cuda`.

    Raises:
        BackendError: See `open_cuda`.

    Source: NVIDIA TensorRT RTX Execution Provider, Installation and Provider options.
    """
    name = "onnxruntime-tensorrt-rtx"
    ort, plugin, devices, gpu = look_for_rtx(name)

    def open_session(graph: str, options: Any) -> Any:  # noqa: ANN401  # the library is untyped
        cache = engine_cache(bundle, graph, name, f"{ort.__version__}-{plugin.__version__}", gpu)
        options.add_provider_for_devices(devices[:1], {"nv_runtime_cache_path": str(cache)})
        return ort.InferenceSession(str(bundle.graph_path(graph)), options, **NO_FALLBACK)

    provider = plugin.get_ep_name()
    return OnnxRuntimeBound(bundle, name, _rounded(bundle), provider, "cuda", open_session, threads)


def _rounded(bundle: Bundle) -> str:
    """The arithmetic of TensorRT's providers, which take TF32 for float32."""
    arithmetic = bundle.manifest.arithmetic
    return "tf32" if arithmetic == "fp32" else arithmetic


def look_for(name: str, provider: str) -> tuple[ModuleType, Gpu]:
    """Everything but a bundle that a provider built into the library needs.

    Args:
        name: Name of the backend, for messages.
        provider: The execution provider.

    Returns:
        The library and the GPU.

    Raises:
        BackendError: The library, the provider or the GPU is missing.
    """
    ort = _placing_library(name)
    gpu = require_gpu(name)  # before any advice to install something
    # CUDA and cuDNN that pip installed are where no loader looks, and a provider may be there only
    # once they are loaded. The library prints the name of each one that it doesn't find, though the
    # system may have its own.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
        ort.preload_dlls()
    available = ort.get_available_providers()
    if provider not in available:
        raise BackendError(
            f"{name}: this onnxruntime has no {provider}, only {', '.join(available)}; "
            "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'mavos-deploy[gpu]'"
        )
    if provider == TENSORRT:
        with contextlib.suppress(Exception):  # as above; a missing library shows at the session
            open_tensorrt_library(Library.TENSORRT)
    return ort, gpu


def look_for_rtx(name: str) -> tuple[ModuleType, Any, list[Any], Gpu]:
    """Everything but a bundle that the provider for TensorRT-RTX needs.

    Args:
        name: Name of the backend, for messages.

    Returns:
        The library, NVIDIA's plug-in, the devices that it takes, and the GPU.

    Raises:
        BackendError: The library, the plug-in or the GPU is missing, or too old.
    """
    ort = _placing_library(name)
    gpu = require_gpu(name)
    if not hasattr(ort, "OrtDeviceVendorId"):  # nor can tensors be made on a plug-in's device
        raise BackendError(
            f"{name}: onnxruntime {ort.__version__} is too old for plug-ins' memory; update it to "
            "1.27 or later"
        )
    try:
        import onnxruntime_ep_nv_tensorrt_rtx as plugin
    except Exception as error:  # it loads libraries when it is imported
        raise BackendError(
            f"{name}: {PLUGIN} can't be imported ({one_line(error)}); install it, beside "
            "onnxruntime and not onnxruntime-gpu, with "
            "pip install 'mavos-deploy[onnxruntime-tensorrt-rtx]'"
        ) from error
    provider = plugin.get_ep_name()
    try:
        if not any(device.ep_name == provider for device in ort.get_ep_devices()):
            ort.register_execution_provider_library(provider, plugin.get_library_path())
        devices = [device for device in ort.get_ep_devices() if device.ep_name == provider]
    except Exception as error:  # the library's errors share no other base
        raise BackendError(f"{name}: the provider can't be loaded: {one_line(error)}") from error
    if not devices:
        raise BackendError(
            f"{name}: the provider finds no GPU that it supports among {gpu.name} (compute "
            f"capability {gpu.capability}); it is for RTX GPUs from 8.6 on; take another backend"
        )
    return ort, plugin, devices, gpu


def engine_cache(bundle: Bundle, graph: str, backend: str, versions: str, gpu: Gpu) -> Path:
    """The folder for one graph's compiled engines, made if it isn't there.

    Providers name their files after the graph's structure, not its weights, and don't notice every
    change of the machine. So each graph, release, GPU and driver has a folder of its own.

    Args:
        bundle: The graph's bundle.
        graph: Name of the graph.
        backend: Name of the backend.
        versions: Releases of the libraries, as part of a file name.
        gpu: The GPU that the engines are for.

    Raises:
        BackendError: The folder can't be made.
    """
    try:
        tensorrt = version("tensorrt")
    except PackageNotFoundError:
        tensorrt = "system"
    around = f"{versions}-trt{tensorrt}-sm{gpu.capability}-{gpu.driver}".replace(" ", "")
    folder = cache_folder() / backend / bundle.manifest.graphs[graph].sha256 / around
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackendError(
            f"{backend}: compiled engines can't be kept in {folder} ({error.strerror}); let "
            "XDG_CACHE_HOME name a folder that can be written to"
        ) from error
    return folder


def _placing_library(name: str) -> ModuleType:
    """ONNX Runtime in a release that tells which provider runs which node."""
    ort = open_library()
    if not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
        raise BackendError(
            f"{name}: onnxruntime {ort.__version__} can't say which nodes run on the GPU; update "
            "it to 1.24 or later, which needs Python 3.11"
        )
    # A provider that can't be loaded is raised here, and must not be printed as well.
    ort.set_default_logger_severity(4)
    return ort
