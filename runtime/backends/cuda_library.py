"""PyCUDA and CUDA's Python bindings: imported, and the context that the process shares."""

import atexit
import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mavos_deploy.errors import BackendError, one_line
from mavos_deploy.runtime.system.gpu import (
    leave_context,
    release_primary_context,
    reset_primary_context,
)
from mavos_deploy.runtime.system.loading import load

_contexts: dict[Any, Any] = {}  # the primary context, by PyCUDA's module
_takers: dict[Any, int] = {}  # id of the thread that took it
_lost: dict[Any, str] = {}  # modules whose context was lost in this process, and CUDA's words then
_lock = threading.Lock()  # guards the three above


def open_pycuda() -> Any:  # noqa: ANN401  # untyped
    """Import PyCUDA's driver module.

    Raises:
        BackendError: It is missing or doesn't load.
    """
    try:
        return load("pycuda.driver")
    except ImportError as error:
        raise BackendError(
            f"PyCUDA can't be imported ({one_line(error)}); install it with "
            "pip install 'mavos-deploy[cuda]', which compiles it against the CUDA toolkit"
        ) from error


def open_driver() -> Any:  # noqa: ANN401  # untyped
    """Import the functions of CUDA's driver that capture graphs.

    Raises:
        BackendError: They are missing or don't load.
    """
    try:
        return load("cuda.bindings.driver")
    except ImportError as error:
        raise BackendError(
            f"CUDA's Python bindings can't be imported ({one_line(error)}); install them with "
            "pip install 'mavos-deploy[cuda]'"
        ) from error


class DriverError(BackendError):
    """A call of CUDA's driver failed."""


def checked(driver: Any, result: tuple[Any, ...]) -> Any:  # noqa: ANN401  # untyped
    """The value of a driver call.

    Raises:
        DriverError: The call failed.
    """
    status, *values = result
    if status != driver.CUresult.CUDA_SUCCESS:
        raise DriverError(f"CUDA graph: the driver reports {status.name}")
    return values[-1] if values else None


class CudaContext:
    """The first GPU's context, which this process shares with CUDA's runtime until it ends.

    Giving it up and taking it anew with every backend would break other code that has it current;
    PyCUDA leaves it on the thread's stack when it is detached. Only a lost device is given up: a
    fault leaves a context of which every call fails, for all who share it.

    Args:
        cuda: PyCUDA's driver module.
        name: Name of the backend, for messages.

    Raises:
        BackendError: The GPU can't be used.
    """

    def __init__(self, cuda: Any, name: str) -> None:  # noqa: ANN401  # untyped
        self._cuda = cuda
        self._name = name
        try:
            cuda.init()
            with _lock:
                if cuda not in _contexts:
                    _take(cuda, name)
                self._context = _contexts[cuda]
        except cuda.Error as error:
            raise BackendError(
                f"{name}: the GPU can't be used ({one_line(error)}); look with nvidia-smi "
                "whether its memory is full or another program has it for itself"
            ) from error

    @property
    def alive(self) -> bool:
        """Whether the device isn't lost."""
        return _is_held(self._cuda, self._context)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context that of this thread, and put errors of CUDA in one line.

        Raises:
            BackendError: CUDA reports an error, perhaps of earlier work, or has reported one after
                which the device is lost.
        """
        if not self.alive:
            raise self._gone()
        try:
            self._context.push()
        except self._cuda.Error as error:
            self.give_up(error)
            raise self._reported(error) from error
        try:
            yield
        except BaseException as error:
            if isinstance(error, (self._cuda.Error, DriverError)):
                self._check(error)
            with suppress(BackendError):
                self._leave()
            if isinstance(error, self._cuda.Error):
                raise self._reported(error) from error
            raise
        self._leave()

    def give_up(self, error: Exception) -> None:
        """Give the context back because the device is lost, as an error tells; see `_give_up`."""
        _give_up(self._cuda, self._context, one_line(error))

    def let_go(self, thing: object) -> None:
        """Drop an object that calls the driver when it ends; on a lost device it is kept for good.

        Its context is gone then, and what it would free may be another's.
        """
        if not self.alive:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))

    def end(self, destroy: Callable[[Any], object], handle: object) -> None:
        """Destroy a handle of the driver, unless it went with a lost device."""
        if self.alive:
            destroy(handle)

    def _check(self, error: Exception) -> None:
        """Give the context up if the call that failed is not the only one to fail."""
        try:
            if self.alive:
                self._cuda.mem_get_info()  # a wait could end what another thread captures
        except self._cuda.Error:
            self.give_up(error)

    def _leave(self) -> None:
        """Take the context off the thread's stack, which can tell that earlier work has failed."""
        if not self.alive:  # since it was put there; the stack may hold another program's by now
            _clear_stack(self._cuda, self._context)
            raise self._gone()
        try:
            self._cuda.Context.pop()
        except self._cuda.Error as error:
            self.give_up(error)
            raise self._reported(error) from error

    def _gone(self) -> BackendError:
        reason = _lost.get(self._cuda, "the process is ending")
        return BackendError(f"{self._name}: the GPU was lost ({reason}); open the segmenter again")

    def _reported(self, error: Exception) -> BackendError:
        return BackendError(f"{self._name}: CUDA reports: {one_line(error)}")


