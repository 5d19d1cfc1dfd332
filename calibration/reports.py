"""Writes the report of a calibration: as JSON, as a table and as a plot of the sensitivity."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mavos_deploy.calibration.calibrate import CalibrationReport
from mavos_deploy.runtime.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT = "calibration.json"
TABLE = "sensitivity.csv"
PLOT = "sensitivity.png"
PLOT_DPI = 150


def saved_unit(report: CalibrationReport) -> tuple[str, float]:
    """The unit that `Cost.saved` is shown in, and the factor to get there."""
    if report.request.kind.on_cpu:
        return "ms per frame", 1000.0
    return "% of multiplications", 100.0


def write_reports(report: CalibrationReport, folder: Path) -> None:
    """Write the whole report as JSON, and its table as CSV.

    Raises:
        InputError: The files can't be written.
    """
    with replacing(folder / REPORT, follow=False) as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    unit, factor = saved_unit(report)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("graph", "group", "layers", "J&F drop", "error", f"saved, {unit}", "chosen"))
    for cost in report.costs:
        writer.writerow(
            (
                cost.graph,
                cost.group or "all",
                cost.layers,
                f"{cost.drop:.5f}",
                f"{cost.error:.5f}",
                f"{cost.saved * factor:.4f}",
                int(report.is_chosen(cost)),
            )
        )
    with replacing(folder / TABLE, follow=False) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def draw_plot(report: CalibrationReport, folder: Path) -> None:
    """Draw the cost and gain of each group; needs matplotlib.

    Raises:
        InputError: The file can't be written.
    """
    figure = _figure(report)
    with replacing(folder / PLOT, follow=False) as temporary:
        figure.savefig(temporary, dpi=PLOT_DPI)


def _figure(report: CalibrationReport) -> "Figure":
    from matplotlib.figure import Figure

    unit, factor = saved_unit(report)
    figure = Figure(figsize=(8, 1.2 + 0.22 * len(report.costs)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(report.costs))
    colours = ["#4c72b0" if report.is_chosen(cost) else "#bbbbbb" for cost in report.costs]
    left.barh(places, [cost.drop for cost in report.costs], color=colours)
    left.axvline(report.request.max_drop, color="black", linewidth=0.8, linestyle=":")
    left.set_xlabel("J&F lost (dotted: the budget)")
    right.barh(places, [cost.saved * factor for cost in report.costs], color=colours)
    right.set_xlabel(f"saved, {unit}")
    left.set_yticks(
        places,
        [
            cost.graph if cost.group is None else f"{cost.graph}: {cost.group}"
            for cost in report.costs
        ],
        fontsize=7,
    )
    left.invert_yaxis()
    figure.suptitle("each group quantised alone; blue: chosen", fontsize=9)
    return figure
