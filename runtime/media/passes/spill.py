"""Arrays of a run that wait on the disk until it is their turn."""

import math
import struct
import zlib
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.found import Confidence
from mavos_deploy.runtime.system.files import writing

_SHAPE = struct.Struct("<3I")  # rank 3 at most; missing axes are 0
_CONFIDENCE = np.dtype([("own", "u1"), ("value", "<f8")])  # NaN for an unknown one


class Spill:
    """Keeps small uint8 arrays of many frames in a file without a name, so that memory stays flat.

    The file is gone with the process, however that ends. Label maps take a few kilobytes each. Use
    it in a `with` block.

    Args:
        folder: Folder on whose disk they lie.

    Raises:
        InputError: The folder can't be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0

    def __setitem__(self, number: int, array: NDArray[np.uint8]) -> None:
        """Keep the array of a frame, of rank 3 at most.

        Raises:
            InputError: The disk is full.
        """
        shape = _SHAPE.pack(*array.shape, *[0] * (3 - array.ndim))
        content = shape + zlib.compress(np.ascontiguousarray(array).data, 1)
        with writing(self._folder):
            self._file.seek(self._end)
            self._file.write(content)
        self._places[number] = self._end, len(content)
        self._end += len(content)

    def __getitem__(self, number: int) -> NDArray[np.uint8]:
        """The array of a frame; a KeyError where none is kept."""
        start, length = self._places[number]
        self._file.seek(start)
        content = self._file.read(length)
        if len(content) < length:
            raise InputError(f"{self._folder}: what was written there can't be read again")
        shape = [extent for extent in _SHAPE.unpack_from(content) if extent]
        flat = np.frombuffer(zlib.decompress(content[_SHAPE.size :]), np.uint8)
        return flat.reshape(shape)

    def close(self) -> None:
        """Drop everything."""
        self._file.close()

    def __enter__(self) -> "Spill":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ConfidenceSpill:
    """Keeps the confidence in the masks of many frames; see `Spill`.

    Args:
        folder: Folder on whose disk it lies.
    """

    def __init__(self, folder: Path) -> None:
        self._spill = Spill(folder)

    def __setitem__(self, number: int, confidence: Confidence) -> None:
        """Keep the confidence of a frame; see `Spill`."""
        rows = [(own, math.nan if value is None else value) for own, value in confidence.items()]
        # One row more, since arrays without content aren't kept.
        self._spill[number] = np.array([(0, math.nan), *rows], _CONFIDENCE).view(np.uint8)

    def __getitem__(self, number: int) -> Confidence:
        """The confidence of a frame; a KeyError where none is kept."""
        rows = self._spill[number].view(_CONFIDENCE)[1:].tolist()
        return {own: None if math.isnan(value) else value for own, value in rows}

    def __enter__(self) -> "ConfidenceSpill":
        return self

    def __exit__(self, *_: object) -> None:
        self._spill.close()
