"""The price of a number format: J&F on footage, time, frames a second and memory, in one table.

    python -m benchmarks.price lite-241x433 lite-241x433-int8 lite-241x433-int8-openvino
        --set davis2016=DAVIS2016 --set made-up=held-out --output price.json --markdown

The bundles are of one network and size: the unquantised one first, then any made from it, in
float16 too. Each runs where it is meant to: the unquantised one in float32 in ONNX Runtime and in
OpenVINO's best arithmetic, one for ONNX Runtime or in float16 in ONNX Runtime, one for OpenVINO in
OpenVINO. `--set NAME=FOLDER` is a data set for `mavos-eval`, and `NAME=FOLDER+stretch` brings its
frames to the bundle's shape. J&F is measured before anything is timed; `--quality REPORT` takes it
from an earlier report of the same bundles, which a busy machine may have made. Given with `--set`,
it serves the bundles that it has on all those sets, and the others are measured. Times are those of
the same frames in turns, in one process; frames a second are those of a video file of `--video`
pixels, from the file to palette PNGs and an overlay; memory is the peak of a process of its own.
The verdict says `take it` where no set loses more than `--max-drop` and a frame takes less than 0.9
of float32's time.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.export.bench.memory import peak_memory
from mavos_deploy.export.bench.runners import BackendRunner, Subject, warm_up
from mavos_deploy.export.bench.timing import shortest_run, summarise, time_steps
from mavos_deploy.runtime.backends.openvino_cpu import best_arithmetic
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND, open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.manifest import MANIFEST
from mavos_deploy.runtime.bundles.quantisation import GraphKind
from mavos_deploy.runtime.geometry import parse_size
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import LoadMeter, describe_machine
from mavos_deploy.runtime.system.processors import usable_processors

STRETCH = "+stretch"
EVALUATE = "from mavos_deploy.cli.evaluate import main; main()"


def main() -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+", help="of one size; unquantised first")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=FOLDER[+stretch]")
    parser.add_argument("--quality", type=Path, metavar="REPORT", help="take J&F from this report")
    parser.add_argument("--video", default="1080x1920", help="size of the file; `none` skips it")
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--frames", type=int, help="default: two memory gaps and one, the least")
    parser.add_argument("--threads", type=int, default=usable_processors())
    parser.add_argument("--max-drop", type=float, default=0.005)
    parser.add_argument("--output", type=Path, help="write everything as JSON")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    given = parser.parse_args()
    try:
        report = measure(given)
    except MavosError as error:
        print(f"price.py: {error}", file=sys.stderr)
        return 2
    if given.output is not None:
        with replacing(given.output) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n")
    print(markdown(report) if given.markdown else json.dumps(report, indent=1))
    if report["load"] and report["load"]["busy"]:
        print("the machine was busy; only ratios of processor time mean anything", file=sys.stderr)
    return 0


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything that the report has."""
    named = ways_of(given.bundles)
    sizes = {Bundle.open(path).manifest.size for path in given.bundles}
    if len(sizes) > 1:
        raise InputError("the bundles are of several sizes; price those of one at a time")
    rows: dict[str, dict[str, Any]] = {
        name: {"bundle": path.name, "manifest_sha256": digest(path), "backend": backend}
        for name, (path, backend) in named.items()
    }
    folders = {which: folder for which, _, folder in (text.partition("=") for text in given.set)}
    if given.quality is not None:
        take_quality(rows, given.quality, list(folders))
    for name, (path, backend) in named.items():
        if "quality" not in rows[name]:
            rows[name]["quality"] = {
                which: quality(path, backend, folder, given.threads)
                for which, folder in folders.items()
            }
    meter = LoadMeter()
    times, whole = timed(named, given)
    load = meter.read()
    subjects = [Subject(backend, path, None, given.threads) for path, backend in named.values()]
    peaks = peak_memory(subjects, given.objects)
    first = next(iter(rows))
    for (name, row), peak in zip(rows.items(), peaks, strict=True):
        row.update(times[name], **whole.get(name, {}), peak_mb=peak)
        row["verdict"] = verdict(row, rows[first], given.max_drop)
    manifest = Bundle.open(given.bundles[0]).manifest
    return {
        "variant": manifest.variant,
        "size": "x".join(map(str, manifest.size)),
        "trained": manifest.trained,
        "weights_sha256": manifest.weights_sha256,
        "machine": describe_machine(),
        "threads": given.threads,
        "objects": given.objects,
        "video": given.video,
        "max_drop": given.max_drop,
        "sets": list(rows[first]["quality"]),
        "load": load and {**vars(load), "busy": load.busy},
        "rows": rows,
    }


def ways_of(bundles: Collection[Path]) -> dict[str, tuple[Path, str]]:
    """The bundles with each backend that runs them, by the names of their rows.

    Raises:
        InputError: Two bundles would share a row.
    """
    ways: dict[str, tuple[Path, str]] = {}
    for path in bundles:
        for backend in backends_of(path):
            name = name_of(path, backend)
            if name in ways:
                raise InputError(f"{ways[name][0]} and {path} are both {name}; give one of them")
            ways[name] = path, backend
    return ways


def digest(path: Path) -> str:
    """SHA-256 of a bundle's manifest, which has those of all its files."""
    return hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()


