"""Kernels that TensorRT-RTX makes of a bundle's graphs, counted without a GPU.

    python benchmarks/kernels.py BUNDLE --output kernels.json

TensorRT-RTX names every layer after fusion while it builds, with the shapes and types of what the
layer reads and writes. A rewrite of a graph that breaks fusion shows there as more kernels and more
bytes. The report has kernels, megabytes, operations, scratch memory and fused attentions of each
graph, for a video of `--output-size`, and the sums for a frame with its share of the memory update.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from mavos_deploy.errors import BackendError, MavosError
from mavos_deploy.export.tensorrt_build import configure
from mavos_deploy.runtime.backends.tensorrt_library import library_said, open_library
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.engines import Engine, Flags, Library
from mavos_deploy.runtime.contract import GraphName, extents
from mavos_deploy.runtime.geometry import Size, parse_size
from mavos_deploy.runtime.system.child import Child
from mavos_deploy.runtime.system.interrupts import processes_start

CAPABILITY = "8.9"  # of the GPUs that layers are counted for
NO_KERNELS = ("signal", "wait", "shape_call")  # layers that order others, or compute on shapes
BYTES = {"Half": 2, "Float": 4, "Int32": 4, "Int64": 8, "UInt8": 1, "Bool": 1}
LAYER = re.compile(
    r"^Name: (\S+), LayerType: (\w+), Inputs: \[(.*)\], Constants: \[(.*?)\], Outputs: \[(.*?)\], "
    r"TacticName: (.*?), StreamId: \d+"
)
TENSOR = re.compile(r"\{ Name: \S+, Dimensions: \[([^\]]*)\],.*?Datatype: (\w+)")
SCRATCH = re.compile(r"Total Activation Memory: (\d+)")
FUSED_ATTENTION = "_gemm_mha"  # in the name of kernels that keep an attention's weights on the chip


@dataclass(frozen=True)
class Kernel:
    """A layer after fusion.

    Attributes:
        name: The library's name, which is made of those of the layers that it was fused from.
        kind: The library's kind of layer, such as `gemm`.
        tactic: Name of the code that runs it.
        size: Bytes that it reads and writes, its constants among them.
    """

    name: str
    kind: str
    tactic: str
    size: int


@dataclass(frozen=True)
class FusedGraph:
    """A graph after fusion.

    Attributes:
        kernels: Its kernels in the order of the log.
        operations: Operations of products and convolutions; two for a multiplication and addition.
        scratch: Bytes of device memory that it needs while it runs.
    """

    kernels: tuple[Kernel, ...]
    operations: int
    scratch: int

    @property
    def size(self) -> int:
        """Bytes that all kernels read and write."""
        return sum(kernel.size for kernel in self.kernels)

    def figures(self) -> dict[str, float]:
        """Everything for a table and for JSON, in megabytes and billions of operations."""
        return {
            "kernels": len(self.kernels),
            "mb": round(self.size / 1e6),
            "gflop": round(self.operations / 1e9, 1),
            "scratch_mb": round(self.scratch / 1e6, 1),
            "fused_attentions": self.fused_attentions,
        }

    @property
    def fused_attentions(self) -> int:
        """Kernels that compute a whole attention."""
        return sum(FUSED_ATTENTION in kernel.name + kernel.tactic for kernel in self.kernels)


def main() -> int:
    """Count, and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--output-size", default="1080x1920", help="default: %(default)s")
    parser.add_argument("--groups", type=int, default=1, help="groups of ten objects")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    try:
        bundle = Bundle.open(given.bundle)
        size = parse_size(given.output_size)
        graphs = {name: fused_graph(bundle, name, size, given.groups) for name in bundle.specs}
    except MavosError as error:
        print(f"kernels.py: {error}", file=sys.stderr)
        return 2
    report = {
        "variant": bundle.manifest.variant,
        "size": "x".join(map(str, bundle.manifest.size)),
        "precision": bundle.manifest.precision,
        "output": given.output_size,
        "groups": given.groups,
        "capability": CAPABILITY,
        "tensorrt_rtx": str(open_library(Library.TENSORRT_RTX).__version__),
        "graphs": {name: graph.figures() for name, graph in graphs.items()},
        "frame_mb": round(frame_bytes(graphs, given.groups, bundle.manifest.memory_gap) / 1e6),
    }
    if given.output:
        given.output.write_text(json.dumps(report, indent=1) + "\n")
    print("| graph | kernels | MB | GFLOP | scratch, MB | fused attentions |")
    print("|---|---|---|---|---|---|")
    for name, graph in graphs.items():
        print(f"| `{name}` | {' | '.join(map(str, graph.figures().values()))} |")
    print(f"\na frame with its share of the update: {report['frame_mb']} MB")
    return 0


