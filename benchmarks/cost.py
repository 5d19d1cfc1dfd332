"""The cost of a frame against its size and the number of objects, beside the least it could be.

    python benchmarks/cost.py BUNDLE... --output cost.json --plot cost.png
    python benchmarks/cost.py --roof

Every bundle is measured with `--usual` objects, and the one whose size is `--at` with every number
of `--objects`. A case is one made-up video, two memory updates long. The report has the median
frame without an update, the frame with one, and the share of each graph. Beside them stands the
roof: the time of the graphs' matrix products and convolutions at the speed with which this machine
multiplies large float32 matrices in ONNX Runtime, measured before every case. `--roof` measures
that speed alone, and names the machine.
"""

import argparse
import json
import sys
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import onnxruntime

from mavos_deploy.errors import MavosError
from mavos_deploy.export.bench.roofs import gflop, measure_roofs
from mavos_deploy.export.bench.runners import BackendRunner, warm_up
from mavos_deploy.export.bench.timing import shortest_run, summarise, time_steps, usual_run
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND, open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import CHANNELS, GraphName
from mavos_deploy.runtime.objects import groups_for
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import LoadMeter, describe_machine
from mavos_deploy.runtime.system.processors import usable_processors

ROOF = "onnxruntime fp32"


def main() -> int:
    """Run the measurement; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="*")
    parser.add_argument("--roof", action="store_true", help="measure the roof alone")
    parser.add_argument("--objects", default="1,3,10,11,20,30,40,50", help="default: %(default)s")
    parser.add_argument("--usual", type=int, default=3, help="objects where only sizes vary")
    parser.add_argument("--at", default="481x849", help="size at which objects vary")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    parser.add_argument("--plot", type=Path, help="draw them; needs matplotlib")
    given = parser.parse_args()
    threads = given.threads or usable_processors()
    if given.roof == bool(given.bundles):
        parser.error("give bundles, or --roof alone")
    if given.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install '.[plot]'")
    if given.roof:
        found = {"machine": describe_machine(), "threads": threads}
        roof = measure_roofs(threads, [ROOF])[ROOF]
        print(json.dumps({**found, "roof_gflops": round(roof, 1)}, indent=1))
        return 0
    meter = LoadMeter()
    cases = []
    try:
        bundles = [Bundle.open(folder) for folder in given.bundles]
        if given.at not in {"x".join(map(str, bundle.manifest.size)) for bundle in bundles}:
            parser.error(f"--at {given.at}: none of the bundles has that size")
        if len({bundle.manifest.variant for bundle in bundles}) > 1:
            parser.error("the bundles are of several variants; give those of one")
        for bundle in bundles:
            size = "x".join(map(str, bundle.manifest.size))
            counts = {given.usual}
            if size == given.at:
                counts.update(int(count) for count in given.objects.split(","))
            for objects in sorted(counts):
                case = measure(bundle, objects, threads)
                print(json.dumps(case), file=sys.stderr)
                cases.append(case)
    except MavosError as error:
        print(f"cost.py: {error}", file=sys.stderr)
        return 2
    load = meter.read()
    report = {
        "variant": bundle.manifest.variant,
        "machine": describe_machine(),
        "threads": threads,
        "load": load and vars(load),
        "usual_objects": given.usual,
        "at": given.at,
        "onnxruntime": onnxruntime.__version__,
        "cases": cases,
    }
    text = json.dumps(report, indent=1)
    if given.output:
        given.output.write_text(text + "\n")
    if given.plot:
        draw(report, given.plot)
    print(text)
    return 0


def measure(bundle: Bundle, objects: int, threads: int) -> dict[str, Any]:
    """Measure a bundle with a number of objects."""
    gap = bundle.manifest.write_every
    frames = usual_run(None) if bundle.manifest.memory_gap is None else shortest_run(gap)
    roof = measure_roofs(threads, [ROOF])[ROOF]
    runners = {"it": BackendRunner(bundle, open_backend(bundle, threads, DEFAULT_BACKEND))}
    try:
        warm_up(runners.values(), bundle, objects)
        timings = time_steps(runners, bundle, frames, objects, lambda done: None)
    finally:
        runners["it"].close()
    found = summarise(timings, gap, "it")["it"]
    groups = groups_for(objects)
    channels = CHANNELS if groups > 1 else objects + 1
    work = {name: gflop(bundle, name, groups, channels) for name in bundle.specs}
    frame = sum(amount for name, amount in work.items() if name != GraphName.MEMORY_UPDATE)
    amortised = frame + work.get(GraphName.MEMORY_UPDATE, 0) / gap
    return {
        "size": "x".join(map(str, bundle.manifest.size)),
        "objects": objects,
        "groups": groups,
        "frame_ms": found["plain_frame_ms"],
        "update_frame_ms": found["update_frame_ms"],
        "amortised_ms": found["amortised_ms"],
        "shares": found["shares"],
        "gflop": {name: round(amount, 2) for name, amount in work.items()},
        "roof_gflops": round(roof, 1),
        "roof_ms": round(amortised / roof * 1e3, 2),
        "of_roof": round(amortised / roof * 1e3 / found["amortised_ms"], 3),
    }


def draw(report: dict[str, Any], path: Path) -> None:
    """Cost over pixels, and over objects, each with its graphs and the roof."""
    from matplotlib.figure import Figure

    usual, at = report["usual_objects"], report["at"]
    sizes = sorted(
        (case for case in report["cases"] if case["objects"] == usual),
        key=lambda case: prod(map(int, case["size"].split("x"))),
    )
    counts = [case for case in report["cases"] if case["size"] == at]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = (
        (sizes, f"{usual} objects", [case["size"] for case in sizes]),
        (counts, f"{at}", [str(case["objects"]) for case in counts]),
    )
    for axes, (cases, title, labels) in zip(figure.subplots(1, 2), panels, strict=True):
        bottom = [0.0] * len(cases)
        for graph in cases[0]["shares"]:
            part = [case["shares"][graph] * case["amortised_ms"] for case in cases]
            axes.bar(labels, part, bottom=bottom, label=graph)
            bottom = [a + b for a, b in zip(bottom, part, strict=True)]
        axes.plot(labels, [case["roof_ms"] for case in cases], "k_", markersize=18, label="roof")
        axes.set_title(title)
        axes.set_ylabel("milliseconds per frame, updates included")
        axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("objects")
    figure.axes[0].set_xlabel("frame size")
    figure.axes[0].legend(fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
