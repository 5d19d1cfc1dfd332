"""OpenVINO on the CPU: in float32, or in bfloat16, which is faster and less exact.

The products of a bundle that was quantised for it are computed in 8 bits, and the rest in either.
"""

from collections.abc import Callable, Mapping
from copy import copy
from functools import cache
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import numpy as np

from mavos_deploy.errors import BackendError, one_line, shortage
from mavos_deploy.runtime.backends.protocol import Array, Traits, check_tensors
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.quantisation import GraphKind
from mavos_deploy.runtime.contract import GraphSpec, extents
from mavos_deploy.runtime.system.loading import load
from mavos_deploy.runtime.system.processors import usable_processors

DEVICE = "CPU"
TYPES = {"f32": "float32", "f16": "float16", "u8": "uint8", "i32": "int32"}
HINTS = {"fp32": "f32", "bf16": "bf16"}  # OpenVINO's names
KEPT_SHAPES = 4  # sets of input shapes of each graph whose compiled models are kept

Shapes = tuple[tuple[str, tuple[int, ...]], ...]  # names and shapes of a graph's inputs


class OpenVinoCpu:
    """A compiled model for each graph and shape of its inputs; tensors are NumPy arrays.

    Memories and logits keep the bundle's types, float32 as a rule; only the products within a graph
    are computed in another. Another number of groups, or another size of video, compiles anew,
    which takes seconds once.

    Args:
        bundle: An opened bundle.
        threads: CPU threads of each graph; None takes all that this process may use.
        arithmetic: Number format of the products, `fp32` or `bf16`.

    Raises:
        BackendError: OpenVINO is missing or refuses a graph, the processor has no bf16, or the
            bundle is quantised for another library.
    """

    def __init__(self, bundle: Bundle, threads: int | None, arithmetic: str) -> None:
        name = f"openvino-cpu-{arithmetic}"
        quantisation = bundle.manifest.quantisation
        if quantisation is not None and quantisation.kind != GraphKind.OPENVINO:
            raise BackendError(
                f"{bundle.path} is quantised, but not for OpenVINO, and {name} can't run it; take "
                "--backend onnxruntime-cpu, the bundle that it was made from, or one quantised "
                "with mavos-calibrate --for openvino"
            )
        self._library, self._core = look_for(arithmetic)
        manifest = bundle.manifest
        # Not of any shape: each costs a compilation.
        own = arithmetic == "bf16" and quantisation is None
        arithmetic_of_all = "bf16" if own else manifest.arithmetic
        self.traits = Traits(name, arithmetic_of_all, concurrent=True)
        self._outputs = {
            name: [tensor.name for tensor in spec.outputs] for name, spec in bundle.specs.items()
        }
        self._options = {
            # Named, never left to OpenVINO, whose own default depends on the processor.
            "INFERENCE_PRECISION_HINT": HINTS[arithmetic],
            "INFERENCE_NUM_THREADS": threads or usable_processors(),
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned, the threads of every process and container on a machine meet on its first
            # processors.
            "ENABLE_CPU_PINNING": False,
        }
        self._models: dict[str, Any] = {}
        self._requests: dict[str, dict[Shapes, Any]] = {}
        # Of each graph: a request has one set of outputs, and the encoder runs in several threads.
        self._locks = {name: Lock() for name in bundle.specs}
        usual = extents(1, manifest.size)
        for name, spec in manifest.specs_at(manifest.size).items():
            path = bundle.graph_path(name)
            self._models[name] = self._read(path, bundle.content(path), bundle.specs[name])
            shapes = tuple((tensor.name, tensor.shape_at(**usual)) for tensor in spec.inputs)
            self._requests[name] = {shapes: self._compile(name, shapes)}

    def with_graph(self, graph: str, path: Path, kind: GraphKind, spec: GraphSpec) -> "OpenVinoCpu":
        """A backend with another file for one graph; it shares the other models with this one.

        Args:
            graph: Name of the graph.
            path: An ONNX file with inputs and outputs of the same names.
            kind: Kind of the file.
            spec: Contract of the file.

        Raises:
            BackendError: The library refuses the file.
            BundleError: Its inputs or outputs are not those of its contract.
        """
        assert kind == GraphKind.OPENVINO, kind
        other = copy(self)
        model = self._read(path, path.read_bytes(), spec)
        other._models = {**self._models, graph: model}
        shapes = next(iter(self._requests[graph]))
        other._requests = {name: dict(kept) for name, kept in self._requests.items()}
        other._requests[graph] = {shapes: other._compile(graph, shapes)}
        return other

    def _read(self, path: Path, content: bytes, spec: GraphSpec) -> Any:  # noqa: ANN401  # the library is untyped
        try:
            model = self._core.read_model(content)
        except Exception as error:  # the library raises RuntimeError and errors of NumPy
            raise BackendError(
                f"openvino {self._library.__version__} refuses {path}: {one_line(error)}"
            ) from error
        found = {
            port.any_name: (
                TYPES.get(port.element_type.get_type_name()),
                [d.get_length() if d.is_static else None for d in port.partial_shape],
            )
            for port in (*model.inputs, *model.outputs)
        }
        check_tensors(found, spec, path)
        return model

    def _compile(self, graph: str, shapes: Shapes) -> Any:  # noqa: ANN401  # as above
        """A request for inputs of these shapes.

        Fixed, though the graphs leave the groups open: with open ones, OpenVINO 2026.4 fails or
        keeps the old shape when a request that ran one group gets two.
        """
        model = self._models[graph].clone()
        try:
            model.reshape({name: list(shape) for name, shape in shapes})
            compiled = self._core.compile_model(model, DEVICE, self._options)
            taken = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            request = compiled.create_infer_request()
        except Exception as error:  # the library raises RuntimeError and errors of NumPy
            raise BackendError(
                f"openvino {self._library.__version__} refuses {graph}: {one_line(error)}"
            ) from error
        wanted = self._options["INFERENCE_PRECISION_HINT"]
        if taken != wanted:
            raise BackendError(
                f"openvino {self._library.__version__} compiled {graph} in {taken}, not in "
                f"{wanted} as it was told to; take another backend"
            )
        return request

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Backend.run`."""
        if graph not in self._requests:
            raise BackendError("the segmenter is closed; open it again")
        requests = self._requests[graph]
        shapes = tuple((name, array.shape) for name, array in inputs.items())
        with self._locks[graph]:
            if shapes not in requests:
                while len(requests) >= KEPT_SHAPES:
                    requests.pop(next(iter(requests)))
                requests[shapes] = self._compile(graph, shapes)
            try:
                # Copies, which later calls leave alone.
                outputs = requests[shapes].infer(dict(inputs), share_inputs=True)
                return {name: outputs[name] for name in self._outputs[graph]}
            except Exception as error:  # the library raises RuntimeError and errors of NumPy
                raise BackendError(f"openvino failed in {graph}: {one_line(error)}") from error

    def upload(self, array: Array) -> Array:
        """The array itself, contiguous."""
        return np.ascontiguousarray(array)

    def download(self, tensor: Array) -> Array:
        """The tensor itself."""
        return tensor

    def close(self) -> None:
        """Drop the compiled models."""
        self._requests.clear()
        self._models.clear()


def best_arithmetic() -> str:
    """The quickest arithmetic of this processor, `bf16` or `fp32`.

    Raises:
        BackendError: OpenVINO is missing or broken.
    """
    _, core = look_for("fp32")
    return "bf16" if "BF16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES") else "fp32"


def look_for(arithmetic: str) -> tuple[ModuleType, Any]:
    """OpenVINO, and its entry on a processor that computes in an arithmetic.

    Args:
        arithmetic: `fp32` or `bf16`.

    Raises:
        BackendError: OpenVINO is missing or broken, or the processor has no bf16.
    """
    try:
        openvino = load("openvino")
    except Exception as error:  # it loads libraries, whose failures come as anything
        do = shortage(error) or (
            "install it with pip install 'mavos-deploy[openvino]', or take --backend "
            "onnxruntime-cpu"
        )
        raise BackendError(f"OpenVINO can't be imported ({one_line(error)}); {do}") from error
    core = _entry(openvino.Core)
    able = core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    if arithmetic == "bf16" and "BF16" not in able:
        raise BackendError(
            "openvino-cpu-bf16: this processor has no bfloat16 instructions (avx512_bf16 or "
            "amx_bf16); take --backend openvino-cpu-fp32"
        )
    return openvino, core


@cache
def _entry(kind: Callable[[], Any]) -> Any:  # noqa: ANN401  # untyped
    """The one entry of this process, which is never freed.

    Each gives the thread a stack for signal handlers (OpenVINO 2026.4). When of two the older one
    is freed first, the thread keeps the freed stack, and the next signal ends the process.
    """
    return kind()
