"""What a calibration leaves in the bundle: a report, a table and a plot of its sensitivity."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mavos_deploy.calibration.calibrate import Outcome
from mavos_deploy.runtime.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT = "calibration.json"
TABLE = "sensitivity.csv"
PLOT = "sensitivity.png"
PLOT_DPI = 150


def saved_unit(outcome: Outcome) -> tuple[str, float]:
    """What `Cost.saved` is shown in, and the factor to get there."""
    if outcome.request.target == "cpu":
        return "ms per frame", 1000.0
    return "% of multiplications", 100.0


def write_reports(outcome: Outcome, folder: Path) -> None:
    """Write everything as JSON, and the table as CSV.

    Raises:
        InputError: They can't be written.
    """
    with replacing(folder / REPORT) as temporary:
        temporary.write_text(json.dumps(outcome.to_dict(), indent=2) + "\n", encoding="utf-8")
    unit, factor = saved_unit(outcome)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("graph", "group", "layers", "J&F drop", "error", f"saved, {unit}", "chosen"))
    for cost in outcome.costs:
        writer.writerow(
            (
                cost.graph,
                cost.group or "all",
                cost.layers,
                f"{cost.drop:.5f}",
                f"{cost.error:.5f}",
                f"{cost.saved * factor:.4f}",
                int(outcome.is_chosen(cost)),
            )
        )
    with replacing(folder / TABLE) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def draw_plot(outcome: Outcome, folder: Path) -> None:
    """Draw what each group costs and saves; needs matplotlib.

    Raises:
        InputError: The file can't be written.
    """
    figure = _figure(outcome)
    with replacing(folder / PLOT) as temporary:
        figure.savefig(temporary, dpi=PLOT_DPI)


def _figure(outcome: Outcome) -> "Figure":
    from matplotlib.figure import Figure

    unit, factor = saved_unit(outcome)
    figure = Figure(figsize=(8, 1.2 + 0.22 * len(outcome.costs)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(outcome.costs))
    colours = ["#4c72b0" if outcome.is_chosen(cost) else "#bbbbbb" for cost in outcome.costs]
    left.barh(places, [cost.drop for cost in outcome.costs], color=colours)
    left.axvline(outcome.request.max_drop, color="black", linewidth=0.8, linestyle=":")
    left.set_xlabel("J&F lost (dotted: the budget)")
    right.barh(places, [cost.saved * factor for cost in outcome.costs], color=colours)
    right.set_xlabel(f"saved, {unit}")
    left.set_yticks(
        places,
        [
            cost.graph if cost.group is None else f"{cost.graph}: {cost.group}"
            for cost in outcome.costs
        ],
        fontsize=7,
    )
    left.invert_yaxis()
    figure.suptitle("each group quantised alone; blue: chosen", fontsize=9)
    return figure
