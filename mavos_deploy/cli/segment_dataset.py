"""Segmenting the videos of a data set, which `mavos-batch` and `mavos-eval` do alike."""

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mavos_deploy.cli.console import tell
from mavos_deploy.cli.notices import warn_if_inexact, warn_if_untrained
from mavos_deploy.cli.options import open_named
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.table import AUTO
from mavos_deploy.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mavos_deploy.cli.console import Console
    from mavos_deploy.runtime.datasets.sequences import Dataset, Problem
    from mavos_deploy.runtime.jobs.shard import Shard
    from mavos_deploy.runtime.jobs.tally import BatchOutcome
    from mavos_deploy.runtime.jobs.worker import Setup, Worker
    from mavos_deploy.runtime.review.ranking import Doubt

PROBLEMS_SHOWN = 30  # lines
DOUBTS_SHOWN = 10  # sequences


@dataclass(frozen=True)
class Distribution:
    """Who segments the sequences.

    Attributes:
        workers: Number of processes of this machine; None for this process itself.
        shard: The part of the sequences that this command takes; None for all of them.
        ray: Address of a cluster, in place of processes.
    """

    workers: int | None
    shard: "Shard | None"
    ray: str | None

    @classmethod
    def parse(
        cls, workers: int | None, shard: str | None, ray: str | None, overwrite: bool
    ) -> "Distribution":
        """Check the values of the options.

        Raises:
            InputError: A value is out of range, or options exclude each other.
        """
        from mavos_deploy.runtime.jobs.shard import Shard

        if workers is not None and workers < 1:
            raise InputError(f"--workers {workers}: expected 1 or more processes")
        if workers is not None and ray is not None:
            raise InputError(
                "--workers and --ray exclude each other: --workers are processes of this machine, "
                "a cluster's workers follow from its cores and --threads; leave one of them out"
            )
        if shard is not None and overwrite:
            raise InputError(
                "--shard and --overwrite exclude each other: a shard would remove what others have "
                "finished; remove the results folder before the shards start"
            )
        return cls(workers, None if shard is None else Shard.parse(shard), ray)

    def part_of(self, dataset: "Dataset") -> "Dataset":
        """The data set with the sequences of the shard alone, by their sorted names."""
        if self.shard is None:
            return dataset
        names = {s.name for s in self.shard.of(sorted(dataset.sequences, key=lambda s: s.name))}
        others = {s.name for s in dataset.sequences} - names
        return replace(
            dataset,
            sequences=tuple(s for s in dataset.sequences if s.name in names),
            problems=tuple(p for p in dataset.problems if p.sequence not in others),
        )


