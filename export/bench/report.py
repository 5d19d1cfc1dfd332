"""What a bench leaves behind: a table, bench.json, and plots of it."""

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from mavos_deploy.runtime.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT_VERSION = 1
RESULTS = "bench.json"
TIME_PLOT = "time-per-frame.png"
SHARES_PLOT = "shares-of-graphs.png"
MEMORY_PLOT = "memory-over-length.png"
PLOT_DPI = 150
TABLE_WIDTH = 132  # characters; where output is no terminal, rich takes 80 and cuts figures off

Report = dict[str, Any]


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write bench.json, and the plots where matplotlib is installed.

    Returns:
        The files.

    Raises:
        InputError: They can't be written.
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
            with replacing(folder / name) as temporary:
                figure.savefig(temporary, dpi=PLOT_DPI)
            files.append(folder / name)
    return files


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def tables(report: Report) -> list[Table]:
    """The report as tables for people."""
    made = [_steps(report)]
    if any(entry["shares"] for entry in report["tensor_only"].values()):
        made.append(_shares(report))
    if report["end_to_end"]:
        made.append(_end_to_end(report))
    return made


def _steps(report: Report) -> Table:
    bundle = report["bundle"]
    table = Table(
        title=f"{bundle['variant']} {bundle['size']}, {report['objects']} objects, "
        f"{report['frames']} frames, {report['threads']} threads; milliseconds from resized "
        "frame to labels",
        title_justify="left",
        caption_justify="left",
        caption=f"{report['machine']['processor']}; speed-up against {report['baseline']}; "
        "amortised: with the update frame's share",
    )
    table.add_column("")
    columns = (
        "p50",
        "p95",
        "p99",
        "update frame",
        "amortised",
        "frames/s",
        "speed-up",
        "per 100 frames",
        "peak MB",
    )
    for column in columns:
        table.add_column(column, justify="right")
    for name, entry in report["tensor_only"].items():
        peak = report["peak_memory_mb"][name]
        table.add_row(
            name,
            *(f"{entry[f'{p}_ms']:.1f}" for p in ("p50", "p95", "p99", "update_frame")),
            f"{entry['amortised_ms']:.1f}",
            f"{entry['frames_per_second']:.2f}",
            f"{entry['speedup']:.2f}",
            f"{entry['growth_per_100_frames']:+.1%}",
            "-" if peak is None else f"{peak:.0f}",
        )
    return table


def _shares(report: Report) -> Table:
    entries = {name: e["shares"] for name, e in report["tensor_only"].items() if e["shares"]}
    table = Table(title="share of the time in each graph", title_justify="left")
    table.add_column("")
    graphs = list(next(iter(entries.values())))
    for graph in (*graphs, "between them"):
        table.add_column(graph, justify="right")
    for name, shares in entries.items():
        rest = 1 - sum(shares.values())
        table.add_row(name, *(f"{shares[graph]:.1%}" for graph in graphs), f"{rest:.1%}")
    return table


def _end_to_end(report: Report) -> Table:
    table = Table(
        title="end to end: decode, resize, segment, masks and overlay", title_justify="left"
    )
    table.add_column("")
    for column in ("ms per frame", "frames/s", "outside of the steps"):
        table.add_column(column, justify="right")
    for name, entry in report["end_to_end"].items():
        table.add_row(
            name,
            f"{entry['frame_ms']:.1f}",
            f"{entry['frames_per_second']:.2f}",
            f"{entry['outside_share']:.1%}",
        )
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
