"""Device memory: tensors whose blocks are used again, and scratch memory that engines share."""

import weakref
from math import ceil, prod
from typing import Protocol

import numpy as np

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends.tensorrt_protocol import Context, Device
from mavos_deploy.runtime.bundles.engines import Shape

SCRATCH_STEP = 1 << 20  # bytes to which the scratch memory is rounded up


class DeviceTensor:
    """A tensor on the device; its memory returns to the pool with the last reference to it.

    Attributes:
        pool: Pool that the memory belongs to.
        address: Address in device memory.
        shape: Extents.
        dtype: Element type by NumPy's name.
    """

    __slots__ = ("__weakref__", "address", "dtype", "pool", "shape")

    def __init__(self, pool: "Pool", address: int, shape: Shape, dtype: str) -> None:
        self.pool = pool
        self.address = address
        self.shape = shape
        self.dtype = dtype


class Pool:
    """Device memory in blocks that are used again by tensors of the same use and size.

    Blocks of one use are given out again last in, first out, so that a video's frames meet the same
    addresses again.

    Attributes:
        size: Bytes taken from the device.

    Args:
        device: The device to take memory from.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._free: dict[tuple[str, int], list[int]] = {}
        self.size = 0
        self._closed = False

    def tensor(self, use: str, shape: Shape, dtype: str) -> DeviceTensor:
        """An uninitialised tensor.

        Args:
            use: Name of its purpose; blocks of different uses aren't mixed.
            shape: Extents.
            dtype: Element type by NumPy's name.

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

    def allocate(self, size: int) -> int | None:
        """Take memory from the device, if need be after unused blocks are given back.

        Args:
            size: Number of bytes.

        Returns:
            The address; None where there isn't enough. The memory is not part of the pool.
        """
        address = self._device.allocate(size)
        if address is None:
            self._trim()
            address = self._device.allocate(size)
        return address

    def _take(self, size: int) -> int:
        address = self.allocate(size)
        if address is None:
            raise BackendError(
                f"{self._device.name}: the GPU has no {ceil(size / 1e6)} MB left; the memories of "
                f"its videos hold {self.size / 1e6:.0f} MB. Follow fewer objects or videos, or "
                "close other programs that use the GPU"
            )
        self.size += size
        return address

    def _give(self, key: tuple[str, int], address: int) -> None:
        if not self._closed:
            self._free[key].append(address)

    def _trim(self) -> None:
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


class ScratchUser(Protocol):
    """An owner of contexts that hold the address of scratch memory."""

    def drop_contexts(self) -> None:
        """Drop all contexts and captured graphs; no enqueued work needs them any more."""


class Scratch:
    """Memory in which engines keep intermediate results while they run; one runs at a time.

    Attributes:
        size: Bytes taken from the device.
        users: Owners of contexts, which are told to drop them before the memory moves.

    Args:
        device: The device to take memory from.
        pool: Pool whose unused blocks make room if need be.
    """

    def __init__(self, device: Device, pool: Pool) -> None:
        self._device = device
        self._pool = pool
        self._address: int | None = None
        self.size = 0
        self.users: weakref.WeakSet[ScratchUser] = weakref.WeakSet()

    def lend(self, context: Context) -> None:
        """Give a new context the memory that it needs.

        Raises:
            BackendError: The device has no memory left.
        """
        if self._address is None or context.scratch > self.size:
            self._address = self._move(max(1, -(-context.scratch // SCRATCH_STEP)) * SCRATCH_STEP)
        context.use_scratch(self._address, self.size)

    def _move(self, size: int) -> int:
        self._device.synchronize()
        for user in self.users:
            user.drop_contexts()
        if self._address is not None:
            self._device.free(self._address)
            self._address, self.size = None, 0
        address = self._pool.allocate(size)
        if address is None:
            raise BackendError(
                f"{self._device.name}: the GPU has no {ceil(size / 1e6)} MB left for the engines "
                "to work in; close other programs that use it, or build for fewer objects or "
                "smaller videos with mavos-build --max-groups, --max-output and --memory-limit"
            )
        self.size = size
        return address
