"""The command `mavos-batch`."""

from pathlib import Path
from typing import Annotated

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.launch import FAILED, launch
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND


def batch(
    bundle: options.BundleFolder,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of a data set: DAVIS, YouTube-VOS, LVOS, Long-Time Video, MOSE, VISOR "
            "or BURST.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for a folder of palette PNGs for each sequence, at the frames' own size. "
            "Default: <data>-masks here.",
        ),
    ] = None,
    layout: options.LayoutName = None,
    split: options.Split = None,
    sequences: options.Sequences = None,
    workers: options.Workers = None,
    shard: options.Shard = None,
    ray: options.Ray = None,
    fit: options.FitEach = options.Fit.REFUSE,
    threads: options.ThreadsEach = None,
    backend: options.BackendName = DEFAULT_BACKEND,
    overwrite: options.Redo = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Segment all videos of a data set.

    Follows each object from its first mask on, and keeps the sequences that an earlier run
    finished. Exits with 1 if something could not be segmented; its name is printed, and the rest is
    segmented.
    """
    from mavos_deploy.cli.segment_dataset import (
        Distribution,
        report_problems,
        segment_dataset,
        show_doubts,
    )
    from mavos_deploy.runtime.bundles.bundle import Bundle
    from mavos_deploy.runtime.datasets.opening import open_dataset
    from mavos_deploy.runtime.jobs.worker import Setup

    say = Console(json=as_json, quiet=quiet)
    distribution = Distribution.parse(workers, shard, ray, overwrite)
    dataset = distribution.part_of(open_dataset(data, layout, split, options.names_of(sequences)))
    for note in dataset.notes:
        say.note(note)
    segmented = segment_dataset(
        say,
        Setup(Bundle.open(bundle), backend, threads, fit is options.Fit.STRETCH),
        dataset,
        output or Path(f"{data.resolve().name}-masks"),
        distribution,
        overwrite=overwrite,
    )
    for note in segmented.outcome.notes:
        say.note(note)
    say.result(segmented.to_dict())
    if not as_json:
        report_problems(segmented.problems)
    if segmented.outcome.settings.trained:  # else no mask means anything
        show_doubts(say, segmented.look_first)
    say.line(str(segmented))
    if segmented.problems:
        raise typer.Exit(FAILED)


def main() -> None:
    """Entry point of `mavos-batch`."""
    launch({"batch": batch}, "mavos-batch")
