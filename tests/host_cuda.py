"""Engines on the real PyCUDA and CUDA bindings, over a CUDA driver made of host memory.

Only TensorRT is a stand-in. Each scenario runs in a process of its own, in which the driver of
tools/host_cuda.c is the machine's CUDA:

    python -m tests.host_cuda SCENARIO BUNDLE LIBRARY

The process fails, or writes to stderr, if a scenario doesn't go as it should.
"""

import ctypes
import gc
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Segmenter, State
from mavos_deploy.runtime.bundles.engines import Library
from tests.engine_bundle import picture, squares
from tests.tensorrt_stand_in import tensorrt

DRIVER = "libcuda.so.1"
SECONDS = 300.0  # for a thread
LATE = 9  # frame with which a second group of objects comes


class HostGpu:
    """The device that TensorRT's stand-in sees, as `Gpu0`; its memory and streams are the driver's.

    Attributes:
        driver: Functions of the driver, those for tests among them.
    """

    def __init__(self) -> None:
        self.driver = ctypes.CDLL(DRIVER)
        self.driver.host_cuda_enqueue.argtypes = [ctypes.c_void_p, ctypes.c_long]
        self.driver.host_cuda_holds.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self.driver.host_cuda_is_stream.argtypes = [ctypes.c_void_p]
        self.driver.host_cuda_limit.argtypes = [ctypes.c_size_t]
        self.driver.host_cuda_count.restype = ctypes.c_long
        self._kernels: list[Callable[[], None]] = []
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_long)(lambda kernel: self._kernels[kernel]())
        self.driver.host_cuda_kernels(self._run)
        self.streams = Streams(self)
        self.recording = None  # the driver's affair
        self.contexts = self.recaptures = 0
        self.computed: list[str] = []
        self.asked: list[str] = []
        self.compiled: set[str] = set()
        self.scratch = 1 << 20
        self.logger: Any = None
        self.fail = self.uncapturable = self.unknown_scratch = None

    def count(self, what: str) -> int:
        """One of the driver's counts."""
        number = int(self.driver.host_cuda_count(what.encode()))
        assert number >= 0, f"{what} is not counted"
        return number

    def put(self, do: Callable[[], None], uses: Iterable[int], handle: int) -> None:
        """Put a kernel on a stream."""
        del uses
        self._kernels.append(do)
        # After a fault the driver refuses; TensorRT would log that, and launch nothing.
        self.driver.host_cuda_enqueue(handle, len(self._kernels) - 1)

    def check_current(self) -> None:
        assert self.count("depth") > 0, "no context is current"

    def view(self, address: int, size: int) -> NDArray[np.uint8]:
        """Memory at an address, which may lie inside of a block."""
        assert self.driver.host_cuda_holds(address, size), f"{address} belongs to nobody"
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


class Streams:
    """The driver's streams."""

    def __init__(self, gpu: HostGpu) -> None:
        self._gpu = gpu

    def __contains__(self, handle: int) -> bool:
        return bool(self._gpu.driver.host_cuda_is_stream(handle))


class Stage:
    """What a scenario works with.

    Args:
        bundle: A bundle with engines for the stand-in.
        library: Library whose backend runs them.
    """

    def __init__(self, bundle: Path, library: Library) -> None:
        self.gpu = HostGpu()
        sys.modules[library] = tensorrt(cast(Any, self.gpu))
        self._bundle = bundle
        self._backend = library.replace("_", "-")
        self.cpu = Segmenter.open(bundle, backend="onnxruntime-cpu", threads=1)
        self.captures = library == Library.TENSORRT

    def open(self) -> Segmenter:
        """The bundle on the GPU."""
        self.gpu.compiled.clear()  # a lost device leaves no cache
        return Segmenter.open(self._bundle, backend=self._backend)

    def follow(self, segmenter: Segmenter, frames: int) -> State:
        """Segment a video, and compare every label map with the CPU's."""
        state = segmenter.start(picture(0), squares())
        other = self.cpu.start(picture(0), squares())
        for index in range(1, frames):
            late = squares(13) if index == LATE else None
            labels, state = segmenter.step(picture(index), state, late)
            wanted, other = self.cpu.step(picture(index), other, late)
            np.testing.assert_array_equal(labels, wanted, err_msg=f"frame {index}")
        return state

    def lose(self, segmenter: Segmenter) -> None:
        """Let a kernel fail in the middle of a frame."""
        state = self.follow(segmenter, 6)
        self.gpu.driver.host_cuda_fault_in(2)
        said = refusal(lambda: segmenter.step(picture(6), state))
        assert "unspecified launch failure" in said or "LAUNCH_FAILED" in said, said
        assert "was lost" in refusal(lambda: segmenter.step(picture(6), state))

    def check_all_given_back(self, retained: int = 1) -> None:
        """Compare what the driver counts with nothing.

        Args:
            retained: Holds on the primary context, which a process keeps until it ends.
        """
        gc.collect()
        kinds = ("blocks", "pinned", "streams", "events", "graphs", "depth", "bad calls")
        held = {kind: self.gpu.count(kind) for kind in kinds}
        assert not any(held.values()), held
        assert self.gpu.count("retained") == retained


