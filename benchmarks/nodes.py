"""Where the time of a frame goes, by kind of operation, graph and backend.

    python -m benchmarks.nodes lite-481x849 lite-481x849-int8 --threads 2 --output nodes.json
        --markdown

A made-up clip runs past a memory update, and each graph's last inputs are kept. Then every graph
runs on them `--rounds` times with the library's own profile on; the time of a node is the least of
all rounds, which leaves out what other work took. `memory_update` counts by its share of a frame.
Unquantised bundles run in ONNX Runtime and in OpenVINO, quantised
ones where they are meant to.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.price import ways_of
from mavos_deploy.errors import MavosError
from mavos_deploy.export.bench.roofs import gflop, measure_roofs, names_here, roof_name
from mavos_deploy.export.bench.runners import made_clip
from mavos_deploy.export.bench.timing import shortest_run
from mavos_deploy.runtime.backends.onnxruntime_library import CPU, open_library, session_options
from mavos_deploy.runtime.backends.openvino_cpu import DEVICE, HINTS, look_for
from mavos_deploy.runtime.backends.protocol import Array, Backend, Tensor, WatchedBackend
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.quantisation import GraphKind
from mavos_deploy.runtime.contract import CHANNELS, GraphName
from mavos_deploy.runtime.objects import groups_for
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import LoadMeter, describe_machine
from mavos_deploy.runtime.system.processors import usable_processors

# Kinds of operations, by parts of the libraries' names for them; the first that fits counts.
KINDS = {
    "rounding": ("quantize", "convert", "cast"),
    "products": ("conv", "matmul", "gemm", "fullyconnected"),
    "softmax": ("softmax", "reduce", "exp"),
    "norms": ("norm", "mvn", "rms"),
    "layout": ("reorder", "transpose", "concat", "slice", "split", "pad", "reshape", "gather"),
    "resizing": ("resize", "interpolate"),
}
OTHERS = "elementwise and others"  # in OpenVINO with norms and rounding, which it fuses with them

Times = dict[str, tuple[str, float]]  # kind of the operation and milliseconds, by node


class Kept(WatchedBackend):
    """A backend that keeps the latest inputs of each graph.

    Attributes:
        inputs: Inputs by graph.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.inputs: dict[str, dict[str, Array]] = {}

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        self.inputs[graph] = {name: self.download(tensor) for name, tensor in inputs.items()}
        return super().run(graph, inputs)


def main() -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+", help="of one size; unquantised first")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--threads", type=int, default=usable_processors())
    parser.add_argument("--output", type=Path, help="write everything as JSON")
    parser.add_argument("--markdown", action="store_true", help="print a table as Markdown")
    given = parser.parse_args()
    try:
        report = measure(given)
    except MavosError as error:
        print(f"nodes.py: {error}", file=sys.stderr)
        return 2
    if given.output is not None:
        with replacing(given.output) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report) if given.markdown else json.dumps(report, indent=1))
    return 0


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The kinds' milliseconds in a frame, by row and graph, beside the roof."""
    meter = LoadMeter()
    roofs = measure_roofs(given.threads, names_here())
    groups = groups_for(given.objects)
    rows: dict[str, Any] = {}
    for row, (path, backend) in ways_of(given.bundles).items():
        bundle = Bundle.open(path)
        inputs = last_inputs(bundle, backend, given.objects, given.threads)
        channels = CHANNELS if groups > 1 else given.objects + 1
        graphs: dict[str, dict[str, Any]] = {}
        for graph, feeds in inputs.items():
            profile = in_openvino if backend.startswith("openvino") else in_onnxruntime
            times = profile(bundle, graph, feeds, backend, given)
            every = bundle.manifest.write_every if graph == GraphName.MEMORY_UPDATE else 1
            kinds: defaultdict[str, float] = defaultdict(float)
            for operation, took in times.values():
                kinds[kind_of(operation)] += took / every
            most_first = sorted(kinds, key=kinds.__getitem__, reverse=True)
            graphs[graph] = {
                "ms": {kind: round(kinds[kind], 4) for kind in most_first},
                "gflop": round(gflop(bundle, graph, groups, channels) / every, 3),
            }
        arithmetic = "bf16" if backend.endswith("bf16") else bundle.manifest.arithmetic
        if bundle.manifest.quantisation is not None:
            arithmetic = bundle.manifest.arithmetic
        roof = roof_name(backend, arithmetic)
        rows[row] = {
            "bundle": path.name,
            "backend": backend,
            "roof": roof,
            "roof_ms": round(
                sum(of["gflop"] for of in graphs.values()) / roofs[str(roof)] * 1e3, 3
            ),
            "graphs": graphs,
        }
    load = meter.read()
    manifest = Bundle.open(given.bundles[0]).manifest
    return {
        "variant": manifest.variant,
        "size": "x".join(map(str, manifest.size)),
        "machine": describe_machine(),
        "threads": given.threads,
        "objects": given.objects,
        "rounds": given.rounds,
        "load": load and {**vars(load), "busy": load.busy},
        "roofs_gflops": {name: round(rate, 1) for name, rate in roofs.items()},
        "rows": rows,
    }


