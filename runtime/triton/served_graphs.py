"""The backend inside Triton that calls the graphs as models of the same server."""

from collections.abc import Mapping

import numpy as np

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.backends.protocol import Array, Tensor, Traits
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import GraphName
from mavos_deploy.runtime.triton.wire import Untyped


class ServedGraphs:
    """Calls `<prefix>_<graph>` for every graph, from within a model of the Python backend.

    Results of a GPU stay there, except the labels. Results of the CPU are copied out of the
    server's shared memory, which is small and would otherwise fill up with states.

    Args:
        bundle: The bundle that the models were made from.
        utils: The module `triton_python_backend_utils`.
        prefix: Start of the models' names.
        on_gpu: Whether the models run on GPUs.
    """

    def __init__(self, bundle: Bundle, utils: Untyped, prefix: str, on_gpu: bool = False) -> None:
        self.traits = Traits("triton", bundle.manifest.arithmetic, any_shape=not on_gpu)
        self._utils = utils
        self._on_gpu = on_gpu
        self._prefix = prefix
        self._outputs = {
            name: [tensor.name for tensor in spec.outputs] for name, spec in bundle.specs.items()
        }

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        request = self._utils.InferenceRequest(
            model_name=graph_model(self._prefix, graph),
            requested_output_names=self._outputs[graph],
            inputs=[self._named(name, tensor) for name, tensor in inputs.items()],
            preferred_memory=self._place(graph),
        )
        response = request.exec()
        if response.has_error():
            message = " ".join(response.error().message().split())[:300]
            raise BackendError(f"{graph_model(self._prefix, graph)} failed: {message}")
        found = {tensor.name(): tensor for tensor in response.output_tensors()}
        return {name: self._kept(found[name]) for name in self._outputs[graph]}

    def upload(self, array: Array) -> Tensor:
        """The array itself, contiguous; it travels with the call."""
        return np.ascontiguousarray(array)

    def download(self, tensor: Tensor) -> Array:
        """The tensor on the host."""
        if isinstance(tensor, np.ndarray):
            return tensor
        try:
            import cupy
        except ImportError as error:
            raise BackendError(
                "more than ten objects on a GPU need CuPy in the server's Python, to add and drop "
                "groups; install it there, or pass --max-objects 10"
            ) from error
        copied: Array = cupy.from_dlpack(tensor.to_dlpack()).get()
        return copied

    def close(self) -> None:
        """Do nothing: the models are the server's."""

    def _named(self, name: str, tensor: Tensor) -> Untyped:
        if isinstance(tensor, np.ndarray):
            return self._utils.Tensor(name, tensor)
        return self._utils.Tensor.from_dlpack(name, tensor.to_dlpack())

    def _place(self, graph: str) -> Untyped:
        """The memory in which the outputs of a graph are wanted: the host needs the labels."""
        utils = self._utils
        on_gpu = self._on_gpu and graph not in (GraphName.DECODER, GraphName.DECODER_ONE)
        return utils.PreferredMemory(
            utils.TRITONSERVER_MEMORY_GPU if on_gpu else utils.TRITONSERVER_MEMORY_CPU
        )

    def _kept(self, tensor: Untyped) -> Tensor:
        return np.array(tensor.as_numpy()) if tensor.is_cpu() else tensor


def graph_model(prefix: str, graph: str) -> str:
    """Name of the model that runs a graph."""
    return f"{prefix}_{graph}"
