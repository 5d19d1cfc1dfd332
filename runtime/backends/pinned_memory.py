"""Copies between the host and a GPU through pinned memory, which needn't be waited for."""

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.backends.protocol import Array

KEPT_SIZES = 32  # sizes of transfers whose pinned memory is kept


class PinnedMemory:
    """Pinned memory for transfers: two blocks of each size, which take turns.

    Every call needs CUDA's context current.

    Args:
        cuda: PyCUDA's driver module.
    """

    def __init__(self, cuda: ModuleType) -> None:
        self._cuda = cuda
        self._blocks: dict[int, list[_Block]] = {}  # by size; the one used last stands last

    def upload(self, address: int, array: Array, stream: Any) -> None:  # noqa: ANN401  # untyped
        """Enqueue a copy of a contiguous array, which may change right after the call."""
        block = self._block(array.nbytes, stream)
        block.pinned[:] = _bytes(array)
        self._cuda.memcpy_htod_async(address, block.pinned, stream)
        block.event.record(stream)

    def download(self, address: int, array: Array, stream: Any) -> None:  # noqa: ANN401
        """Fill a contiguous array, once all work on the stream is done."""
        block = self._block(array.nbytes, stream)
        self._cuda.memcpy_dtoh_async(block.pinned, address, stream)
        stream.synchronize()
        _bytes(array)[:] = block.pinned

    def clear(self) -> None:
        """Free all blocks; no enqueued copy may still use one."""
        self._blocks.clear()

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


def _bytes(array: Array) -> NDArray[np.uint8]:
    """Memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8)
