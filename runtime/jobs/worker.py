"""Workers: each has a bundle loaded and segments one sequence after another with it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mavos_deploy.errors import InputError, MavosError, one_line
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.datasets.prediction import OutputError, Predicted, segment_sequence
from mavos_deploy.runtime.datasets.results import Settings
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.objects import Count
from mavos_deploy.runtime.segmenter import Segmenter


class WorkerDiedError(MavosError):
    """A worker that ended before it was done, whatever ended it, or that can't go on."""


class SequenceError(MavosError):
    """A sequence that no worker can segment; the worker goes on."""


@dataclass(frozen=True)
class Setup:
    """How sequences are segmented; every worker of a run has the same setup.

    Attributes:
        bundle: Opened bundle.
        backend: Name of the backend that runs the graphs.
        threads: CPU threads of a worker; None takes all that its process may use.
        stretch: Accept sequences of another aspect ratio than the bundle's, and distort them.
    """

    bundle: Bundle
    backend: str
    threads: int | None
    stretch: bool


class Worker(Protocol):
    """Segments one sequence after another, here, in another process or on another machine."""

    def ready(self) -> Settings:
        """Wait until the bundle is loaded; returns what the masks depend on.

        Raises:
            MavosError: The worker can't run the bundle.
            WorkerDiedError: The worker ended meanwhile.
        """

    def segment(
        self, sequence: VideoSequence, folder: Path, on_frame: Callable[[], None]
    ) -> Predicted:
        """Fill a folder with the masks of a sequence.

        Raises:
            OutputError: The folder can't be written to.
            InputError: No worker can segment the sequence.
            Exception: The worker ended meanwhile, or can't go on. After this, as after any error
                and interrupt, nothing writes to the folder any more.
        """

    def close(self) -> None:
        """End the worker. Another thread may call this in the middle of a sequence."""


class OwnProcess:
    """A worker that is this process itself; other workers have one at their far end."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._segmenter: Segmenter | None = None

    def ready(self) -> Settings:
        """Load the bundle; see `Worker`."""
        setup = self._setup
        backend = open_backend(setup.bundle, setup.threads, setup.backend)
        # Objects of data sets are given once each, so that the rules differ in nothing but name.
        self._segmenter = Segmenter(setup.bundle, backend, Count.UPSTREAM)
        return Settings.of(self._segmenter, setup.stretch)

    def segment(
        self, sequence: VideoSequence, folder: Path, on_frame: Callable[[], None]
    ) -> Predicted:
        """See `Worker`."""
        assert self._segmenter is not None
        stretch = self._setup.stretch
        return segment_sequence(
            self._segmenter, sequence, folder, stretch=stretch, on_frame=on_frame
        )

    def close(self) -> None:
        """Free the bundle; see `Worker`."""
        if self._segmenter is not None:
            self._segmenter.close()


def failure(error: Exception) -> MavosError:
    """Classify an error in the middle of a sequence by what it means for the work as a whole.

    Returns:
        An OutputError where no sequence could be written, a SequenceError where only this one can't
        be segmented; for everything else a WorkerDiedError, because nothing says that the worker
        could do the next one.
    """
    if isinstance(error, (OutputError, SequenceError, WorkerDiedError)):
        return error
    return (SequenceError if isinstance(error, InputError) else WorkerDiedError)(reason(error))


def reason(error: Exception) -> str:
    """An error in one line; its type stands before messages that were not written by us."""
    if isinstance(error, MavosError):
        return str(error)
    return f"{type(error).__name__}: {one_line(error)}"
