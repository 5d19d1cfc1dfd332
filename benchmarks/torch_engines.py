"""TensorRT's runtime with PyTorch behind it, for the day when a GPU is at hand and TensorRT is not.

An engine is the graph's own module from export/graphs.py, with the bundle's weights. It reads its
inputs and writes its outputs where the caller says, on the caller's stream, and it can be captured
as a CUDA graph. So contexts, streams, captured graphs, device memory, pinned memory and transfers
of the `tensorrt` backend run on a real driver and a real GPU; the kernels are PyTorch's. Only what
runtime/backends/tensorrt_device.py calls is there.
"""

import ctypes
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mavos_deploy.export.engine_shapes import ShapeLimits, profiles
from mavos_deploy.export.graphs import GRAPHS, Graph, form_of
from mavos_deploy.export.networks import network_of
from mavos_deploy.models.half import half_precision
from mavos_deploy.runtime.backends.protocol import Array, Traits, Transfers
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.engines import Engine, Flags, Library
from mavos_deploy.runtime.bundles.manifest import write_manifest
from mavos_deploy.runtime.contract import GraphSpec

VERSION = "10.99.0"  # no real release
TYPES = {"float32": "FLOAT", "float16": "HALF", "uint8": "UINT8", "int32": "INT32"}
SCRATCH = 1 << 20  # bytes; PyTorch takes memory of its own


def modules_of(bundle: Bundle, device: str, *, plain: bool = False) -> dict[str, Graph]:
    """The modules that a bundle's graphs were exported from, on a device.

    Args:
        bundle: An opened bundle for GPUs, whose weights ship or are untrained.
        device: PyTorch's name of the device.
        plain: Whether graphs with a form for GPUs are taken in the general one.
    """
    network = network_of(bundle.manifest, None)
    if bundle.manifest.precision == "fp16":
        network = half_precision(network)
    forms = {
        name: GRAPHS[name] if plain else form_of(spec, bundle.manifest.target)
        for name, spec in bundle.specs.items()
    }
    return {name: form(network).to(device).eval() for name, form in forms.items()}


def add_engines(folder: Path, capability: str) -> None:
    """Name an engine of this module for each graph in a bundle's manifest."""
    bundle = Bundle.open(folder)
    (folder / "engines").mkdir(exist_ok=True)
    engines = []
    for graph, spec in bundle.specs.items():
        content = json.dumps({"graph": graph}).encode()
        file = f"engines/pytorch-{graph}.plan"
        (folder / file).write_bytes(content)
        engines.append(
            Engine(
                graph=graph,
                file=file,
                sha256=hashlib.sha256(content).hexdigest(),
                graph_sha256=bundle.manifest.graphs[graph].sha256,
                library=Library.TENSORRT,
                version=VERSION,
                capability=capability,
                gpu=None,
                driver=None,
                flags=Flags(),
                profiles=profiles(spec, bundle.manifest, ShapeLimits()),
            )
        )
    write_manifest(folder, replace(bundle.manifest, engines=tuple(engines)))


def install(bundle: Bundle, device: str) -> None:
    """Put this module in TensorRT's place for the rest of the process."""
    engines = _Engines(bundle.specs, modules_of(bundle, device), device)
    trt = ModuleType("tensorrt")
    vars(trt).update(
        __version__=VERSION,
        ILogger=_Logger,
        Runtime=lambda logger: _Runtime(engines, logger),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user"),
    )
    sys.modules["tensorrt"] = trt


class _Logger:
    class Severity:
        INTERNAL_ERROR, ERROR, WARNING = range(3)


class _Engines:
    """What all engines share."""

    def __init__(
        self, specs: Mapping[str, GraphSpec], modules: Mapping[str, Graph], device: str
    ) -> None:
        self.specs = specs
        self.modules = modules
        self.device = device
        self.streams = _HostStreams() if device == "cpu" else _CudaStreams()


