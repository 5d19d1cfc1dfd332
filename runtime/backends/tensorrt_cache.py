"""Kernels that TensorRT-RTX compiles for this GPU: one cache for all contexts, kept on disk.

Source: NVIDIA TensorRT-RTX documentation, Working with Runtime Cache.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.bundles.engines import Engine
from mavos_deploy.runtime.system.files import cache_folder, replacing


class KernelCache:
    """The compiled kernels of a bundle's engines.

    Args:
        engines: The engines, whose plans name the folder.
        around: Release of the library, compute capability and driver, which name the file.
    """

    def __init__(self, engines: Iterable[Engine], around: str) -> None:
        self._file: Path | None = None
        self._kernels: Any = None
        plans = "".join(engine.sha256 for engine in engines)
        digest = hashlib.sha256(plans.encode()).hexdigest()
        with suppress(InputError):  # without a cache folder nothing is kept
            self._file = cache_folder() / "tensorrt-rtx" / digest / f"{around}.cache"

    def shared(self, config: Any) -> Any:  # noqa: ANN401  # untyped
        """The library's cache, made with the first config; a file that doesn't fit is ignored."""
        if self._kernels is None:
            self._kernels = kernels = config.create_runtime_cache()
            if kernels is not None and self._file is not None:
                with suppress(OSError):
                    kernels.deserialize(self._file.read_bytes())
        return self._kernels

    def save(self) -> None:
        """Write the cache and drop it; it only saves time, so nothing fails for it."""
        kernels, self._kernels = self._kernels, None
        blob = None if kernels is None else kernels.serialize()
        if blob is not None and self._file is not None:
            with suppress(InputError, OSError), replacing(self._file) as temporary:
                temporary.write_bytes(memoryview(blob))