def frame_bytes(graphs: Mapping[str, "FusedGraph"], groups: int, memory_gap: int | None) -> float:
    """Bytes that the kernels of a frame read and write, with its share of the memory update.

    Args:
        graphs: Graphs after fusion by name.
        groups: Groups of ten objects, for which the graphs were built.
        memory_gap: Frames between two updates; None where nothing is updated.
    """
    one = groups == 1 and GraphName.DECODER_ONE in graphs
    idle = GraphName.DECODER if one else GraphName.DECODER_ONE
    return sum(
        graph.size / (memory_gap if memory_gap and name == GraphName.MEMORY_UPDATE else 1)
        for name, graph in graphs.items()
        if name != idle
    )


def fused_graph(bundle: Bundle, graph: str, output: Size, groups: int = 1) -> FusedGraph:
    """Build a graph for fixed shapes, and read its kernels from the log.

    Args:
        bundle: Opened bundle.
        graph: Name of the graph.
        output: Height and width of the video, in pixels.
        groups: Groups of ten objects.

    Raises:
        BackendError: TensorRT-RTX is missing, or fails to build the graph.
    """
    at = extents(groups, output)
    inputs = bundle.manifest.specs_at(bundle.manifest.input_size(output))[graph].inputs
    shapes = {tensor.name: tensor.shape_at(**at) for tensor in inputs}
    # In a process of its own: a process has one logger.
    with processes_start():
        child = Child.calling(
            f"the build of {graph}",
            _build,
            bundle.graph_path(graph),
            shapes,
            _engine(bundle, graph),
        )
    try:
        found: FusedGraph = child.result()
    finally:
        child.kill()
    return found


def _engine(bundle: Bundle, graph: str) -> Engine:
    return Engine(
        graph=graph,
        file="",
        sha256="",
        graph_sha256=bundle.manifest.graphs[graph].sha256,
        library=Library.TENSORRT_RTX,
        version="",
        capability=CAPABILITY,
        gpu=None,
        driver=None,
        flags=Flags(),
        profiles=(),
    )


def _build(onnx: Path, shapes: dict[str, tuple[int, ...]], engine: Engine) -> FusedGraph:
    trt = open_library(Library.TENSORRT_RTX)
    lines: list[str] = []
    errors: list[str] = []

    class Listener(trt.ILogger):  # type: ignore[name-defined,misc]  # a base known at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: object, message: str) -> None:
            lines.append(message)
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                errors.append(message)

    logger = Listener()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx.read_bytes()):
        raise BackendError(f"tensorrt_rtx can't read {onnx}: {library_said(errors)}")
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        tensor.shape = shapes[tensor.name]
    operations = sum(_operations(trt, network.get_layer(i)) for i in range(network.num_layers))
    config = builder.create_builder_config()
    configure(trt, config, engine)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if builder.build_serialized_network(network, config) is None:
        raise BackendError(f"tensorrt_rtx failed to build {onnx}: {library_said(errors)}")
    return read_log("\n".join(lines), operations)


def read_log(log: str, operations: int) -> FusedGraph:
    """The kernels in a build's log.

    Args:
        log: All messages of a build with detailed profiling verbosity, on lines of their own.
        operations: See `FusedGraph`.
    """
    kernels = []
    for line in log.splitlines():
        if (layer := LAYER.match(line)) is None or layer[2] in NO_KERNELS:
            continue
        size = sum(
            _bytes(*tensor) for part in layer.group(3, 4, 5) for tensor in TENSOR.findall(part)
        )
        kernels.append(Kernel(layer[1], layer[2], layer[6], size))
    scratch = SCRATCH.findall(log)
    return FusedGraph(tuple(kernels), operations, int(scratch[-1]) if scratch else 0)


def _bytes(extents: str, datatype: str) -> int:
    return prod(int(extent) for extent in extents.split(",") if extent.strip()) * BYTES[datatype]


def _operations(trt: Any, layer: Any) -> int:  # noqa: ANN401  # the library is untyped
    """Operations of a layer before fusion, if it is a product or a convolution."""
    if layer.type == trt.LayerType.CONVOLUTION:
        layer.__class__ = trt.IConvolutionLayer
        channels = layer.get_input(0).shape[1] // layer.num_groups
        return int(2 * prod([*layer.get_output(0).shape, channels, *layer.kernel_size_nd]))
    if layer.type == trt.LayerType.MATRIX_MULTIPLY:
        layer.__class__ = trt.IMatrixMultiplyLayer
        axis = -2 if layer.op0 == trt.MatrixOperation.TRANSPOSE else -1
        return int(2 * prod([*layer.get_output(0).shape, layer.get_input(0).shape[axis]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
