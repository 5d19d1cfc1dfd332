"""Copies between the host and a GPU through pinned memory, which needn't be waited for."""

from collections import OrderedDict
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.backends.protocol import Array

KEPT_SIZES = 32  # sizes of transfers whose pinned memory is kept


class PinnedMemory:
    """Pinned memory for transfers: two blocks of each size, which take turns.

    What is fetched has blocks of its own, one for each copy that nobody has read. Every call needs
    CUDA's context current.

    Args:
        cuda: PyCUDA's driver module.
    """

    def __init__(self, cuda: ModuleType) -> None:
        self._cuda = cuda
        self._blocks: dict[int, list[_Block]] = {}  # by size; the one used last stands last
        self._unused: OrderedDict[int, list[_Block]] = OrderedDict()  # for fetches, by size
        self._made: Any = None  # event of the stream that makes what is fetched

    def upload(self, address: int, array: Array, stream: Any) -> None:  # noqa: ANN401  # untyped
        """Enqueue a copy of a contiguous array, which may change right after the call."""
        block = self._block(array.nbytes, stream)
        block.pinned[:] = as_bytes(array)
        self._cuda.memcpy_htod_async(address, block.pinned, stream)
        block.event.record(stream)

    def download(self, address: int, array: Array, stream: Any) -> None:  # noqa: ANN401
        """Fill a contiguous array, once all work on the stream is done."""
        block = self._block(array.nbytes, stream)
        self._cuda.memcpy_dtoh_async(block.pinned, address, stream)
        stream.synchronize()
        as_bytes(array)[:] = block.pinned

    def fetch(self, address: int, size: int, stream: Any, beside: Any) -> "_Block":  # noqa: ANN401
        """Enqueue a copy that waits for the work so far of one stream, on another stream.

        Args:
            address: Address in device memory.
            size: Number of bytes.
            stream: The stream that makes what is copied.
            beside: The stream of the copy.

        Returns:
            A block whose `pinned` holds the copy after its `event`. Give it to `give_back` then.
        """
        if self._made is None:
            self._made = self._cuda.Event(self._cuda.event_flags.DISABLE_TIMING)
        blocks = self._unused.get(size)
        block = blocks.pop() if blocks else _Block(self._cuda, size)
        self._made.record(stream)
        beside.wait_for_event(self._made)
        self._cuda.memcpy_dtoh_async(block.pinned, address, beside)
        block.event.record(beside)
        return block

    def give_back(self, block: "_Block") -> None:
        """Let another copy use a block of `fetch`, whose copy has ended and was read."""
        size = len(block.pinned)
        self._unused.setdefault(size, []).append(block)
        self._unused.move_to_end(size)
        while len(self._unused) > KEPT_SIZES:
            self._unused.popitem(last=False)

    def clear(self) -> None:
        """Free all blocks; no enqueued copy may still use one."""
        self._blocks.clear()
        self._unused.clear()
        self._made = None

    def _block(self, size: int, stream: Any) -> "_Block":  # noqa: ANN401
        """A block that no copy uses any more."""
        if size not in self._blocks:
            if len(self._blocks) >= KEPT_SIZES:
                stream.synchronize()
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[size] = [_Block(self._cuda, size) for _ in range(2)]
        turn = self._blocks[size] = self._blocks.pop(size)
        turn.reverse()
        block = turn[0]
        block.event.synchronize()  # its last copy, the one before the latest of this size
        return block


class _Block:
    """Pinned memory for a transfer, and the event after which it may be used again."""

    def __init__(self, cuda: ModuleType, size: int) -> None:
        self.pinned: NDArray[np.uint8] = cuda.pagelocked_empty(max(1, size), np.uint8)[:size]
        self.event: Any = cuda.Event(cuda.event_flags.DISABLE_TIMING)


def as_bytes(array: Array) -> NDArray[np.uint8]:
    """Memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8)
