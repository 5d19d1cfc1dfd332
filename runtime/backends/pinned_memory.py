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

    Attributes:
        returned: Blocks of `fetch` that are not needed any more; any thread may append to it.

    Args:
        cuda: PyCUDA's driver module.
    """

    def __init__(self, cuda: ModuleType) -> None:
        self._cuda = cuda
        self._blocks: dict[int, list[Block]] = {}  # by size; the one used last stands last
        self.returned: list[Block] = []
        self._fetched: set[Block] = set()  # all that were made for fetches
        self._unused: OrderedDict[int, list[Block]] = OrderedDict()  # those of them, by size
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

    def fetch(self, address: int, size: int, stream: Any, beside: Any) -> "Block":  # noqa: ANN401
        """Enqueue a copy that waits for the work so far of one stream, on another stream.

        Args:
            address: Address in device memory.
            size: Number of bytes.
            stream: The stream that makes what is copied.
            beside: The stream of the copy.

        Returns:
            A block whose `pinned` holds the copy after its `event`. It is to be appended to
            `returned` when the copy has ended and nobody needs it.
        """
        self._sort()
        if self._made is None:
            self._made = self._cuda.Event(self._cuda.event_flags.DISABLE_TIMING)
        blocks = self._unused.get(size)
        block = blocks.pop() if blocks else Block(self._cuda, size)
        self._fetched.add(block)
        self._made.record(stream)
        beside.wait_for_event(self._made)
        self._cuda.memcpy_dtoh_async(block.pinned, address, beside)
        block.event.record(beside)
        return block

    def clear(self) -> None:
        """Free all blocks; no enqueued copy may still use one."""
        for block in self._fetched:
            block.free()
        for blocks in (self._blocks, self._unused, self._fetched, self.returned):
            blocks.clear()
        self._made = None

    def _sort(self) -> None:
        """Put blocks that were returned among the unused; those of sizes met long ago go."""
        while self.returned:
            block = self.returned.pop()
            self._unused.setdefault(block.size, []).append(block)
            self._unused.move_to_end(block.size)
        while len(self._unused) > KEPT_SIZES:
            self._fetched.difference_update(self._unused.popitem(last=False)[1])

    def _block(self, size: int, stream: Any) -> "Block":  # noqa: ANN401
        """A block that no copy uses any more."""
        if size not in self._blocks:
            if len(self._blocks) >= KEPT_SIZES:
                stream.synchronize()
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[size] = [Block(self._cuda, size) for _ in range(2)]
        turn = self._blocks[size] = self._blocks.pop(size)
        turn.reverse()
        block = turn[0]
        block.event.synchronize()  # its last copy, the one before the latest of this size
        return block


class Block:
    """Pinned memory for a transfer.

    Attributes:
        size: Bytes of the transfer.
        pinned: The memory, uint8 [size].
        event: Event after which it may be used again.
    """

    def __init__(self, cuda: ModuleType, size: int) -> None:
        self.size = size
        self.pinned: NDArray[np.uint8] = cuda.pagelocked_empty(max(1, size), np.uint8)[:size]
        self.event: Any = cuda.Event(cuda.event_flags.DISABLE_TIMING)

    def free(self) -> None:
        """Give the memory back, whoever still holds the block."""
        del self.pinned, self.event


def as_bytes(array: Array) -> NDArray[np.uint8]:
    """Memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8)
