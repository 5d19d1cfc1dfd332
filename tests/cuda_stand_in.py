"""TensorRT, PyCUDA and CUDA graphs without a GPU: the same rules, computed by ONNX Runtime.

A plan is an ONNX file. The stream runs nothing until somebody waits for it, so code that relies on
work that is only enqueued, or changes memory that enqueued work will read, gets wrong results here.
Fresh memory holds NaNs, an address is never given out twice, and freed memory can't be used.
Operations that a GPU would leave undefined are refused.
"""

import sys
import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mavos_deploy.runtime.system.gpu import Gpu
from tests.tensorrt_stand_in import CAPABILITY, tensorrt

Operation = Callable[[], None]


class Gpu0:
    """The device behind the three libraries, and counts for the tests."""

    def __init__(self) -> None:
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.capacity = 1 << 32
        self.next_address = 1 << 20
        self.streams = (7,)  # handles
        self.queue: list[Operation] = []
        self.done = 0  # operations that have left the queue
        self.recording: list[Operation] | None = None
        self.pushed = 0  # how often the context is current
        self.waits = 0
        self.contexts = 0  # execution contexts made
        self.computed: list[str] = []  # graphs, in the order in which they were run
        self.launched = 0  # runs from captured graphs
        self.captures = 0
        self.asked: list[str] = []  # graphs of which TensorRT-RTX was asked whether it captures
        self.scratch = 1 << 20  # bytes that a context asks for, for each group
        self.unknown_scratch: str | None = None  # a graph whose need of memory can't be told
        self.fail: str | None = None  # a graph whose next launch fails
        self.sick = False  # whether the device reports an error when it is waited for
        self.uncapturable: str | None = None  # a graph whose launches can't be captured
        self.taken = False  # whether another program has the GPU for itself
        self.lost = False  # whether every call fails from now on
        self.recaptures = 0  # launches of a context that captures by itself at new addresses
        self.compiled: set[str] = set()  # graphs that were compiled, not read from a cache
        self.logger: Any = None  # of the program

    def put(self, operation: Operation, uses: Iterable[int] = (), handle: int = 7) -> None:
        del uses
        assert handle in self.streams
        self.check_current()
        (self.queue if self.recording is None else self.recording).append(operation)

    def run(self, until: int | None = None) -> None:
        """Do the enqueued work, up to a point."""
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
    trt = tensorrt(gpu)
    for name, module in {
        library: trt,
        "pycuda": SimpleNamespace(driver=cuda),
        "pycuda.driver": cuda,
        "cuda": SimpleNamespace(bindings=SimpleNamespace(driver=driver)),
        "cuda.bindings": SimpleNamespace(driver=driver),
        "cuda.bindings.driver": driver,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    found = Gpu("Stand-in", CAPABILITY, "0")
    monkeypatch.setattr("mavos_deploy.runtime.system.gpu.first_gpu", lambda: found)
    monkeypatch.setattr("mavos_deploy.runtime.system.gpu.DRIVER", "a driver that isn't there")


class _Module(SimpleNamespace):
    """A namespace that, like a module, equals only itself."""

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
        handle = 9

        def __init__(self) -> None:
            self.valid = True
            self.taker = threading.get_ident()

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

        @staticmethod
        def synchronize() -> None:
            gpu.check_current()
            if gpu.lost or gpu.sick:
                raise CudaError("cuCtxSynchronize failed: an illegal memory access")

        @staticmethod
        def get_current() -> None:
            gpu.pushed = 0  # contexts that are detached leave the stack

        def detach(self) -> None:
            assert self.valid, "a context is detached twice"
            # Elsewhere PyCUDA pushes it first, and would print that this fails.
            assert self.taker != threading.get_ident() or not (gpu.lost or gpu.sick)
            self.valid = False

    def to_device(address: int, pinned: NDArray[np.uint8], stream: Stream) -> None:
        del stream
        assert gpu.recording is None
        gpu.put(lambda: gpu.view(address, pinned.nbytes).__setitem__(slice(None), pinned))

    def to_host(pinned: NDArray[np.uint8], address: int, stream: Stream) -> None:
        del stream
        assert gpu.recording is None
        gpu.put(lambda: pinned.__setitem__(slice(None), gpu.view(address, pinned.nbytes)))

    def mem_get_info() -> tuple[int, int]:
        if gpu.lost or gpu.sick:
            raise CudaError("cuMemGetInfo failed: an illegal memory access")
        return gpu.capacity, gpu.capacity

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
        mem_get_info=mem_get_info,
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
