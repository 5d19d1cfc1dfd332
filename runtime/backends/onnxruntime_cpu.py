"""ONNX Runtime on the CPU: the backend that works anywhere."""

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from mavos_deploy.errors import BackendError, one_line
from mavos_deploy.runtime.backends.onnxruntime_library import (
    CPU,
    TYPES,
    open_library,
    session_options,
)
from mavos_deploy.runtime.backends.protocol import Array, Traits, check_tensors
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import GraphName, GraphSpec
from mavos_deploy.runtime.geometry import grid
from mavos_deploy.runtime.system.machine import return_freed_memory
from mavos_deploy.runtime.system.processors import usable_processors

Shapes = tuple[tuple[int, ...], ...]


class OnnxRuntimeCpu:
    """One session for each graph; tensors are NumPy arrays.

    Intermediate results of all backends of a process share one arena. What other sizes of frames or
    numbers of objects needed is given back when the shapes change; the arena itself stays when a
    backend is closed.

    Args:
        bundle: Opened, and so checked.
        threads: Of each graph; None takes all that this process may use.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        ort = open_library()
        self._library = ort
        self._specs = bundle.specs
        self.traits = Traits("onnxruntime-cpu", bundle.manifest.arithmetic, any_shape=True)
        self._outputs = {
            name: [tensor.name for tensor in spec.outputs] for name, spec in bundle.specs.items()
        }
        quantisation = bundle.manifest.quantisation
        for_gpu = quantisation is not None and quantisation.target != "cpu"
        self._options = session_options(ort, threads or usable_processors(), for_gpu)
        self._sessions: dict[str, Any] = {
            name: self._open(bundle.graph_path(name), spec) for name, spec in bundle.specs.items()
        }
        # By the tokens of the size that each is for.
        self._tiled: dict[tuple[int, int], Any] = {
            grid(size): self._open(path, spec) for size, (path, spec) in bundle.tiled.items()
        }
        self._shapes: dict[str, Shapes] = {}  # of the inputs of each graph's latest run
        return_freed_memory()  # what reading the files took, twice the weights

    def with_graph(
        self, graph: str, path: Path, for_gpu: bool = False, spec: GraphSpec | None = None
    ) -> "OnnxRuntimeCpu":
        """A backend with another file for one graph; it shares the other sessions with this one.

        Args:
            graph: Of the contract.
            path: An ONNX file with inputs and outputs of the same names.
            for_gpu: As in `session_options`.
            spec: Of the file, where its types are others.

        Raises:
            BackendError: The library refuses the file.
            BundleError: It has other inputs or outputs.
        """
        other = copy(self)
        other._options = session_options(self._library, self._options.intra_op_num_threads, for_gpu)
        other._specs = {**self._specs, graph: spec or self._specs[graph]}
        other._sessions = {**self._sessions, graph: other._open(path, other._specs[graph])}
        other._tiled = {} if graph == GraphName.STEP else dict(self._tiled)
        other._shapes = {}
        return other

    def _open(self, path: Path, spec: GraphSpec) -> Any:  # noqa: ANN401  # the library is untyped
        try:
            session = self._library.InferenceSession(str(path), self._options, providers=[CPU])
        except Exception as error:  # the library's errors share no other base
            raise BackendError(
                f"onnxruntime {self._library.__version__} refuses {path}: {one_line(error)}"
            ) from error
        tensors = (*session.get_inputs(), *session.get_outputs())
        check_tensors(
            {tensor.name: (TYPES.get(tensor.type), tensor.shape) for tensor in tensors},
            (*spec.inputs, *spec.outputs),
            str(path),
        )
        return session

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Backend.run`."""
        if graph not in self._sessions:
            raise BackendError("the segmenter is closed; open it again")
        session = self._sessions[graph]
        if graph == GraphName.STEP:
            session = self._tiled.get(inputs["embedding"].shape[2:], session)
        shapes = tuple(array.shape for array in inputs.values())
        options = None
        if self._shapes.setdefault(graph, shapes) != shapes:
            # The arena's blocks fit the old shapes, and those of new ones would come on top.
            self._shapes[graph] = shapes
            options = self._library.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            outputs = session.run(self._outputs[graph], dict(inputs), options)
        except Exception as error:  # the library's errors share no other base
            raise BackendError(f"onnxruntime failed in {graph}: {one_line(error)}") from error
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
        self._tiled.clear()