def last_inputs(
    bundle: Bundle, backend: str, objects: int, threads: int
) -> dict[str, dict[str, Array]]:
    """The last inputs of each graph, after a memory update."""
    kept = Kept(open_backend(bundle, threads, backend))
    segmenter, state = Segmenter(bundle, kept), None
    for frame, labels in made_clip(bundle, shortest_run(bundle.manifest.write_every), objects):
        state = segmenter.start(frame, labels) if state is None else segmenter.step(frame, state)[1]
    kept.close()
    return kept.inputs


def in_onnxruntime(
    bundle: Bundle, graph: str, feeds: dict[str, Array], backend: str, given: argparse.Namespace
) -> Times:
    """The least time of each node in ONNX Runtime."""
    del backend
    ort = open_library()
    quantisation = bundle.manifest.quantisation
    in_float = quantisation is not None and quantisation.kind != GraphKind.CPU
    times: Times = {}
    with TemporaryDirectory() as folder:
        options = session_options(ort, given.threads, in_float)
        options.enable_profiling = True
        options.profile_file_prefix = f"{folder}/profile"
        session = ort.InferenceSession(str(bundle.graph_path(graph)), options, providers=[CPU])
        for _ in range(given.rounds + 1):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    for event in events:
        if event["name"].endswith("_kernel_time"):
            _keep_least(times, event["name"], event["args"]["op_name"], event["dur"] / 1e3)
    return times


def in_openvino(
    bundle: Bundle, graph: str, feeds: dict[str, Array], backend: str, given: argparse.Namespace
) -> Times:
    """The least time of each node in OpenVINO."""
    arithmetic = backend.rpartition("-")[2]
    _, core = look_for(arithmetic)
    model = core.read_model(bundle.graph_path(graph))
    model.reshape({name: list(array.shape) for name, array in feeds.items()})
    options = {
        "INFERENCE_PRECISION_HINT": HINTS[arithmetic],
        "INFERENCE_NUM_THREADS": given.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "PERF_COUNT": True,
    }
    request = core.compile_model(model, DEVICE, options).create_infer_request()
    times: Times = {}
    for _ in range(given.rounds + 1):
        request.infer(feeds, share_inputs=True)
        for node in request.get_profiling_info():
            took = node.real_time.total_seconds() * 1e3
            _keep_least(times, node.node_name, node.node_type, took)
    return times


def _keep_least(times: Times, node: str, operation: str, took: float) -> None:
    times[node] = operation, min(took, times.get(node, (operation, took))[1])


def kind_of(operation: str) -> str:
    """The kind of an operation, by the library's name for it."""
    name = operation.lower()
    return next((kind for kind, parts in KINDS.items() if any(p in name for p in parts)), OTHERS)


def markdown(report: dict[str, Any]) -> str:
    """Milliseconds of a frame by kind, and the share of the roof."""
    kinds = [*KINDS, OTHERS]
    title = f"{report['variant']} {report['size']}"
    lines = [
        f"| {title} | ms | {' | '.join(kinds)} | at the roof | share |",
        "|" + "---|" * (len(kinds) + 4),
    ]
    for name, row in report["rows"].items():
        sums = Counter[str]()
        for graph in row["graphs"].values():
            sums.update(graph["ms"])
        whole = sum(sums.values())
        cells = [f"{sums[kind]:.1f}" if sums[kind] else "-" for kind in kinds]
        lines.append(
            f"| {name} | {whole:.1f} | {' | '.join(cells)} | {row['roof_ms']:.1f} | "
            f"{row['roof_ms'] / whole:.0%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
