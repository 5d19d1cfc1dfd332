"""TensorRT and TensorRT-RTX on a GPU: engines of a bundle, with a memory that never leaves it.

All work of a backend goes to one stream, so a block of device memory may be given out again as soon
as nobody refers to its tensor: what was enqueued before still sees the old contents, and what comes
after the new ones. That alone keeps a state a value, makes the short-term slots take turns, and
lets MCA write the next dynamic slot without a copy. Only pictures, labels of new objects and a few
numbers go up, and only label maps come down.

A frame's launches repeat: the slots take turns, so the same engine soon meets the same addresses.
An engine that does is run from a captured CUDA graph. Capturing records and computes nothing, so it
can't touch the memory; every frame is computed once.
"""

import warnings
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from typing import Protocol

import numpy as np

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends.protocol import Array, Traits, Transfers
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import GraphSpec, output_shapes
from mavos_deploy.runtime.engines import Shape

KEPT_RUNS = 24  # of each graph: launches at known addresses, each with a captured graph of its own
STALE = 8 * KEPT_RUNS  # launches of a graph after which one that isn't met any more may make room
SCRATCH_STEP = 1 << 20  # bytes to which the scratch memory is rounded up


class Context(Protocol):
    """An engine made ready for shapes of its inputs.

    Attributes:
        scratch: Bytes of device memory that it needs while it runs.
    """

    scratch: int

    def use_scratch(self, address: int, size: int) -> None:
        """Say where the scratch memory is, before the first launch."""

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Say where all inputs and outputs are."""

    def enqueue(self) -> None:
        """Put the engine's work on the stream.

        Raises:
            BackendError: The library refuses.
        """


class Device(Protocol):
    """A GPU with a bundle's engines, one stream, and memory by address.

    Every method but `allocate` and `free` puts work on the stream in the order of the calls.
    """

    @property
    def name(self) -> str:
        """The backend's name, such as `tensorrt-rtx`."""

    @property
    def stream(self) -> int:
        """CUDA's handle of the stream."""

    @property
    def tf32(self) -> bool:
        """Whether an engine rounds the factors of float32 products to 10 bits."""

    @property
    def captures(self) -> bool:
        """Whether launches are to be captured here; TensorRT-RTX captures by itself."""

    def allocate(self, size: int) -> int | None:
        """Take memory, aligned to 256 bytes; None where there isn't enough."""

    def free(self, address: int) -> None:
        """Give memory back; nothing that is enqueued may still use it."""

    def upload(self, address: int, array: Array) -> None:
        """Copy a contiguous host array to the device; it may change right after the call."""

    def download(self, address: int, array: Array) -> None:
        """Fill a contiguous host array, once all that was enqueued is done.

        Raises:
            BackendError: Something that was enqueued has failed.
        """

    def context(self, graph: str, shapes: Mapping[str, Shape], steady: bool) -> Context:
        """Make an engine ready.

        Args:
            graph: That the engine is of.
            shapes: Of its inputs, by name.
            steady: Whether it will be launched with the same addresses again and again.

        Raises:
            BackendError: It doesn't take these shapes.
        """

    def begin_capture(self) -> None:
        """Record what is put on the stream from now on, and run none of it."""

    def end_capture(self) -> "Launch":
        """Stop recording."""

    def synchronize(self) -> None:
        """Wait for all that was enqueued.

        Raises:
            BackendError: Something of it has failed.
        """

    def close(self) -> None:
        """Give engines and all memory back; nothing that is enqueued may be left."""


class Launch(Protocol):
    """A captured graph; it is freed when nobody refers to it."""

    def __call__(self) -> None:
        """Put what was recorded on the stream."""


class DeviceTensor:
    """A tensor on the device; its memory returns to the pool with the last reference to it.

    Attributes:
        address: In device memory.
        shape: Extents.
        dtype: As NumPy names it.
        pool: That the memory belongs to.
    """

    __slots__ = ("__weakref__", "address", "dtype", "pool", "shape")

    def __init__(self, pool: "Pool", address: int, shape: Shape, dtype: str) -> None:
        self.pool = pool
        self.address = address
        self.shape = shape
        self.dtype = dtype


