"""ONNX Runtime on NVIDIA GPUs, by CUDA, TensorRT or TensorRT-RTX; memories stay on the device."""

import contextlib
import ctypes
import io
import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mavos_deploy.errors import BackendError, one_line
from mavos_deploy.runtime.backends.onnxruntime_library import (
    CPU,
    TYPES,
    open_library,
    session_options,
)
from mavos_deploy.runtime.backends.protocol import Array, Traits, Transfers, check_tensors
from mavos_deploy.runtime.backends.tensorrt_library import open_library as open_tensorrt_library
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.system.files import cache_folder
from mavos_deploy.runtime.system.gpu import Gpu, require_gpu

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"  # NVIDIA's package with the provider for TensorRT-RTX
DEVICE = 0  # of those that CUDA shows; CUDA_VISIBLE_DEVICES chooses

# What the providers for GPUs leave to the CPU on purpose: arithmetic on shapes, a few numbers that
# a kernel's launch depends on. `session.disable_cpu_ep_fallback` would refuse it like everything
# else (onnxruntime issue 17930), so the nodes themselves are looked at.
SHAPE_OPERATORS = {
    *("Shape", "Size", "Squeeze", "Unsqueeze", "Concat", "Gather", "Slice", "Cast", "Range"),
    "Reshape",
    *("Add", "Sub", "Mul", "Div"),
}

Tensor = Any  # onnxruntime.OrtValue
OpenSession = Callable[[str, Any], Any]  # of a graph's name, with options


class OnnxRuntimeBound:
    """One session for each graph; tensors are `OrtValue`s in a device's memory.

    Inputs are bound where they lie, and the library allocates every output anew on the device, so
    a tensor that is referred to is never written again. Nothing comes to the host but what is
    downloaded. A run returns when its results are there.

    Args:
        bundle: Opened, and so checked.
        name: Of the backend.
        arithmetic: What products are computed in.
        provider: Execution provider that has to run the graphs.
        device: The library's name of where tensors live, `cuda` or `cpu`.
        open_session: Opens a graph with that provider.
        threads: Of the CPU, for what is left to it; None takes one.

    Raises:
        BackendError: A graph is refused, or would not run on the provider.
    """

    def __init__(
        self,
        bundle: Bundle,
        name: str,
        arithmetic: str,
        provider: str,
        device: str,
        open_session: OpenSession,
        threads: int | None = None,
    ) -> None:
        self._library = open_library()
        # Not of any shape: kernels, engines and CUDA graphs are chosen for each.
        self.traits = Traits(name, arithmetic)
        self.transfers = Transfers()
        self._device = device
        self._outputs = {
            graph: [tensor.name for tensor in spec.outputs] for graph, spec in bundle.specs.items()
        }
        self._sessions: dict[str, Any] = {}
        for graph, spec in bundle.specs.items():
            path = bundle.graph_path(graph)
            options = session_options(self._library, threads or 1)
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
            try:
                session = open_session(graph, options)
            except BackendError:
                raise
            except Exception as error:  # the library's errors share no other base
                raise BackendError(
                    f"{name}: onnxruntime {self._library.__version__} refuses {path}: "
                    f"{one_line(error)}"
                ) from error
            self._check_placement(session, graph, provider)
            tensors = (*session.get_inputs(), *session.get_outputs())
            check_tensors(
                {tensor.name: (TYPES.get(tensor.type), tensor.shape) for tensor in tensors},
                (*spec.inputs, *spec.outputs),
                str(path),
            )
            self._sessions[graph] = session

    def _check_placement(self, session: Any, graph: str, provider: str) -> None:  # noqa: ANN401
        """Refuse a session that runs elsewhere than it was told to."""
        if session.get_providers()[0] != provider:
            raise BackendError(
                f"{self.traits.name}: onnxruntime couldn't start {provider}"
                f"{_missing_library(self._library, provider)}; it needs a driver that is new "
                "enough, and its own libraries in the versions that it was built with; "
                "mavos-doctor shows what is here"
            )
        placed: dict[str, set[str]] = {}
        for part in session.get_provider_graph_assignment_info():
            operators = placed.setdefault(part.ep_name, set())
            operators.update(node.op_type for node in part.get_nodes())
        left = placed.get(CPU, set()) - SHAPE_OPERATORS
        if provider == CPU:
            return
        if left or provider not in placed:
            what = f"{', '.join(sorted(left))} of" if left else "all of"
            raise BackendError(
                f"{self.traits.name}: {provider} leaves {what} {graph} to the CPU; update "
                "onnxruntime, or take another backend"
            )

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        if graph not in self._sessions:
            raise BackendError("the segmenter is closed; open it again")
        session = self._sessions[graph]
        try:
            # A binding of its own for every run: one that is used again would hand out the same
            # memory for the next outputs.
            binding = session.io_binding()
            for name, tensor in inputs.items():
                binding.bind_ortvalue_input(name, tensor)
            for name in self._outputs[graph]:
                binding.bind_output(name, self._device, DEVICE)
            session.run_with_iobinding(binding)
            outputs = binding.get_outputs()
        except Exception as error:  # the library's errors share no other base
            raise BackendError(
                f"{self.traits.name}: onnxruntime failed in {graph}: {one_line(error)}"
            ) from error
        return dict(zip(self._outputs[graph], outputs, strict=True))

    def upload(self, array: Array) -> Tensor:
        """Bring a host array to the device; the call returns when it is there."""
        contiguous = np.ascontiguousarray(array)
        self.transfers.up += 1
        self.transfers.bytes_up += contiguous.nbytes
        try:
            return self._library.OrtValue.ortvalue_from_numpy(contiguous, self._device, DEVICE)
        except Exception as error:  # the library's errors share no other base
            raise BackendError(
                f"{self.traits.name}: {contiguous.nbytes} bytes can't be brought to the device: "
                f"{one_line(error)}"
            ) from error

    def download(self, tensor: Tensor) -> Array:
        """Bring a tensor to the host."""
        try:
            array: Array = tensor.numpy()
        except Exception as error:  # the library's errors share no other base
            raise BackendError(
                f"{self.traits.name}: a tensor can't be brought to the host: {one_line(error)}"
            ) from error
        self.transfers.down += 1
        self.transfers.bytes_down += array.nbytes
        return array

    def close(self) -> None:
        """Drop the sessions."""
        self._sessions.clear()