def take_quality(rows: dict[str, dict[str, Any]], report: Path, sets: list[str]) -> None:
    """Give rows the J&F that an earlier report has for the same bundle.

    Args:
        rows: Rows of the new report, by name.
        report: The earlier report.
        sets: Names of the data sets that the others are measured on; with none, every row must be
            in the report.

    Raises:
        InputError: The report has other data sets, or, with none, lacks a row.
    """
    earlier = json.loads(report.read_text())["rows"]
    for name, row in rows.items():
        found = earlier.get(name, {})
        if found.get("manifest_sha256") == row["manifest_sha256"]:
            if sets and list(found["quality"]) != sets:
                raise InputError(
                    f"{report} has J&F on {', '.join(found['quality']) or 'no data set'}, and "
                    f"--set gives {', '.join(sets)}; give the same names in the same order"
                )
            row["quality"] = found["quality"]
        elif not sets:
            raise InputError(f"{report} has no J&F of this {row['bundle']}; measure it with --set")


def backends_of(path: Path) -> list[str]:
    """The backends that a bundle is priced on."""
    manifest = Bundle.open(path).manifest
    openvino = f"openvino-cpu-{best_arithmetic()}"
    if manifest.quantisation is None:
        return [DEFAULT_BACKEND, openvino] if manifest.precision == "fp32" else [DEFAULT_BACKEND]
    if manifest.quantisation.kind == GraphKind.TENSORRT:
        raise InputError(f"{path} is for TensorRT; give bundles for a CPU")
    return [openvino if manifest.quantisation.kind == GraphKind.OPENVINO else DEFAULT_BACKEND]


def name_of(path: Path, backend: str) -> str:
    """A row's name: the number format and the library."""
    arithmetic = Bundle.open(path).manifest.arithmetic
    library = "OpenVINO" if backend.startswith("openvino") else "ONNX Runtime"
    if arithmetic == "fp32" and backend.endswith("bf16"):
        arithmetic = "bf16"
    return f"{arithmetic}, {library}"


def quality(path: Path, backend: str, folder: str, threads: int) -> dict[str, float]:
    """J&F, J and F of a bundle on a data set, by `mavos-eval`."""
    plain = folder.removesuffix(STRETCH)
    command = [sys.executable, "-c", EVALUATE, str(path), plain, "--backend", backend, "--json"]
    command += ["--threads", str(threads), *(["--fit", "stretch"] if plain != folder else [])]
    with TemporaryDirectory() as results:
        command += ["--output", f"{results}/of"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        means = json.loads(ended.stdout)["global"]
    except (json.JSONDecodeError, KeyError):
        raise InputError(f"mavos-eval {path} {plain} failed: {ended.stderr.strip()}") from None
    return {key: means[f"{key}-Mean"] for key in ("J&F", "J", "F")}


def timed(
    named: dict[str, tuple[Path, str]], given: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Times of steps, and of a whole video, by row."""
    # Here, because the processes whose memory is measured load this file as well.
    from mavos_deploy.export.bench.end_to_end import run_end_to_end, write_clip

    first = next(iter(named))
    bundle = Bundle.open(named[first][0])
    gap = bundle.manifest.write_every
    frames = given.frames or shortest_run(gap)
    runners: dict[str, BackendRunner] = {}
    with ExitStack() as stack:
        for name, (path, backend) in named.items():
            own = Bundle.open(path)
            runners[name] = BackendRunner(own, open_backend(own, given.threads, backend))
            stack.callback(runners[name].close)
        warm_up(runners.values(), bundle, given.objects)
        timings = time_steps(runners, bundle, frames, given.objects, lambda done: None)
        whole = {}
        if given.video != "none":
            with TemporaryDirectory() as folder:
                clip = Path(folder) / "clip.mp4"
                write_clip(clip, parse_size(given.video), frames, given.objects)
                whole = run_end_to_end(runners, clip, frames, given.objects, lambda done: None)
    found = summarise(timings, gap, first)
    times = {}
    for name in named:
        pairs = zip(timings[first].cpu_seconds, timings[name].cpu_seconds, strict=True)
        times[name] = {
            "p50_ms": found[name]["p50_ms"],
            "amortised_ms": found[name]["amortised_ms"],
            "times_as_fast": found[name]["speedup"],
            "times_as_fast_cpu": round(median(a / b for a, b in pairs if b), 3),
        }
    ends = {name: {"file_fps": run["frames_per_second"]} for name, run in whole.items()}
    return times, ends


def verdict(row: dict[str, Any], first: dict[str, Any], max_drop: float) -> str:
    """A sentence: take this number format, or don't."""
    from mavos_deploy.calibration.calibrate import WORTH  # here, as in `timed`

    if row is first:
        return "what the others are compared with"
    faster = row["times_as_fast"]
    drops = {
        which: first["quality"][which]["J&F"] - means["J&F"]
        for which, means in row["quality"].items()
    }
    speed = f"{faster:.2f} times as fast"
    if not drops:
        return speed + (", at an unknown cost" if faster * WORTH > 1 else ", not worth it")
    where, worst = max(drops.items(), key=lambda drop: drop[1])
    cost = f"J&F falls by {worst:.3f} at most ({where})" if worst > 0 else "J&F does not fall"
    if faster * WORTH <= 1:
        return f"don't: only {speed}"
    return f"take it: {speed}, {cost}" if worst <= max_drop else f"don't: {cost}, though {speed}"


def markdown(report: dict[str, Any]) -> str:
    """The table as docs/performance.md has it."""
    sets = report["sets"]
    heads = ["", *(f"J&F, {name}" for name in sets), "ms", "with updates spread"]
    heads += ["times as fast", "frames/s from a file", "peak memory", "verdict"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name, row in report["rows"].items():
        cells = [name, *(f"{row['quality'][which]['J&F']:.4f}" for which in sets)]
        cells += [f"{row['p50_ms']:.1f}", f"{row['amortised_ms']:.1f}"]
        cells += [f"{row['times_as_fast']:.2f}"]
        cells += [f"{row['file_fps']:.1f}" if "file_fps" in row else "-"]
        cells += ["-" if row["peak_mb"] is None else f"{row['peak_mb']:.0f} MB", row["verdict"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
