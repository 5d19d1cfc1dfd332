"""TensorRT without a GPU: engines are ONNX files, and ONNX Runtime computes their work."""

from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from tests.cuda_stand_in import Gpu0

VERSION = "10.99.0"
CAPABILITY = "8.6"
Addresses = dict[str, int]  # by tensor
TYPES = {
    "tensor(float)": ("FLOAT", np.float32),
    "tensor(float16)": ("HALF", np.float16),
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(int32)": ("INT32", np.int32),
}


def tensorrt(gpu: "Gpu0") -> ModuleType:
    class ExecutionContext:
        launched_at: Addresses | None
        captured: Addresses | None
        ran: bool

        def __init__(self, engine: "CudaEngine", captures: bool = False) -> None:
            gpu.contexts += 1
            self.engine = engine
            self.captures = captures  # by itself, as TensorRT-RTX does
            self.launched_at = None
            self.shapes: dict[str, tuple[int, ...]] = {}
            self.addresses: Addresses = {}
            self.scratch = (0, 0)
            self.ran = False
            self.captured = None

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            fixed = self.engine.get_tensor_shape(name)
            self.shapes[name] = shape
            return all(f in (-1, s) for f, s in zip(fixed, shape, strict=True))

        def update_device_memory_size_for_shapes(self) -> int:
            if gpu.unknown_scratch == self.engine.graph:
                gpu.logger.log(Logger.Severity.ERROR, "a shape is missing")
                return 0
            groups = max(shape[0] for shape in self.shapes.values())
            return gpu.scratch * groups

        def is_stream_capturable(self, handle: int) -> bool:
            assert handle in gpu.streams
            assert self.captures, "TensorRT proper is captured by its caller"
            assert self.addresses.keys() == set(self.engine.names), "asked before all is bound"
            gpu.asked.append(self.engine.graph)
            return gpu.uncapturable != self.engine.graph

        def set_device_memory(self, memory: int, size: int) -> None:
            assert size >= self.update_device_memory_size_for_shapes()
            self.scratch = memory, size

        def set_tensor_address(self, name: str, address: int) -> bool:
            assert self.captured is None, "a context with a captured graph gets other addresses"
            self.addresses[name] = address
            return name in self.engine.names

        def execute_async_v3(self, handle: int) -> bool:
            if gpu.fail == self.engine.graph:
                gpu.fail = None
                gpu.logger.log(Logger.Severity.ERROR, "planted\nfault")
                return False
            if gpu.recording is not None and gpu.uncapturable == self.engine.graph:
                gpu.logger.log(Logger.Severity.ERROR, "not capturable")
                return False
            if gpu.recording is not None:
                assert self.ran, "the first launch of a context is captured"
                self.captured = dict(self.addresses)
            if self.captures and self.launched_at not in (None, self.addresses):
                gpu.recaptures += 1
            self.launched_at = dict(self.addresses)
            self.ran = True
            addresses, shapes, scratch = dict(self.addresses), dict(self.shapes), self.scratch
            uses = [*addresses.values(), scratch[0]]
            gpu.put(lambda: self.engine.compute(shapes, addresses, scratch), uses, handle)
            return True

    class CudaEngine:
        def __init__(self, plan: bytes) -> None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(
                plan, options, providers=["CPUExecutionProvider"]
            )
            self.inputs = {tensor.name: tensor for tensor in self.session.get_inputs()}
            self.outputs = {tensor.name: tensor for tensor in self.session.get_outputs()}
            self.names = [*self.inputs, *self.outputs]
            self.graph = next(g for name, g in GRAPH_OF.items() if name in self.outputs)

        @property
        def device_memory_size_v2(self) -> int:
            return 4 * gpu.scratch

        @property
        def num_io_tensors(self) -> int:
            return len(self.names)

        def get_tensor_name(self, index: int) -> str:
            name: str = self.names[index]
            return name

        def _tensor(self, name: str) -> Any:  # noqa: ANN401
            return self.inputs.get(name) or self.outputs[name]

        def get_tensor_shape(self, name: str) -> list[int]:
            return [d if isinstance(d, int) else -1 for d in self._tensor(name).shape]

        def get_tensor_dtype(self, name: str) -> SimpleNamespace:
            return SimpleNamespace(name=TYPES[self._tensor(name).type][0])

        def create_runtime_config(self) -> SimpleNamespace:
            config = SimpleNamespace(cuda_graph_strategy="disabled", strategy=None, cache=None)
            config.set_execution_context_allocation_strategy = lambda strategy: setattr(
                config, "strategy", strategy
            )
            config.create_runtime_cache = RuntimeCache
            config.set_runtime_cache = lambda kernels: setattr(config, "cache", kernels)
            return config

        def create_execution_context(self, how: object) -> ExecutionContext:
            if not isinstance(how, SimpleNamespace):
                assert how == "user"
                return ExecutionContext(self)
            assert how.strategy == "user"
            assert how.dynamic_shapes_kernel_specialization_strategy == "eager"
            if self.graph not in how.cache.graphs:
                assert self.graph not in gpu.compiled, "a context compiles what another one had"
                gpu.compiled.add(self.graph)
                how.cache.graphs.add(self.graph)
            return ExecutionContext(self, how.cuda_graph_strategy == "whole")

        def compute(
            self,
            shapes: dict[str, tuple[int, ...]],
            addresses: Addresses,
            scratch: tuple[int, int],
        ) -> None:
            gpu.computed.append(self.graph)
            gpu.view(*scratch)[:] = 0xFF  # another user of it finds nothing
            feeds = {}
            for name, tensor in self.inputs.items():
                dtype = TYPES[tensor.type][1]
                size = int(np.prod(shapes[name])) * np.dtype(dtype).itemsize
                feeds[name] = gpu.view(addresses[name], size).view(dtype).reshape(shapes[name])
            results = self.session.run(list(self.outputs), feeds)
            for name, result in zip(self.outputs, results, strict=True):
                memory = gpu.view(addresses[name], result.nbytes)
                memory[:] = np.ascontiguousarray(result).reshape(-1).view(np.uint8)

    class RuntimeCache:
        def __init__(self) -> None:
            self.graphs: set[str] = set()

        def serialize(self) -> bytes:
            gpu.check_current()
            return ",".join(sorted(self.graphs)).encode()

        def deserialize(self, blob: bytes) -> bool:
            gpu.check_current()
            names = set(blob.decode(errors="replace").split(","))
            if fits := names <= set(GRAPH_OF.values()):
                self.graphs |= names
            return fits

    class Runtime:
        def __init__(self, logger: Any) -> None:  # noqa: ANN401
            gpu.logger = logger
            self.engine_host_code_allowed = False

        def deserialize_cuda_engine(self, plan: bytes) -> CudaEngine | None:
            if plan.startswith(b"broken"):
                gpu.logger.log(Logger.Severity.ERROR, "magic tag does not match")
                return None
            return CudaEngine(plan)

    class Logger:
        class Severity:
            INTERNAL_ERROR, ERROR, WARNING = range(3)

    trt = ModuleType("tensorrt")
    vars(trt).update(
        __version__=VERSION,
        ILogger=Logger,
        Runtime=Runtime,
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="user"),
        DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="eager"),
        CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole", DISABLED="disabled"),
    )
    return trt


# An output that only this graph has.
GRAPH_OF = {
    "feature_4x": "encoder",
    "decoder_embedding": "elstt_step",
    "labels": "decoder",
    "updated_key_0": "memory_update",
    "value_0": "memory_write",
}
