"""Compare tiles of the short-term attention: the step's graph with each, timed in turns.

    python benchmarks/tiles.py --variant mobilenet --size 481x849 --output tiles.json

The tile of exported bundles is among them. `dense` is the attention in one piece, as bundles for
every size have it. Reports the median time of the step, and the median over the rounds of the ratio
to the tile of exported bundles.
"""

import argparse
import json
import statistics
import sys
import time
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime

from mavos_deploy.errors import MavosError
from mavos_deploy.export.exporter import Plan, dimensions_of
from mavos_deploy.export.onnx_graphs import export_graph
from mavos_deploy.models.checkpoint import load_network
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime.backends.onnxruntime_library import CPU, session_options
from mavos_deploy.runtime.contract import GraphName, graph_specs
from mavos_deploy.runtime.geometry import grid
from mavos_deploy.runtime.system.machine import LoadMeter, describe_machine
from mavos_deploy.runtime.system.processors import usable_processors


def main() -> int:
    """Run the measurement; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=list(VARIANTS), default="mobilenet")
    parser.add_argument("--size", default="481x849")
    parser.add_argument(
        "--tiles", default="4xall,8xall,16xall,8x27,16x18,16x27,dense", help="in tokens"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    height, width = (int(side) for side in given.size.split("x"))
    threads = given.threads or usable_processors()
    try:
        exported = Plan(VARIANTS[given.variant], (height, width), 10, "cpu").tile
    except MavosError as error:
        print(f"tiles.py: {error}", file=sys.stderr)
        return 2
    assert exported is not None
    chosen = "x".join(map(str, exported))
    tiles: dict[str, tuple[int, int] | None] = {chosen: exported}
    for name in given.tiles.split(","):
        sides = name.replace("all", str(grid((height, width))[1])).split("x")
        tiles[name] = None if name == "dense" else (int(sides[0]), int(sides[1]))
    sessions = open_all(given.variant, (height, width), tiles, threads)
    meter = LoadMeter()
    seconds = measure(sessions, given.rounds)
    load = meter.read()
    report = {
        "variant": given.variant,
        "size": given.size,
        "machine": describe_machine(),
        "threads": threads,
        "load": load and vars(load),
        "exported": chosen,
        "tiles": {
            name: {
                "step_ms": round(statistics.median(times) * 1e3, 1),
                "ratio": round(
                    statistics.median(a / b for a, b in zip(times, seconds[chosen], strict=True)), 3
                ),
            }
            for name, times in seconds.items()
        },
    }
    text = json.dumps(report, indent=1)
    if given.output:
        given.output.write_text(text + "\n")
    print(text)
    return 0


def open_all(
    name: str,
    size: tuple[int, int],
    tiles: dict[str, tuple[int, int] | None],
    threads: int,
) -> dict[str, onnxruntime.InferenceSession]:
    """A session of the step for each tile."""
    variant = VARIANTS[name]
    spec = graph_specs(dimensions_of(variant), size)[GraphName.STEP]
    sessions = {}
    with TemporaryDirectory() as folder:
        for called, tile in tiles.items():
            network, _ = load_network(variant, None, tile)
            path = Path(folder) / "step.onnx"
            export_graph(network, spec, path)
            sessions[called] = onnxruntime.InferenceSession(
                str(path),
                session_options(onnxruntime, threads),
                providers=[CPU],
            )
    return sessions


def measure(
    sessions: dict[str, onnxruntime.InferenceSession], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each session in every round, one after the other."""
    draws = np.random.default_rng(0)
    feeds = {
        tensor.name: draws.standard_normal(
            [1 if isinstance(extent, str) else extent for extent in tensor.shape]
        ).astype(np.float32)
        for tensor in next(iter(sessions.values())).get_inputs()
    }
    for session in sessions.values():
        session.run(None, feeds)
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    order = deque(sessions)
    for _ in range(rounds):
        order.rotate()
        for name in order:
            started = time.perf_counter()
            sessions[name].run(None, feeds)
            seconds[name].append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
