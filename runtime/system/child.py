"""Child processes: spawned, tied to this one by a pipe, and killed when they are not needed."""

import multiprocessing
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from mavos_deploy.errors import MavosError
from mavos_deploy.runtime.system.interrupts import processes_start


class ChildDiedError(MavosError):
    """A child that ended before it answered.

    Attributes:
        code: Exit code of the process; -N after signal N.
    """

    def __init__(self, name: str, code: int) -> None:
        self.code = code
        end = f"ended with code {code}"
        if code < 0:
            end = f"was ended by signal {-code}"
            if -code == signal.SIGKILL:
                end += ", perhaps because memory was short"
        super().__init__(f"{name} {end}")
        self._made_of = name, code

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), self._made_of  # so that a child can hand it on to its parent


class Child:
    """A process that is spawned, so that it inherits neither memory nor threads.

    It never sees Ctrl-C or SIGTERM; its parent has to kill it, as the end of a `with` block does.
    Code that keeps it elsewhere makes it within `processes_start`, so that no interrupt comes
    between its start and its being known.

    Attributes:
        connection: This end of the pipe; `multiprocessing.connection.wait` takes it.
    """

    def __init__(self, name: str, function: Callable[..., None], *arguments: object) -> None:
        """Start the process.

        Args:
            name: Subject of messages about the process, such as `the worker`.
            function: A function of a module; the process calls it with its end of the pipe and
                the arguments, and ends when it returns.
            arguments: Values that can be pickled.
        """
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._name = name
        self._ending = threading.Lock()
        self._process = context.Process(target=function, args=(theirs, *arguments), daemon=True)
        try:
            with processes_start():
                self._process.start()
                theirs.close()  # so that the end of the process is the end of the pipe
        except BaseException:
            self.kill()
            raise

    @classmethod
    def calling(cls, name: str, function: Callable[..., Any], *arguments: object) -> "Child":
        """Start a process that calls a function of a module once; `result` has its answer."""
        return cls(name, _call, function, arguments)

    @property
    def pid(self) -> int:
        """Number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def send(self, message: object) -> None:
        """Send a value that can be pickled; a ChildDiedError says that the process has ended."""
        try:
            self.connection.send(message)
        except OSError:
            raise self._died() from None

    def receive(self) -> Any:  # noqa: ANN401  # whatever the function sends
        """The next value that the function sends; a ChildDiedError if the process ends before."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            raise self._died() from None

    def result(self) -> Any:  # noqa: ANN401  # whatever the function returns
        """The value that the function of `calling` returns; its MavosError or OSError is raised."""
        answer = self.receive()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        """End the process at once, and wait until it has ended. Any thread may call this."""
        with self._ending:
            if self._process.pid is not None:
                self._process.kill()
                self._process.join()

    def _died(self) -> ChildDiedError:
        with self._ending:
            self._process.join()
        return ChildDiedError(self._name, self._process.exitcode or 0)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _call(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        answer = function(*arguments)
    except (MavosError, OSError) as error:
        answer = error
    connection.send(answer)