def open_cuda(bundle: Bundle, threads: int | None = None) -> OnnxRuntimeBound:
    """The bundle's graphs on CUDA, in their own precision.

    Source: ONNX Runtime, CUDA Execution Provider.

    Raises:
        BackendError: The package, the driver, a library or the GPU is missing, or a graph would
            not run on the GPU.
    """
    ort, _ = _prepared("onnxruntime-cuda", CUDA)
    # TF32 is the provider's default, which rounds the factors of float32 products to 10 bits.
    options = {"device_id": str(DEVICE), "use_tf32": "0"}
    return OnnxRuntimeBound(
        bundle,
        "onnxruntime-cuda",
        bundle.manifest.arithmetic,
        CUDA,
        "cuda",
        partial(_session, bundle, ort, [(CUDA, options)]),
        threads,
    )


def open_tensorrt(bundle: Bundle, threads: int | None = None) -> OnnxRuntimeBound:
    """The bundle's graphs on TensorRT within ONNX Runtime; what it can't do runs on CUDA.

    Engines are built when a shape comes along for the first time, which takes minutes, and are kept
    in the user's cache folder. float32 products are computed in TF32 where the GPU has it: the
    provider has no option against it.

    Source: ONNX Runtime, TensorRT Execution Provider.

    Raises:
        BackendError: See `open_cuda`.
    """
    ort, gpu = _prepared("onnxruntime-tensorrt", TENSORRT)
    fallback = (CUDA, {"device_id": str(DEVICE), "use_tf32": "0"})

    def open_session(graph: str, options: Any) -> Any:  # noqa: ANN401  # the library is untyped
        cache = str(engine_cache(bundle, graph, "onnxruntime-tensorrt", ort.__version__, gpu))
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
        return _session(bundle, ort, [(TENSORRT, own), fallback], graph, options)

    return OnnxRuntimeBound(
        bundle,
        "onnxruntime-tensorrt",
        _rounded(bundle),
        TENSORRT,
        "cuda",
        open_session,
        threads,
    )


def open_tensorrt_rtx(bundle: Bundle, threads: int | None = None) -> OnnxRuntimeBound:
    """The bundle's graphs on TensorRT-RTX within ONNX Runtime, by NVIDIA's plug-in.

    Compiled kernels are kept in the user's cache folder. float32 products are computed in TF32
    where the GPU has it: the provider has no option against it.

    Source: NVIDIA TensorRT RTX Execution Provider, Installation and Provider options.

    Raises:
        BackendError: See `open_cuda`.
    """
    name = "onnxruntime-tensorrt-rtx"
    ort, plugin, devices, gpu = _rtx(name)

    def open_session(graph: str, options: Any) -> Any:  # noqa: ANN401  # the library is untyped
        cache = engine_cache(bundle, graph, name, f"{ort.__version__}-{plugin.__version__}", gpu)
        options.add_provider_for_devices(devices[:1], {"nv_runtime_cache_path": str(cache)})
        return ort.InferenceSession(str(bundle.graph_path(graph)), options, enable_fallback=0)

    return OnnxRuntimeBound(
        bundle,
        name,
        _rounded(bundle),
        plugin.get_ep_name(),
        "cuda",
        open_session,
        threads,
    )