class Pool:
    """Device memory in blocks that are reused by tensors of the same use and size.

    Blocks of one use are given out again last in, first out, so that a video's frames meet the same
    addresses again.

    Args:
        device: To take memory from.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._free: dict[tuple[str, int], list[int]] = {}
        self.size = 0  # bytes taken from the device
        self._closed = False

    def tensor(self, use: str, shape: Shape, dtype: str) -> DeviceTensor:
        """An uninitialised tensor.

        Args:
            use: What for; blocks of different uses aren't mixed.
            shape: Extents.
            dtype: As NumPy names it.

        Raises:
            BackendError: The device has no memory left.
        """
        size = prod(shape) * np.dtype(dtype).itemsize
        key = use, size
        blocks = self._free.setdefault(key, [])
        address = blocks.pop() if blocks else self._take(size)
        tensor = DeviceTensor(self, address, shape, dtype)
        weakref.finalize(tensor, self._give, key, address).atexit = False
        return tensor

    def _take(self, size: int) -> int:
        address = self._device.allocate(size)
        if address is None:
            self.trim()
            address = self._device.allocate(size)
        if address is None:
            raise BackendError(
                f"{self._device.name}: the GPU has no {size / 1e6:.0f} MB left; the memories of "
                f"its videos hold {self.size / 1e6:.0f} MB. Follow fewer objects or videos, or "
                "close other programs that use the GPU"
            )
        self.size += size
        return address

    def _give(self, key: tuple[str, int], address: int) -> None:
        if not self._closed:
            self._free[key].append(address)

    def trim(self) -> None:
        """Give blocks that no tensor uses back to the device."""
        self._device.synchronize()
        for (_, size), blocks in self._free.items():
            while blocks:
                self._device.free(blocks.pop())
                self.size -= size

    def close(self) -> None:
        """Forget all blocks; the device frees its memory as a whole."""
        self._closed = True
        self._free.clear()


@dataclass
class _Run:
    """An engine at one set of shapes and addresses."""

    context: Context
    launch: Launch | None = None
    used: int = 0  # the graph's count of launches when it was last met


@dataclass
class _Graph:
    """What is kept of a graph.

    Attributes:
        spec: By the contract.
        plain: Contexts for changing addresses, by the inputs' shapes.
        runs: Launches at known addresses, least recently met first.
        seen: Shapes and addresses met once, which have no context of their own yet.
        count: Launches so far.
        capturable: False once a capture has failed.
    """

    spec: GraphSpec
    plain: dict[tuple[Shape, ...], Context] = field(default_factory=dict)
    runs: "OrderedDict[tuple[object, ...], _Run]" = field(default_factory=OrderedDict)
    seen: "OrderedDict[tuple[object, ...], None]" = field(default_factory=OrderedDict)
    count: int = 0
    capturable: bool = True


class TensorRtGpu:
    """Runs a bundle's engines; tensors are `DeviceTensor`.

    Args:
        bundle: Opened, and so checked.
        device: With its engines.
    """

    def __init__(self, bundle: Bundle, device: Device) -> None:
        own = bundle.manifest.arithmetic
        arithmetic = "tf32" if own == "fp32" and device.tf32 else own
        # Not of any shape: a CUDA graph is captured for each.
        self.traits = Traits(device.name, arithmetic, enqueues=True)
        self.transfers = Transfers()
        self._device = device
        self._pool = Pool(device)
        self._scratch: tuple[int, int] | None = None  # address and size
        self._graphs = {name: _Graph(spec) for name, spec in bundle.specs.items()}
        self._open = True

    @property
    def stream(self) -> int:
        """Handle of the CUDA stream that all work is enqueued on."""
        return self._device.stream

    @property
    def device_bytes(self) -> int:
        """Device memory in use: tensors, unused blocks and scratch, without engines' weights."""
        return self._pool.size + (self._scratch[1] if self._scratch else 0)

    def run(self, graph: str, inputs: Mapping[str, DeviceTensor]) -> dict[str, DeviceTensor]:
        """See `Backend.run`; the work is enqueued, and failures may show at a later download."""
        self._check_open()
        kept = self._graphs[graph]
        given = {tensor.name: inputs[tensor.name] for tensor in kept.spec.inputs}
        for tensor in given.values():
            self._check_own(tensor)
        made = output_shapes(kept.spec, {name: tensor.shape for name, tensor in given.items()})
        outputs = {
            tensor.name: self._pool.tensor(
                f"{graph}.{tensor.name}", made[tensor.name], tensor.dtype
            )
            for tensor in kept.spec.outputs
        }
        shapes = tuple(tensor.shape for tensor in given.values())
        addresses = {name: tensor.address for name, tensor in (given | outputs).items()}
        self._launch(kept, shapes, addresses)
        return outputs

    def upload(self, array: Array) -> DeviceTensor:
        """A copy of an array on the device; the array may change right after the call."""
        self._check_open()
        tensor = self._pool.tensor("upload", array.shape, array.dtype.name)
        self._device.upload(tensor.address, np.ascontiguousarray(array))
        self.transfers.up += 1
        self.transfers.bytes_up += array.nbytes
        return tensor

    def download(self, tensor: DeviceTensor) -> Array:
        """Wait for a tensor and copy it to the host."""
        self._check_open()
        self._check_own(tensor)
        array = np.empty(tensor.shape, tensor.dtype)
        self._device.download(tensor.address, array)
        self.transfers.down += 1
        self.transfers.bytes_down += array.nbytes
        return array

    def close(self) -> None:
        """Wait for what was enqueued, and free the device's memory."""
        if not self._open:
            return
        self._open = False
        with suppress(BackendError):  # what failed has been reported where it was waited for
            self._device.synchronize()
        self._pool.close()
        self._graphs.clear()
        self._device.close()

    def _check_open(self) -> None:
        if not self._open:
            raise BackendError("the segmenter is closed; open it again")

    def _check_own(self, tensor: DeviceTensor) -> None:
        """Refuse memory of another segmenter, whose stream may not have written it yet."""
        if tensor.pool is not self._pool:
            raise BackendError(
                f"{self._device.name}: the state is another segmenter's; save it there and load "
                "it here"
            )

    def _launch(
        self, graph: _Graph, shapes: tuple[Shape, ...], addresses: Mapping[str, int]
    ) -> None:
        """Run an engine, from a captured graph where these addresses are met again."""
        key = (shapes, *addresses.values())
        graph.count += 1
        run = graph.runs.get(key)
        if run is None:
            if key not in graph.seen or not self._room(graph):
                graph.seen[key] = None
                while len(graph.seen) > 2 * KEPT_RUNS:
                    graph.seen.popitem(last=False)
                context = self._plain(graph, shapes)
                context.bind(addresses)
                context.enqueue()
                return
            # Its own context: a captured graph holds on to the context's addresses and shapes.
            del graph.seen[key]
            context = self._context(graph, shapes, steady=True)
            context.bind(addresses)
            # What a context does at its first launch only mustn't be recorded.
            context.enqueue()
            graph.runs[key] = _Run(context, used=graph.count)
            return
        graph.runs.move_to_end(key)
        run.used = graph.count
        if run.launch is None and self._device.captures and graph.capturable:
            try:
                run.launch = self._capture(run.context)
            except BackendError as error:
                graph.capturable = False
                warnings.warn(
                    f"{self._device.name}: {graph.spec.name} can't be captured as a CUDA graph "
                    f"({error}); it is launched kernel by kernel, which is slower",
                    RuntimeWarning,
                    stacklevel=2,
                )
        if run.launch is None:
            run.context.enqueue()
        else:
            run.launch()

    def _room(self, graph: _Graph) -> bool:
        """Whether one more launch may be kept; the oldest goes if it isn't met any more.

        Only then: with more videos in turn than there is room, one would push the other out.
        """
        if len(graph.runs) < KEPT_RUNS:
            return True
        oldest = next(iter(graph.runs))
        if graph.count - graph.runs[oldest].used < STALE:
            return False
        self._device.synchronize()
        del graph.runs[oldest]
        return True

    def _capture(self, context: Context) -> Launch:
        self._device.begin_capture()
        try:
            context.enqueue()
        except BaseException:
            with suppress(BackendError):  # it can't succeed; but the stream must leave that mode
                self._device.end_capture()
            raise
        return self._device.end_capture()

    def _plain(self, graph: _Graph, shapes: tuple[Shape, ...]) -> Context:
        """The context for changing addresses."""
        if shapes not in graph.plain:
            while len(graph.plain) >= KEPT_RUNS:
                self._device.synchronize()
                graph.plain.pop(next(iter(graph.plain)))
            graph.plain[shapes] = self._context(graph, shapes, steady=False)
        return graph.plain[shapes]

    def _context(self, graph: _Graph, shapes: tuple[Shape, ...], steady: bool) -> Context:
        """A new context, with the scratch memory that all of them share."""
        names = [tensor.name for tensor in graph.spec.inputs]
        given = dict(zip(names, shapes, strict=True))
        context = self._device.context(graph.spec.name, given, steady)
        if self._scratch is None or context.scratch > self._scratch[1]:
            self._grow_scratch(context.scratch)
        assert self._scratch is not None
        context.use_scratch(*self._scratch)
        return context

    def _grow_scratch(self, needed: int) -> None:
        """Take more scratch memory; what was captured has the old address in it and is dropped."""
        size = max(1, -(-needed // SCRATCH_STEP)) * SCRATCH_STEP
        self._device.synchronize()
        for graph in self._graphs.values():
            graph.plain.clear()
            graph.runs.clear()
        if self._scratch is not None:
            self._device.free(self._scratch[0])
            self._scratch = None
        address = self._device.allocate(size)
        if address is None:
            self._pool.trim()
            address = self._device.allocate(size)
        if address is None:
            raise BackendError(
                f"{self._device.name}: the GPU has no {size / 1e6:.0f} MB left for the engines to "
                "work in; close other programs that use it, or build for fewer objects or smaller "
                "videos with mavos-build --max-groups, --max-output and --memory-limit"
            )
        self._scratch = address, size
