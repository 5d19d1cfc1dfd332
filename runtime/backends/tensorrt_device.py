"""The thin layer on TensorRT, PyCUDA and CUDA graphs: calls, and what their failures mean.

What is enqueued when, and where everything lies, is decided in `tensorrt_gpu`. This file only makes
the calls, so that all the rest is tested without a GPU. Its attributes of TensorRT are listed in
tests/data/tensorrt_api.csv with their versions and sources.
"""

import atexit
import hashlib
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import BackendError, InputError, one_line
from mavos_deploy.runtime.backends.protocol import Array, check_tensors
from mavos_deploy.runtime.backends.tensorrt_library import (
    collecting_logger,
    library_said,
    open_library,
)
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.engines import Engine, Shape, check_shapes
from mavos_deploy.runtime.system.files import cache_folder, replacing
from mavos_deploy.runtime.system.gpu import Gpu, require_gpu

TYPES = {"FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT32": "int32"}
KEPT_STAGES = 32  # sizes of transfers whose pinned memory is kept
OLDEST = (10, 1)  # release of TensorRT, the first whose contexts take scratch memory with its size
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: nothing on the default stream waits for it, or stops it


class TensorRtDevice:
    """The first GPU with the engines of a bundle; see `tensorrt_gpu.Device`.

    Args:
        bundle: Opened, and so checked.
        library: `tensorrt` or `tensorrt_rtx`.

    Raises:
        BackendError: A library is missing, there is no GPU, or an engine is missing, was built for
            something else, or is refused.
        BundleError: An engine's file is altered.
    """

    def __init__(self, bundle: Bundle, library: str) -> None:
        self.name = _name(library)
        self._library = library
        # TensorRT-RTX captures by itself, once it has compiled kernels for the shapes.
        self.captures = library == "tensorrt"
        self._trt, gpu, self._cuda, self._driver = _parts(library)
        self._path = str(bundle.path)
        self._blocks: dict[int, Any] = {}
        self._stages: dict[int, list[_Stage]] = {}
        self._engines: dict[str, tuple[Engine, Any]] = {}
        self._stream: Any = None
        self._logger = collecting_logger(self._trt)
        self._compiled: _Compiled | None = None
        try:
            self._cuda.init()
            self._context = _primary_context(self._cuda)
        except self._cuda.Error as error:
            raise BackendError(
                f"{self.name}: the GPU can't be used ({one_line(error)}); look with nvidia-smi "
                "whether its memory is full or another program has it for itself"
            ) from error
        version = str(self._trt.__version__)
        try:
            with self._current():
                self._stream = self._cuda.Stream(NON_BLOCKING)
                runtime = self._trt.Runtime(self._logger)
                for graph in bundle.specs:
                    entry = bundle.engine(graph, library, version, gpu.capability, gpu.name)
                    self._engines[graph] = entry, self._load(bundle, runtime, entry)
            if not self.captures:
                plans = "".join(entry.sha256 for entry, _ in self._engines.values())
                self._compiled = _Compiled(
                    hashlib.sha256(plans.encode()).hexdigest(),
                    f"{version}-sm{gpu.capability}-{gpu.driver}.cache".replace(" ", ""),
                )
        except BaseException:
            self.close()
            raise

    def _load(self, bundle: Bundle, runtime: Any, entry: Engine) -> Any:  # noqa: ANN401
        path = bundle.path / entry.file
        # A plan for later releases carries code of its own. As with any engine, whoever made the
        # bundle is trusted.
        runtime.engine_host_code_allowed = entry.flags.version_compatible
        engine = runtime.deserialize_cuda_engine(bundle.plan(entry))
        if engine is None:
            raise BackendError(
                f"{self._library} {self._trt.__version__} refuses {path}: {self._said()}"
            )
        spec = bundle.specs[entry.graph]
        found: dict[str, tuple[str | None, list[int | None]]] = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            shape = [extent if extent >= 0 else None for extent in engine.get_tensor_shape(name)]
            found[name] = TYPES.get(engine.get_tensor_dtype(name).name), shape
        check_tensors(found, (*spec.inputs, *spec.outputs), str(path))
        return engine

    @property
    def stream(self) -> int:
        """See `tensorrt_gpu.Device`."""
        handle: int = self._stream.handle
        return handle

    @property
    def tf32(self) -> bool:
        """See `tensorrt_gpu.Device`."""
        return any(entry.flags.tf32 for entry, _ in self._engines.values())

    def _said(self) -> str:
        said = library_said(self._logger.errors)
        self._logger.errors.clear()
        return said

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Make the GPU's context that of this thread; say what CUDA reports in one line."""
        try:
            self._context.push()
        except self._cuda.Error as error:
            raise self._reported(error) from error
        try:
            yield
        except BaseException as error:
            with suppress(BackendError):
                self._leave()
            if isinstance(error, self._cuda.Error):
                raise self._reported(error) from error
            raise
        self._leave()

    def _leave(self) -> None:
        """Take the context off the thread's stack, which can tell that earlier work has failed."""
        try:
            self._cuda.Context.pop()
        except self._cuda.Error as error:
            _give_up(self._cuda, self._context)
            raise self._reported(error) from error

    def _reported(self, error: Exception) -> BackendError:
        return BackendError(f"{self.name}: CUDA reports: {one_line(error)}")

    def allocate(self, size: int) -> int | None:
        """See `Device.allocate`."""
        with self._current():
            try:
                block = self._cuda.mem_alloc(max(1, size))
            except self._cuda.MemoryError:
                return None
        self._blocks[int(block)] = block
        return int(block)

    def free(self, address: int) -> None:
        """See `Device.free`."""
        with self._current():
            self._blocks.pop(address).free()

    def upload(self, address: int, array: Array) -> None:
        """See `Device.upload`; through pinned memory, two blocks of each size in turn."""
        with self._current():
            stage = self._stage(array.nbytes)
            stage.event.synchronize()  # the copy before the last has read it
            stage.pinned[:] = _bytes(array)
            self._cuda.memcpy_htod_async(address, stage.pinned, self._stream)
            stage.event.record(self._stream)

    def download(self, address: int, array: Array) -> None:
        """See `Device.download`."""
        with self._current():
            stage = self._stage(array.nbytes)
            stage.event.synchronize()
            self._cuda.memcpy_dtoh_async(stage.pinned, address, self._stream)
            self._stream.synchronize()
            _bytes(array)[:] = stage.pinned

    def _stage(self, size: int) -> "_Stage":
        if size not in self._stages:
            if len(self._stages) >= KEPT_STAGES:
                self._stream.synchronize()
                self._stages.pop(next(iter(self._stages)))
            self._stages[size] = [_Stage(self._cuda, size) for _ in range(2)]
        turn = self._stages[size] = self._stages.pop(size)  # the one used last stands last
        turn.reverse()
        return turn[0]

    def context(self, graph: str, shapes: Mapping[str, Shape], steady: bool) -> "_Context":
        """See `Device.context`."""
        entry, engine = self._engines[graph]
        check_shapes(entry, shapes, self._path)
        with self._current():
            self._logger.errors.clear()
            context = self._create_context(engine, steady)
            if context is None:
                raise BackendError(f"{self.name} can't prepare {graph}: {self._said()}")
            for name, shape in shapes.items():
                if not context.set_input_shape(name, shape):
                    raise BackendError(f"{self.name} refuses {name} of {shape}: {self._said()}")
            scratch = context.update_device_memory_size_for_shapes()
        return _Context(self, context, graph, scratch)

    def _create_context(self, engine: Any, steady: bool) -> Any:  # noqa: ANN401
        """A context whose scratch memory is ours, because graphs never run at the same time."""
        trt = self._trt
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.captures:
            return engine.create_execution_context(strategy)
        assert self._compiled is not None
        config = engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        # A captured graph holds addresses, so others would be captured anew at every launch.
        config.cuda_graph_strategy = (
            trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE if steady else trt.CudaGraphStrategy.DISABLED
        )
        # Without a common cache every context would compile its kernels for itself.
        config.set_runtime_cache(self._compiled.shared(config))
        return engine.create_execution_context(config)

    def enqueue(self, context: Any, graph: str) -> None:  # noqa: ANN401
        """Put an engine's work on the stream."""
        with self._current():
            self._logger.errors.clear()
            if not context.execute_async_v3(self._stream.handle):
                raise BackendError(f"{self.name} failed in {graph}: {self._said()}")

    def begin_capture(self) -> None:
        """See `Device.begin_capture`."""
        assert self._driver is not None
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        with self._current():
            _done(self._driver, self._driver.cuStreamBeginCapture(self._stream.handle, mode))

    def end_capture(self) -> Callable[[], None]:
        """See `Device.end_capture`."""
        driver = self._driver
        assert driver is not None
        with self._current():
            recorded = _done(driver, driver.cuStreamEndCapture(self._stream.handle))
            try:
                if not _done(driver, driver.cuGraphGetNodes(recorded)):
                    raise BackendError("CUDA graph: nothing was recorded")
                executable = _done(driver, driver.cuGraphInstantiate(recorded, 0))
            finally:
                driver.cuGraphDestroy(recorded)
        return _Launch(self, driver, executable)

    def launch(self, executable: Any) -> None:  # noqa: ANN401
        """Put a captured graph on the stream."""
        assert self._driver is not None
        with self._current():
            _done(self._driver, self._driver.cuGraphLaunch(executable, self._stream.handle))

    def synchronize(self) -> None:
        """See `Device.synchronize`."""
        with self._current():
            self._stream.synchronize()

    def close(self) -> None:
        """See `Device.close`."""
        compiled, self._compiled = self._compiled, None
        try:
            with self._current():
                if self._stream is not None:
                    self._stream.synchronize()
                if compiled is not None:
                    compiled.save()
        except BackendError:  # the device is lost, and PyCUDA would print that for every block
            _give_up(self._cuda, self._context)
        finally:
            with suppress(BackendError), self._current():
                self._engines.clear()
                self._stages.clear()
                self._stream = None  # PyCUDA needs the context to end it
                while self._blocks:
                    self._blocks.popitem()[1].free()