class _CudaStreams:
    """Work on the streams of a GPU.

    Memory of a captured graph is given to nobody but other engines, which never run at the same
    time. PyTorch's own pool may hand it to anybody.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.MemPool()
        self._streams: dict[int, Any] = {}

    def enqueue(self, handle: int, work: Callable[[], None]) -> None:
        if handle not in self._streams:  # made once, because PyTorch keeps memory for each
            self._streams[handle] = torch.cuda.ExternalStream(handle)
        with torch.cuda.stream(self._streams[handle]), torch.cuda.use_mem_pool(self._pool):
            work()


class _HostStreams:
    """Work on the streams of tools/host_cuda.c, which run and record functions of Python's."""

    def __init__(self) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._driver.host_cuda_enqueue.argtypes = [ctypes.c_void_p, ctypes.c_long]
        self._work: list[Callable[[], None]] = []
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_long)(lambda number: self._work[number]())
        self._driver.host_cuda_kernels(self._run)

    def enqueue(self, handle: int, work: Callable[[], None]) -> None:
        self._work.append(work)
        assert self._driver.host_cuda_enqueue(handle, len(self._work) - 1) == 0


class _Runtime:
    engine_host_code_allowed = False

    def __init__(self, engines: _Engines, logger: object) -> None:
        del logger
        self._engines = engines

    def deserialize_cuda_engine(self, plan: bytes) -> "_Engine":
        return _Engine(self._engines, json.loads(plan)["graph"])


class _Engine:
    device_memory_size_v2 = SCRATCH

    def __init__(self, engines: _Engines, graph: str) -> None:
        self.engines = engines
        self.spec = engines.specs[graph]
        self.module = engines.modules[graph]
        self._tensors = {tensor.name: tensor for tensor in (*self.spec.inputs, *self.spec.outputs)}

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_shape(self, name: str) -> list[int]:
        return [e if isinstance(e, int) else -1 for e in self._tensors[name].shape]

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=TYPES[self._tensors[name].dtype])

    def create_execution_context(self, strategy: object) -> "_Context":
        assert strategy == "user"
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return True

    def update_device_memory_size_for_shapes(self) -> int:
        return SCRATCH

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory
        assert size >= SCRATCH

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, handle: int) -> bool:
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        self._engine.engines.streams.enqueue(handle, lambda: self._compute(shapes, addresses))
        return True

    def _compute(self, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        """The module's outputs, copied to their addresses."""
        spec, device = self._engine.spec, self._engine.engines.device
        inputs = [
            tensor_at(addresses[t.name], shapes[t.name], t.dtype, device) for t in spec.inputs
        ]
        with torch.inference_mode():
            for tensor, made in zip(spec.outputs, self._engine.module(*inputs), strict=True):
                shape = tuple(made.shape)
                tensor_at(addresses[tensor.name], shape, tensor.dtype, device).copy_(made)


def tensor_at(address: int, shape: tuple[int, ...], dtype: str, device: str) -> Tensor:
    """A tensor that lies at an address, and doesn't own it."""
    if device == "cpu":
        size = prod(shape) * np.dtype(dtype).itemsize
        memory = (ctypes.c_uint8 * size).from_address(address)
        return torch.from_numpy(np.ctypeslib.as_array(memory).view(dtype).reshape(shape))
    interface = {
        "shape": shape,
        "typestr": np.dtype(dtype).str,
        "data": (address, False),
        "version": 3,
        "strides": None,
    }
    made: Tensor = torch.as_tensor(
        SimpleNamespace(__cuda_array_interface__=interface), device=device
    )
    return made


class DirectBackend:
    """The same modules without any of the device code: what engines made of them must equal.

    Tensors are PyTorch's.

    Args:
        bundle: An opened bundle for GPUs, whose weights ship or are untrained.
        device: PyTorch's name of the device.
    """

    def __init__(self, bundle: Bundle, device: str) -> None:
        self.traits = Traits("pytorch-modules", bundle.manifest.arithmetic)
        self.transfers = Transfers()
        self.modules = modules_of(bundle, device)
        self._specs = bundle.specs
        self._device = device

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        spec = self._specs[graph]
        with torch.inference_mode():
            made = self.modules[graph](*(inputs[tensor.name] for tensor in spec.inputs))
        return {t.name: m.contiguous() for t, m in zip(spec.outputs, made, strict=True)}

    def upload(self, array: Array) -> Tensor:
        """See `Backend.upload`."""
        return torch.from_numpy(np.array(array)).to(self._device)

    def download(self, tensor: Tensor) -> Array:
        """See `Backend.download`."""
        array: Array = tensor.cpu().numpy()
        return array

    def close(self) -> None:
        """See `Backend.close`."""
        self.modules.clear()
