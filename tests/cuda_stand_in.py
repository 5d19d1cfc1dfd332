"""TensorRT, PyCUDA and CUDA graphs without a GPU: the same rules, computed by ONNX Runtime.

A plan is an ONNX file. A stream runs nothing until somebody waits for it, so code that relies on
work that is only enqueued, or changes memory that enqueued work will read, gets wrong results here.
Work of two streams on the same memory is refused unless an event or the host orders it, whichever
of the two happens to run first. Fresh memory holds NaNs, an address is never given out twice, and
freed memory can't be used. Operations that a GPU would leave undefined are refused.
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mavos_deploy.runtime.system.gpu import Gpu
from tests.tensorrt_stand_in import CAPABILITY, tensorrt

Clock = Counter[int]  # by a stream's handle, how many of its operations come before


@dataclass(frozen=True, eq=False)
class Operation:
    """Work that is enqueued.

    Attributes:
        do: Does it.
        uses: Addresses of the blocks that it reads or writes.
    """

    do: Callable[[], None]
    uses: tuple[int, ...]


@dataclass
class Queue:
    """Work on a stream.

    Attributes:
        waiting: Operations with the clock of each: its own number, and what must come before it.
        done: Operations that have left the queue.
        clock: The clock of the operation enqueued last, and of what it has been told to wait for.
    """

    waiting: list[tuple[Operation, Clock]] = field(default_factory=list)
    done: int = 0
    clock: Clock = field(default_factory=Counter)


class Gpu0:
    """The device behind the three libraries, and counts for the tests."""

    def __init__(self) -> None:
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.capacity = 1 << 32
        self.next_address = 1 << 20
        self.streams: dict[int, Queue] = {}  # by handle
        self.seen: Clock = Counter()  # what the host has waited for
        self.running: tuple[int, Clock] | None = None  # stream and clock of the operation that runs
        self.touched: dict[int, Clock] = {}  # latest operation of each stream, by block
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

    def stream(self) -> int:
        """Handle of a new stream."""
        handle = 7 + len(self.streams)
        self.streams[handle] = Queue()
        return handle

    @property
    def queue(self) -> list[Operation]:
        """What is enqueued on any stream."""
        return [operation for q in self.streams.values() for operation, _ in q.waiting]

    def put(self, do: Callable[[], None], uses: Iterable[int], handle: int) -> None:
        self.enqueue(Operation(do, tuple(uses)), handle)

    def enqueue(self, operation: Operation, handle: int) -> None:
        self.check_current()
        assert all(address in self.memory for address in operation.uses)
        if self.recording is not None:
            self.recording.append(operation)
            return
        queue = self.streams[handle]
        queue.clock |= self.seen
        queue.clock[handle] += 1
        queue.waiting.append((operation, queue.clock.copy()))

    def run(self, clock: Clock) -> None:
        """Let the host wait for enqueued work, up to a point."""
        self.check_current()
        assert self.recording is None, "nothing may be waited for while a graph is captured"
        self.waits += 1
        self._run(clock)
        self.seen |= clock
        if self.sick:
            raise CudaError("cuStreamSynchronize failed: an illegal memory access")

    def _run(self, clock: Clock) -> None:
        for handle, last in clock.items():
            queue = self.streams[handle]
            while queue.done < last:
                operation, own = queue.waiting.pop(0)
                queue.done += 1
                self._run(own)  # of other streams
                self.running = handle, own
                operation.do()
                self.running = None

    def is_done(self, clock: Clock) -> bool:
        """Whether all work up to a point is done, which the host then knows."""
        done = all(self.streams[handle].done >= last for handle, last in clock.items())
        if done:
            self.seen |= clock
        return done

    def check_current(self) -> None:
        assert self.pushed > 0, "no context is current"

    def view(self, address: int, size: int) -> NDArray[np.uint8]:
        """Memory at an address, which may lie inside of a block."""
        for start, block in self.memory.items():
            if start <= address and address + size <= start + len(block):
                self._touch(start)
                return block[address - start :][:size]
        raise AssertionError(f"{size} bytes at {address} belong to nobody")

    def _touch(self, start: int) -> None:
        """Refuse work on memory that isn't ordered behind another stream's work on it."""
        assert self.running is not None, "the host looks at the device's memory"
        handle, clock = self.running
        touched = self.touched.setdefault(start, Counter())
        for other, last in touched.items():
            assert clock[other] >= last, "two streams use the same memory, and nothing orders them"
        touched[handle] = clock[handle]


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
            used = (self.address in operation.uses for operation in gpu.queue)
            assert not any(used), "memory is freed while enqueued work uses it"
            del gpu.memory[self.address]

    class Stream:
        def __init__(self, flags: int) -> None:
            assert flags == 1, "the default stream would wait, and end captures"
            gpu.check_current()
            self.handle = gpu.stream()

        def synchronize(self) -> None:
            gpu.run(gpu.streams[self.handle].clock.copy())

        def wait_for_event(self, event: "Event") -> None:
            gpu.check_current()
            assert gpu.recording is None, "the wait would be captured"
            gpu.streams[self.handle].clock |= event.after

    class Event:
        def __init__(self, flags: int) -> None:
            gpu.check_current()
            assert flags == 2
            self.after: Clock = Counter()

        def record(self, stream: Stream) -> None:
            gpu.check_current()
            assert gpu.recording is None, "the event would be captured"
            self.after = gpu.streams[stream.handle].clock.copy()

        def query(self) -> bool:
            gpu.check_current()
            return gpu.is_done(self.after)

        def synchronize(self) -> None:
            if not gpu.is_done(self.after):
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
        assert gpu.recording is None

        def copy() -> None:
            gpu.view(address, pinned.nbytes)[:] = pinned

        gpu.put(copy, [address], stream.handle)

    def to_host(pinned: NDArray[np.uint8], address: int, stream: Stream) -> None:
        assert gpu.recording is None

        def copy() -> None:
            pinned[:] = gpu.view(address, pinned.nbytes)

        gpu.put(copy, [address], stream.handle)

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
        assert handle in gpu.streams
        assert mode == "thread-local"
        assert gpu.recording is None
        gpu.recording = []
        gpu.captures += 1
        return (success,)

    def end(handle: int) -> tuple[Any, ...]:
        assert handle in gpu.streams
        recorded, gpu.recording = gpu.recording, None
        return success, recorded  # which may be empty

    def launch(executable: list[Operation], handle: int) -> tuple[Any, ...]:
        gpu.check_current()
        assert gpu.recording is None
        assert executable, "a graph was destroyed and launched"
        gpu.launched += 1
        for operation in executable:
            gpu.enqueue(operation, handle)
        return (success,)

    def destroy(executable: list[Operation]) -> tuple[Any, ...]:
        assert not set(executable) & set(gpu.queue), "destroyed while it runs"
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
