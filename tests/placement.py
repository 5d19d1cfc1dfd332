"""What ONNX Runtime leaves to the CPU when it runs a graph on CUDA, by its own rule.

Source: microsoft/onnxruntime, core/framework/fallback_cpu_capability.cc: from the results that CUDA
kernels put in host memory the rule goes forward, and takes every node whose inputs all are such
results, small constants or inputs of the graph. A float16 input, or one that the CUDA kernel reads
in host memory anyway, keeps a node on the GPU.
"""

import math
import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnx import TensorProto

from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.backends.onnxruntime_bound import SHAPE_OPERATORS
from mavos_deploy.runtime.backends.onnxruntime_library import CPU

SMALL = 100  # elements of a constant
IN_HOST_MEMORY = ("Shape", "Size")  # results of these CUDA kernels
# Inputs that CUDA kernels read in host memory.
HOST_INPUTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Reshape", "Expand", "Squeeze", "Unsqueeze", "Split", "Tile", "TopK"), (1,)),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceProd", "ReduceSum"), (1,)),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 2, 3),
    "Resize": (1, 2, 3),
    "Range": (0, 1, 2),
    "ConstantOfShape": (0,),
    "If": (0,),
}
HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def check_placement(bundle: Bundle) -> None:
    """Nothing but arithmetic on shapes is left to the CPU, and the backend accepts it."""
    found = {name: left_to_cpu(bundle.graph_path(name)) for name in bundle.specs}
    assert any(found.values())  # or the rule was not followed
    for name, left in found.items():
        assert left.keys() <= SHAPE_OPERATORS, name
        kinds = {
            operator: {"BOOL"} if operator == "Equal" else {"INT64", "INT32"} for operator in left
        }
        assert all(left[operator] <= kinds[operator] for operator in left), name


def left_to_cpu(path: Path) -> dict[str, set[str]]:
    """Operators of a graph that the rule leaves to the CPU, with the types of their results.

    Args:
        path: Of an ONNX file.
    """
    graph = onnx.shape_inference.infer_shapes(_simplified(path)).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = node.attribute[0].t
    types |= {name: tensor.data_type for name, tensor in constants.items()}
    small = {name for name, tensor in constants.items() if math.prod(tensor.dims) <= SMALL}
    anywhere = small | {value.name for value in graph.input}
    on_host: set[str] = set()
    left: dict[str, set[str]] = {}
    for node in graph.node:  # in topological order
        if node.op_type in IN_HOST_MEMORY:
            on_host.update(node.output)
        elif on_host.intersection(node.input) and all(
            types.get(name) not in HALF
            and (
                name in anywhere
                or (name in on_host and place not in HOST_INPUTS.get(node.op_type, ()))
            )
            for place, name in enumerate(node.input)
        ):
            on_host.update(node.output)
            kinds = {TensorProto.DataType.Name(types[name]) for name in node.output}
            left.setdefault(node.op_type, set()).update(kinds)
    return left


def _simplified(path: Path) -> onnx.ModelProto:
    """The graph that is cut in parts: after the simplifications that don't depend on the device."""
    model = onnx.load(path)
    if any(value.data_type in HALF for value in model.graph.initializer):
        return model  # the CPU's own form of it would have casts that a GPU's doesn't
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = f"{folder}/simplified.onnx"
        onnxruntime.InferenceSession(str(path), options, providers=[CPU])
        return onnx.load(options.optimized_model_filepath)
