"""OpenCV, imported when it is needed: commands that only print their help don't wait for it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from mavos_deploy.errors import BackendError, one_line, shortage
from mavos_deploy.runtime.system.loading import load
from mavos_deploy.runtime.system.machine import address_space_left

SPACE = 224 << 20  # bytes of addresses for OpenCV 5 with its libraries, which take 205 MB
THREADS = "OPENBLAS_NUM_THREADS"  # of a library that OpenCV brings, and that nothing here uses

_loading = Lock()


def opencv() -> Any:  # noqa: ANN401  # untyped in part
    """Import OpenCV, which takes a tenth of a second the first time.

    Returns:
        The module `cv2`.

    Raises:
        BackendError: It is not installed, lacks a system library that it needs, or doesn't fit
            into the memory that this process may have.
    """
    try:
        with _loading, _in_little_memory():
            return load("cv2")
    except (ImportError, MemoryError) as error:
        do = shortage(error) or (
            "install it with pip install --force-reinstall opencv-python-headless"
        )
        raise BackendError(
            f"OpenCV can't be imported ({one_line(error)}), and it resizes frames and draws; {do}"
        ) from error


@contextmanager
def _in_little_memory() -> Iterator[None]:
    """Let OpenCV load where addresses are limited, or say that it can't.

    OpenBLAS, one of its libraries, takes another 136 MB for each processor while it loads, and
    where it gets none, it ends the process.

    Raises:
        MemoryError: The limit is too close.
    """
    left = None if sys.modules.get("cv2") is not None else address_space_left()
    if left is None:
        yield
        return
    if left < SPACE:
        raise MemoryError(
            f"it takes {SPACE >> 20} MB of addresses, and {left >> 20} MB are left to this process"
        )
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(THREADS, None)
        else:
            os.environ[THREADS] = before
