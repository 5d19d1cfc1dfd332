"""The command `mavos-eval`."""

import json
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mavos_deploy.cli.batch import (
    Distribution,
    names_of,
    report_problems,
    segment_dataset,
    summary_of,
    told,
)
from mavos_deploy.cli.console import out, progress, warn
from mavos_deploy.cli.launch import FAILED_CHECK, launch
from mavos_deploy.cli.options import (
    BackendOption,
    Fit,
    LayoutOption,
    RayOption,
    SequencesOption,
    ShardOption,
    SplitOption,
    ThreadsOption,
    WorkersOption,
)
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.sequences import Dataset

if TYPE_CHECKING:
    from mavos_deploy.evaluation.evaluate import Evaluation, Figures
    from mavos_deploy.runtime.jobs.tally import BatchOutcome


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
    layout: LayoutOption = None,
    split: SplitOption = "val",
    sequences: SequencesOption = None,
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
    threads: ThreadsOption = None,
    backend: BackendOption = DEFAULT_BACKEND,
    workers: WorkersOption = None,
    shard: ShardOption = None,
    ray: RayOption = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Segment everything again, and replace another bundle's results in the output "
            "folder. Default: go on where the last run stopped.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print results.json, or a shard's summary, as JSON, and no progress."
        ),
    ] = False,
) -> None:
    """Score a bundle, or masks that are there already, over a data set with J and F.

    Exits with 1 if something in the data or the results could not be scored; the rest is.
    """
    from mavos_deploy.evaluation.evaluate import evaluate as score
    from mavos_deploy.runtime.datasets.results import check_one_run
    from mavos_deploy.runtime.jobs.worker import Setup

    bundle, data = _split_paths(paths, results)
    if results is not None and not results.is_dir():
        raise InputError(f"--results {results} is not a folder; give the folder of the sequences")
    of_a_run = {
        "--overwrite": overwrite,
        "--backend": backend != DEFAULT_BACKEND,
        "--workers": workers is not None,
        "--shard": shard is not None,
        "--ray": ray is not None,
    }
    for option, given in of_a_run.items():
        if given and results is not None:
            raise InputError(
                f"{option} is for segmenting with a bundle; leave it out with --results"
            )
    distribution = Distribution.parse(workers, shard, ray, overwrite)
    dataset = distribution.part_of(open_dataset(data, layout, split, names_of(sequences)))
    predicted, about = None, None
    if bundle is not None:
        folder = output or Path(f"{data.resolve().name}-{bundle.resolve().name}")
        opened = Bundle.open(bundle)
        started = time.perf_counter()
        outcome = segment_dataset(
            Setup(opened, backend, threads, fit is Fit.STRETCH),
            dataset,
            folder,
            distribution,
            overwrite=overwrite,
            shown=not as_json,
        )
        if shard is not None:
            seconds = time.perf_counter() - started
            _report_shard(dataset, outcome, folder, distribution, seconds, as_json)
            return
        masks, predicted = folder, outcome.predicted
        about = {
            "path": str(bundle),
            "identity": opened.manifest.identity,
            "variant": opened.manifest.variant,
            "trained": opened.manifest.trained,
            "backend": outcome.settings.backend,
        }
    else:
        assert results is not None
        masks, folder = results, output or results
        check_one_run(masks, [sequence.name for sequence in dataset.sequences])
    total = sum(len(sequence.expected) for sequence in dataset.sequences)
    with progress("scoring", total, shown=not as_json) as advance:
        evaluation = score(
            dataset, masks, predicted, baseline is not None, on_frame=_counter(advance)
        )
    _report(evaluation, masks, folder, about, as_json)
    if evaluation.problems or (evaluation.figures is None and not dataset.reference_only):
        raise typer.Exit(FAILED_CHECK)


def _report_shard(
    dataset: Dataset,
    outcome: "BatchOutcome",
    folder: Path,
    distribution: Distribution,
    seconds: float,
    as_json: bool,
) -> None:
    """A shard is segmented and not scored: the other shards' masks are needed for that."""
    problems = (*dataset.problems, *outcome.problems)
    if as_json:
        out.print(json.dumps(summary_of(outcome, folder, distribution, problems, seconds)))
    else:
        report_problems(problems)
        out.print(told(outcome, folder, distribution))
        out.print(
            f"when all shards are done, score them: mavos-eval {dataset.path} --results {folder} "
            f"--split {dataset.split}"
        )
    if problems:
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


def _report(
    evaluation: "Evaluation", masks: Path, folder: Path, about: dict[str, Any] | None, as_json: bool
) -> None:
    from mavos_deploy.evaluation import tables as reports

    summary = reports.summary(evaluation, masks, about)
    text = json.dumps(summary, indent=2) + "\n"
    if as_json:
        out.print(text, end="")
    elif evaluation.figures is not None:
        out.print(_table(evaluation))
    if not as_json:
        report_problems(evaluation.problems, "what they concern is left out, the rest is scored")
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
    from mavos_deploy.evaluation.evaluate import figures_of

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


def main() -> None:
    """Entry point of `mavos-eval`."""
    launch({"eval": evaluate}, "mavos-eval")
