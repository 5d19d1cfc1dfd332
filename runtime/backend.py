"""What the segmenter asks of an inference library."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.bundle import Bundle

# A backend's own kind of tensor. It may live on a device; the segmenter only hands it on.
Tensor = Any
Array = NDArray[np.generic]


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


def open_backend(bundle: Bundle, threads: int | None = None) -> Backend:
    """Load a bundle's graphs.

    Args:
        bundle: Opened, and so checked.
        threads: Of the CPU; None takes all that this process may use.

    Raises:
        BackendError: The library is missing or refuses a graph.
    """
    from mavos_deploy.runtime.onnxruntime_cpu import OnnxRuntimeCpu

    return OnnxRuntimeCpu(bundle, threads)