def look_for(library: str) -> None:
    """Whether all but the engines is there for `TensorRtDevice`, which raises as this does.

    Args:
        library: `tensorrt` or `tensorrt_rtx`.

    Raises:
        BackendError: A library is missing, or there is no GPU.
    """
    _parts(library)


def _parts(library: str) -> tuple[ModuleType, Gpu, Any, Any]:
    """TensorRT, the GPU, PyCUDA, and for TensorRT what captures graphs."""
    gpu = require_gpu(_name(library))  # before any advice to install something
    trt = open_library(library)
    version = str(trt.__version__)
    if library == "tensorrt" and tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        raise BackendError(
            f"tensorrt {version} is too old to run engines; update it to 10.1 or later"
        )
    return trt, gpu, _pycuda(), _graph_functions() if library == "tensorrt" else None


_contexts: dict[Any, Any] = {}  # the primary context, by PyCUDA's module


def _primary_context(cuda: Any) -> Any:  # noqa: ANN401  # untyped
    """The context that the process shares with CUDA's runtime, held until the process ends.

    Giving it up and taking it anew with every backend would pull it from under whoever else has it
    current; PyCUDA leaves it on the thread's stack when it is detached.
    """
    if cuda not in _contexts:
        _contexts[cuda] = context = cuda.Device(0).retain_primary_context()
        atexit.register(_give_up, cuda, context)
    return _contexts[cuda]


