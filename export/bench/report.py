"""The report of a bench: bench.json, tables for people, and plots."""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from mavos_deploy.evaluation.tables import can_draw
from mavos_deploy.export.bench.timing import Timings, megabytes, milliseconds, summarise
from mavos_deploy.runtime.bundles.manifest import Manifest
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import Load, describe_machine
from mavos_deploy.runtime.system.processors import usable_processors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT_VERSION = 1
RESULTS = "bench.json"
TIME_PLOT = "time-per-frame.png"
SHARES_PLOT = "shares-of-graphs.png"
MEMORY_PLOT = "memory-over-length.png"
PLOT_DPI = 150
TABLE_WIDTH = 132  # characters; where output is no terminal, rich takes 80 and cuts figures off
STEPS = {  # columns of milliseconds
    "p50": "p50_ms",
    "p95": "p95_ms",
    "p99": "p99_ms",
    "update frame": "update_frame_ms",
    "amortised": "amortised_ms",
}
LIBRARIES = ("mavos-deploy", "onnxruntime", "openvino", "torch", "numpy", "av")

Report = dict[str, Any]


def make_report(
    manifest: Manifest,
    threads: int | None,
    objects: int,
    load: Load | None,
    timings: Mapping[str, Timings],
    end_to_end: Mapping[str, Any],
    peaks: Mapping[str, float | None],
) -> Report:
    """Describe a bench: what ran where, and its figures.

    Args:
        manifest: Manifest of the bundle.
        threads: CPU threads; None for all that the process may use.
        objects: Number of objects in the first frame.
        load: Load of the machine by other work; None where the system doesn't tell.
        timings: Time and memory of each runner; the first runner is the baseline.
        end_to_end: Figures of the end-to-end runs by runner.
        peaks: Peak memory in megabytes by runner.
    """
    baseline = next(iter(timings))
    return {
        "format_version": FORMAT_VERSION,
        "bundle": {
            "variant": manifest.variant,
            "size": f"{manifest.height}x{manifest.width}",
            "precision": manifest.precision,
            "target": manifest.target,
            "memory": str(manifest.memory),
            "slots": manifest.memory.slots,
            "memory_gap": manifest.memory_gap,
            "trained": manifest.trained,
            "weights_sha256": manifest.weights_sha256,
        },
        "machine": describe_machine(),
        "tools": _versions(),
        "threads": threads or usable_processors(),
        "frames": len(timings[baseline].seconds) + 1,
        "objects": objects,
        "baseline": baseline,
        "load": None if load is None else {**vars(load), "busy": load.busy},
        "tensor_only": summarise(timings, manifest.write_every, baseline),
        "end_to_end": dict(end_to_end),
        "peak_memory_mb": dict(peaks),
        "per_frame": {
            name: {
                "milliseconds": [milliseconds(seconds) for seconds in timing.seconds],
                "cpu_milliseconds": [milliseconds(seconds) for seconds in timing.cpu_seconds],
                "memory_mb": [megabytes(size) for size in timing.memory],
            }
            for name, timing in timings.items()
        },
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write bench.json, and the plots where matplotlib is installed.

    Returns:
        The files that were written.

    Raises:
        InputError: A file can't be written.
    """
    files = [folder / RESULTS]
    with replacing(files[0]) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if can_draw():
        drawn = {
            TIME_PLOT: _draw_series(report, "milliseconds", "milliseconds per frame"),
            MEMORY_PLOT: _draw_series(report, "memory_mb", "memory of the video, megabytes"),
            SHARES_PLOT: _draw_shares(report),
        }
        for name, figure in drawn.items():
            with replacing(folder / name, follow=False) as temporary:
                figure.savefig(temporary, dpi=PLOT_DPI)
            files.append(folder / name)
    return files


def tables(report: Report) -> list[Table]:
    """The report as tables for people."""
    made = [_steps(report)]
    shares = {name: e["shares"] for name, e in report["tensor_only"].items() if e["shares"]}
    if shares:
        graphs = list(next(iter(shares.values())))
        rows = [
            (name, *(f"{of[graph]:.1%}" for graph in graphs), f"{1 - sum(of.values()):.1%}")
            for name, of in shares.items()
        ]
        made.append(_table("share of the time in each graph", (*graphs, "between them"), rows))
    if report.get("of_roofs"):
        made.append(_roofs(report))
    if report["end_to_end"]:
        rows = [
            (
                name,
                f"{entry['frame_ms']:.1f}",
                f"{entry['frames_per_second']:.2f}",
                f"{entry['outside_share']:.1%}",
                f"{entry['writing_share']:.1%}",
            )
            for name, entry in report["end_to_end"].items()
        ]
        title = "end to end: decode, resize, segment, masks and overlay"
        columns = ("ms per frame", "frames/s", "outside of the steps", "writing more")
        made.append(_table(title, columns, rows))
    return made


def _roofs(report: Report) -> Table:
    """The share of its roof that each graph reaches; softmax, norms and layout take the rest."""
    roofs, shares = report["roofs_gflops"], report["of_roofs"]
    graphs = list(dict.fromkeys(graph for of in shares.values() for graph in of["graphs"]))
    rows = [
        (
            name,
            f"{of['roof']}, {roofs[of['roof']]:.0f} GFLOP/s",
            *(f"{of['graphs'][g]['share']:.0%}" if g in of["graphs"] else "-" for g in graphs),
        )
        for name, of in shares.items()
    ]
    table = _table("share of the matrix roof in each graph", ("roof", *graphs), rows)
    others = (f"{name} {rate:.0f}" for name, rate in roofs.items())
    table.caption = f"products of large matrices, GFLOP/s: {', '.join(others)}"
    return table


def _steps(report: Report) -> Table:
    bundle = report["bundle"]
    peaks = report["peak_memory_mb"]
    rows = [
        (
            name,
            *(f"{entry[key]:.1f}" for key in STEPS.values()),
            f"{entry['frames_per_second']:.2f}",
            f"{entry['speedup']:.2f}",
            f"{entry['growth_per_100_frames']:+.1%}",
            "-" if peaks[name] is None else f"{peaks[name]:.0f}",
        )
        for name, entry in report["tensor_only"].items()
    ]
    table = _table(
        f"{bundle['variant']} {bundle['size']}, {report['objects']} objects, "
        f"{report['frames']} frames, {report['threads']} threads; milliseconds from resized "
        "frame to labels",
        (*STEPS, "frames/s", "speed-up", "per 100 frames", "peak MB"),
        rows,
    )
    table.caption = (
        f"{report['machine']['processor']}; speed-up against {report['baseline']}; "
        "amortised: with the update frame's share"
    )
    return table


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table("", title=title, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _draw_series(report: Report, key: str, label: str) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, series in report["per_frame"].items():
        axes.plot(range(1, len(series[key]) + 1), series[key], linewidth=1, label=name)
    axes.set_xlabel("frame of the video")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _draw_shares(report: Report) -> "Figure":
    from matplotlib.figure import Figure

    entries = {name: e for name, e in report["tensor_only"].items() if e["shares"]}
    figure = Figure(figsize=(7, 1.4 + 0.5 * len(entries)), layout="constrained")
    axes = figure.add_subplot()
    names = list(entries)
    done = [0.0] * len(names)
    graphs = list(next(iter(entries.values()))["shares"]) if entries else []
    for graph in graphs:
        widths = [e["shares"][graph] * e["mean_ms"] for e in entries.values()]
        axes.barh(names, widths, left=done, label=graph)
        done = [a + b for a, b in zip(done, widths, strict=True)]
    axes.set_xlabel("milliseconds per frame, updates included")
    if graphs:
        axes.legend(fontsize=8)
    return figure