def refusal(call: Callable[[], object]) -> str:
    """The message of the refusal that a call must end in."""
    try:
        call()
    except BackendError as error:
        return str(error)
    raise AssertionError("nothing was refused")


def elsewhere(call: Callable[[], object]) -> None:
    """Call in another thread, and wait for it."""
    raised: list[BaseException] = []

    def target() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


def labels(stage: Stage) -> None:
    """A video with a second group in its middle gets the CPU's labels."""
    with stage.open() as segmenter:
        stage.follow(segmenter, 26)
        if stage.captures:
            assert stage.gpu.count("captured") > 5
            assert stage.gpu.count("launched") > 20
    assert stage.gpu.count("blocks made") > 50
    stage.check_all_given_back()


def threads(stage: Stage) -> None:
    """Threads share a segmenter; one opens it and another one closes it."""
    with stage.open() as segmenter:
        elsewhere(lambda: stage.follow(segmenter, 6))
        stage.follow(segmenter, 6)
    opened: list[Segmenter] = []
    elsewhere(lambda: opened.append(stage.open()))
    stage.follow(opened[0], 6)
    elsewhere(opened[0].close)
    stage.check_all_given_back()


def unread(stage: Stage) -> None:
    """Labels that nobody reads are given back, whichever thread drops them."""
    with stage.open() as segmenter:
        states = [stage.follow(segmenter, 6)]

        def drop() -> None:
            for _ in range(10):
                segmenter.enqueue(picture(6), states[0])

        elsewhere(drop)
        held = stage.gpu.count("pinned"), stage.gpu.count("events")
        elsewhere(drop)
        assert (stage.gpu.count("pinned"), stage.gpu.count("events")) == held
        kept = segmenter.enqueue(picture(6), states.pop())
    del kept
    stage.check_all_given_back()


def full(stage: Stage) -> None:
    """Memory that runs out is one error, and what was there before goes on."""
    with stage.open() as segmenter:
        stage.follow(segmenter, 4)
        stage.gpu.driver.host_cuda_limit(stage.gpu.count("bytes") + 20_000_000)
        states = [segmenter.start(picture(0), squares())]

        def fill() -> None:
            while True:
                states.append(segmenter.start(picture(0), squares()))

        assert "MB left" in refusal(fill)
        assert len(states) > 1
        states.clear()
        stage.follow(segmenter, 4)
    stage.check_all_given_back()


def fault(stage: Stage) -> None:
    """A lost device is one error; closing is quiet, and the backend opens again."""
    with stage.open() as segmenter:
        stage.lose(segmenter)
    stage.check_all_given_back(retained=0)
    with stage.open() as anew:
        stage.follow(anew, 12)
    stage.check_all_given_back()


def fault_told_late(stage: Stage) -> None:
    """The same where the driver pushes and pops a dead context without an error."""
    stage.gpu.driver.host_cuda_quiet_stack(1)
    fault(stage)


def fault_elsewhere(stage: Stage) -> None:
    """The same in a thread that hasn't opened the backend, after the one that did has ended."""
    opened: list[Segmenter] = []
    elsewhere(lambda: opened.append(stage.open()))
    elsewhere(lambda: stage.lose(opened[0]))
    elsewhere(opened[0].close)
    stage.check_all_given_back(retained=0)
    elsewhere(lambda: fault(stage))


