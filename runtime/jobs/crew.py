"""Many videos over workers: each takes the next video when it is done with one.

A worker that dies loses the video it was at, and nothing else: the video goes back to the others
and a fresh worker takes the place. After an error that isn't about its video a worker counts as
dead, because a GPU or a process that failed once may fail at every video from then on. A video that
lost its workers is tried again; what can't be segmented is reported in the end. Whoever distributes
makes the folders and names them when they are complete; workers only fill them.
"""

import re
import threading
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from mavos_deploy.errors import BackendError, InputError, MavosError, one_line
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.datasets.prediction import OutputError, Predicted, segment_sequence
from mavos_deploy.runtime.datasets.results import Results, Settings
from mavos_deploy.runtime.datasets.sequences import Problem, VideoSequence
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.interrupts import deferred_interrupts, processes_start

TRIES = 3  # of a video, or of starting a worker, before it is given up

T = TypeVar("T")
Task = tuple[VideoSequence, int]  # with the tries that failed


class WorkerDiedError(MavosError):
    """A worker that ended before it was done, whatever ended it, or that can't go on."""


class SequenceError(MavosError):
    """A sequence that no worker can segment; the worker goes on."""


@dataclass(frozen=True)
class Shard:
    """A part of a list that several jobs divide among themselves.

    Attributes:
        index: Of this part, from 1.
        count: Of parts.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `I/N`.

        Raises:
            InputError: Not two numbers, or I is not from 1 to N.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(
                f"--shard {text!r:.40}: expected I/N with I from 1 to N, such as 1/4 for the first "
                "of four"
            )
        return cls(int(match[1]), int(match[2]))

    def of(self, items: Sequence[T]) -> tuple[T, ...]:
        """This part's items: each N-th, so that parts differ by one item at most."""
        return tuple(items[self.index - 1 :: self.count])

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


class Worker(Protocol):
    """Segments one sequence after another, here, in another process or on another machine."""

    def ready(self) -> Settings:
        """Wait until it has loaded the bundle; what its masks depend on.

        Raises:
            MavosError: It can't run the bundle.
            WorkerDiedError: It ended meanwhile.
        """

    def segment(
        self, sequence: VideoSequence, folder: Path, on_frame: Callable[[], None]
    ) -> Predicted:
        """Fill a folder with the masks of a sequence.

        Raises:
            OutputError: The folder can't be written to.
            InputError: The sequence can't be segmented, whoever tries.
            Exception: The worker ended meanwhile, or can't go on. Like after any error and
                interrupt, nothing writes to the folder any more.
        """

    def close(self) -> None:
        """End it. Another thread may call this in the middle of a sequence."""


class OwnProcess:
    """A worker that is this process itself."""

    def __init__(self, bundle: Bundle, backend: str, threads: int | None, stretch: bool) -> None:
        self._bundle = bundle
        self._backend = backend
        self._threads = threads
        self._stretch = stretch
        self._segmenter: Segmenter | None = None

    def ready(self) -> Settings:
        """Load the bundle; see `Worker`."""
        backend = open_backend(self._bundle, self._threads, self._backend)
        self._segmenter = Segmenter(self._bundle, backend)
        return Settings.of(self._segmenter, self._stretch)

    def segment(
        self, sequence: VideoSequence, folder: Path, on_frame: Callable[[], None]
    ) -> Predicted:
        """See `Worker`."""
        assert self._segmenter is not None
        return segment_sequence(
            self._segmenter, sequence, folder, stretch=self._stretch, on_frame=on_frame
        )

    def close(self) -> None:
        """Free the bundle; see `Worker`."""
        if self._segmenter is not None:
            self._segmenter.close()


