"""TensorRT, PyCUDA and CUDA graphs without a GPU: the same rules, computed by ONNX Runtime.

A plan is an ONNX file. The stream runs nothing until somebody waits for it, so whatever relies on
work that is only enqueued, or changes memory that enqueued work will read, gives wrong results
here. Fresh memory holds NaNs, an address is never given out twice, and what is freed can't be used.
What a GPU would leave undefined is refused.
"""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from mavos_deploy.runtime.system.gpu import Gpu

VERSION = "10.99.0"
CAPABILITY = "8.6"
TYPES = {
    "tensor(float)": ("FLOAT", np.float32),
    "tensor(float16)": ("HALF", np.float16),
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(int32)": ("INT32", np.int32),
}
Operation = Callable[[], None]


class Gpu0:
    """The device behind the three libraries, and what the tests want to know of it."""

    def __init__(self) -> None:
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.capacity = 1 << 32
        self.next_address = 1 << 20
        self.queue: list[Operation] = []
        self.done = 0  # operations that have left the queue
        self.recording: list[Operation] | None = None
        self.pushed = 0  # how often the context is current
        self.waits = 0
        self.contexts = 0  # execution contexts made
        self.computed: list[str] = []  # graphs, in the order in which they were run
        self.launched = 0  # runs from captured graphs
        self.captures = 0
        self.scratch = 1 << 20  # bytes that a context asks for, for each group
        self.fail: str | None = None  # a graph whose next launch fails
        self.sick = False  # whether the device reports an error when it is waited for
        self.uncapturable: str | None = None  # a graph whose launches can't be captured
        self.taken = False  # whether another program has the GPU for itself
        self.lost = False  # whether every call fails from now on
        self.recaptures = 0  # launches of a context that captures by itself at new addresses
        self.compiled: set[str] = set()  # graphs that were compiled, not read from a cache

    def put(self, operation: Operation) -> None:
        self.check_current()
        (self.queue if self.recording is None else self.recording).append(operation)

    def run(self, until: int | None = None) -> None:
        """Do what is enqueued, up to a point."""
        self.check_current()
        assert self.recording is None, "nothing may be waited for while a graph is captured"
        self.waits += 1
        while self.queue and (until is None or self.done < until):
            operation = self.queue.pop(0)
            self.done += 1
            operation()
        if self.sick:
            raise CudaError("cuStreamSynchronize failed: an illegal memory access")

    def check_current(self) -> None:
        assert self.pushed > 0, "no context is current"

    def view(self, address: int, size: int) -> NDArray[np.uint8]:
        """Memory at an address, which may lie inside of a block."""
        for start, block in self.memory.items():
            if start <= address and address + size <= start + len(block):
                return block[address - start :][:size]
        raise AssertionError(f"{size} bytes at {address} belong to nobody")


class CudaError(Exception):
    """pycuda.driver.Error."""


class CudaMemoryError(CudaError):
    """pycuda.driver.MemoryError."""


