"""PyCUDA and CUDA's Python bindings: imported, and the context that the process shares."""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mavos_deploy.errors import BackendError, one_line
from mavos_deploy.runtime.system.loading import load

_contexts: dict[Any, Any] = {}  # the primary context, by PyCUDA's module


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


def checked(driver: Any, result: tuple[Any, ...]) -> Any:  # noqa: ANN401  # untyped
    """The value of a driver call.

    Raises:
        BackendError: The call failed.
    """
    status, *values = result
    if status != driver.CUresult.CUDA_SUCCESS:
        raise BackendError(f"CUDA graph: the driver reports {status.name}")
    return values[-1] if values else None


class CudaContext:
    """The first GPU's context, which this process shares with CUDA's runtime until it ends.

    Giving it up and taking it anew with every backend would break other code that has it current;
    PyCUDA leaves it on the thread's stack when it is detached.

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
            if cuda not in _contexts:
                _contexts[cuda] = context = cuda.Device(0).retain_primary_context()
                atexit.register(_detach, cuda, context)
        except cuda.Error as error:
            raise BackendError(
                f"{name}: the GPU can't be used ({one_line(error)}); look with nvidia-smi "
                "whether its memory is full or another program has it for itself"
            ) from error
        self._context = _contexts[cuda]

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context that of this thread, and put errors of CUDA in one line.

        Raises:
            BackendError: CUDA reports an error, perhaps of earlier work.
        """
        try:
            self._context.push()
        except self._cuda.Error as error:
            raise self._reported(error) from error
        try:
            yield
        except BaseException as error:
            with suppress(BackendError):
                self._leave()
            if isinstance(error, self._cuda.Error):
                raise self._reported(error) from error
            raise
        self._leave()

    def give_up(self) -> None:
        """Detach the context because the device is lost; see `_detach`."""
        _detach(self._cuda, self._context)

    def _leave(self) -> None:
        """Take the context off the thread's stack, which can tell that earlier work has failed."""
        try:
            self._cuda.Context.pop()
        except self._cuda.Error as error:
            self.give_up()
            raise self._reported(error) from error

    def _reported(self, error: Exception) -> BackendError:
        return BackendError(f"{self._name}: CUDA reports: {one_line(error)}")


def _detach(cuda: Any, held: Any) -> None:  # noqa: ANN401  # untyped
    """Detach a context once, when the process ends or the device is lost.

    Blocks and events that PyCUDA still holds of it are then dropped in silence. With a context that
    it takes to be alive it would print for every block, or abort the process. A context that has
    been replaced since was detached before.
    """
    if cuda in _contexts and _contexts[cuda] is held:
        del _contexts[cuda]
        with suppress(cuda.Error):
            held.detach()
