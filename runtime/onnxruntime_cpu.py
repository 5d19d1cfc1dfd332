"""ONNX Runtime on the CPU: the backend that works anywhere."""

from collections.abc import Mapping
from copy import copy
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backend import Array, check_tensors, one_line
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import STEP, GraphSpec
from mavos_deploy.runtime.geometry import grid
from mavos_deploy.runtime.machine import return_freed_memory
from mavos_deploy.runtime.processors import usable_processors

PROVIDER = "CPUExecutionProvider"
TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
}


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

    name = "onnxruntime-cpu"
    any_shape = True

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        ort = open_library()
        self._library = ort
        self._specs = bundle.specs
        self.arithmetic = bundle.manifest.arithmetic
        self._outputs = {
            name: [tensor.name for tensor in spec.outputs] for name, spec in bundle.specs.items()
        }
        quantisation = bundle.manifest.quantisation
        for_gpu = quantisation is not None and quantisation.target != "cpu"
        self._options = self.session_options(ort, threads or usable_processors(), for_gpu)
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
        other._options = self.session_options(
            self._library, self._options.intra_op_num_threads, for_gpu
        )
        other._specs = {**self._specs, graph: spec or self._specs[graph]}
        other._sessions = {**self._sessions, graph: other._open(path, other._specs[graph])}
        other._tiled = {} if graph == STEP else dict(self._tiled)
        other._shapes = {}
        return other

    def _open(self, path: Path, spec: GraphSpec) -> Any:  # noqa: ANN401  # the library is untyped
        try:
            session = self._library.InferenceSession(str(path), self._options, providers=[PROVIDER])
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

    @staticmethod
    def session_options(ort: ModuleType, threads: int, for_gpu: bool = False) -> Any:  # noqa: ANN401  # the library is untyped
        """Settings of every session; `benchmarks/session_settings.py` measures others.

        Args:
            ort: The library.
            threads: Of each graph.
            for_gpu: The graphs are quantised for TensorRT, whose symmetric activations the CPU's
                integer kernels are 17 times slower with; they are rounded and computed in float.
        """
        _share_arena(ort)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Five sessions share the cores: waiting threads that spin take time from working ones.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Without an arena every frame gets its memory anew from the system, page by page, which
        # takes a fifth of its time. An arena for each session keeps the peaks of all graphs, 1.2 GB
        # instead of 0.7 GB at 480p, and planning a graph's memory as one block takes more as well.
        options.enable_cpu_mem_arena = True
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.enable_mem_pattern = False
        options.log_severity_level = 4  # what fails is raised, and must not be printed as well
        if for_gpu:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        return options

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Backend.run`."""
        if graph not in self._sessions:
            raise BackendError("the segmenter is closed; open it again")
        session = self._sessions[graph]
        if graph == STEP:
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


@cache
def _share_arena(ort: ModuleType) -> None:
    """Make the one arena that all sessions of the process take their memory from."""
    place = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    # By default it doubles when it grows, and lets a tensor take a block of twice its size.
    thrifty = {"arena_extend_strategy": 1, "max_dead_bytes_per_chunk": 1 << 20}
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(thrifty))


def open_library() -> ModuleType:
    """Import ONNX Runtime.

    Raises:
        BackendError: It is missing, broken, or a hollow module.
    """
    try:
        import onnxruntime
    except Exception as error:  # it loads libraries, whose failures come as anything
        raise BackendError(
            f"ONNX Runtime can't be imported ({one_line(error)}); install it with "
            "pip install 'mavos-deploy[cpu]'"
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        raise BackendError(
            "ONNX Runtime is installed as a hollow module, which happens when one of onnxruntime "
            "and onnxruntime-gpu is removed while both were there; uninstall both, then install one"
        )
    module: ModuleType = onnxruntime
    return module