def install(monkeypatch: pytest.MonkeyPatch, gpu: Gpu0, library: str = "tensorrt") -> None:
    """Put the stand-ins in place of a library, PyCUDA and CUDA's Python bindings."""
    cuda, driver = _pycuda(gpu), _driver(gpu)
    trt = _tensorrt(gpu)
    for name, module in {
        library: trt,
        "pycuda": SimpleNamespace(driver=cuda),
        "pycuda.driver": cuda,
        "cuda": SimpleNamespace(bindings=SimpleNamespace(driver=driver)),
        "cuda.bindings": SimpleNamespace(driver=driver),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    found = Gpu("Stand-in", CAPABILITY, "0")
    monkeypatch.setattr("mavos_deploy.runtime.system.gpu.first_gpu", lambda: found)


class _Module(SimpleNamespace):
    """As with a module, each is only itself."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def _pycuda(gpu: Gpu0) -> Any:  # noqa: ANN401
    class Allocation:
        def __init__(self, size: int) -> None:
            gpu.check_current()
            assert gpu.recording is None, "no memory may be taken while a graph is captured"
            if sum(map(len, gpu.memory.values())) + size > gpu.capacity:
                raise CudaMemoryError("cuMemAlloc failed: out of memory")
            self.address = gpu.next_address
            gpu.next_address += -(-size // 256) * 256 + 256
            gpu.memory[self.address] = np.full(size, 0xFF, np.uint8)  # NaN as a float

        def __int__(self) -> int:
            return self.address

        def free(self) -> None:
            gpu.check_current()
            assert not gpu.lost, "PyCUDA would print a warning for every block"
            assert not gpu.sick, "PyCUDA would print a warning for every block"
            assert not gpu.queue, "memory is freed while something is enqueued"
            del gpu.memory[self.address]

    class Stream:
        handle = 7

        def __init__(self, flags: int) -> None:
            assert flags == 1, "the default stream would wait, and end captures"

        def synchronize(self) -> None:
            gpu.run()

    class Event:
        def __init__(self, flags: int) -> None:
            gpu.check_current()
            assert flags == 2
            self.after = 0

        def record(self, stream: Stream) -> None:
            del stream
            self.after = gpu.done + len(gpu.queue)

        def synchronize(self) -> None:
            if gpu.done < self.after:
                gpu.run(self.after)

    class Context:
        def __init__(self) -> None:
            self.valid = True

        def push(self) -> None:
            if gpu.lost or not self.valid:
                raise CudaError("cuCtxPushCurrent failed: unspecified launch failure")
            gpu.pushed += 1

        @staticmethod
        def pop() -> None:
            gpu.check_current()
            if gpu.sick:  # and it stays on the stack
                raise CudaError("cuCtxPopCurrent failed: an illegal memory access")
            gpu.pushed -= 1

        def detach(self) -> None:
            assert self.valid, "a context is detached twice"
            self.valid = False
            gpu.pushed = 0  # it leaves the stack

    def to_device(address: int, pinned: NDArray[np.uint8], stream: Stream) -> None:
        del stream
        assert gpu.recording is None
        gpu.put(lambda: gpu.view(address, pinned.nbytes).__setitem__(slice(None), pinned))

    def to_host(pinned: NDArray[np.uint8], address: int, stream: Stream) -> None:
        del stream
        assert gpu.recording is None
        gpu.put(lambda: pinned.__setitem__(slice(None), gpu.view(address, pinned.nbytes)))

    def init() -> None:
        if gpu.taken:
            raise CudaError("cuInit failed: exclusive mode")

    return _Module(
        init=init,
        Device=lambda index: SimpleNamespace(retain_primary_context=Context),
        Context=Context,
        Stream=Stream,
        Event=Event,
        event_flags=SimpleNamespace(DISABLE_TIMING=2),
        mem_alloc=Allocation,
        pagelocked_empty=lambda shape, dtype: np.full(shape, 0xAA, dtype),
        memcpy_htod_async=to_device,
        memcpy_dtoh_async=to_host,
        Error=CudaError,
        MemoryError=CudaMemoryError,
    )


def _driver(gpu: Gpu0) -> Any:  # noqa: ANN401
    success = SimpleNamespace(name="CUDA_SUCCESS")

    def begin(handle: int, mode: str) -> tuple[Any, ...]:
        gpu.check_current()
        assert (handle, mode) == (7, "thread-local")
        assert gpu.recording is None
        gpu.recording = []
        gpu.captures += 1
        return (success,)

    def end(handle: int) -> tuple[Any, ...]:
        assert handle == 7
        recorded, gpu.recording = gpu.recording, None
        return success, recorded  # which may be empty

    def launch(executable: list[Operation], handle: int) -> tuple[Any, ...]:
        assert handle == 7
        gpu.check_current()
        assert gpu.recording is None
        assert executable, "a graph was destroyed and launched"
        gpu.launched += 1
        gpu.queue.extend(executable)
        return (success,)

    def destroy(executable: list[Operation]) -> tuple[Any, ...]:
        assert not set(map(id, executable)) & set(map(id, gpu.queue)), "destroyed while it runs"
        executable.clear()
        return (success,)

    mode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL="thread-local")
    return SimpleNamespace(
        CUresult=SimpleNamespace(CUDA_SUCCESS=success),
        CUstreamCaptureMode=mode,
        cuStreamBeginCapture=begin,
        cuStreamEndCapture=end,
        cuGraphInstantiate=lambda recorded, flags: (success, list(recorded)),
        cuGraphGetNodes=lambda recorded: (success, [], len(recorded)),
        cuGraphDestroy=lambda recorded: (success,),
        cuGraphLaunch=launch,
        cuGraphExecDestroy=destroy,
    )


def _tensorrt(gpu: Gpu0) -> ModuleType:
    class ExecutionContext:
        def __init__(self, engine: "CudaEngine", captures: bool = False) -> None:
            gpu.contexts += 1
            self.engine = engine
            self.captures = captures  # by itself, as TensorRT-RTX does
            self.launched_at: dict[str, int] | None = None
            self.shapes: dict[str, tuple[int, ...]] = {}
            self.addresses: dict[str, int] = {}
            self.scratch = (0, 0)
            self.ran = False
            self.captured: dict[str, int] | None = None

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            fixed = self.engine.get_tensor_shape(name)
            self.shapes[name] = shape
            return all(f in (-1, s) for f, s in zip(fixed, shape, strict=True))

        def update_device_memory_size_for_shapes(self) -> int:
            groups = max(shape[0] for shape in self.shapes.values())
            return gpu.scratch * groups

        def set_device_memory(self, memory: int, size: int) -> None:
            assert size >= self.update_device_memory_size_for_shapes()
            self.scratch = memory, size

        def set_tensor_address(self, name: str, address: int) -> bool:
            assert self.captured is None, "a context with a captured graph gets other addresses"
            self.addresses[name] = address
            return name in self.engine.names

        def execute_async_v3(self, handle: int) -> bool:
            assert handle == 7
            if gpu.fail == self.engine.graph:
                gpu.fail = None
                gpu.logger.log(trt.ILogger.Severity.ERROR, "planted\nfault")
                return False
            if gpu.recording is not None and gpu.uncapturable == self.engine.graph:
                gpu.logger.log(trt.ILogger.Severity.ERROR, "not capturable")
                return False
            if gpu.recording is not None:
                assert self.ran, "the first launch of a context is captured"
                self.captured = dict(self.addresses)
            if self.captures and self.launched_at not in (None, self.addresses):
                gpu.recaptures += 1
            self.launched_at = dict(self.addresses)
            self.ran = True
            addresses, shapes, scratch = dict(self.addresses), dict(self.shapes), self.scratch
            gpu.put(lambda: self.engine.compute(shapes, addresses, scratch))
            return True

    class CudaEngine:
        def __init__(self, plan: bytes) -> None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(
                plan, options, providers=["CPUExecutionProvider"]
            )
            self.inputs = {tensor.name: tensor for tensor in self.session.get_inputs()}
            self.outputs = {tensor.name: tensor for tensor in self.session.get_outputs()}
            self.names = [*self.inputs, *self.outputs]
            self.graph = next(g for name, g in GRAPH_OF.items() if name in self.outputs)

        @property
        def num_io_tensors(self) -> int:
            return len(self.names)

        def get_tensor_name(self, index: int) -> str:
            return self.names[index]

        def _tensor(self, name: str) -> Any:  # noqa: ANN401
            return self.inputs.get(name) or self.outputs[name]

        def get_tensor_shape(self, name: str) -> list[int]:
            return [d if isinstance(d, int) else -1 for d in self._tensor(name).shape]

        def get_tensor_dtype(self, name: str) -> SimpleNamespace:
            return SimpleNamespace(name=TYPES[self._tensor(name).type][0])

        def create_runtime_config(self) -> SimpleNamespace:
            config = SimpleNamespace(cuda_graph_strategy="disabled", strategy=None, cache=None)
            config.set_execution_context_allocation_strategy = lambda strategy: setattr(
                config, "strategy", strategy
            )
            config.create_runtime_cache = RuntimeCache
            config.set_runtime_cache = lambda kernels: setattr(config, "cache", kernels)
            return config

        def create_execution_context(self, how: object) -> ExecutionContext:
            if not isinstance(how, SimpleNamespace):
                assert how == "user"
                return ExecutionContext(self)
            assert how.strategy == "user"
            if self.graph not in how.cache.graphs:
                assert self.graph not in gpu.compiled, "a context compiles what another one had"
                gpu.compiled.add(self.graph)
                how.cache.graphs.add(self.graph)
            return ExecutionContext(self, how.cuda_graph_strategy == "whole")

        def compute(
            self,
            shapes: dict[str, tuple[int, ...]],
            addresses: dict[str, int],
            scratch: tuple[int, int],
        ) -> None:
            gpu.computed.append(self.graph)
            gpu.view(*scratch)[:] = 0xFF  # whoever else used it finds nothing
            feeds = {}
            for name, tensor in self.inputs.items():
                dtype = TYPES[tensor.type][1]
                size = int(np.prod(shapes[name])) * np.dtype(dtype).itemsize
                feeds[name] = gpu.view(addresses[name], size).view(dtype).reshape(shapes[name])
            results = self.session.run(list(self.outputs), feeds)
            for name, result in zip(self.outputs, results, strict=True):
                memory = gpu.view(addresses[name], result.nbytes)
                memory[:] = np.ascontiguousarray(result).reshape(-1).view(np.uint8)

    class RuntimeCache:
        def __init__(self) -> None:
            self.graphs: set[str] = set()

        def serialize(self) -> bytes:
            gpu.check_current()
            return ",".join(sorted(self.graphs)).encode()

        def deserialize(self, blob: bytes) -> bool:
            gpu.check_current()
            names = set(blob.decode(errors="replace").split(","))
            if fits := names <= set(GRAPH_OF.values()):
                self.graphs |= names
            return fits

    class Runtime:
        def __init__(self, logger: Any) -> None:  # noqa: ANN401
            gpu.logger = logger
            self.engine_host_code_allowed = False

        def deserialize_cuda_engine(self, plan: bytes) -> CudaEngine | None:
            if plan.startswith(b"broken"):
                gpu.logger.log(trt.ILogger.Severity.ERROR, "magic tag does not match")
                return None
            return CudaEngine(plan)

    class Logger:
        class Severity:
            INTERNAL_ERROR, ERROR, WARNING = range(3)

    trt = ModuleType("tensorrt")
    trt.__version__ = VERSION
    trt.ILogger = Logger
    trt.Runtime = Runtime
    trt.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user")
    trt.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole", DISABLED="disabled")
    return trt


# An output that only this graph has.
GRAPH_OF = {
    "feature_4x": "encoder",
    "decoder_embedding": "elstt_step",
    "labels": "decoder",
    "updated_key_0": "memory_update",
    "value_0": "memory_write",
}
