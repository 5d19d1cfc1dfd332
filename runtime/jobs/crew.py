"""Many videos over workers: each takes the next video when it is done with one.

A worker that dies loses the video it was at, and nothing else: the video goes back to the others
and a fresh worker takes the place. After an error that isn't about its video a worker counts as
dead, because a GPU or a process that failed once may fail at every video from then on. A video that
lost its workers is tried again, and reported in the end if no try succeeds. The crew makes the
folders and names them when they are complete; workers only fill them.
"""

import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

from mavos_deploy.errors import BackendError, InputError, MavosError
from mavos_deploy.runtime.datasets.prediction import OutputError, Predicted
from mavos_deploy.runtime.datasets.results import Results, Settings
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.jobs.tally import BatchOutcome, Tally
from mavos_deploy.runtime.jobs.worker import SequenceError, Worker, WorkerDiedError, failure
from mavos_deploy.runtime.system.interrupts import deferred_interrupts, processes_start

TRIES = 3  # at a video, or at starting a worker, before it is given up


def segment_all(
    sequences: Sequence[VideoSequence],
    results: Results,
    open_worker: Callable[[], Worker],
    places: int,
    on_frames: Callable[[int], None],
) -> BatchOutcome:
    """Segment every sequence that is not finished yet.

    Args:
        sequences: Sequences with pictures.
        results: Folder for `<sequence>/<frame stem>.png`.
        open_worker: Begins to open a worker, and returns at once.
        places: Workers at a time; no more are opened than there are sequences to do.
        on_frames: Called with how many frames are done, those of finished sequences included.

    Returns:
        The result of each sequence.

    Raises:
        InputError: The results folder can't be used, or can't be written to any more.
        BackendError: Workers don't agree on how to run the bundle, or none is left and a new one
            can't run it or dies while it starts.
    """
    return _Crew(results, open_worker, on_frames).segment(sequences, places)


class _Crew:
    """The workers at one set of sequences, and all that they share.

    Queue, places and tally have one lock, so that no sequence is left behind between a place that
    finds nothing waiting and one that gives a sequence back.
    """

    def __init__(
        self,
        results: Results,
        open_worker: Callable[[], Worker],
        on_frames: Callable[[int], None],
    ) -> None:
        self._results = results
        self._lock = threading.RLock()
        self._queue = _Queue()
        self._places = _Places(self._lock, open_worker)
        self._tally = Tally(on_frames)
        self._settings: Settings | None = None
        self._error: BaseException | None = None
        self._told = False

    def segment(self, sequences: Sequence[VideoSequence], places: int) -> BatchOutcome:
        """Do what `segment_all` says, with the first place in this thread."""
        threads: list[threading.Thread] = []
        try:
            first, self._settings = self._places.hire()
            self._results.bind(self._settings)
            for sequence in sequences:
                if (done := self._results.finished(sequence)) is None:
                    self._queue.add(sequence)
                else:
                    self._tally.keep(sequence, done)
            for _ in range(1, self._places.set_up(min(places, len(self._queue)))):
                threads.append(threading.Thread(target=self._work_beside))
                threads[-1].start()
            self._work(first)
            for thread in threads:
                thread.join()
        except BaseException as error:
            self._error = self._error or error
        finally:
            with deferred_interrupts():
                self._places.close()
                for thread in threads:
                    if thread.ident is not None:
                        thread.join()
        if self._error is not None:
            raise self._error
        assert self._settings is not None
        return self._tally.outcome(sequences, self._settings)

    def _work_beside(self) -> None:
        """Fill a place in a thread of its own; an error ends the work of all."""
        try:
            self._work(None)
        except BaseException as error:
            with self._lock:
                if not self._places.closed:
                    self._error = error
            self._places.close()

    def _work(self, worker: Worker | None) -> None:
        """Segment what is waiting, until nothing is, or no worker can be had for this place."""
        while (sequence := self._next(worker)) is not None:
            if worker is None:
                try:
                    worker, settings = self._places.hire()
                except MavosError as error:
                    worker = self._do_without(sequence, error)
                    if worker is None:
                        return
                else:
                    self._agree(settings)
            try:
                self._segment_one(worker, sequence)
            except WorkerDiedError:
                self._places.dismiss(worker)
                worker = None

    def _agree(self, settings: Settings) -> None:
        """Refuse a worker whose masks would differ from the others'."""
        expected = self._settings
        if expected is not None and settings != expected:
            raise BackendError(
                f"one worker runs the bundle with {settings.backend} in {settings.arithmetic}, "
                f"another one with {expected.backend} in {expected.arithmetic}, and their masks "
                "would differ; name a --backend that all machines have"
            )

    def _next(self, worker: Worker | None) -> VideoSequence | None:
        """A sequence for a place; without one the place is given up, and its worker is idle."""
        with self._lock:
            if self._places.closed:
                return None
            sequence = self._queue.take()
            if sequence is None:
                self._places.leave(worker)
            return sequence

    def _do_without(self, sequence: VideoSequence, error: MavosError) -> Worker | None:
        """An idle worker in place of one that could not start; None leaves the sequence to others.

        Raises:
            MavosError: The given error, because no other worker is left.
        """
        with self._lock:
            if self._places.closed or not self._places.others:
                raise error
            idle = self._places.lend()
            if idle is None:
                self._places.leave(None)
                self._queue.give_back(sequence)
            told, self._told = self._told, True
        if not told:
            text = f"a worker could not start, and the others go on without it: {error}"
            warnings.warn(text, UserWarning, stacklevel=2)
        return idle

    def _segment_one(self, worker: Worker, sequence: VideoSequence) -> None:
        """Fill a sequence's folder, or say why not.

        Raises:
            WorkerDiedError: A fresh worker is needed.
            InputError: The results can't be written.
        """

        def on_frame() -> None:
            with self._lock:
                self._tally.count(sequence)

        def segment(folder: Path) -> Predicted:
            try:
                return worker.segment(sequence, folder, on_frame)
            except Exception as error:
                raise failure(error) from None

        try:
            predicted = self._results.fill(sequence.name, segment)
        except (SequenceError, WorkerDiedError, InputError) as error:
            # A failed write has the system's error as its cause. An InputError without a cause says
            # that a foreign file or folder stands in this sequence's place, and in no other.
            if isinstance(error, OutputError) or isinstance(error.__cause__, OSError):
                raise
            died = isinstance(error, WorkerDiedError)
            with self._lock:
                self._tally.uncount(sequence)
                if not died:
                    expected = "pictures that can be followed, and room"
                    self._tally.give_up(sequence, f"not segmented: {error}", expected)
                elif not self._queue.again(sequence):
                    found = f"not segmented, {TRIES} tries failed; the last one: {error}"
                    self._tally.give_up(sequence, found, "a worker that can finish it")
            if died:
                raise
        else:
            with self._lock:
                self._tally.add(sequence, predicted)


