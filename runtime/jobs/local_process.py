"""Workers that are processes of this machine."""

import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mavos_deploy.errors import BackendError, InputError, MavosError
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.datasets.prediction import Predicted, segment_sequence
from mavos_deploy.runtime.datasets.results import Settings
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.jobs.crew import SequenceError, WorkerDiedError, failure, reason
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.processors import usable_processors

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def threads_each(workers: int) -> int:
    """CPU threads of each of several workers that share this machine."""
    return max(1, usable_processors() // workers)


class LocalProcess:
    """A worker in a process of its own, so that a crash, or a lack of memory, ends it alone.

    Args:
        bundle: Its folder.
        backend: A name of `runtime.backend.BACKENDS`.
        threads: Of the CPU.
        stretch: Accept sequences of another aspect ratio than the bundle's.
    """

    def __init__(self, bundle: Path, backend: str, threads: int, stretch: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._ending = threading.Lock()
        self._process = context.Process(
            target=_serve, args=(theirs, bundle, backend, threads, stretch), daemon=True
        )
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def ready(self) -> Settings:
        """See `jobs.Worker`."""
        answer = self._receive()
        if isinstance(answer, BackendError):
            raise answer
        assert isinstance(answer, Settings)
        return answer

    def segment(
        self, sequence: VideoSequence, folder: Path, on_frame: Callable[[], None]
    ) -> Predicted:
        """See `jobs.Worker`."""
        try:
            self._send((sequence, folder))
            while True:
                answer = self._receive()
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
        """Kill the process: what it writes is removed or replaced, so it has nothing to finish."""
        with self._ending:
            self._process.kill()
            self._process.join()

    def _send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError:
            raise WorkerDiedError(self._end()) from None

    def _receive(self) -> Any:  # noqa: ANN401  # whatever `_serve` sends
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            raise WorkerDiedError(self._end()) from None

    def _end(self) -> str:
        with self._ending:
            self._process.join()
        code = self._process.exitcode or 0
        if code >= 0:
            return f"the worker ended with code {code}"
        short = ", perhaps because memory was short" if -code == signal.SIGKILL else ""
        return f"the worker was ended by signal {-code}{short}"


def _serve(
    connection: "Connection[object, Any]",
    bundle: Path,
    backend: str,
    threads: int,
    stretch: bool,
) -> None:
    """What a worker does: says that it is ready, and takes sequences until the pipe ends.

    It ends by itself after an error that may come again with every sequence.
    """
    with suppress(EOFError, BrokenPipeError):  # nobody is there any more to work for
        try:
            opened = Bundle.open(bundle)
            segmenter = Segmenter(opened, open_backend(opened, threads, backend))
        except Exception as error:
            connection.send(BackendError(reason(error)))
            return
        connection.send(Settings.of(segmenter, stretch))
        while True:
            sequence, folder = connection.recv()
            answer: Predicted | MavosError
            try:
                answer = segment_sequence(
                    segmenter,
                    sequence,
                    folder,
                    stretch=stretch,
                    on_frame=lambda: connection.send(None),
                )
            except Exception as error:
                answer = failure(error)
            connection.send(answer)
            if isinstance(answer, WorkerDiedError):
                return
