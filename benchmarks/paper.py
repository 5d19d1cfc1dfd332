"""Print the paper's Tables 5, 7 and 8 for a network, and draw its Figure 1.

    python -m benchmarks.paper --variant tiny --size 97x97 --data held-out --output build/paper

Table 5 compares long-term memories: the reference and the latest write (2F, memory `latest`), six
frames and the newest (6F, `lvos:6`), and MCA. Table 7 compares what is read: the reference, the
previous frame, both, and both with MCA. Table 8 has MCA with one, two and three focal levels.
Figure 1 is the time of a frame and the memory of a video over the video's length, for a memory that
grows (in PyTorch, as in DeAOT-L), 6F and MCA.

Beside Table 5 stand the paper's figures, and the growing memory at the end of Figure 1, in PyTorch.
Milliseconds are those of a frame, memory updates spread over the frames between them, in turns on
one made-up clip; megabytes are the full memory of a video; GFLOP are the products and convolutions
of a frame, two for a multiplication. J&F need --data and trained weights, and come from the PyTorch
tracker with the same memories. Weights for other numbers of focal levels than two don't exist, so
Table 8 is about cost alone: one update by MCA in ONNX Runtime on the CPU.

Bundles are exported to <output>/bundles unless they are there: for TensorRT run mavos-build on
them, and this again with --backend. Everything is written to <output>/paper.json.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from benchmarks.memory_modes import MODES, measure_modes
from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.export.bench.roofs import gflop
from mavos_deploy.export.bench.runners import BackendRunner, Runner, warm_up
from mavos_deploy.export.bench.timing import Timings, summarise, time_steps
from mavos_deploy.export.bench.torch_runner import TorchRunner
from mavos_deploy.export.bench.ways import GROWING
from mavos_deploy.export.exporter import Plan, dimensions_of, write_bundle
from mavos_deploy.export.onnx_graphs import export_graph
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS, Variant
from mavos_deploy.runtime.backends.onnxruntime_library import CPU, session_options
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND, open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.manifest import Target
from mavos_deploy.runtime.bundles.memory import MemoryRule
from mavos_deploy.runtime.contract import GraphName, graph_specs, state_bytes
from mavos_deploy.runtime.geometry import Size, parse_size
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import LoadMeter, machine
from mavos_deploy.runtime.system.processors import usable_processors

# What each bundle keeps, and the mode of memory_modes.py with the same masks.
BUNDLES = {
    "one": (MemoryRule.named("annotations", 1), "reference+previous"),
    "2F": (MemoryRule.named("latest"), "latest"),
    "6F": (MemoryRule.named("lvos:6"), "lvos:6"),
    "MCA": (MemoryRule.named("mca"), "mca"),
}
TABLE_5 = ("2F", "6F", "MCA")
# Rows of Table 7: the bundle that costs as much, and the mode of memory_modes.py. The reference
# alone and the previous frame alone fill the same two memories, so they cost the same.
TABLE_7 = {
    "reference": ("one", "reference"),
    "previous": ("one", "previous"),
    "reference + previous": ("one", "reference+previous"),
    "reference + previous + MCA": ("MCA", "mca"),
}
# Its Table 5 and Figure 1: LVOS, a V100, PyTorch, weights trained for each memory. The growing
# memory's speed is that over a whole video of LVOS, its gigabytes are from "87% less".
PAPER = {
    "2F": {"paper: fps": 39.1, "paper: GB": 3.3, "paper: J&F": 57.2},
    "MCA": {"paper: fps": 38.2, "paper: GB": 3.3, "paper: J&F": 60.9},
    "growing": {"paper: fps": 5.0, "paper: GB": 25},
}
LEVELS = (1, 2, 3)
UPDATES = 5  # timed updates of Table 8; their median counts
OBJECTS = 3
GROWN = "growing (PyTorch)"
LAST = 10  # frames at the end of Figure 1


def main() -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    mavos = [name for name, variant in VARIANTS.items() if variant.has_mca]
    parser.add_argument("--variant", choices=mavos, default="mobilenet")
    parser.add_argument("--checkpoint", type=Path, help="of the variant; default: shipped weights")
    parser.add_argument("--size", default="481x849", metavar="HxW", help="default: %(default)s")
    parser.add_argument("--backend", default=DEFAULT_BACKEND)
    parser.add_argument("--threads", type=int, default=usable_processors())
    parser.add_argument("--frames", type=int, default=31, help="of the timed clip")
    parser.add_argument("--curve", type=int, default=500, help="frames of Figure 1; 0: no figure")
    parser.add_argument("--data", type=Path, help="data set for J&F, in a layout of mavos-eval")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    given = parser.parse_args()
    if given.curve and find_spec("matplotlib") is None:
        parser.error("Figure 1 needs matplotlib: pip install '.[plot]', or give --curve 0")
    try:
        report = measure(given)
    except MavosError as error:
        print(f"paper.py: {error}", file=sys.stderr)
        return 2
    with replacing(given.output / "paper.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n")
    console = Console()
    for title, rows in report["tables"].items():
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        table = Table("", *columns, title=title, title_justify="left")
        for name, row in rows.items():
            table.add_row(name, *(str(row.get(column, "-")) for column in columns))
        console.print(table)
    return 0


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All tables, and the figure's file."""
    variant, size = VARIANTS[given.variant], parse_size(given.size)
    meter = LoadMeter()
    bundles = {
        name: exported(variant, size, rule, given.checkpoint, given.output / "bundles" / name)
        for name, (rule, _) in BUNDLES.items()
    }
    trained = bundles["MCA"].manifest.trained
    if given.data is not None and not trained:
        raise InputError("--data is for trained weights; give --checkpoint, or --variant tiny")
    costs = costs_of(bundles, given)
    scores: dict[str, float] = {}
    if given.data is not None:
        scores = measure_modes(variant, given.checkpoint, given.data, given.output / "masks", MODES)
    curve = follow(bundles, given) if given.curve else {}
    table_5 = {name: with_score(costs[name], scores.get(BUNDLES[name][1])) for name in TABLE_5}
    if curve:
        draw(curve, given.output / "figure1.png")
        table_5["growing"] = at_the_end(curve[GROWN])
    load = meter.read()
    return {
        "variant": variant.name,
        "size": given.size,
        "backend": given.backend,
        "threads": given.threads,
        "trained": trained,
        "machine": machine(),
        "load": load and vars(load),
        "tables": {
            "Table 5: long-term memory": {
                name: {**row, **PAPER.get(name, {})} for name, row in table_5.items()
            },
            "Table 7: what is read": {
                row: with_score(costs[bundle], scores.get(mode))
                for row, (bundle, mode) in TABLE_7.items()
            },
            "Table 8: focal levels of MCA, one update": {
                str(levels): cost_of_levels(replace(variant, focal_levels=levels), size, given)
                for levels in LEVELS
            },
        },
        "curve": {name: at_the_end(timing) for name, timing in curve.items()},
        "curve_frames": given.curve,
    }


