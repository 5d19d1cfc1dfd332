"""Workers that are processes of this machine."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from mavos_deploy.errors import BackendError, InputError, MavosError
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.datasets.prediction import Predicted
from mavos_deploy.runtime.datasets.results import Settings
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.jobs.worker import (
    OwnProcess,
    SequenceError,
    Setup,
    WorkerDiedError,
    failure,
    reason,
)
from mavos_deploy.runtime.system.child import Child, ChildDiedError
from mavos_deploy.runtime.system.processors import usable_processors


def threads_each(workers: int) -> int:
    """CPU threads for each of several workers that share this machine."""
    return max(1, usable_processors() // workers)


class LocalProcess:
    """A worker in a process of its own, so that a crash, or a lack of memory, ends it alone."""

    def __init__(self, setup: Setup) -> None:
        self._child = Child("the worker", _serve, setup)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._child.pid

    def ready(self) -> Settings:
        """See `Worker`."""
        try:
            answer = self._child.receive()
        except ChildDiedError as died:
            raise WorkerDiedError(str(died)) from None
        if isinstance(answer, BackendError):
            raise answer
        assert isinstance(answer, Settings)
        return answer

    def segment(
        self, sequence: VideoSequence, folder: Path, on_frame: Callable[[], None]
    ) -> Predicted:
        """See `Worker`."""
        try:
            self._child.send((sequence, folder))
            while True:
                answer = self._child.receive()
                if isinstance(answer, Predicted):
                    return answer
                if isinstance(answer, MavosError):
                    raise answer
                on_frame()
        except (InputError, SequenceError):
            raise
        except BaseException:
            self.close()  # before anything happens to the folder that it writes to
            raise

    def close(self) -> None:
        """Kill the process: its files are removed or replaced, so it has nothing to finish."""
        self._child.kill()


def _serve(connection: Connection, setup: Setup) -> None:
    """Work in the process: say that it is ready, and take sequences until the pipe ends.

    The process ends by itself after an error that may come again with every sequence.
    """
    with suppress(EOFError, BrokenPipeError):  # nobody is there any more to work for
        try:
            # Opened anew: a process may start long after its parent checked the bundle.
            worker = OwnProcess(replace(setup, bundle=Bundle.open(setup.bundle.path)))
            connection.send(worker.ready())
        except Exception as error:
            connection.send(BackendError(reason(error)))
            return
        while True:
            sequence, folder = connection.recv()
            answer: Predicted | MavosError
            try:
                answer = worker.segment(sequence, folder, lambda: connection.send(None))
            except Exception as error:
                answer = failure(error)
            connection.send(answer)
            if isinstance(answer, WorkerDiedError):
                return
