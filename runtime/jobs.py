"""Many videos over workers: each takes the next video when it is done with one.

A worker that dies loses the video it was at, and nothing else: the video goes back to the others
and a fresh worker takes the place. What fails is tried again, and reported in the end. Whoever
distributes makes the folders and names them when they are complete; workers only fill them.
"""

import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from mavos_deploy.errors import BackendError, InputError, MavosError
from mavos_deploy.runtime.backend import one_line, open_backend
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.interrupts import deferred_interrupts, processes_start
from mavos_deploy.runtime.prediction import Predicted, segment_sequence
from mavos_deploy.runtime.results import Results, Settings
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.sequences import Problem, VideoSequence

TRIES = 3  # of a video, or of starting a worker, before it is given up

T = TypeVar("T")


class WorkerDiedError(MavosError):
    """A worker that ended before it was done, whatever ended it."""


class SequenceError(MavosError):
    """A sequence that a worker could not segment; the worker goes on."""


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
            WorkerDiedError: It ended meanwhile.
            Exception: The sequence could not be segmented. Like after any error and interrupt,
                nothing writes to the folder any more.
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
        InputError: The results folder can't be used.
        BackendError: Workers can't run the bundle, don't agree on how, or die while they start.
    """
    crew = _Crew(results, open_worker, on_frames)
    threads: list[threading.Thread] = []
    try:
        first = crew.hire()
        crew.take(sequences)
        for _ in range(1, min(places, len(crew.waiting))):
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
    """What the workers at one set of sequences share."""

    def __init__(
        self,
        results: Results,
        open_worker: Callable[[], Worker],
        on_frames: Callable[[int], None],
    ) -> None:
        self.waiting: deque[tuple[VideoSequence, int]] = deque()  # with the tries that failed
        self.error: BaseException | None = None
        self._results = results
        self._open_worker = open_worker
        self._on_frames = on_frames
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._ended = False
        self._frames = 0
        self._settings: Settings | None = None
        self._predicted: dict[str, Predicted] = {}
        self._kept: list[str] = []
        self._failed: list[str] = []

    def hire(self) -> Worker:
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
                settings = worker.ready()
                break
            except WorkerDiedError as error:
                self._dismiss(worker)
                if tries == TRIES or self._ended:
                    raise BackendError(
                        f"{tries} workers died while they started, the last one with: {error}; "
                        "where memory is short, take fewer workers"
                    ) from None
        with self._lock:
            self._settings = self._settings or settings
            expected = self._settings
        if settings != expected:
            raise BackendError(
                f"one worker runs the bundle with {settings.backend} in {settings.arithmetic}, "
                f"another one with {expected.backend} in {expected.arithmetic}, and their masks "
                "would differ; name a --backend that all machines have"
            )
        return worker

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
        """Segment what is waiting, until nothing is."""
        while (task := self._next()) is not None:
            if worker is None:
                worker = self.hire()
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

    def _next(self) -> tuple[VideoSequence, int] | None:
        with self._lock:
            return None if self._ended or not self.waiting else self.waiting.popleft()

    def _segment(self, worker: Worker, sequence: VideoSequence, tries: int) -> None:
        frames = 0

        def on_frame() -> None:
            nonlocal frames
            frames += 1
            self._count(1)

        try:
            done = self._results.fill(
                sequence.name, lambda folder: worker.segment(sequence, folder, on_frame)
            )
        except Exception as error:
            self._count(-frames)
            with self._lock:
                if tries + 1 < TRIES:
                    self.waiting.append((sequence, tries + 1))
                else:
                    self._predicted[sequence.name] = given_up(sequence, error)
                    self._failed.append(sequence.name)
            if isinstance(error, WorkerDiedError):
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


def given_up(sequence: VideoSequence, error: Exception) -> Predicted:
    """What is reported of a sequence that failed for the last time."""
    found = f"not segmented, {TRIES} tries failed; the last one: {reason(error)}"
    problem = Problem(sequence.name, None, found, "a worker that can finish it")
    return Predicted("", (), (), (), (problem,))


def reason(error: Exception) -> str:
    """An error in one line; its type stands before messages that were not written by us."""
    if isinstance(error, MavosError):
        return str(error)
    return f"{type(error).__name__}: {one_line(error)}"