@dataclass(frozen=True)
class Segmented:
    """A data set after segmenting.

    Attributes:
        outcome: The result of each sequence.
        folder: Folder of the masks.
        distribution: Who segmented.
        problems: Everything that was found wrong, in the data set and while segmenting.
        seconds: Time it took.
    """

    outcome: "BatchOutcome"
    folder: Path
    distribution: Distribution
    problems: "tuple[Problem, ...]"
    seconds: float

    @property
    def look_first(self) -> "list[Doubt]":
        """Sequences in the order in which a person should look at them."""
        from mavos_deploy.runtime.review.ranking import look_first

        predicted = self.outcome.predicted.items()
        return look_first((name, it.frames, it.confidence) for name, it in predicted)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, see docs/run.md."""
        shard = self.distribution.shard
        return {
            "output": str(self.folder),
            "shard": None if shard is None else str(shard),
            "sequences": list(self.outcome.predicted),
            "kept": list(self.outcome.kept),
            "failed": list(self.outcome.failed),
            "frames": self.outcome.frames,
            "problems": [asdict(problem) for problem in self.problems],
            "notes": list(self.outcome.notes),
            "look_first": [doubt.to_dict() for doubt in self.look_first],
            "seconds": round(self.seconds, 3),
            "backend": self.outcome.settings.backend,
            "trained": self.outcome.settings.trained,
        }

    def __str__(self) -> str:
        outcome, shard = self.outcome, self.distribution.shard
        part = "" if shard is None else f"shard {shard}: "
        kept = f", {len(outcome.kept)} of them finished earlier" if outcome.kept else ""
        return (
            f"{part}{counted(outcome.frames, 'mask')} of "
            f"{counted(len(outcome.predicted), 'sequence')}{kept}, "
            f"in {self.folder}"
        )


def segment_dataset(
    say: "Console",
    setup: "Setup",
    dataset: "Dataset",
    folder: Path,
    distribution: Distribution,
    *,
    overwrite: bool,
) -> Segmented:
    """Segment the sequences that are not finished yet.

    Args:
        say: The command's voice.
        setup: Setup of each worker, whose backend may be `auto`. Without a number of threads those
            of the machine are divided.
        dataset: This command's part of the data set, with pictures.
        folder: Folder of the results.
        distribution: The workers that segment.
        overwrite: Replace results that are there.

    Raises:
        InputError: The results can't be written, or are another bundle's.
        BackendError: No worker can run the bundle.
    """
    from mavos_deploy.runtime.datasets.results import Results
    from mavos_deploy.runtime.jobs.crew import segment_all

    started = time.perf_counter()
    manifest = setup.bundle.manifest
    if setup.backend == AUTO:
        if distribution.ray is not None:
            raise InputError(
                "--backend auto looks at this machine, and --ray runs on others; name the backend"
            )
        chosen = open_named(say, setup.bundle, setup.threads, AUTO)  # once, for all workers
        setup = replace(setup, backend=chosen.traits.name)
        chosen.close()
    results = Results(folder, overwrite)
    warn_if_untrained(say, manifest)
    total = sum(len(sequence.images) for sequence in dataset.sequences)
    with ExitStack() as stack:
        open_worker, places = _workers(stack, setup, distribution)
        what = f"segmenting {len(dataset.sequences)} videos"
        advance = stack.enter_context(say.progress(what, total))
        try:
            outcome = segment_all(dataset.sequences, results, open_worker, places, advance)
        except KeyboardInterrupt:
            say.warn("stopped; the same command goes on with what is not finished")
            raise
    settings = outcome.settings
    warn_if_inexact(say, settings.backend, settings.arithmetic, manifest.arithmetic)
    problems = (*dataset.problems, *outcome.problems)
    return Segmented(outcome, folder, distribution, problems, time.perf_counter() - started)


def _workers(
    stack: ExitStack, setup: "Setup", distribution: Distribution
) -> "tuple[Callable[[], Worker], int]":
    """A function that opens a worker, and how many there may be at a time."""
    if distribution.ray is not None:
        from mavos_deploy.runtime.jobs.ray_cluster import RayCluster

        cluster = stack.enter_context(RayCluster(distribution.ray, setup))
        return cluster.open_worker, cluster.places
    if distribution.workers is not None:
        from mavos_deploy.runtime.jobs.local_process import LocalProcess, threads_each

        each = replace(setup, threads=setup.threads or threads_each(distribution.workers))
        return partial(LocalProcess, each), distribution.workers
    from mavos_deploy.runtime.jobs.worker import OwnProcess

    return partial(OwnProcess, setup), 1


def show_doubts(say: "Console", doubts: "Sequence[Doubt]") -> None:
    """Print the sequences to look at first: those with masks that are probably bad."""
    from rich.table import Table

    if not (found := [doubt for doubt in doubts if doubt.doubtful]):
        return
    table = Table(title="look at these first", title_justify="left")
    for column in ("sequence", "doubtful masks", "worst frame", "object", "confidence"):
        table.add_column(column, justify="left" if column == "sequence" else "right")
    for it in found[:DOUBTS_SHOWN]:
        share, lowest = f"{it.doubtful:.0%}", f"{it.lowest:.2f}"
        table.add_row(it.video, share, it.frame, str(it.number), lowest)
    if len(found) > DOUBTS_SHOWN:
        table.caption = f"and {len(found) - DOUBTS_SHOWN} more"
    say.line(table)


def report_problems(
    problems: "Sequence[Problem]", consequence: str = "the rest is segmented"
) -> None:
    """List problems on standard error, and count those beyond the first ones."""
    if not problems:
        return
    tell(f"{counted(len(problems), 'problem')}; {consequence}:")
    for problem in problems[:PROBLEMS_SHOWN]:
        tell(f"  {' '.join(str(problem).splitlines())}")
    if len(problems) > PROBLEMS_SHOWN:
        tell(f"  and {len(problems) - PROBLEMS_SHOWN} more")
