"""Sessions of ONNX Runtime whose tensors stay in a device's memory."""

import ctypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mavos_deploy.errors import BackendError, MavosError, one_line
from mavos_deploy.runtime.backends.onnxruntime_library import (
    CPU,
    CUDA,
    check_session,
    open_library,
    session_options,
)
from mavos_deploy.runtime.backends.protocol import Array, Traits, Transfers
from mavos_deploy.runtime.bundles.bundle import Bundle

DEVICE = 0  # number among the GPUs that CUDA shows; CUDA_VISIBLE_DEVICES chooses

# Operators that the providers for GPUs leave to the CPU on purpose: arithmetic on shapes, a few
# numbers that a kernel's launch depends on. `session.disable_cpu_ep_fallback` would refuse them
# like everything else (onnxruntime issue 17930), so the nodes themselves are looked at.
SHAPE_OPERATORS = {
    *("Shape", "Size", "Squeeze", "Unsqueeze", "Concat", "Gather", "Slice", "Cast", "Range"),
    "Reshape",
    *("Add", "Sub", "Mul", "Div"),
    "Equal",  # of the number of groups and 1: which branch is taken
}

Tensor = Any  # onnxruntime.OrtValue
OpenSession = Callable[[str, Any], Any]  # from a graph's name and options to a session


class OnnxRuntimeBound:
    """One session for each graph; tensors are `OrtValue`s in a device's memory.

    Inputs are bound where they lie, and the library allocates every output anew on the device, so
    a tensor that is referred to is never written again. Only downloaded tensors come to the
    host. A run returns when its results are there.

    Args:
        bundle: An opened bundle.
        name: Name of the backend.
        arithmetic: Number format in which products are computed.
        provider: Execution provider that has to run the graphs.
        device: The library's name of the tensors' memory, `cuda` or `cpu`.
        open_session: Opens a graph with that provider.
        threads: CPU threads for the operators left to the CPU; None takes one.

    Raises:
        BackendError: A graph is refused, or would not run on the provider.
    """

    def __init__(
        self,
        bundle: Bundle,
        name: str,
        arithmetic: str,
        provider: str,
        device: str,
        open_session: OpenSession,
        threads: int | None = None,
    ) -> None:
        self._library = open_library()
        # Not of any shape: kernels are chosen for each.
        self.traits = Traits(name, arithmetic)
        self.transfers = Transfers()
        self._device = device
        self._outputs = {
            graph: [tensor.name for tensor in spec.outputs] for graph, spec in bundle.specs.items()
        }
        self._sessions: dict[str, Any] = {}
        for graph, spec in bundle.specs.items():
            path = bundle.graph_path(graph)
            options = session_options(self._library, threads or 1)
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
            try:
                session = open_session(graph, options)
            except MavosError:
                raise
            except Exception as error:  # the library's errors share no other base
                raise BackendError(
                    f"{name}: onnxruntime {self._library.__version__} refuses {path}: "
                    f"{one_line(error)}"
                ) from error
            self._check_placement(session, graph, provider)
            check_session(session, spec, path)
            self._sessions[graph] = session

    def _check_placement(self, session: Any, graph: str, provider: str) -> None:  # noqa: ANN401
        """Refuse a session that runs elsewhere than it was told to."""
        if session.get_providers()[0] != provider:
            raise BackendError(
                f"{self.traits.name}: onnxruntime couldn't start {provider}"
                f"{_missing_library(self._library, provider)}; it needs a driver that is new "
                "enough, and its own libraries in the versions that it was built with; "
                "mavos-doctor shows what is here"
            )
        placed: dict[str, set[str]] = {}
        for part in session.get_provider_graph_assignment_info():
            operators = placed.setdefault(part.ep_name, set())
            operators.update(node.op_type for node in part.get_nodes())
        left = placed.get(CPU, set()) - SHAPE_OPERATORS
        if provider == CPU:
            return
        if left or provider not in placed:
            what = f"{', '.join(sorted(left))} of" if left else "all of"
            raise BackendError(
                f"{self.traits.name}: {provider} leaves {what} {graph} to the CPU; update "
                "onnxruntime, or take another backend"
            )

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        if graph not in self._sessions:
            raise BackendError("the segmenter is closed; open it again")
        session = self._sessions[graph]
        try:
            # A binding of its own for every run: one that is used again would hand out the same
            # memory for the next outputs.
            binding = session.io_binding()
            for name, tensor in inputs.items():
                binding.bind_ortvalue_input(name, tensor)
            for name in self._outputs[graph]:
                binding.bind_output(name, self._device, DEVICE)
            session.run_with_iobinding(binding)
            outputs = binding.get_outputs()
        except Exception as error:  # the library's errors share no other base
            raise BackendError(
                f"{self.traits.name}: onnxruntime failed in {graph}: {one_line(error)}"
            ) from error
        return dict(zip(self._outputs[graph], outputs, strict=True))

    def upload(self, array: Array) -> Tensor:
        """Bring a host array to the device; the call returns when it is there."""
        contiguous = np.ascontiguousarray(array)
        self.transfers.up += 1
        self.transfers.bytes_up += contiguous.nbytes
        try:
            return self._library.OrtValue.ortvalue_from_numpy(contiguous, self._device, DEVICE)
        except Exception as error:  # the library's errors share no other base
            raise BackendError(
                f"{self.traits.name}: {contiguous.nbytes} bytes can't be brought to the device: "
                f"{one_line(error)}"
            ) from error

    def download(self, tensor: Tensor) -> Array:
        """Bring a tensor to the host."""
        try:
            array: Array = tensor.numpy()
        except Exception as error:  # the library's errors share no other base
            raise BackendError(
                f"{self.traits.name}: a tensor can't be brought to the host: {one_line(error)}"
            ) from error
        self.transfers.down += 1
        self.transfers.bytes_down += array.nbytes
        return array

    def close(self) -> None:
        """Drop the sessions."""
        self._sessions.clear()


def _missing_library(ort: ModuleType, provider: str) -> str:
    """The loader's reason why a provider's library doesn't load, or nothing."""
    folder = Path(str(ort.__file__)).parent / "capi"
    if provider != CUDA or os.name != "posix":
        return ""
    try:
        for part in ("shared", "cuda"):
            library = folder / f"libonnxruntime_providers_{part}.so"
            if library.is_file():  # a release may have its providers elsewhere
                ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    except OSError as error:
        return f" ({one_line(error)})"
    return ""
