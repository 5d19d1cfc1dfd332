"""TensorRT and TensorRT-RTX on a GPU: engines of a bundle, with a memory that never leaves it.

All work of a backend goes to one stream, so a block of device memory may be given out again as soon
as nobody refers to its tensor: work enqueued before still sees the old contents, and later work the
new ones. That alone keeps a state a value, makes the short-term slots take turns, and lets MCA
write the next dynamic slot without a copy. Only pictures, labels of new objects and a few numbers
go up, and only label maps and logits come down. They do so on a second stream, beside the work on
later graphs and frames; their tensors are kept until they are down.
"""

from collections.abc import Mapping
from contextlib import suppress
from math import prod

import numpy as np

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends.device_memory import DeviceTensor, Pool, Scratch
from mavos_deploy.runtime.backends.protocol import Array, Traits, Transfers
from mavos_deploy.runtime.backends.tensorrt_device import TensorRtDevice
from mavos_deploy.runtime.backends.tensorrt_launches import GraphLaunches
from mavos_deploy.runtime.backends.tensorrt_protocol import Copy, Device
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.engines import Library
from mavos_deploy.runtime.contract import output_shapes


class TensorRtGpu:
    """Runs a bundle's engines; tensors are `DeviceTensor`.

    Args:
        bundle: An opened bundle.
        device: The device with its engines.
    """

    def __init__(self, bundle: Bundle, device: Device) -> None:
        own = bundle.manifest.arithmetic
        arithmetic = "tf32" if own == "fp32" and device.tf32 else own
        # Not of any shape: a CUDA graph is captured for each.
        self.traits = Traits(device.name, arithmetic, enqueues=True)
        self.transfers = Transfers()
        self._device = device
        self._pool = Pool(device)
        self._scratch = Scratch(device, self._pool)
        self._graphs = {
            name: GraphLaunches(spec, device, self._scratch) for name, spec in bundle.specs.items()
        }
        self._fetching: list[_Fetched] = []  # whose tensors a copy may still read
        self._open = True

    @property
    def stream(self) -> int:
        """Handle of the CUDA stream that all work is enqueued on."""
        return self._device.stream

    @property
    def device_bytes(self) -> int:
        """Device memory in use: tensors, unused blocks and scratch, without engines' weights."""
        return self._pool.size + self._scratch.size

    def run(self, graph: str, inputs: Mapping[str, DeviceTensor]) -> dict[str, DeviceTensor]:
        """See `Backend.run`; the work is enqueued, and failures may show at a later download."""
        self.check_open()
        launches = self._graphs[graph]
        given = {tensor.name: inputs[tensor.name] for tensor in launches.spec.inputs}
        for tensor in given.values():
            self._check_own(tensor)
        shapes = {name: tensor.shape for name, tensor in given.items()}
        made = output_shapes(launches.spec, shapes)
        outputs = {
            tensor.name: self._pool.tensor(
                f"{graph}.{tensor.name}", made[tensor.name], tensor.dtype
            )
            for tensor in launches.spec.outputs
        }
        addresses = {name: tensor.address for name, tensor in (given | outputs).items()}
        launches.run(tuple(shapes.values()), addresses)
        return outputs

    def upload(self, array: Array) -> DeviceTensor:
        """A copy of an array on the device; the array may change right after the call."""
        self.check_open()
        tensor = self._pool.tensor("upload", array.shape, array.dtype.name)
        self._device.upload(tensor.address, np.ascontiguousarray(array))
        self.transfers.up += 1
        self.transfers.bytes_up += array.nbytes
        return tensor

    def download(self, tensor: DeviceTensor) -> Array:
        """Wait for a tensor and copy it to the host."""
        self.check_open()
        self._check_own(tensor)
        array = np.empty(tensor.shape, tensor.dtype)
        self._device.download(tensor.address, array)
        self.transfers.down += 1
        self.transfers.bytes_down += array.nbytes
        return array

    def fetch(self, tensor: DeviceTensor) -> "_Fetched":
        """See `FetchingBackend.fetch`."""
        self.check_open()
        self._check_own(tensor)
        self._fetching = [fetched for fetched in self._fetching if not fetched.done()]
        size = prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
        fetched = _Fetched(self, tensor, self._device.fetch(tensor.address, size))
        self._fetching.append(fetched)
        self.transfers.down += 1
        self.transfers.bytes_down += size
        return fetched

    def close(self) -> None:
        """Wait for enqueued work, and free the device's memory."""
        if not self._open:
            return
        self._open = False
        with suppress(BackendError):  # a failure has been reported where it was waited for
            self._device.synchronize()
        self._fetching.clear()
        self._pool.close()
        self._graphs.clear()
        self._device.close()

    def check_open(self) -> None:
        """Refuse work after `close`."""
        if not self._open:
            raise BackendError("the segmenter is closed; open it again")

    def _check_own(self, tensor: DeviceTensor) -> None:
        """Refuse memory of another segmenter, whose stream may not have written it yet."""
        if tensor.pool is not self._pool:
            raise BackendError(
                f"{self.traits.name}: the state is another segmenter's; save it there and load it "
                "here"
            )


class _Fetched:
    """A tensor that is copied to the host, and kept until it is there; see `protocol.Fetched`."""

    def __init__(self, backend: TensorRtGpu, tensor: DeviceTensor, copy: Copy) -> None:
        self._backend = backend
        self._on_its_way: tuple[DeviceTensor, Copy] | None = tensor, copy
        self._array: Array | None = None

    def done(self) -> bool:
        """Whether the copy has ended."""
        return self._on_its_way is None or self._on_its_way[1].done()

    def read(self) -> Array:
        """See `protocol.Fetched.read`."""
        if self._on_its_way is not None:
            self._backend.check_open()
            tensor, copy = self._on_its_way
            array = np.empty(tensor.shape, tensor.dtype)
            copy.read(array)
            self._array, self._on_its_way = array, None
        assert self._array is not None
        return self._array


def open_engines(
    bundle: Bundle, threads: int | None, *, name: str, library: Library
) -> TensorRtGpu:
    """A bundle's engines on the first GPU.

    Args:
        bundle: An opened bundle.
        threads: Not used, because all work is the GPU's.
        name: Name of the backend.
        library: Library that built the engines.

    Raises:
        BackendError: See `TensorRtDevice`.
        BundleError: An engine's file is altered.
    """
    del threads
    return TensorRtGpu(bundle, TensorRtDevice(bundle, name, library))
