"""The GPU as `TensorRtGpu` sees it, so that all but the calls themselves is tested without one."""

from collections.abc import Mapping
from typing import Protocol

from mavos_deploy.runtime.backends.protocol import Array
from mavos_deploy.runtime.bundles.engines import Shape


class Context(Protocol):
    """An engine made ready for shapes of its inputs.

    Attributes:
        scratch: Bytes of device memory that the engine needs while it runs.
    """

    scratch: int

    def use_scratch(self, address: int, size: int) -> None:
        """Set the scratch memory, before the first launch."""

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Set the addresses of all inputs and outputs, by name."""

    def enqueue(self) -> None:
        """Put the engine's work on the stream.

        Raises:
            BackendError: The library refuses.
        """


class Launch(Protocol):
    """A captured CUDA graph; it is freed when nobody refers to it."""

    def __call__(self) -> None:
        """Put the recorded work on the stream."""


class Copy(Protocol):
    """A copy to the host, on a stream of its own."""

    def done(self) -> bool:
        """Whether it has ended, so that its source may be written again."""

    def read(self, array: Array) -> None:
        """Fill a contiguous host array, once the copy has ended. To be called once.

        Raises:
            BackendError: The copy, or work before it, has failed.
        """


class Device(Protocol):
    """A GPU with a bundle's engines, one stream for their work, and memory by address.

    Every method but `allocate`, `free` and `fetch` puts work on that stream in the order of the
    calls.
    """

    @property
    def name(self) -> str:
        """Name of the backend, such as `tensorrt-rtx`."""

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
        """Give memory back; no enqueued work may still use it."""

    def upload(self, address: int, array: Array) -> None:
        """Copy a contiguous host array to the device; it may change right after the call."""

    def download(self, address: int, array: Array) -> None:
        """Fill a contiguous host array, once all enqueued work is done.

        Raises:
            BackendError: Some of that work has failed.
        """

    def fetch(self, address: int, size: int) -> Copy:
        """Begin to copy memory to the host, behind the work that is enqueued so far.

        Work that is enqueued later doesn't wait for the copy, so it must leave that memory alone
        until the copy is done.

        Args:
            address: Address in device memory.
            size: Number of bytes.
        """

    def context(self, graph: str, shapes: Mapping[str, Shape], steady: bool) -> Context:
        """Make an engine ready.

        Args:
            graph: Name of the engine's graph.
            shapes: Shapes of the graph's inputs, by name.
            steady: Whether it will be launched with the same addresses again and again.

        Raises:
            BackendError: The engine doesn't take these shapes.
        """

    def begin_capture(self) -> None:
        """Record all work that is put on the stream from now on, and run none of it."""

    def end_capture(self) -> Launch:
        """Stop recording, and return the recorded work.

        Raises:
            BackendError: Nothing was recorded, or something that can't be captured.
        """

    def synchronize(self) -> None:
        """Wait for all enqueued work and copies.

        Raises:
            BackendError: Some of that work has failed.
        """

    def close(self) -> None:
        """Give engines and all memory back; no enqueued work may be left."""