def _give_up(cuda: Any, held: Any) -> None:  # noqa: ANN401  # untyped
    """Detach a context once, at the end or because the device is lost.

    What PyCUDA still holds of it is then dropped in silence. With a context that it takes to be
    alive it would print for every block, or abort the process. Where another one has been taken
    since, this one has been detached before.
    """
    if cuda in _contexts and _contexts[cuda] is held:
        del _contexts[cuda]
        with suppress(cuda.Error):
            held.detach()


def _name(library: str) -> str:
    """A library's backend."""
    return library.replace("_", "-")


class _Stage:
    """Pinned memory for a transfer, and the event after which it may be used again."""

    def __init__(self, cuda: ModuleType, size: int) -> None:
        self.pinned: NDArray[np.uint8] = cuda.pagelocked_empty(max(1, size), np.uint8)[:size]
        self.event: Any = cuda.Event(cuda.event_flags.DISABLE_TIMING)


class _Compiled:
    """Kernels that TensorRT-RTX compiles for this GPU: one cache for all contexts, kept on disk.

    Source: NVIDIA TensorRT-RTX documentation, Working with Runtime Cache.
    """

    def __init__(self, engines: str, around: str) -> None:
        self._file: Path | None = None
        self._kernels: Any = None
        with suppress(InputError):  # without a cache folder nothing is kept
            self._file = cache_folder() / "tensorrt-rtx" / engines / around

    def shared(self, config: Any) -> Any:  # noqa: ANN401  # untyped
        """The cache, made with the first config; what is on disk and doesn't fit is ignored."""
        if self._kernels is None:
            self._kernels = kernels = config.create_runtime_cache()
            if kernels is not None and self._file is not None:
                with suppress(OSError):
                    kernels.deserialize(self._file.read_bytes())
        return self._kernels

    def save(self) -> None:
        """Write the cache and drop it; it only saves time, so nothing fails for it."""
        kernels, self._kernels = self._kernels, None
        blob = None if kernels is None else kernels.serialize()
        if blob is not None and self._file is not None:
            with suppress(InputError, OSError), replacing(self._file) as temporary:
                temporary.write_bytes(memoryview(blob))