class _Queue:
    """Sequences that no worker is at; the crew holds its lock meanwhile."""

    def __init__(self) -> None:
        self._waiting: deque[VideoSequence] = deque()
        self._failed: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, sequence: VideoSequence) -> None:
        self._waiting.append(sequence)

    def take(self) -> VideoSequence | None:
        return self._waiting.popleft() if self._waiting else None

    def give_back(self, sequence: VideoSequence) -> None:
        """Let a sequence that was not begun be the next one."""
        self._waiting.appendleft(sequence)

    def again(self, sequence: VideoSequence) -> bool:
        """Let a sequence that lost its worker be tried last; False if it had all its tries."""
        self._failed[sequence.name] += 1
        more = self._failed[sequence.name] < TRIES
        if more:
            self.add(sequence)
        return more


class _Places:
    """Places that take sequences, each with one worker after another.

    Attributes:
        closed: Whether nobody may take another sequence.
    """

    def __init__(self, lock: threading.RLock, open_worker: Callable[[], Worker]) -> None:
        self.closed = False
        self._lock = lock
        self._open_worker = open_worker
        self._count = 1
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []  # their places were left

    @property
    def others(self) -> bool:
        """Whether a place without a worker can count on an idle worker or on another place."""
        return bool(self._idle) or self._count > 1

    def set_up(self, count: int) -> int:
        """Set the number of places; returns it, at least 1."""
        self._count = max(1, count)
        return self._count

    def hire(self) -> tuple[Worker, Settings]:
        """Open a worker, again if it dies, and wait until it is ready.

        Raises:
            BackendError: Workers die while they start.
            MavosError: The worker can't run the bundle.
        """
        tries = 0
        while True:
            with processes_start():  # known, and so ended, before an interrupt takes effect
                worker = self._open_worker()
                with self._lock:
                    self._workers.append(worker)
                    closed = self.closed
            try:
                if closed:
                    raise WorkerDiedError("it was not needed any more")
                return worker, worker.ready()
            except MavosError as error:
                self.dismiss(worker)
                if not isinstance(error, WorkerDiedError):
                    raise
                tries += 1
                if tries == TRIES or self.closed:
                    raise BackendError(
                        f"{tries} workers died while they started, the last one with: {error}; "
                        "where memory is short, take fewer workers"
                    ) from None

    def dismiss(self, worker: Worker) -> None:
        """End a worker; its place may hire another one."""
        with self._lock:
            self._workers.remove(worker)
        worker.close()

    def leave(self, worker: Worker | None) -> None:
        """Give up a place; its worker is idle from then on."""
        self._count -= 1
        if worker is not None:
            self._idle.append(worker)

    def lend(self) -> Worker | None:
        """An idle worker, if there is one."""
        return self._idle.pop() if self._idle else None

    def close(self) -> None:
        """Let nobody take another sequence, and end all workers."""
        with self._lock:
            self.closed = True
            workers = list(self._workers)
        for worker in workers:
            worker.close()
