"""The command `mavos-eval`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console, one_by_one
from mavos_deploy.cli.launch import FAILED, forbid, launch
from mavos_deploy.cli.notices import warn_without_plots
from mavos_deploy.cli.second_look import check_report, made_with
from mavos_deploy.cli.segment_dataset import (
    Distribution,
    Segmented,
    report_problems,
    segment_dataset,
)
from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.baselines import Baseline
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.runtime.bundles.bundle import Bundle

if TYPE_CHECKING:
    from rich.table import Table

    from mavos_deploy.evaluation.evaluate import Evaluation, Figures
    from mavos_deploy.runtime.datasets.sequences import Dataset


def evaluate(
    context: typer.Context,
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
            help="Score these masks, <sequence>/<frame stem>.png. Default: run the bundle first.",
        ),
    ] = None,
    layout: options.LayoutName = None,
    split: options.Split = None,
    sequences: options.Sequences = None,
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
        typer.Option(
            help="Also score each object's first mask, repeated in every frame. Default: none."
        ),
    ] = None,
    report: options.Report = None,
    fit: options.FitEach = options.Fit.REFUSE,
    threads: options.ThreadsEach = None,
    backend: options.BackendName = DEFAULT_BACKEND,
    workers: options.Workers = None,
    shard: options.Shard = None,
    ray: options.Ray = None,
    overwrite: options.Redo = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Score masks over a data set with J and F.

    Runs a bundle first, or scores existing masks with --results. Exits with 1 if something in the
    data or the results could not be scored; its name is printed, and the rest is scored.
    """
    from mavos_deploy.evaluation.evaluate import evaluate as score
    from mavos_deploy.runtime.datasets.opening import open_dataset
    from mavos_deploy.runtime.datasets.results import check_one_run
    from mavos_deploy.runtime.jobs.worker import Setup

    say = Console(json=as_json, quiet=quiet)
    bundle, data = _split_paths(paths, results)
    if results is not None and not results.is_dir():
        raise InputError(f"--results {results} is not a folder; give the folder of the sequences")
    if results is not None:
        forbid(
            context,
            *("fit", "threads", "backend", "workers", "shard", "ray", "overwrite"),
            because="is for segmenting with a bundle; leave it out with --results",
        )
    if shard is not None:
        because = "is for scoring; leave it out with --shard, and give it when all are scored"
        forbid(context, "baseline", "report", because=because)
    if report is not None:
        check_report(report)
    distribution = Distribution.parse(workers, shard, ray, overwrite)
    dataset = distribution.part_of(open_dataset(data, layout, split, options.names_of(sequences)))
    for note in dataset.notes:
        say.note(note)
    predicted, about = None, None
    if bundle is not None:
        opened = Bundle.open(bundle)
        segmented = segment_dataset(
            say,
            Setup(opened, backend, threads, fit is options.Fit.STRETCH),
            dataset,
            output or Path(f"{data.resolve().name}-{bundle.resolve().name}"),
            distribution,
            overwrite=overwrite,
        )
        if shard is not None:
            _report_shard(say, dataset, segmented)
            return
        masks = folder = segmented.folder
        predicted = segmented.outcome.predicted
        about = _about(opened, segmented)
    else:
        assert results is not None
        masks, folder = results, output or results
        check_one_run(masks, [sequence.name for sequence in dataset.sequences])
    total = sum(len(sequence.expected) for sequence in dataset.sequences)
    with say.progress("scoring", total) as advance:
        compared = baseline is not None
        evaluation = score(dataset, masks, predicted, compared, on_frame=one_by_one(advance))
    _report(say, evaluation, masks, folder, about)
    if report is not None and evaluation.figures is not None:
        from mavos_deploy.evaluation.report import write_report

        write_report(report, evaluation, masks, predicted, made_with(data, masks, about))
        say.line(f"a page with confidence, J and F: {report}")
    if evaluation.problems or (evaluation.figures is None and not dataset.reference_only):
        raise typer.Exit(FAILED)


def _split_paths(paths: list[Path], results: Path | None) -> tuple[Path | None, Path]:
    if results is not None and len(paths) == 1:
        return None, paths[0]
    if results is None and len(paths) == 2:
        return paths[0], paths[1]
    raise InputError(
        f"got {len(paths)} paths; give a bundle and a data set, or --results DIR and a data set"
    )


def _about(bundle: Bundle, segmented: Segmented) -> dict[str, Any]:
    """The entry of results.json that says where the masks come from."""
    return {
        "path": str(bundle.path),
        "identity": bundle.manifest.identity,
        "variant": bundle.manifest.variant,
        "trained": bundle.manifest.trained,
        "backend": segmented.outcome.settings.backend,
    }


def _report_shard(say: Console, dataset: "Dataset", segmented: Segmented) -> None:
    """A shard is segmented and not scored: the other shards' masks are needed for that."""
    for note in segmented.outcome.notes:
        say.note(note)
    say.result(segmented.to_dict())
    if not say.json:
        report_problems(segmented.problems)
    say.line(str(segmented))
    say.line(
        f"when all shards are done, score them: mavos-eval {dataset.path} "
        f"--results {segmented.folder} --split {dataset.split}"
    )
    if segmented.problems:
        raise typer.Exit(FAILED)


def _report(
    say: Console,
    evaluation: "Evaluation",
    masks: Path,
    folder: Path,
    about: dict[str, Any] | None,
) -> None:
    from mavos_deploy.evaluation import tables

    summary = tables.summary(evaluation, masks, about)
    say.result(summary)
    for note in evaluation.notes:
        say.note(note)
    if evaluation.figures is not None:
        say.line(_table(evaluation))
    if not say.json:
        report_problems(evaluation.problems, "what is named is left out, the rest is scored")
    if line := tables.replaced(folder, summary):
        say.warn(line)
    tables.write_results(json.dumps(summary, indent=2) + "\n", folder)
    if evaluation.figures is None:
        say.warn(
            "nothing to score: the annotations are reference masks only, as in sets whose truth "
            f"is kept on a server; the masks in {masks} are in the form to submit"
            if evaluation.dataset.reference_only
            else "nothing was scored: no object has a frame with both an annotation and a mask"
        )
        return
    files = [*tables.write_tables(evaluation, folder), folder / tables.RESULTS]
    if warn_without_plots(say):
        files += tables.draw_plots(evaluation, folder)
    say.line(f"in {folder}: {', '.join(file.name for file in files)}")


def _table(evaluation: "Evaluation") -> "Table":
    from rich.table import Table

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
