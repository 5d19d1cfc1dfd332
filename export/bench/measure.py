"""Measures a bundle on backends, with PyTorch beside it where that is wanted."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from mavos_deploy.errors import InputError
from mavos_deploy.export.bench.end_to_end import ORDER, run_end_to_end
from mavos_deploy.export.bench.memory import peak_memory
from mavos_deploy.export.bench.report import Report, make_report
from mavos_deploy.export.bench.roofs import (
    can_measure,
    measure_roofs,
    names_here,
    shares_of_roofs,
)
from mavos_deploy.export.bench.runners import BackendRunner, Runner, Subject, warm_up
from mavos_deploy.export.bench.timing import shortest_run, time_steps, usual_run
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.system.machine import LoadMeter

# Shows how far something is, by its name and total; yields what to call with the count done.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def measure(
    bundle: Bundle,
    subjects: Sequence[Subject],
    frames: int | None,
    objects: int,
    end_to_end: bool,
    video: Path | None,
    progress: Progress,
) -> Report:
    """Measure steps, end-to-end runs and peak memory.

    Args:
        bundle: Opened bundle.
        subjects: Backends, and ways of running its network in PyTorch; the first is the baseline.
        frames: Length of the clip; None takes that of `usual_run`.
        objects: Number of objects in the first frame.
        end_to_end: Whether backends also segment a video from file to masks.
        video: File of that video; None for a made-up one.
        progress: Called for each part that takes long.

    Returns:
        The report, as bench.json has it.

    Raises:
        MavosError: The clip is too short to have a memory update, a subject is named twice, or a
            backend, PyTorch, the checkpoint or the video can't be used.
    """
    gap = bundle.manifest.write_every
    count = usual_run(bundle.manifest.memory_gap) if frames is None else frames
    if count < shortest_run(gap):
        raise InputError(
            f"{count} frames have no memory update; at a memory gap of {gap} at least "
            f"{shortest_run(gap)} are needed"
        )
    names = [subject.name for subject in subjects]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{repeated} is given twice; name each once")
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        for subject in subjects:
            runner = subject.open()
            stack.callback(runner.close)
            if runner.name in runners:
                raise InputError(f"{subject.name} is {runner.name}, which is there already")
            runners[runner.name] = runner
        warm_up(runners.values(), bundle, objects)
        meter = LoadMeter()
        with progress("timing steps", count) as advance:
            timings = time_steps(runners, bundle, count, objects, advance)
        whole = {}
        if end_to_end:
            backends = {n: r for n, r in runners.items() if isinstance(r, BackendRunner)}
            with progress("timing end to end", len(ORDER) * len(backends)) as advance:
                whole = run_end_to_end(backends, video, count, objects, advance)
        load = meter.read()
        roofs = measure_roofs(subjects[0].threads, names_here()) if can_measure() else {}
        timed = {
            name: (runner.backend.traits.arithmetic, timings[name])
            for name, runner in runners.items()
            if isinstance(runner, BackendRunner)
        }
        shares = shares_of_roofs(bundle, objects, timed, roofs) if roofs else {}
    peaks = dict(zip(runners, peak_memory(subjects, objects), strict=True))
    threads = subjects[0].threads
    report = make_report(bundle.manifest, threads, objects, load, timings, whole, peaks)
    return {**report, "roofs_gflops": roofs, "of_roofs": shares}
