"""Confidence in every mask that was followed, by version, in a file that only grows."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mavos_deploy.runtime.system.files import writing

# A line of the file: version of a mask, id of an object, confidence.
_ENTRY = np.dtype([("version", "<u4"), ("object", "u1"), ("value", "<f4")])


class Certainty:
    """Confidence by version and object. Safe to use from several threads.

    Args:
        path: The file; made where it is missing. An entry at its end that isn't whole is cut off.
        versions: The newest version of a mask; entries of later ones, whose masks were lost, are
            cut off: their versions will be given to other masks.

    Raises:
        InputError: It can't be written.
    """

    def __init__(self, path: Path, versions: int) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._values: dict[int, dict[int, float]] = {}
        whole = 0
        if path.exists():
            content = path.read_bytes()
            entries = np.frombuffer(content, _ENTRY, len(content) // _ENTRY.itemsize)
            lost = np.flatnonzero(entries["version"] > versions)
            entries = entries[: lost[0]] if lost.size else entries
            for version, number, value in entries.tolist():
                self._values.setdefault(version, {})[number] = value
            whole = entries.nbytes
        with writing(path):
            self._file: BinaryIO = path.open("ab", buffering=0)
            self._file.truncate(whole)

    def add(self, version: int, confidence: Mapping[int, float]) -> None:
        """Keep the confidence in a mask.

        Args:
            version: The mask's version.
            confidence: Confidence in each object, 0..1, by id.

        Raises:
            InputError: The disk is full; entries before are whole.
        """
        entries = np.array([(version, i, v) for i, v in confidence.items()], _ENTRY)
        with self._lock:
            place = self._file.seek(0, 2)
            try:
                with writing(self._path):
                    self._file.write(entries.tobytes())
            except BaseException:
                self._file.truncate(place)
                raise
            self._values[version] = {int(i): float(v) for _, i, v in entries.tolist()}

    def of(self, version: int) -> Mapping[int, float]:
        """Confidence in each object of a mask, by id; empty where nothing is known."""
        with self._lock:
            return self._values.get(version, {})

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()
