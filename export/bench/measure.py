"""Measures a bundle on backends, with PyTorch beside it where that is wanted."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from mavos_deploy.errors import InputError
from mavos_deploy.export.bench.end_to_end import ROUNDS, run_end_to_end
from mavos_deploy.export.bench.memory import peak_memory
from mavos_deploy.export.bench.report import Report, make_report
from mavos_deploy.export.bench.runners import BackendRunner, Runner, Subject, warm_up
from mavos_deploy.export.bench.timing import shortest_run, time_steps
from mavos_deploy.export.bench.ways import Way
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.system.machine import LoadMeter

# Shows how far something is, by its name and total; yields what to call with the count done.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class BenchRequest:
    """A comparison to make.

    Attributes:
        bundle: Opened bundle.
        ways: Ways of running the PyTorch network, and names of backends; the first is the
            baseline.
        checkpoint: File that the bundle was exported from, for PyTorch; None for shipped and for
            untrained weights.
        threads: CPU threads; None takes all that the process may use.
        frames: Length of the clip; None takes three memory gaps and one frame.
        objects: Number of objects in the first frame.
        end_to_end: Whether backends also segment a video from file to masks.
        video: File of that video; None for a made-up one.

    Raises:
        InputError: The clip is too short to have a memory update, or a way is named twice.
    """

    bundle: Bundle
    ways: tuple[Way | str, ...]
    checkpoint: Path | None
    threads: int | None
    frames: int | None
    objects: int
    end_to_end: bool
    video: Path | None

    def __post_init__(self) -> None:
        gap = self.bundle.manifest.memory_gap
        if self.length < shortest_run(gap):
            raise InputError(
                f"{self.length} frames have no memory update; at a memory gap of {gap} at least "
                f"{shortest_run(gap)} are needed"
            )
        names = [subject.name for subject in self.subjects]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"{repeated} is given twice; name each once")

    @property
    def length(self) -> int:
        """Number of frames in the clip."""
        return 3 * self.bundle.manifest.memory_gap + 1 if self.frames is None else self.frames

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What is measured, in order."""
        path, checkpoint, threads = self.bundle.path, self.checkpoint, self.threads
        return tuple(Subject(way, path, checkpoint, threads) for way in self.ways)


def measure(request: BenchRequest, progress: Progress) -> Report:
    """Measure steps, end-to-end runs and peak memory.

    Args:
        request: The comparison to make.
        progress: Called for each part that takes long.

    Returns:
        The report, as bench.json has it.

    Raises:
        MavosError: A backend, PyTorch, the checkpoint or the video can't be used.
    """
    bundle, objects = request.bundle, request.objects
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        for subject in request.subjects:
            runner = subject.open()
            stack.callback(runner.close)
            if runner.name in runners:
                raise InputError(f"{subject.name} is {runner.name}, which is there already")
            runners[runner.name] = runner
        warm_up(runners.values(), bundle, objects)
        meter = LoadMeter()
        with progress("timing steps", request.length) as advance:
            timings = time_steps(runners, bundle, request.length, objects, advance)
        end_to_end = {}
        if request.end_to_end:
            backends = {n: r for n, r in runners.items() if isinstance(r, BackendRunner)}
            with progress("timing end to end", ROUNDS * len(backends)) as advance:
                end_to_end = run_end_to_end(
                    backends, request.video, request.length, objects, advance
                )
        load = meter.read()
    peaks = dict(zip(runners, peak_memory(request.subjects, objects), strict=True))
    return make_report(bundle.manifest, request.threads, objects, load, timings, end_to_end, peaks)
