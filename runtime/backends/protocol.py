"""Methods and traits that the segmenter needs from an inference library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import BundleError
from mavos_deploy.runtime.contract import GraphSpec

# A backend's own kind of tensor. It may live on a device; the segmenter only hands it on.
Tensor = Any
Array = NDArray[np.generic]


@dataclass(frozen=True)
class Traits:
    """Properties by which opened backends differ.

    Attributes:
        name: Name for reports, such as `onnxruntime-cpu`.
        arithmetic: Number format in which products are computed, such as `fp32`; the limits of a
            comparison depend on it.
        any_shape: Whether inputs may change their open extents from call to call at no cost.
        concurrent: Whether the encoder may run in one thread while any graph runs in another.
        enqueues: Whether `run` returns before its work is done, so that its duration says nothing.
    """

    name: str
    arithmetic: str
    any_shape: bool = False
    concurrent: bool = False
    enqueues: bool = False


@dataclass
class Transfers:
    """Counts of tensors that went between the host and a device.

    Attributes:
        up: Number of tensors brought to the device.
        bytes_up: Size of those tensors in bytes.
        down: Number of tensors brought to the host.
        bytes_down: Size of those tensors in bytes.
    """

    up: int = 0
    bytes_up: int = 0
    down: int = 0
    bytes_down: int = 0


class Backend(Protocol):
    """Runs the graphs of one bundle on one device.

    Tensors that went in or came out stay valid and unchanged for as long as they are referred to,
    so a state is a value: a backend may reuse a buffer only when nobody holds its tensor. Several
    names of a state may refer to one tensor (all slots do after the start), so a tensor of the
    dynamic slot must not be written in place while anything else refers to it.
    """

    @property
    def traits(self) -> Traits:
        """Properties by which backends differ."""

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph.

        Args:
            graph: Name of a graph of the contract.
            inputs: All inputs of the graph by name.

        Returns:
            All outputs of the graph by name.

        Raises:
            BackendError: The library failed.
        """

    def upload(self, array: Array) -> Tensor:
        """Bring a host array to the device."""

    def download(self, tensor: Tensor) -> Array:
        """Bring a tensor to the host."""

    def close(self) -> None:
        """Free the graphs and all memory; tensors of the backend are invalid from then on."""


@runtime_checkable
class DeviceBackend(Backend, Protocol):
    """A backend whose tensors live on a device, and which counts transfers.

    Attributes:
        transfers: Counts since the backend was opened, or since a caller put fresh ones there.
    """

    transfers: Transfers


class Fetched(Protocol):
    """A tensor on its way to the host."""

    def read(self) -> Array:
        """Wait for the tensor, and for nothing that was enqueued after it was fetched.

        Returns:
            The tensor on the host, the same array at every call.

        Raises:
            BackendError: The library failed, perhaps in earlier work.
        """


@runtime_checkable
class FetchingBackend(Backend, Protocol):
    """A backend that brings tensors to the host beside the work that is enqueued behind them."""

    def fetch(self, tensor: Tensor) -> Fetched:
        """Begin to bring a tensor to the host, once the work enqueued so far has made it.

        The tensor needn't be kept, and its memory isn't used again before it was brought.
        """


@runtime_checkable
class RestingBackend(Backend, Protocol):
    """A backend that holds memory between runs, and can do without it for a while."""

    def rest(self) -> None:
        """Give memory back that the next run takes again."""


class WatchedBackend:
    """Hands everything on to another backend; a subclass looks at the runs.

    Attributes:
        traits: Traits of the other backend.
        inner: The other backend, which does the work.

    Args:
        backend: The backend to hand everything on to.
    """

    def __init__(self, backend: Backend) -> None:
        self.traits = backend.traits
        self.inner = backend

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        return self.inner.run(graph, inputs)

    def upload(self, array: Array) -> Tensor:
        """See `Backend.upload`."""
        return self.inner.upload(array)

    def download(self, tensor: Tensor) -> Array:
        """See `Backend.download`."""
        return self.inner.download(tensor)

    def close(self) -> None:
        """See `Backend.close`."""
        self.inner.close()


def check_tensors(
    found: Mapping[str, tuple[str | None, Sequence[object]]], spec: GraphSpec, path: Path
) -> None:
    """Refuse a graph that isn't the one its manifest describes.

    Args:
        found: Type and shape of the loaded graph's tensors by name; an extent that is no number
            may vary.
        spec: The graph by the contract.
        path: File of the graph, for the message.

    Raises:
        BundleError: A tensor is missing, or has another type or shape.
    """
    given = {name: (dtype, _fixed(shape)) for name, (dtype, shape) in found.items()}
    for tensor in (*spec.inputs, *spec.outputs):
        if given.get(tensor.name) != (tensor.dtype, _fixed(tensor.shape)):
            raise BundleError(
                f"{path} has no tensor {tensor.name} of {tensor.dtype} {list(tensor.shape)}, which "
                "the manifest promises; export the bundle again"
            )


def _fixed(shape: Sequence[object]) -> list[int | None]:
    """A shape with None where it may vary."""
    return [extent if isinstance(extent, int) else None for extent in shape]
