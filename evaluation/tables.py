"""Writes an evaluation: the official tables, results.json and two plots."""

import csv
import importlib.util
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import MavosError
from mavos_deploy.evaluation.baselines import Baseline
from mavos_deploy.evaluation.evaluate import (
    Evaluation,
    Figures,
    ObjectResult,
    SequenceResult,
    figures_of,
)
from mavos_deploy.records import read
from mavos_deploy.runtime.datasets.sequences import listed
from mavos_deploy.runtime.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT_VERSION = 1
RESULTS = "results.json"
SEQUENCE_PLOT = "jf-per-sequence.png"
TIME_PLOT = "jf-over-time.png"
GLOBAL_COLUMNS = ("J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay")
SEQUENCE_COLUMNS = ("Sequence", "J-Mean", "F-Mean")
TIME_BINS = 20  # parts of a sequence that the plot over time averages
PLOT_DPI = 150

_Values = NDArray[np.float64]


def write_tables(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write the two tables under the names and with the columns of the DAVIS 2017 toolkit.

    Args:
        evaluation: Evaluation with at least one scored frame.
        folder: Folder for `global_results-<split>.csv` and `per-sequence_results-<split>.csv`.

    Returns:
        The files.

    Raises:
        InputError: A file can't be written.
    """
    figures = evaluation.figures
    assert figures is not None
    split = evaluation.dataset.split
    row = figures.row()
    objects = [
        [f"{sequence.name}_{item.object_id}", _rounded(item.j.mean), _rounded(item.f.mean)]
        for sequence in evaluation.sequences
        for item in sequence.objects
        if item.frames
    ]
    tables = {
        f"global_results-{split}.csv": [
            GLOBAL_COLUMNS,
            [_rounded(row[column]) for column in GLOBAL_COLUMNS],
        ],
        f"per-sequence_results-{split}.csv": [SEQUENCE_COLUMNS, *objects],
    }
    for name, rows in tables.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        with replacing(folder / name, follow=False) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")
    return [folder / name for name in tables]


def replaced(folder: Path, summary: dict[str, Any]) -> str | None:
    """A line on results.json of another evaluation, which this one replaces with its tables.

    Args:
        folder: Folder of the tables.
        summary: Content of the results.json that is to be written, see `summary`.

    Returns:
        The line; None where there is no such file, or it is of the same data, split, sequences
        and baseline, as after a run that goes on.
    """
    file = folder / RESULTS
    try:
        old = read(dict, file, MavosError)
    except (OSError, MavosError):  # none, or not ours to judge
        return None
    differences = [
        f"{what} ({listed(found)})"
        for what, found, own in zip(
            ("data", "split", "sequences", "baseline"), _scope(old), _scope(summary), strict=True
        )
        if found != own
    ]
    if not differences:
        return None
    return (
        f"{file} and the tables beside it were of other {', '.join(differences)} and are replaced; "
        "give --output DIR to keep both"
    )


def _scope(summary: dict[str, Any]) -> tuple[list[str], ...]:
    """Data, split, sequences and baseline of a results.json, each as names."""
    given = summary.get("sequences")
    entries = given if isinstance(given, list) else []
    names = [str(entry.get("name")) for entry in entries if isinstance(entry, dict)]
    data = str(Path(str(summary.get("data"))).resolve())
    baseline = "first-mask" if summary.get("baseline") else "none"
    return [data], [str(summary.get("split"))], names or ["none"], [baseline]


def write_results(text: str, folder: Path) -> None:
    """Write results.json.

    Raises:
        InputError: The file can't be written.
    """
    with replacing(folder / RESULTS, follow=False) as temporary:
        temporary.write_text(text, encoding="utf-8")


def summary(evaluation: Evaluation, results: Path, bundle: dict[str, Any] | None) -> dict[str, Any]:
    """The content of results.json: every finding of an evaluation.

    Args:
        evaluation: Evaluation, with scores or without.
        results: Folder of the masks.
        bundle: Description of the bundle that made the masks; None for masks made elsewhere.
    """
    dataset = evaluation.dataset
    figures, baseline = evaluation.figures, evaluation.baseline
    return {
        "format_version": FORMAT_VERSION,
        "data": str(dataset.path),
        "layout": dataset.layout.value,
        "split": dataset.split,
        "results": str(results),
        "bundle": bundle,
        "reference_only": dataset.reference_only,
        "global": _row(figures),
        "baseline": {Baseline.FIRST_MASK: baseline.row()} if baseline else None,
        "sequences": [_sequence(item) for item in evaluation.sequences],
        "problems": [
            {
                "sequence": problem.sequence,
                "frame": problem.frame,
                "found": problem.found,
                "expected": problem.expected,
            }
            for problem in evaluation.problems
        ],
    }


def _sequence(sequence: SequenceResult) -> dict[str, Any]:
    figures, baseline = figures_of(sequence.objects), figures_of(sequence.baseline)
    return {
        "name": sequence.name,
        "global": _row(figures),
        "baseline": {Baseline.FIRST_MASK: baseline.row()} if baseline else None,
        "objects": [
            {
                "id": item.object_id,
                "start": item.start,
                "figures": _row(figures_of([item])),
                "frames": item.frames,
                "J": [round(float(value), 6) for value in item.region],
                "F": [round(float(value), 6) for value in item.boundary],
            }
            for item in sequence.objects
        ],
    }


def _row(figures: Figures | None) -> dict[str, float] | None:
    return figures.row() if figures else None


def _rounded(value: float) -> str:
    return f"{value:.3f}"


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_plots(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw J&F of each sequence, and over time, as PNGs. Needs matplotlib.

    Args:
        evaluation: Evaluation with at least one scored frame.
        folder: Folder for the two files.

    Returns:
        The files.

    Raises:
        InputError: A file can't be written.
    """
    scored = [s for s in evaluation.sequences if any(item.frames for item in s.objects)]
    drawn = {SEQUENCE_PLOT: _draw_sequences(scored), TIME_PLOT: _draw_time(scored)}
    for name, figure in drawn.items():
        with replacing(folder / name, follow=False) as temporary:
            figure.savefig(temporary, dpi=PLOT_DPI)
    return [folder / name for name in drawn]


def _draw_sequences(sequences: list[SequenceResult]) -> "Figure":
    from matplotlib.figure import Figure

    ordered = sorted(sequences, key=lambda s: (_jf(s.objects), s.name))
    places = np.arange(len(ordered))
    figure = Figure(figsize=(7, 1.6 + 0.22 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(places, [_jf(s.objects) for s in ordered], color="#4c72b0", label="J&F")
    if all(figures_of(s.baseline) for s in ordered):
        first_mask = [_jf(s.baseline) for s in ordered]
        axes.plot(first_mask, places, "|", color="black", markersize=9, label="first mask repeated")
        axes.legend(loc="lower right")
    axes.set_yticks(places, [_plain(s.name) for s in ordered], fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.7, len(ordered) - 0.3)
    axes.set_xlabel("J&F, mean over objects")
    return figure


def _draw_time(sequences: list[SequenceResult]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    parts = np.full((len(sequences), TIME_BINS), np.nan)
    for row, sequence in enumerate(sequences):
        place, values = _over_time(sequence.objects)
        axes.plot(place, values, color="#4c72b0", alpha=0.25, linewidth=0.8)
        bins = np.minimum((place * TIME_BINS).astype(int), TIME_BINS - 1)
        for part in np.unique(bins):
            parts[row, part] = values[bins == part].mean()
    known = ~np.all(np.isnan(parts), axis=0)
    middles = (np.arange(TIME_BINS) + 0.5) / TIME_BINS
    axes.plot(
        middles[known],
        np.nanmean(parts[:, known], axis=0),
        color="black",
        linewidth=2,
        label="mean over sequences",
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("share of the sequence's scored frames")
    axes.set_ylabel("J&F, mean over objects")
    axes.legend(loc="lower left")
    return figure


def _over_time(objects: Iterable[ObjectResult]) -> tuple[_Values, _Values]:
    """Place of each scored frame in its sequence, from 0 to 1, and J&F there."""
    by_frame: dict[str, list[float]] = {}
    for item in objects:
        for stem, j, f in zip(item.frames, item.region, item.boundary, strict=True):
            by_frame.setdefault(stem, []).append((j + f) / 2)
    values = np.array([np.mean(by_frame[stem]) for stem in sorted(by_frame)])
    return np.linspace(0, 1, len(values)), values


def _jf(objects: tuple[ObjectResult, ...]) -> float:
    figures = figures_of(objects)
    return figures.mean if figures else 0.0


def _plain(name: str) -> str:
    """A name that matplotlib does not take for mathematics."""
    return name.replace("$", r"\$")
