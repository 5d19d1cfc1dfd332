"""ONNX Runtime on the CPU: the backend that works anywhere."""

import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from mavos_deploy.errors import BackendError, BundleError
from mavos_deploy.runtime.backend import Array
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import TensorSpec

PROVIDER = "CPUExecutionProvider"
TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int32)": "int32"}


class OnnxRuntimeCpu:
    """One session for each graph; tensors are NumPy arrays.

    Args:
        bundle: Opened, and so checked.
        threads: Of each graph; None takes all that this process may use.
    """

    name = "onnxruntime-cpu"

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        ort = _library()
        self._outputs = {
            name: [tensor.name for tensor in spec.outputs] for name, spec in bundle.specs.items()
        }
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or usable_processors()
        # Five sessions share the cores: waiting threads that spin take time from working ones.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # The arena keeps the peak of every graph at once: 1.5 GB instead of 0.7 GB at 480p.
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4  # what fails is raised, and must not be printed as well
        self._sessions: dict[str, Any] = {}
        for name, spec in bundle.specs.items():
            try:
                session = ort.InferenceSession(
                    str(bundle.graph_path(name)), options, providers=[PROVIDER]
                )
            except Exception as error:  # the library's errors share no other base
                raise BackendError(
                    f"onnxruntime {ort.__version__} refuses {bundle.graph_path(name)}: "
                    f"{_one_line(error)}"
                ) from error
            _check_tensors(
                (*session.get_inputs(), *session.get_outputs()),
                (*spec.inputs, *spec.outputs),
                str(bundle.graph_path(name)),
            )
            self._sessions[name] = session

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Backend.run`."""
        if graph not in self._sessions:
            raise BackendError("the segmenter is closed; open it again")
        try:
            outputs = self._sessions[graph].run(self._outputs[graph], dict(inputs))
        except Exception as error:  # the library's errors share no other base
            raise BackendError(f"onnxruntime failed in {graph}: {_one_line(error)}") from error
        return dict(zip(self._outputs[graph], outputs, strict=True))

    def upload(self, array: Array) -> Array:
        """The array itself, contiguous."""
        return np.ascontiguousarray(array)

    def download(self, tensor: Array) -> Array:
        """The tensor itself."""
        return tensor

    def close(self) -> None:
        """Drop the sessions."""
        self._sessions.clear()


def usable_processors() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _library() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(
            f"ONNX Runtime can't be imported ({error}); install it with "
            "pip install 'mavos-deploy[cpu]'"
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        raise BackendError(
            "ONNX Runtime is installed as a hollow module, which happens when one of onnxruntime "
            "and onnxruntime-gpu is removed while both were there; uninstall both, then install one"
        )
    module: ModuleType = onnxruntime
    return module


def _check_tensors(given: Sequence[Any], expected: Sequence[TensorSpec], path: str) -> None:
    """Refuse a graph that isn't the one its manifest describes."""
    found = {tensor.name: (TYPES.get(tensor.type), _fixed(tensor.shape)) for tensor in given}
    for tensor in expected:
        if found.get(tensor.name) != (tensor.dtype, _fixed(tensor.shape)):
            raise BundleError(
                f"{path} has no tensor {tensor.name} of {tensor.dtype} {list(tensor.shape)}, which "
                "the manifest promises; export the bundle again"
            )


def _fixed(shape: Sequence[object]) -> list[int | None]:
    """A shape with None where it may vary."""
    return [extent if isinstance(extent, int) else None for extent in shape]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
