"""The command `mavos-eval`."""

import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mavos_deploy.calibration.sequences import Dataset, Layout, Problem
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.cli import (
    FAILED_CHECK,
    Fit,
    err,
    launch,
    out,
    progress,
    warn,
    warn_if_untrained,
)

if TYPE_CHECKING:
    from mavos_deploy.calibration.evaluate import Evaluation, Figures
    from mavos_deploy.calibration.prediction import Predicted

PROBLEMS_SHOWN = 30  # lines; results.json has them all


class Baseline(str, Enum):
    """What the masks are compared with."""

    FIRST_MASK = "first-mask"


def evaluate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[BUNDLE] DATA",
            help="Bundle folder, as mavos-export writes it (not with --results), and the folder of "
            "a data set.",
        ),
    ],
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Score these masks, <sequence>/<frame stem>.png, instead of running a bundle.",
        ),
    ] = None,
    layout: Annotated[
        Layout | None,
        typer.Option(help="How the data set's folders are arranged. Default: found out."),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Part of the data set; val and valid are the same.")
    ] = "val",
    sequences: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only these sequences. Default: all of the split."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for masks, tables and plots. Default: <data>-<bundle> here; with "
            "--results, that folder.",
        ),
    ] = None,
    baseline: Annotated[
        Baseline | None,
        typer.Option(help="Also score each object's reference mask, repeated in every frame."),
    ] = None,
    fit: Annotated[
        Fit,
        typer.Option(
            help="A sequence whose aspect ratio differs from the bundle's by more than 5% is "
            "reported and left out; with `stretch` it is distorted, and masks get worse."
        ),
    ] = Fit.REFUSE,
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="CPU threads. Default: all this process may use."),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Segment everything again, and replace another bundle's results in the output "
            "folder. Default: go on where the last run stopped.",
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print results.json, and no progress.")
    ] = False,
) -> None:
    """Score a bundle, or masks that are there already, over a data set with J and F.

    Exits with 1 if something in the data or the results could not be scored; the rest is.
    """
    from mavos_deploy.calibration.datasets import open_dataset
    from mavos_deploy.calibration.evaluate import evaluate as score

    bundle, data = _split_paths(paths, results)
    if results is not None and not results.is_dir():
        raise InputError(f"--results {results} is not a folder; give the folder of the sequences")
    if results is not None and overwrite:
        raise InputError("--overwrite replaces masks of a bundle; leave it out with --results")
    names = None if sequences is None else [name for name in sequences.split(",") if name]
    dataset = open_dataset(data, layout, split, names)
    predicted, about = None, None
    if bundle is not None:
        folder = output or Path(f"{data.resolve().name}-{bundle.resolve().name}")
        predicted, about = _run(bundle, dataset, folder, fit, threads, overwrite, not as_json)
        masks = folder
    else:
        assert results is not None
        masks, folder = results, output or results
    total = sum(len(sequence.expected) for sequence in dataset.sequences)
    with progress("scoring", total, shown=not as_json) as advance:
        evaluation = score(
            dataset, masks, predicted, baseline is not None, on_frame=_counter(advance)
        )
    _report(evaluation, masks, folder, about, as_json)
    if evaluation.problems or (evaluation.figures is None and not dataset.reference_only):
        raise typer.Exit(FAILED_CHECK)


def _split_paths(paths: list[Path], results: Path | None) -> tuple[Path | None, Path]:
    if results is not None and len(paths) == 1:
        return None, paths[0]
    if results is None and len(paths) == 2:
        return paths[0], paths[1]
    raise InputError(
        f"got {len(paths)} paths; give a bundle and a data set, or --results DIR and a data set"
    )


def _counter(advance: Callable[[int], None]) -> Callable[[], None]:
    count = 0

    def on_frame() -> None:
        nonlocal count
        count += 1
        advance(count)

    return on_frame


