"""The thin layer on TensorRT, PyCUDA and CUDA graphs: calls, and the meaning of their failures.

`tensorrt_gpu` and `tensorrt_launches` decide on order and time of the work, and `device_memory` on
addresses. This file only makes the calls, so that all the rest is tested without a GPU. The
attributes of TensorRT that it uses are listed in tests/data/tensorrt_api.csv with their versions
and sources.
"""

import re
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends.cuda_library import (
    CudaContext,
    checked,
    open_driver,
    open_pycuda,
)
from mavos_deploy.runtime.backends.pinned_memory import Block, PinnedMemory, as_bytes
from mavos_deploy.runtime.backends.protocol import Array, check_tensors
from mavos_deploy.runtime.backends.tensorrt_cache import KernelCache
from mavos_deploy.runtime.backends.tensorrt_library import (
    collecting_logger,
    library_said,
    open_library,
)
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.engines import Engine, Library, Shape, check_shapes
from mavos_deploy.runtime.system.gpu import Gpu, require_gpu

TYPES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT32": "int32"}
OLDEST = (10, 1)  # release of TensorRT, the first whose contexts take scratch memory with its size
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: nothing on the default stream waits for it, or stops it


class TensorRtDevice:
    """The first GPU with the engines of a bundle; see `tensorrt_protocol.Device`.

    Args:
        bundle: An opened bundle.
        name: Name of the backend.
        library: Library that built the engines.

    Raises:
        BackendError: A library is missing, there is no GPU, or an engine is missing, was built for
            another library, release or GPU, or is refused.
        BundleError: An engine's file is altered.
    """

    def __init__(self, bundle: Bundle, name: str, library: Library) -> None:
        self.name = name
        self._library = library
        # TensorRT-RTX captures by itself, once it has compiled kernels for the shapes.
        self.captures = library == Library.TENSORRT
        self._trt, gpu, self._cuda, self._driver = look_for(name, library)
        self._path = str(bundle.path)
        self._blocks: dict[int, Any] = {}
        self._pinned = PinnedMemory(self._cuda)
        self._engines: dict[str, tuple[Engine, Any]] = {}
        self._stream: Any = None
        self._beside: Any = None  # the stream of copies that nothing else waits for
        self._logger = collecting_logger(self._trt)
        self._kernels: KernelCache | None = None
        self._asked: set[str] = set()  # graphs of which TensorRT-RTX said whether it captures them
        self._cuda_context = CudaContext(self._cuda, name)
        version = str(self._trt.__version__)
        try:
            with self._cuda_context.current():
                self._stream = self._cuda.Stream(NON_BLOCKING)
                self._beside = self._cuda.Stream(NON_BLOCKING)
                runtime = self._trt.Runtime(self._logger)
                for graph in bundle.specs:
                    entry = bundle.engine(graph, library, version, gpu.capability, gpu.name)
                    self._engines[graph] = entry, self._load(bundle, runtime, entry)
            if not self.captures:
                self._kernels = KernelCache(
                    (entry for entry, _ in self._engines.values()),
                    f"{version}-sm{gpu.capability}-{gpu.driver}".replace(" ", ""),
                )
        except BaseException:
            self.close()
            raise

    def _load(self, bundle: Bundle, runtime: Any, entry: Engine) -> Any:  # noqa: ANN401
        path = bundle.path / entry.file
        # A plan for later releases carries code of its own. As with any engine, the maker of the
        # bundle is trusted.
        runtime.engine_host_code_allowed = entry.flags.version_compatible
        engine = runtime.deserialize_cuda_engine(bundle.plan(entry))
        if engine is None:
            raise BackendError(
                f"{self._library} {self._trt.__version__} refuses {path}: {self._said()}"
            )
        found: dict[str, tuple[str | None, list[int | None]]] = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            shape = [extent if extent >= 0 else None for extent in engine.get_tensor_shape(name)]
            found[name] = TYPES.get(engine.get_tensor_dtype(name).name), shape
        check_tensors(found, bundle.specs[entry.graph], path)
        return engine

    @property
    def stream(self) -> int:
        """See `Device.stream`."""
        handle: int = self._stream.handle
        return handle

    @property
    def tf32(self) -> bool:
        """See `Device.tf32`."""
        return any(entry.flags.tf32 for entry, _ in self._engines.values())

    def _said(self) -> str:
        said = library_said(self._logger.errors)
        self._logger.errors.clear()
        return said

    def allocate(self, size: int) -> int | None:
        """See `Device.allocate`."""
        with self._cuda_context.current():
            try:
                block = self._cuda.mem_alloc(max(1, size))
            except self._cuda.MemoryError:
                return None
        self._blocks[int(block)] = block
        return int(block)

    def free(self, address: int) -> None:
        """See `Device.free`."""
        with self._cuda_context.current():
            self._blocks.pop(address).free()

    def upload(self, address: int, array: Array) -> None:
        """See `Device.upload`."""
        with self._cuda_context.current():
            self._pinned.upload(address, array, self._stream)

    def download(self, address: int, array: Array) -> None:
        """See `Device.download`."""
        with self._cuda_context.current():
            self._pinned.download(address, array, self._stream)

    def fetch(self, address: int, size: int) -> "_Copy":
        """See `Device.fetch`."""
        with self._cuda_context.current():
            block = self._pinned.fetch(address, size, self._stream, self._beside)
        return _Copy(self, block)

    def context(self, graph: str, shapes: Mapping[str, Shape], steady: bool) -> "_Context":
        """See `Device.context`."""
        entry, engine = self._engines[graph]
        check_shapes(entry, shapes, self._path)
        with self._cuda_context.current():
            self._logger.errors.clear()
            context = self._create_context(engine, steady)
            if context is None:
                raise BackendError(f"{self.name} can't prepare {graph}: {self._said()}")
            for name, shape in shapes.items():
                if not context.set_input_shape(name, shape):
                    raise BackendError(f"{self.name} refuses {name} of {shape}: {self._said()}")
            scratch = context.update_device_memory_size_for_shapes()
            # Zero says that the call failed, unless the engine never needs any.
            if not scratch and engine.device_memory_size_v2:
                raise BackendError(
                    f"{self.name} can't tell the memory that {graph} needs: {self._said()}"
                )
        asks = steady and self._kernels is not None and graph not in self._asked
        if asks:
            self._asked.add(graph)
        return _Context(self, context, graph, scratch, asks)

    def _create_context(self, engine: Any, steady: bool) -> Any:  # noqa: ANN401
        """A context whose scratch memory is ours, because graphs never run at the same time."""
        trt = self._trt
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._kernels is None:
            return engine.create_execution_context(strategy)
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        # A captured graph holds addresses, so others would be captured anew at every launch.
        config.cuda_graph_strategy = (
            trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE if steady else trt.CudaGraphStrategy.DISABLED
        )
        # Lazily, kernels for the shapes at hand would replace others at a moment that depends on
        # the machine, and with them the last bits of the results.
        config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        # Without a common cache every context would compile its kernels for itself.
        config.set_runtime_cache(self._kernels.shared(config))
        return engine.create_execution_context(config)

    def enqueue(self, context: Any, graph: str) -> None:  # noqa: ANN401
        """Put an engine's work on the stream.

        Raises:
            BackendError: The library refuses.
        """
        with self._cuda_context.current():
            self._logger.errors.clear()
            if not context.execute_async_v3(self._stream.handle):
                raise BackendError(f"{self.name} failed in {graph}: {self._said()}")

    def check_capturable(self, context: Any, graph: str) -> None:  # noqa: ANN401
        """Warn where TensorRT-RTX, which captures by itself, can't: it would not say so."""
        with self._cuda_context.current():
            if context.is_stream_capturable(self._stream.handle):
                return
        warnings.warn(
            f"{self.name}: {graph} can't be captured as a CUDA graph; it is launched kernel by "
            "kernel, which is slower",
            RuntimeWarning,
            stacklevel=2,
        )

    def begin_capture(self) -> None:
        """See `Device.begin_capture`."""
        driver = self._driver
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        with self._cuda_context.current():
            checked(driver, driver.cuStreamBeginCapture(self._stream.handle, mode))

    def end_capture(self) -> Callable[[], None]:
        """See `Device.end_capture`."""
        driver = self._driver
        with self._cuda_context.current():
            recorded = checked(driver, driver.cuStreamEndCapture(self._stream.handle))
            try:
                if not checked(driver, driver.cuGraphGetNodes(recorded)):
                    raise BackendError("CUDA graph: nothing was recorded")
                executable = checked(driver, driver.cuGraphInstantiate(recorded, 0))
            finally:
                driver.cuGraphDestroy(recorded)
        return _Launch(self, driver, executable)

    def launch(self, executable: Any) -> None:  # noqa: ANN401
        """Put a captured graph on the stream."""
        driver = self._driver
        with self._cuda_context.current():
            checked(driver, driver.cuGraphLaunch(executable, self._stream.handle))

    def synchronize(self) -> None:
        """See `Device.synchronize`."""
        with self._cuda_context.current():
            self._stream.synchronize()
            self._beside.synchronize()

    def close(self) -> None:
        """See `Device.close`."""
        kernels, self._kernels = self._kernels, None
        try:
            with self._cuda_context.current():
                if self._stream is not None:
                    self._stream.synchronize()
                if kernels is not None:
                    kernels.save()
        except BackendError as error:  # a lost device, which PyCUDA would print for every block
            self._cuda_context.give_up(error)
            for thing in (self._engines, kernels):
                self._cuda_context.let_go(thing)
        finally:
            with suppress(BackendError), self._cuda_context.current():
                self._engines.clear()
                self._pinned.clear()
                self._stream = self._beside = None  # PyCUDA needs the context to end them
                while self._blocks:
                    self._blocks.popitem()[1].free()


