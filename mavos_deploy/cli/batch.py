"""What `mavos-run` and `mavos-eval` share: segmenting a data set, here or by many workers."""

import json
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mavos_deploy.cli.console import err, out, progress, warn, warn_if_inexact, warn_if_untrained
from mavos_deploy.cli.launch import FAILED_CHECK
from mavos_deploy.cli.options import Fit, open_named
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.table import AUTO
from mavos_deploy.runtime.jobs.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mavos_deploy.runtime.datasets.sequences import Dataset, Layout, Problem
    from mavos_deploy.runtime.jobs.tally import BatchOutcome
    from mavos_deploy.runtime.jobs.worker import Setup, Worker

PROBLEMS_SHOWN = 30  # lines


@dataclass(frozen=True)
class Distribution:
    """Who segments the sequences.

    Attributes:
        workers: Processes of this machine; None for this process itself.
        shard: The part that is this command's; None for all.
        ray: Address of a cluster, in place of processes.
    """

    workers: int | None
    shard: Shard | None
    ray: str | None

    @classmethod
    def parse(
        cls, workers: int | None, shard: str | None, ray: str | None, overwrite: bool
    ) -> "Distribution":
        """Check the options.

        Raises:
            InputError: A value that can't be, or options that don't go together.
        """
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
        """The sequences of the shard, by their sorted names."""
        if self.shard is None:
            return dataset
        names = {s.name for s in self.shard.of(sorted(dataset.sequences, key=lambda s: s.name))}
        others = {s.name for s in dataset.sequences} - names
        return replace(
            dataset,
            sequences=tuple(s for s in dataset.sequences if s.name in names),
            problems=tuple(p for p in dataset.problems if p.sequence not in others),
        )


def segment_dataset(
    setup: "Setup",
    dataset: "Dataset",
    folder: Path,
    distribution: Distribution,
    *,
    overwrite: bool,
    shown: bool,
) -> "BatchOutcome":
    """Segment what is not finished yet.

    Args:
        setup: Setup of each worker, whose backend may be `auto`. Without a number of threads
            those of the machine are divided.
        dataset: This command's part of the data set, with pictures.
        folder: Folder of the results.
        distribution: The workers that segment.
        overwrite: Replace results that are there.
        shown: Draw a progress bar.

    Returns:
        The result of each sequence.

    Raises:
        InputError: The results can't be written, or are another bundle's.
        BackendError: No worker can run the bundle.
    """
    from mavos_deploy.runtime.datasets.results import Results
    from mavos_deploy.runtime.jobs.crew import segment_all
    from mavos_deploy.runtime.jobs.worker import OwnProcess

    bundle = setup.bundle
    if setup.backend == AUTO:
        if distribution.ray is not None:
            raise InputError(
                "--backend auto looks at this machine, and --ray runs on others; name the backend"
            )
        chosen = open_named(bundle, setup.threads, AUTO)  # once, so that all workers take the same
        setup = replace(setup, backend=chosen.traits.name)
        chosen.close()
    results = Results(folder, overwrite)
    warn_if_untrained(bundle.manifest)
    total = sum(len(sequence.images) for sequence in dataset.sequences)
    open_worker: Callable[[], Worker]
    with ExitStack() as stack:
        places = 1
        if distribution.ray is not None:
            from mavos_deploy.runtime.jobs.ray_cluster import RayCluster

            cluster = stack.enter_context(RayCluster(distribution.ray, setup))
            open_worker, places = cluster.open_worker, cluster.places
        elif distribution.workers is not None:
            from mavos_deploy.runtime.jobs.local_process import LocalProcess, threads_each

            places = distribution.workers
            each = replace(setup, threads=setup.threads or threads_each(places))
            open_worker = partial(LocalProcess, each)
        else:
            open_worker = partial(OwnProcess, setup)
        what = f"segmenting {len(dataset.sequences)} videos"
        advance = stack.enter_context(progress(what, total, shown))
        try:
            outcome = segment_all(dataset.sequences, results, open_worker, places, advance)
        except KeyboardInterrupt:
            warn("stopped; the same command goes on with what is not finished")
            raise
    warn_if_inexact(
        outcome.settings.backend, outcome.settings.arithmetic, bundle.manifest.arithmetic
    )
    return outcome


def run_dataset(
    bundle: Path,
    data: Path,
    output: Path | None,
    *,
    layout: "Layout | None",
    split: str,
    sequences: str | None,
    distribution: Distribution,
    fit: Fit,
    threads: int | None,
    backend: str,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """What `mavos-run --dataset` does; the arguments are its options.

    Raises:
        Exit: A sequence, or a part of one, could not be segmented.
    """
    from mavos_deploy.runtime.bundle import Bundle
    from mavos_deploy.runtime.datasets.opening import open_dataset
    from mavos_deploy.runtime.jobs.worker import Setup

    names = names_of(sequences)
    dataset = distribution.part_of(open_dataset(data, layout, split, names))
    folder = output or Path(f"{data.resolve().name}-masks")
    started = time.perf_counter()
    outcome = segment_dataset(
        Setup(Bundle.open(bundle), backend, threads, fit is Fit.STRETCH),
        dataset,
        folder,
        distribution,
        overwrite=overwrite,
        shown=not (quiet or as_json),
    )
    seconds = time.perf_counter() - started
    problems = (*dataset.problems, *outcome.problems)
    if as_json:
        out.print(json.dumps(summary_of(outcome, folder, distribution, problems, seconds)))
    else:
        report_problems(problems)
        if not quiet:
            out.print(told(outcome, folder, distribution))
    if problems:
        raise typer.Exit(FAILED_CHECK)


def names_of(sequences: str | None) -> list[str] | None:
    """Names out of `--sequences A,B`."""
    return None if sequences is None else [name for name in sequences.split(",") if name]


def summary_of(
    outcome: "BatchOutcome",
    folder: Path,
    distribution: Distribution,
    problems: "Sequence[Problem]",
    seconds: float,
) -> dict[str, Any]:
    """What `--json` prints of a segmented data set, see docs/run.md."""
    return {
        "output": str(folder),
        "shard": None if distribution.shard is None else str(distribution.shard),
        "sequences": list(outcome.predicted),
        "kept": list(outcome.kept),
        "failed": list(outcome.failed),
        "frames": outcome.frames,
        "problems": [asdict(problem) for problem in problems],
        "seconds": round(seconds, 3),
        "backend": outcome.settings.backend,
        "trained": outcome.settings.trained,
    }


def told(outcome: "BatchOutcome", folder: Path, distribution: Distribution) -> str:
    """The same in one line."""
    part = "" if distribution.shard is None else f"shard {distribution.shard}: "
    kept = f", {len(outcome.kept)} of them finished earlier" if outcome.kept else ""
    return f"{part}{outcome.frames} masks of {len(outcome.predicted)} sequences{kept}, in {folder}"


def report_problems(
    problems: "Sequence[Problem]", consequence: str = "the rest is segmented"
) -> None:
    """List problems on standard error, the first of them where there are many."""
    if not problems:
        return
    err.print(f"{len(problems)} problems; {consequence}:")
    for problem in problems[:PROBLEMS_SHOWN]:
        err.print(f"  {' '.join(str(problem).splitlines())}")
    if len(problems) > PROBLEMS_SHOWN:
        err.print(f"  and {len(problems) - PROBLEMS_SHOWN} more")