@dataclass(frozen=True)
class Outcome:
    """What became of the sequences.

    Attributes:
        predicted: By name. One that failed has no frames, and the reason among its problems.
        kept: Names of those that an earlier run had finished.
        failed: Names of those that were given up.
        settings: What the masks depend on.
    """

    predicted: dict[str, Predicted]
    kept: tuple[str, ...]
    failed: tuple[str, ...]
    settings: Settings

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of all sequences, in order."""
        return tuple(p for predicted in self.predicted.values() for p in predicted.problems)

    @property
    def frames(self) -> int:
        """Masks that are there now."""
        return sum(len(predicted.frames) for predicted in self.predicted.values())


def segment_all(
    sequences: Sequence[VideoSequence],
    results: Results,
    open_worker: Callable[[], Worker],
    places: int,
    on_frames: Callable[[int], None],
) -> Outcome:
    """Segment every sequence that is not finished yet.

    Args:
        sequences: With pictures.
        results: To write `<sequence>/<frame stem>.png` to.
        open_worker: Begins to open a worker, and returns at once.
        places: Workers at a time; no more are opened than there are sequences to do.
        on_frames: Called with how many frames are done, those of finished sequences included.

    Returns:
        What became of each sequence.

    Raises:
        InputError: The results folder can't be used, or can't be written to any more.
        BackendError: Workers don't agree on how to run the bundle, or none is left and a new one
            can't run it or dies while it starts.
    """
    crew = _Crew(results, open_worker, on_frames)
    threads: list[threading.Thread] = []
    try:
        first = crew.hire()
        crew.take(sequences)
        crew.places = max(1, min(places, len(crew.waiting)))
        for _ in range(1, crew.places):
            threads.append(threading.Thread(target=crew.work_beside))
            threads[-1].start()
        crew.work(first)
        for thread in threads:
            thread.join()
    except BaseException as error:
        crew.error = crew.error or error
    finally:
        with deferred_interrupts():
            crew.end()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
    if crew.error is not None:
        raise crew.error
    return crew.outcome(sequences)


class _Crew:
    """What the workers at one set of sequences share.

    Attributes:
        waiting: Sequences that nobody is at, with the tries that failed.
        places: Threads that take sequences, each with one worker after another.
        error: What ended the work, if anything did.
    """

    def __init__(
        self,
        results: Results,
        open_worker: Callable[[], Worker],
        on_frames: Callable[[int], None],
    ) -> None:
        self.waiting: deque[Task] = deque()
        self.places = 1
        self.error: BaseException | None = None
        self._results = results
        self._open_worker = open_worker
        self._on_frames = on_frames
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []  # of places that found nothing waiting any more
        self._told = False
        self._ended = False
        self._frames = 0
        self._settings: Settings | None = None
        self._predicted: dict[str, Predicted] = {}
        self._kept: list[str] = []
        self._failed: list[str] = []

    def hire(self) -> Worker:
        """Open a worker and check that it computes as the others do."""
        worker, settings = self._open()
        self._agree(settings)
        return worker

    def _open(self) -> tuple[Worker, Settings]:
        """Open a worker, again if it dies, and wait until it is ready."""
        for tries in range(1, TRIES + 1):
            with processes_start():  # known, and so ended, before an interrupt takes effect
                worker = self._open_worker()
                with self._lock:
                    self._workers.append(worker)
                    ended = self._ended
            try:
                if ended:
                    raise WorkerDiedError("it was not needed any more")
                return worker, worker.ready()
            except WorkerDiedError as error:
                self._dismiss(worker)
                if tries == TRIES or self._ended:
                    raise BackendError(
                        f"{tries} workers died while they started, the last one with: {error}; "
                        "where memory is short, take fewer workers"
                    ) from None
            except MavosError:
                self._dismiss(worker)
                raise
        raise AssertionError("unreachable")

    def _agree(self, settings: Settings) -> None:
        with self._lock:
            self._settings = self._settings or settings
            expected = self._settings
        if settings != expected:
            raise BackendError(
                f"one worker runs the bundle with {settings.backend} in {settings.arithmetic}, "
                f"another one with {expected.backend} in {expected.arithmetic}, and their masks "
                "would differ; name a --backend that all machines have"
            )

    def take(self, sequences: Sequence[VideoSequence]) -> None:
        """Keep what is finished, and let the rest wait for workers."""
        assert self._settings is not None
        self._results.bind(self._settings)
        for sequence in sequences:
            done = self._results.finished(sequence)
            if done is None:
                self.waiting.append((sequence, 0))
            else:
                self._predicted[sequence.name] = done
                self._kept.append(sequence.name)
                self._count(len(sequence.images))

    def work_beside(self) -> None:
        """`work` with a new worker, in a thread; an error ends the work of all."""
        try:
            self.work(None)
        except BaseException as error:
            with self._lock:
                if not self._ended:
                    self.error = error
            self.end()

    def work(self, worker: Worker | None) -> None:
        """Segment what is waiting, until nothing is, or no worker can be had for this place."""
        while (task := self._next(worker)) is not None:
            if worker is None:
                try:
                    worker, settings = self._open()
                except MavosError as error:
                    worker = self._do_without(task, error)
                    if worker is None:
                        return
                else:
                    self._agree(settings)
            try:
                self._segment(worker, *task)
            except WorkerDiedError:
                self._dismiss(worker)
                worker = None

    def end(self) -> None:
        """Let nobody take another sequence, and end all workers."""
        with self._lock:
            self._ended = True
            workers = list(self._workers)
        for worker in workers:
            worker.close()

    def outcome(self, sequences: Sequence[VideoSequence]) -> Outcome:
        """Everything, in the order of the sequences."""
        assert self._settings is not None
        return Outcome(
            {s.name: self._predicted[s.name] for s in sequences},
            tuple(self._kept),
            tuple(s.name for s in sequences if s.name in self._failed),
            self._settings,
        )

    def _next(self, worker: Worker | None) -> Task | None:
        """A sequence for a place; without one the place is given up, and its worker is idle."""
        with self._lock:
            if self._ended:
                return None
            if self.waiting:
                return self.waiting.popleft()
            self.places -= 1
            if worker is not None:
                self._idle.append(worker)
            return None

    def _do_without(self, task: Task, error: MavosError) -> Worker | None:
        """An idle worker in place of one that could not start, or None: the others do its task.

        Raises:
            MavosError: The given error, because no other worker is left.
        """
        with self._lock:
            if self._ended:
                raise error
            idle = self._idle.pop() if self._idle else None
            if idle is None:
                if self.places == 1:
                    raise error
                self.places -= 1
                self.waiting.appendleft(task)
            told, self._told = self._told, True
        if not told:
            text = f"a worker could not start, and the others go on without it: {error}"
            warnings.warn(text, UserWarning, stacklevel=2)
        return idle

    def _segment(self, worker: Worker, sequence: VideoSequence, tries: int) -> None:
        """Fill a sequence's folder, or say why not.

        Raises:
            WorkerDiedError: A fresh worker is needed.
            InputError: The results can't be written.
        """
        frames = 0

        def on_frame() -> None:
            nonlocal frames
            frames += 1
            self._count(1)

        def segment(folder: Path) -> Predicted:
            try:
                return worker.segment(sequence, folder, on_frame)
            except Exception as error:
                raise failure(error) from None

        try:
            done = self._results.fill(sequence.name, segment)
        except (SequenceError, WorkerDiedError, InputError) as error:
            # A failed write has the system's error as its cause. Without one something that is not
            # ours stands in this sequence's place, and in no other.
            if isinstance(error, OutputError) or isinstance(error.__cause__, OSError):
                raise
            self._count(-frames)
            died = isinstance(error, WorkerDiedError)
            with self._lock:
                if died and tries + 1 < TRIES:
                    self.waiting.append((sequence, tries + 1))
                else:
                    self._predicted[sequence.name] = given_up(sequence, error)
                    self._failed.append(sequence.name)
            if died:
                raise
        else:
            with self._lock:
                self._predicted[sequence.name] = done

    def _count(self, frames: int) -> None:
        with self._lock:
            self._frames += frames
            self._on_frames(self._frames)

    def _dismiss(self, worker: Worker) -> None:
        with self._lock:
            self._workers.remove(worker)
        worker.close()


def failure(error: Exception) -> MavosError:
    """What an error in the middle of a sequence means for the work as a whole.

    Returns:
        An OutputError where no sequence could be written, a SequenceError where only this one can't
        be segmented; for everything else a WorkerDiedError, because nothing says that the worker
        could do the next one.
    """
    if isinstance(error, (OutputError, SequenceError, WorkerDiedError)):
        return error
    return (SequenceError if isinstance(error, InputError) else WorkerDiedError)(reason(error))


def given_up(sequence: VideoSequence, error: MavosError) -> Predicted:
    """What is reported of a sequence that is not tried again."""
    if isinstance(error, WorkerDiedError):
        found = f"not segmented, {TRIES} tries failed; the last one: {error}"
        expected = "a worker that can finish it"
    else:
        found, expected = f"not segmented: {error}", "pictures that can be followed, and room"
    problem = Problem(sequence.name, None, found, expected)
    return Predicted("", (), (), (), (problem,))


def reason(error: Exception) -> str:
    """An error in one line; its type stands before messages that were not written by us."""
    if isinstance(error, MavosError):
        return str(error)
    return f"{type(error).__name__}: {one_line(error)}"
