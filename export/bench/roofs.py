"""Roofs: how fast this machine multiplies large matrices, and which share of that graphs reach."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from math import prod
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.export.bench.timing import Timings
from mavos_deploy.runtime.backends.onnxruntime_library import CPU, open_library, session_options
from mavos_deploy.runtime.backends.openvino_cpu import DEVICE, best_arithmetic, look_for
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import CHANNELS, extents
from mavos_deploy.runtime.objects import groups_for
from mavos_deploy.runtime.system.processors import usable_processors

SIDE = 2048  # rows and columns of the matrices
PRODUCTS = 9  # timed; their median counts

Roofs = dict[str, float]  # billions of operations a second, by name such as `onnxruntime fp32`


def can_measure() -> bool:
    """Whether the packages are there that write, run and profile graphs."""
    return all(find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def names_here() -> list[str]:
    """Names of the roofs of this machine: those of OpenVINO too where it is installed.

    Products in bfloat16 are among them where the processor has such.
    """
    names = ["onnxruntime fp32", "onnxruntime int8"]
    if find_spec("openvino") is None:
        return names
    numbers = ("fp32", "bf16", "int8") if best_arithmetic() == "bf16" else ("fp32", "int8")
    return names + [f"openvino {number}" for number in numbers]


def measure_roofs(threads: int | None, names: Sequence[str]) -> Roofs:
    """Billions of operations a second in products of large matrices; two for a multiplication.

    Args:
        threads: CPU threads; None takes all that this process may use.
        names: Which of `names_here` to measure.

    Raises:
        BackendError: OpenVINO is broken.
    """
    count = threads or usable_processors()
    makers = {"onnxruntime": _in_onnxruntime, "openvino": _in_openvino}
    runs = {}
    for name in names:
        library, _, number = name.partition(" ")
        runs[name] = makers[library](number, count)
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(PRODUCTS + 1):  # in turns, so that whatever slows the machine slows all of them
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            took[name].append(time.perf_counter() - started)
    # The first round allocates and lays out.
    return {name: 2 * SIDE**3 / median(seconds[1:]) / 1e9 for name, seconds in took.items()}


def roof_name(backend: str, arithmetic: str) -> str | None:
    """Name of the roof above a backend's products.

    Args:
        backend: Name of the backend.
        arithmetic: Its number format; int8 stands for a quantised bundle, whose other products run
            under a lower roof.

    Returns:
        None for a backend that runs on a GPU.
    """
    library = backend.partition("-cpu")[0]
    if "-cpu" not in backend or arithmetic not in ("fp32", "bf16", "int8"):
        return None
    return f"{library} {arithmetic}"


def shares_of_roofs(
    bundle: Bundle, objects: int, timings: Mapping[str, tuple[str, Timings]], roofs: Roofs
) -> dict[str, Any]:
    """Which share of its roof each graph reaches on each backend.

    Args:
        bundle: Opened bundle.
        objects: Number of objects in the frames that were timed.
        timings: Arithmetic and timings by name of the backend.
        roofs: What `measure_roofs` gave.

    Returns:
        For each backend its `roof`, and by graph `gflop`, `ms` of a call and `share`: the time that
        the products would take at the roof, as a share of the time that the graph takes.
    """
    groups = groups_for(objects)
    channels = CHANNELS if groups > 1 else objects + 1
    work: dict[str, float] = {}
    found: dict[str, Any] = {}
    for name, (arithmetic, timing) in timings.items():
        roof = roof_name(name, arithmetic)
        if roof not in roofs:
            continue
        graphs = {}
        for graph in bundle.specs:
            took = [frame[graph] for frame in timing.graphs if graph in frame]
            if not took:
                continue
            if graph not in work:
                work[graph] = gflop(bundle, graph, groups, channels)
            seconds = median(took)
            graphs[graph] = {
                "gflop": round(work[graph], 3),
                "ms": round(seconds * 1e3, 3),
                "share": round(work[graph] / roofs[roof] / seconds, 4),
            }
        found[name] = {"roof": roof, "graphs": graphs}
    return found


def gflop(bundle: Bundle, graph: str, groups: int, channels: int) -> float:
    """Billions of operations of a graph's products and convolutions; two for a multiplication.

    The graph runs once, as it is in the file, and the library notes all shapes.

    Args:
        bundle: Opened bundle.
        graph: Name of the graph.
        groups: Groups of ten objects.
        channels: Channels of the logits that are enlarged.
    """
    size = bundle.manifest.size
    at = extents(groups, size, channels)
    feeds = {
        tensor.name: np.zeros(tensor.shape_at(**at), tensor.dtype)
        for tensor in bundle.manifest.specs_at(size)[graph].inputs
    }
    ort = open_library()
    with TemporaryDirectory() as folder:
        options = session_options(ort, usable_processors())
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        session = ort.InferenceSession(str(bundle.graph_path(graph)), options, providers=[CPU])
        session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    return sum(map(_operations, events)) / 1e9


def _operations(event: Mapping[str, Any]) -> int:
    """Operations of an entry of ONNX Runtime's profile; 0 for what is no product."""
    if not event["name"].endswith("_kernel_time"):
        return 0
    arguments = event["args"]
    kind = arguments["op_name"]
    inputs, outputs = (
        [
            [int(extent) for extent in next(iter(t.values()))]
            for t in arguments[f"{side}_type_shape"]
        ]
        for side in ("input", "output")
    )
    if kind == "Conv":
        return 2 * prod(outputs[0]) * prod(inputs[1][1:])
    return 2 * prod(outputs[0]) * inputs[0][-1] if kind in ("MatMul", "MatMulInteger") else 0


def _in_onnxruntime(number: str, threads: int) -> Callable[[], object]:
    from onnx import TensorProto, helper

    integers = number == "int8"
    kinds = (TensorProto.UINT8, TensorProto.INT8) if integers else (TensorProto.FLOAT,) * 2
    made = TensorProto.INT32 if integers else TensorProto.FLOAT
    shape = [SIDE, SIDE]
    product = helper.make_graph(
        [helper.make_node("MatMulInteger" if integers else "MatMul", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info(n, k, shape) for n, k in zip("ab", kinds, strict=True)],
        [helper.make_tensor_value_info("c", made, shape)],
    )
    model = helper.make_model(product, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    ort = open_library()
    options = session_options(ort, threads)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=[CPU])
    feeds = {
        name: np.ones(shape, helper.tensor_dtype_to_np_dtype(kind))
        for name, kind in zip("ab", kinds, strict=True)
    }
    return lambda: session.run(None, feeds)


def _in_openvino(number: str, threads: int) -> Callable[[], object]:
    library, core = look_for("bf16" if number == "bf16" else "fp32")
    ops = library.opset13
    factors = [ops.parameter([SIDE, SIDE], np.float32, name=name) for name in "ab"]
    given: list[Any] = list(factors)
    if number == "int8":  # the forms that `calibration` gives to factors, of 255 and 127 steps
        limits = [(0.0, 1.0, 256), (-1.0, 1.0, 255)]
        given = [
            ops.fake_quantize(factor, *(np.float32(v) for v in (low, high) * 2), steps)
            for factor, (low, high, steps) in zip(factors, limits, strict=True)
        ]
    model = library.Model([ops.matmul(*given, False, False)], factors)
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if number == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(model, DEVICE, options).create_infer_request()
    ones: NDArray[np.float32] = np.ones((SIDE, SIDE), np.float32)

    def run() -> object:
        return request.infer({0: ones, 1: ones}, share_inputs=True)

    return run
