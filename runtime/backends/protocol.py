"""What the segmenter asks of an inference library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import BundleError
from mavos_deploy.runtime.contract import TensorSpec

# A backend's own kind of tensor. It may live on a device; the segmenter only hands it on.
Tensor = Any
Array = NDArray[np.generic]


@dataclass
class Transfers:
    """What went between the host and a device.

    Attributes:
        up: Tensors brought to the device.
        bytes_up: Their bytes.
        down: Tensors brought to the host.
        bytes_down: Their bytes.
    """

    up: int = 0
    bytes_up: int = 0
    down: int = 0
    bytes_down: int = 0


class Backend(Protocol):
    """Runs the graphs of one bundle on one device.

    Tensors that went in or came out stay valid and unchanged for as long as they are referred to,
    so a state is a value: a backend may reuse a buffer only when nobody holds its tensor. Several
    names of a state may refer to one tensor (all slots do after the start), so what looks like the
    dynamic slot must not be written in place while anything else refers to it.
    """

    @property
    def name(self) -> str:
        """For reports, such as `onnxruntime-cpu`."""

    @property
    def arithmetic(self) -> str:
        """What products are computed in, such as `fp32`; limits of a comparison depend on it."""

    @property
    def any_shape(self) -> bool:
        """Whether inputs may change their open extents from call to call at no cost."""

    @property
    def enqueues(self) -> bool:
        """Whether `run` returns before its work is done, so that its time means nothing."""

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a graph.

        Args:
            graph: A name of the contract.
            inputs: All of its inputs by name.

        Returns:
            All of its outputs by name.

        Raises:
            BackendError: The library failed.
        """

    def upload(self, array: Array) -> Tensor:
        """Bring a host array to the device."""

    def download(self, tensor: Tensor) -> Array:
        """Bring a tensor to the host."""

    def close(self) -> None:
        """Free what the backend holds; its tensors are invalid from then on."""


class WatchedBackend:
    """Hands everything on to another backend; a subclass looks at the runs.

    Args:
        backend: That does the work.
    """

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self.arithmetic = backend.arithmetic
        self.any_shape = backend.any_shape
        self.enqueues = backend.enqueues
        self._backend = backend

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        return self._backend.run(graph, inputs)

    def upload(self, array: Array) -> Tensor:
        """See `Backend.upload`."""
        return self._backend.upload(array)

    def download(self, tensor: Tensor) -> Array:
        """See `Backend.download`."""
        return self._backend.download(tensor)

    def close(self) -> None:
        """See `Backend.close`."""
        self._backend.close()


def check_tensors(
    found: Mapping[str, tuple[str | None, Sequence[object]]],
    expected: Sequence[TensorSpec],
    path: str,
) -> None:
    """Refuse a graph that isn't the one its manifest describes.

    Args:
        found: Type and shape of the loaded graph's tensors by name; what is no number may vary.
        expected: By the contract.
        path: The graph's file, for the message.

    Raises:
        BundleError: A tensor is missing, or of another type or shape.
    """
    given = {name: (dtype, _fixed(shape)) for name, (dtype, shape) in found.items()}
    for tensor in expected:
        if given.get(tensor.name) != (tensor.dtype, _fixed(tensor.shape)):
            raise BundleError(
                f"{path} has no tensor {tensor.name} of {tensor.dtype} {list(tensor.shape)}, which "
                "the manifest promises; export the bundle again"
            )


def _fixed(shape: Sequence[object]) -> list[int | None]:
    """A shape with None where it may vary."""
    return [extent if isinstance(extent, int) else None for extent in shape]