class _Context:
    """See `tensorrt_gpu.Context`."""

    def __init__(self, device: TensorRtDevice, context: Any, graph: str, scratch: int) -> None:  # noqa: ANN401
        self.scratch = scratch
        self._device = device
        self._execution = context
        self._graph = graph

    def use_scratch(self, address: int, size: int) -> None:
        self._execution.set_device_memory(address, size)

    def bind(self, addresses: Mapping[str, int]) -> None:
        for name, address in addresses.items():
            if not self._execution.set_tensor_address(name, address):
                raise BackendError(f"{self._device.name} has no tensor {name} in {self._graph}")

    def enqueue(self) -> None:
        self._device.enqueue(self._execution, self._graph)


class _Launch:
    """An executable CUDA graph."""

    def __init__(self, device: TensorRtDevice, driver: Any, executable: Any) -> None:  # noqa: ANN401
        self._device = device
        self._executable = executable
        weakref.finalize(self, driver.cuGraphExecDestroy, executable).atexit = False

    def __call__(self) -> None:
        self._device.launch(self._executable)


def _bytes(array: Array) -> NDArray[np.uint8]:
    """A contiguous array's memory."""
    return array.reshape(-1).view(np.uint8)


def _pycuda() -> Any:  # noqa: ANN401  # untyped
    try:
        import pycuda.driver
    except ImportError as error:
        raise BackendError(
            f"PyCUDA can't be imported ({one_line(error)}); install it with "
            "pip install 'mavos-deploy[cuda]', which compiles it against the CUDA toolkit"
        ) from error
    return pycuda.driver


def _graph_functions() -> Any:  # noqa: ANN401  # untyped
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise BackendError(
            f"CUDA's Python bindings can't be imported ({one_line(error)}); install them with "
            "pip install 'mavos-deploy[cuda]'"
        ) from error
    return driver


def _done(driver: Any, result: tuple[Any, ...]) -> Any:  # noqa: ANN401  # untyped
    """A driver call's value, if it succeeded."""
    status, *values = result
    if status != driver.CUresult.CUDA_SUCCESS:
        raise BackendError(f"CUDA graph: the driver reports {status.name}")
    return values[-1] if values else None