def _rounded(bundle: Bundle) -> str:
    """What TensorRT's providers compute a bundle in: they take TF32 for float32."""
    arithmetic = bundle.manifest.arithmetic
    return "tf32" if arithmetic == "fp32" else arithmetic


def look_for_cuda() -> None:
    """Whether all but the graphs is there for `open_cuda`, which raises as this does.

    Raises:
        BackendError: See `open_cuda`.
    """
    _prepared("onnxruntime-cuda", CUDA)


def look_for_tensorrt() -> None:
    """As `look_for_cuda`, for `open_tensorrt`.

    Raises:
        BackendError: See `open_cuda`.
    """
    _prepared("onnxruntime-tensorrt", TENSORRT)


def look_for_tensorrt_rtx() -> None:
    """As `look_for_cuda`, for `open_tensorrt_rtx`.

    Raises:
        BackendError: See `open_cuda`.
    """
    _rtx("onnxruntime-tensorrt-rtx")


def engine_cache(bundle: Bundle, graph: str, backend: str, versions: str, gpu: Gpu) -> Path:
    """The folder for what a provider compiles of one graph, made if it isn't there.

    Providers name their files after the graph's structure, not its weights, and don't notice every
    change of what is around them. So each graph, release, GPU and driver has a folder of its own.

    Args:
        bundle: That the graph is of.
        graph: Its name.
        backend: Its name.
        versions: Of the libraries.
        gpu: That it is compiled for.

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


def _session(
    bundle: Bundle,
    ort: ModuleType,
    providers: list[tuple[str, dict[str, str]]],
    graph: str,
    options: Any,  # noqa: ANN401  # the library is untyped
) -> Any:  # noqa: ANN401
    # Without `enable_fallback=0` the library prints what went wrong and goes on on the CPU.
    path = str(bundle.graph_path(graph))
    return ort.InferenceSession(path, options, providers=providers, enable_fallback=0)


def _prepared(name: str, provider: str) -> tuple[ModuleType, Gpu]:
    """The library with a provider that is built in, and the GPU."""
    ort = _placing_library(name)
    gpu = require_gpu(name)  # before any advice to install something
    # CUDA and cuDNN that pip installed are where no loader looks, and a provider may be there only
    # once they are. The library prints what it doesn't find, which a system's own may make up for.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
        ort.preload_dlls()
    available = ort.get_available_providers()
    if provider not in available:
        raise BackendError(
            f"{name}: this onnxruntime has no {provider}, only {', '.join(available)}; "
            "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'mavos-deploy[gpu]'"
        )
    if provider == TENSORRT:
        with contextlib.suppress(Exception):  # likewise; what is missing shows at the session
            open_tensorrt_library("tensorrt")
    return ort, gpu


def _rtx(name: str) -> tuple[ModuleType, Any, list[Any], Gpu]:
    """The library, NVIDIA's plug-in, the devices that it takes, and the GPU."""
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


def _placing_library(name: str) -> ModuleType:
    """ONNX Runtime, of a release that says what runs where."""
    ort = open_library()
    if not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
        raise BackendError(
            f"{name}: onnxruntime {ort.__version__} can't say which nodes run on the GPU; update "
            "it to 1.24 or later, which needs Python 3.11"
        )
    # A provider that can't be loaded is raised here, and must not be printed as well.
    ort.set_default_logger_severity(4)
    return ort


def _missing_library(ort: ModuleType, provider: str) -> str:
    """Why a provider's library doesn't load, in the loader's words, or nothing."""
    stem = {CUDA: "cuda", TENSORRT: "tensorrt"}.get(provider)
    folder = Path(str(ort.__file__)).parent / "capi"
    if stem is None or os.name != "posix":
        return ""
    try:
        for part in ("shared", stem):
            library = folder / f"libonnxruntime_providers_{part}.so"
            if library.is_file():  # a release may have its providers elsewhere
                ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    except OSError as error:
        return f" ({one_line(error)})"
    return ""
