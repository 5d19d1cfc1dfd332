"""TensorRT and TensorRT-RTX: one API under two module names, imported and listened to.

Neither library raises: calls return None or False and tell a logger why.
"""

from types import ModuleType
from typing import Any

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime.bundles.engines import Library
from mavos_deploy.runtime.system.loading import load

# Extras of mavos-deploy.
EXTRAS: dict[str, str] = {Library.TENSORRT: "tensorrt", Library.TENSORRT_RTX: "tensorrt-rtx"}
LONGEST_REASON = 600  # characters of the library's own words in an error
# A part of the message that the library adds to the real reason on a machine without a GPU.
NO_DRIVER = "cudaError 35"


def open_library(library: str) -> ModuleType:
    """Import TensorRT.

    Args:
        library: A `Library`; the module has its name.

    Raises:
        BackendError: It is missing or doesn't load.
    """
    try:
        return load(library)
    except (ImportError, OSError, RuntimeError) as error:  # its own libraries fail with the latter
        raise BackendError(
            f"{library} can't be imported ({' '.join(str(error).split())[:200]}); install it with "
            f"pip install 'mavos-deploy[{EXTRAS[library]}]'"
        ) from error


def collecting_logger(trt: ModuleType) -> Any:  # noqa: ANN401  # the library is untyped
    """A logger that keeps the explanations of failures in its `errors`, and prints nothing."""
    severe = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Collector(trt.ILogger):  # type: ignore[name-defined,misc]  # a base known at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # as the library's documentation demands
            self.errors: list[str] = []

        def log(self, severity: object, message: str) -> None:
            if severity in severe:
                self.errors.append(" ".join(message.split()))

    return Collector()


def library_said(errors: list[str]) -> str:
    """The library's own explanation on one line."""
    telling = [error for error in errors if NO_DRIVER not in error] or errors
    return ("; ".join(dict.fromkeys(telling)) or "it gave no reason")[:LONGEST_REASON]