def look_for(name: str, library: Library) -> tuple[ModuleType, Gpu, Any, Any]:
    """Everything but a bundle's engines that `TensorRtDevice` needs.

    Args:
        name: Name of the backend, for messages.
        library: Library that built the engines.

    Returns:
        TensorRT, the GPU, PyCUDA's driver module, and for TensorRT the functions that capture
        graphs.

    Raises:
        BackendError: A library is missing or too old, or there is no GPU.
    """
    gpu = require_gpu(name)  # before any advice to install something
    trt = open_library(library)
    version = str(trt.__version__)
    if library == Library.TENSORRT and tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        raise BackendError(
            f"tensorrt {version} is too old to run engines; update it to 10.1 or later"
        )
    return trt, gpu, open_pycuda(), open_driver() if library == Library.TENSORRT else None


class _Context:
    """See `tensorrt_protocol.Context`."""

    def __init__(
        self,
        device: TensorRtDevice,
        context: Any,  # noqa: ANN401
        graph: str,
        scratch: int,
        asks: bool,
    ) -> None:
        self.scratch = scratch
        self._asks = asks
        self._device = device
        self._execution = context
        self._graph = graph
        weakref.finalize(self, device._cuda_context.let_go, context).atexit = False

    def use_scratch(self, address: int, size: int) -> None:
        self._execution.set_device_memory(address, size)

    def bind(self, addresses: Mapping[str, int]) -> None:
        for name, address in addresses.items():
            if not self._execution.set_tensor_address(name, address):
                raise BackendError(f"{self._device.name} has no tensor {name} in {self._graph}")
        if self._asks:  # once, when shapes, addresses and scratch memory are all there
            self._asks = False
            self._device.check_capturable(self._execution, self._graph)

    def enqueue(self) -> None:
        self._device.enqueue(self._execution, self._graph)


class _Copy:
    """See `tensorrt_protocol.Copy`."""

    def __init__(self, device: TensorRtDevice, block: Block) -> None:
        self._device = device
        self._block = block
        # Read or not, it ends in a thread that may not have the context; PyCUDA would print then.
        weakref.finalize(self, device._pinned.returned.append, block).atexit = False

    def done(self) -> bool:
        block = self._block
        with self._device._cuda_context.current():
            done: bool = block.event.query()
        return done

    def read(self, array: Array) -> None:
        block = self._block
        with self._device._cuda_context.current():
            block.event.synchronize()
            as_bytes(array)[:] = block.pinned


class _Launch:
    """An executable CUDA graph; see `tensorrt_protocol.Launch`."""

    def __init__(self, device: TensorRtDevice, driver: Any, executable: Any) -> None:  # noqa: ANN401
        self._device = device
        self._executable = executable
        end = device._cuda_context.end
        weakref.finalize(self, end, driver.cuGraphExecDestroy, executable).atexit = False

    def __call__(self) -> None:
        self._device.launch(self._executable)