def fault_of_two(stage: Stage) -> None:
    """Two segmenters lose the device together, and a third one doesn't notice."""
    both = [stage.open(), stage.open()]
    states = [stage.follow(segmenter, 6) for segmenter in both]
    stage.lose(both[0])
    with stage.open() as third:
        assert "was lost" in refusal(lambda: both[1].step(picture(6), states[1]))
        for segmenter in both:
            segmenter.close()
        del segmenter
        both.clear()
        states.clear()
        gc.collect()
        stage.follow(third, 12)
    stage.check_all_given_back()


def fault_beside_others(stage: Stage) -> None:
    """Other code that holds the dead context, as TensorRT does, doesn't keep it."""
    held = ctypes.c_void_p()
    with stage.open() as segmenter:
        assert stage.gpu.driver.cuDevicePrimaryCtxRetain(ctypes.byref(held), 0) == 0
        stage.lose(segmenter)
    assert stage.gpu.count("retained") == 1
    with stage.open() as anew:
        stage.follow(anew, 12)
    assert stage.gpu.count("resets") == 1
    stage.check_all_given_back(retained=2)


def fault_for_good(stage: Stage) -> None:
    """A driver that never recovers is one error as well."""
    stage.gpu.driver.host_cuda_fault_survives(1)
    with stage.open() as segmenter:
        stage.lose(segmenter)
    for _ in range(2):
        assert "start the program again" in refusal(stage.open)
    stage.check_all_given_back(retained=0)


def left_open(stage: Stage) -> None:
    """A process may end with a segmenter open."""
    segmenter = stage.open()
    LEFT.append((segmenter, stage.follow(segmenter, 6)))


def fault_left_open(stage: Stage) -> None:
    """The same after a fault."""
    segmenter = stage.open()
    LEFT.append(segmenter)
    stage.lose(segmenter)


def fault_unseen(stage: Stage) -> None:
    """The same where nobody has waited for the work that failed."""
    segmenter = stage.open()
    state = stage.follow(segmenter, 6)
    LEFT.append((segmenter, state, segmenter.observe(picture(6), state)))
    stage.gpu.driver.host_cuda_fault_in(0)


def two_streams(stage: Stage) -> None:
    """Copies on a second stream wait for events of the first."""
    import pycuda.driver as cuda

    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    work, copies = cuda.Stream(1), cuda.Stream(1)
    event = cuda.Event(cuda.event_flags.DISABLE_TIMING)
    block = cuda.mem_alloc(64)
    up, down = (cuda.pagelocked_empty(64, np.uint8) for _ in range(2))
    up[:] = np.arange(64)
    cuda.memcpy_htod_async(block, up, work)
    event.record(work)
    copies.wait_for_event(event)
    cuda.memcpy_dtoh_async(down, block, copies)
    event.record(copies)
    event.synchronize()
    assert event.query()
    assert copies.is_done()
    np.testing.assert_array_equal(down, up)
    up = down = None
    block.free()
    del work, copies, event
    gc.collect()
    cuda.Context.pop()
    stage.check_all_given_back()
    context.detach()


def wrong_calls(stage: Stage) -> None:
    """The driver finds what would be undefined on a GPU; it says so on stderr."""
    import pycuda.driver as cuda
    from cuda.bindings import driver

    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    stream, block = cuda.Stream(1), cuda.mem_alloc(64)
    pageable, pinned = np.zeros(64, np.uint8), cuda.pagelocked_empty(65, np.uint8)
    calls: list[Callable[[], object]] = [
        lambda: cuda.memcpy_htod_async(block, pageable, stream),
        lambda: cuda.memcpy_htod_async(block, pinned, stream),
        lambda: cuda.Stream(0),
        lambda: driver.cuGraphLaunch(block, stream.handle),
        lambda: driver.cuGraphExecDestroy(stream.handle),
    ]
    for number, call in enumerate(calls, 1):
        with suppress(cuda.Error):
            call()
        assert stage.gpu.count("bad calls") == number
    cuda.Context.pop()
    context.detach()


LEFT: list[object] = []  # what a scenario leaves to the end of the process
SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        *(labels, threads, unread, full, fault, fault_told_late, fault_elsewhere, fault_of_two),
        *(fault_beside_others, fault_for_good, left_open, fault_left_open, fault_unseen),
        *(two_streams, wrong_calls),
    )
}


def main(scenario: str, bundle: str, library: str) -> None:
    """Run a scenario."""
    warnings.simplefilter("error")
    SCENARIOS[scenario](Stage(Path(bundle), Library(library)))
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