def _run(
    bundle: Path,
    dataset: Dataset,
    folder: Path,
    fit: Fit,
    threads: int | None,
    overwrite: bool,
    talk: bool,
) -> tuple[dict[str, "Predicted"], dict[str, Any]]:
    """Segment what is not finished yet."""
    from mavos_deploy.calibration.prediction import RunFolder, predict
    from mavos_deploy.runtime.backend import open_backend
    from mavos_deploy.runtime.bundle import Bundle
    from mavos_deploy.runtime.segmenter import Segmenter

    opened = Bundle.open(bundle)
    manifest = opened.manifest
    run = RunFolder(folder, manifest, overwrite)
    warn_if_untrained(manifest)
    total = sum(len(sequence.images) for sequence in dataset.sequences)
    with (
        Segmenter(opened, open_backend(opened, threads)) as segmenter,
        progress("segmenting", total, shown=talk) as advance,
    ):
        try:
            predicted = predict(segmenter, dataset, run, fit is Fit.STRETCH, _counter(advance))
        except KeyboardInterrupt:
            warn("stopped; the same command goes on with the first sequence that is not finished")
            raise
    return predicted, {
        "path": str(bundle),
        "identity": manifest.identity,
        "variant": manifest.variant,
        "trained": manifest.trained,
    }


def _report(
    evaluation: "Evaluation", masks: Path, folder: Path, about: dict[str, Any] | None, as_json: bool
) -> None:
    from mavos_deploy.calibration import reports

    summary = reports.summary(evaluation, masks, about)
    text = json.dumps(summary, indent=2) + "\n"
    if as_json:
        out.print(text, end="")
    elif evaluation.figures is not None:
        out.print(_table(evaluation))
    if evaluation.problems and not as_json:
        _print_problems(evaluation.problems)
    reports.write_results(text, folder)
    if evaluation.figures is None:
        warn(
            "nothing to score: the annotations are reference masks only, as in sets whose truth "
            f"is kept on a server; the masks in {masks} are in the form to submit"
            if evaluation.dataset.reference_only
            else "nothing was scored: no object has a frame with both an annotation and a mask"
        )
        return
    files = [*reports.write_tables(evaluation, folder), folder / reports.RESULTS]
    if reports.can_draw():
        files += reports.draw_plots(evaluation, folder)
    else:
        warn("no plots: matplotlib is missing; pip install 'mavos-deploy[plot]'")
    if not as_json:
        out.print(f"in {folder}: {', '.join(file.name for file in files)}")


def _table(evaluation: "Evaluation") -> Table:
    from mavos_deploy.calibration.evaluate import figures_of

    dataset = evaluation.dataset
    table = Table(title=f"{dataset.path.name}, {dataset.split}", title_justify="left")
    table.add_column("sequence")
    compared = evaluation.baseline is not None
    columns = ["objects", "frames", "J&F", "J", "F", *(["first mask J&F"] if compared else [])]
    for column in columns:
        table.add_column(column, justify="right")

    def cells(figures: "Figures | None", baseline: "Figures | None") -> list[str]:
        values: list[float | None] = [None] * 3
        if figures:
            values = [figures.mean, figures.j.mean, figures.f.mean]
        if compared:
            values.append(baseline.mean if baseline else None)
        return ["-" if value is None else f"{value:.3f}" for value in values]

    objects = frames = 0
    for sequence in evaluation.sequences:
        scored = [item for item in sequence.objects if item.frames]
        count = len({stem for item in scored for stem in item.frames})
        objects, frames = objects + len(scored), frames + count
        table.add_row(
            sequence.name,
            str(len(scored)),
            str(count),
            *cells(figures_of(sequence.objects), figures_of(sequence.baseline)),
        )
    table.add_section()
    table.add_row(
        "all objects", str(objects), str(frames), *cells(evaluation.figures, evaluation.baseline)
    )
    figures = evaluation.figures
    assert figures is not None
    table.caption_justify = "left"
    table.caption = (
        f"recall J {figures.j.recall:.3f}, F {figures.f.recall:.3f}; "
        f"decay J {figures.j.decay:.3f}, F {figures.f.decay:.3f}"
    )
    return table


def _print_problems(problems: tuple[Problem, ...]) -> None:
    err.print(f"{len(problems)} problems; what they concern is left out, the rest is scored:")
    for problem in problems[:PROBLEMS_SHOWN]:
        err.print(f"  {' '.join(str(problem).splitlines())}")
    if len(problems) > PROBLEMS_SHOWN:
        err.print(f"  and {len(problems) - PROBLEMS_SHOWN} more, all in results.json")


def main() -> None:
    """Entry point of `mavos-eval`."""
    launch({"eval": evaluate}, "mavos-eval")