def exported(
    variant: Variant, size: Size, rule: MemoryRule, checkpoint: Path | None, folder: Path
) -> Bundle:
    """The bundle in a folder; exported if there is none."""
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)  # a run that was ended left it
        unfinished.mkdir(parents=True)
        plan = Plan(variant, size, None, Target.CPU.value, memory=rule)
        write_bundle(plan, checkpoint, unfinished, lambda line: None)
        unfinished.rename(folder)
    bundle = Bundle.open(folder)
    manifest = bundle.manifest
    if (manifest.variant, manifest.size, manifest.memory) != (variant.name, size, rule):
        raise InputError(f"{folder} is another run's bundle; choose another --output")
    return bundle


def costs_of(bundles: dict[str, Bundle], given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Milliseconds, megabytes and GFLOP of each bundle, timed in turns."""
    first = bundles["MCA"]
    gap = first.manifest.write_every
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        for name, bundle in bundles.items():
            runner = BackendRunner(bundle, open_backend(bundle, given.threads, given.backend))
            stack.callback(runner.close)
            runners[name] = runner
        warm_up(runners.values(), first, OBJECTS)
        timings = time_steps(runners, first, given.frames, OBJECTS, lambda done: None)
    summary = summarise(timings, gap, "MCA")
    costs = {}
    for name, bundle in bundles.items():
        work = {graph: gflop(bundle, graph, 1, OBJECTS + 1) for graph in bundle.specs}
        update = work.pop(GraphName.MEMORY_UPDATE, 0.0) / gap
        costs[name] = {
            "ms": summary[name]["amortised_ms"],
            "fps": summary[name]["frames_per_second"],
            "video memory, MB": round(state_bytes(bundle.specs) / 1e6, 1),
            "GFLOP": round(sum(work.values()) + update, 2),
        }
    return costs


def with_score(cost: dict[str, float], score: float | None) -> dict[str, float]:
    """A row with its J&F where there is one."""
    return cost if score is None else {**cost, "J&F": round(score, 3)}


def cost_of_levels(variant: Variant, size: Size, given: argparse.Namespace) -> dict[str, float]:
    """Cost of one update by MCA of a network with this number of focal levels."""
    network = Mavos(variant).eval().requires_grad_(False)
    spec = graph_specs(dimensions_of(variant), size)[GraphName.MEMORY_UPDATE]
    path = given.output / f"{spec.name}-{variant.focal_levels}.onnx"
    export_graph(network, spec, path)
    options = session_options(onnxruntime, given.threads)
    session = onnxruntime.InferenceSession(path, options, providers=[CPU])
    draw = np.random.default_rng(0)
    inputs = {
        tensor.name: draw.standard_normal(tensor.shape_at(groups=1)).astype(tensor.dtype)
        for tensor in spec.inputs
        if tensor.dtype == "float32"
    }
    inputs["first_update"] = np.zeros(1, np.int32)
    seconds = []
    for _ in range(UPDATES + 1):
        started = time.perf_counter()
        session.run(None, inputs)
        seconds.append(time.perf_counter() - started)
    path.unlink()
    once = statistics.median(seconds[1:]) * 1e3
    weights = sum(p.numel() for p in network.long_term_memory_attention.parameters())
    return {
        "ms": round(once, 2),
        "ms a frame, spread": round(once / variant.memory_gap, 2),
        "parameters of MCA, millions": round(weights / 1e6, 3),
    }


def follow(bundles: dict[str, Bundle], given: argparse.Namespace) -> dict[str, Timings]:
    """Time and memory of every frame of a long video, for Figure 1."""
    with ExitStack() as stack:
        manifest = bundles["MCA"].manifest
        runners: dict[str, Runner] = {
            GROWN: TorchRunner(manifest, given.checkpoint, given.threads, GROWING)
        }
        for name in ("6F", "MCA"):
            backend = open_backend(bundles[name], given.threads, given.backend)
            runners[f"{name} ({backend.traits.name})"] = BackendRunner(bundles[name], backend)
        for runner in runners.values():
            stack.callback(runner.close)
        warm_up(runners.values(), bundles["MCA"], OBJECTS)
        return time_steps(runners, bundles["MCA"], given.curve, OBJECTS, lambda done: None)


def at_the_end(timing: Timings) -> dict[str, float]:
    """Time of the last frames, and the memory after them."""
    seconds = statistics.median(timing.seconds[-LAST:])
    return {
        "ms": round(seconds * 1e3, 3),
        "fps": round(1 / seconds, 3),
        "video memory, MB": round(timing.memory[-1] / 1e6, 1),
    }


def draw(timings: dict[str, Timings], path: Path) -> None:
    """Time and memory over the length of the video; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name, timing in timings.items():
        parts = np.array_split(np.arange(len(timing.seconds)), min(60, len(timing.seconds)))
        frames = [float(part.mean()) + 1 for part in parts]
        medians = [float(np.median(np.array(timing.seconds)[part])) * 1e3 for part in parts]
        above.plot(frames, medians, label=name)
        below.plot(range(1, len(timing.memory) + 1), np.array(timing.memory) / 1e6, label=name)
    above.set_ylabel("milliseconds per frame")
    below.set_ylabel("memory of the video, MB")
    below.set_xlabel("frame")
    above.legend(fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


if __name__ == "__main__":
    sys.exit(main())