def _take(cuda: Any, name: str) -> None:  # noqa: ANN401  # untyped
    """Take the primary context, and give it back when the process ends."""
    context = cuda.Device(0).retain_primary_context()
    if cuda in _lost and not _works(cuda, context):
        # Other code holds it too, such as the CUDA runtime of TensorRT. Nobody can use it any more.
        _drop(cuda, context, threading.get_ident())
        reset_primary_context()
        context = cuda.Device(0).retain_primary_context()
        if not _works(cuda, context):
            _drop(cuda, context, threading.get_ident())
            raise BackendError(f"{name}: the GPU stays lost after a fault; start the program again")
    _contexts[cuda], _takers[cuda] = context, threading.get_ident()
    atexit.register(_detach, cuda, context)


def _is_held(cuda: Any, context: Any) -> bool:  # noqa: ANN401  # untyped
    """Whether this process still uses a context; another one may have taken its place."""
    return _contexts.get(cuda) is context


def _works(cuda: Any, context: Any) -> bool:  # noqa: ANN401  # untyped
    """Whether calls in a context succeed; a dead one may be left on this thread's stack."""
    try:
        context.push()
        try:
            cuda.Context.synchronize()
        finally:
            cuda.Context.pop()
    except cuda.Error:
        return False
    return True


def _detach(cuda: Any, context: Any) -> None:  # noqa: ANN401  # untyped
    """Detach a context when the process ends, unless it was given up before.

    Blocks and events that PyCUDA still holds of it are then dropped in silence. With a context that
    it takes to be alive it would print for every block, or abort the process.
    """
    if not _is_held(cuda, context):
        return
    if not _works(cuda, context):
        with suppress(RuntimeError):  # from Python 3.12 on no thread starts so late
            _give_up(cuda, context, "found when the process ended")
            return
    _contexts.pop(cuda, None)
    with suppress(cuda.Error):
        context.detach()


def _give_up(cuda: Any, context: Any, reason: str) -> None:  # noqa: ANN401  # untyped
    """Give a dead context back, once; objects that PyCUDA holds of it are then dropped in silence.

    A context that has been replaced since was given up before, for the reason noted then.
    """
    with _lock:
        if _is_held(cuda, context):
            del _contexts[cuda]
            _lost[cuda] = reason
            _drop(cuda, context, _takers[cuda])


def _drop(cuda: Any, context: Any, taker: int) -> None:  # noqa: ANN401  # untyped
    """Make PyCUDA take a dead context for gone, and give back its hold on it.

    PyCUDA's own way pushes the context, and prints when that fails. It leaves the driver alone in
    threads that neither took the context nor have it on their stack.

    Source: PyCUDA 2026.1, context::detach in src/cpp/cuda.hpp.

    Args:
        cuda: PyCUDA's driver module.
        context: PyCUDA's context.
        taker: Id of the thread that took it.

    Raises:
        RuntimeError: The process is ending, and starts no threads any more.
    """

    def detach() -> None:
        if threading.get_ident() == taker:  # ids of threads that have ended are given out again
            _elsewhere(detach)
        else:
            with suppress(cuda.Error):
                context.detach()

    _elsewhere(detach)
    _clear_stack(cuda, context)
    release_primary_context()


def _elsewhere(call: Callable[[], None]) -> None:
    """Call in another thread, and wait for it."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join()


def _clear_stack(cuda: Any, context: Any) -> None:  # noqa: ANN401  # untyped
    """Take a context that is gone off this thread's stacks: PyCUDA's and the driver's.

    PyCUDA aborts the process if a thread ends with a context on its stack.
    """
    cuda.Context.get_current()  # which drops those that are gone
    leave_context(context.handle)
