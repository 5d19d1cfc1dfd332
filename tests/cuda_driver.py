"""Where the driver of `tools/host_cuda.py` is built for tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from tools.host_cuda import DownloadError

BUILD = Path(__file__).resolve().parents[1] / "build"


def built(name: str, build: Callable[[Path], None]) -> Path:
    """A folder of the project's builds, filled by one process at a time.

    Args:
        name: Name of the folder.
        build: A function of `tools.host_cuda` that fills it; skips where it can't download.
    """
    folder = BUILD / name
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        try:
            build(folder)
        except DownloadError as error:
            pytest.skip(f"PyCUDA or CUDA's headers can't be downloaded: {error}")
    return folder
