"""Events in masks that were followed, by version, in a file that only grows."""

import json
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mavos_deploy import records
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.system.files import writing


@dataclass(frozen=True)
class Happening:
    """An event in a mask.

    Attributes:
        version: Version of the mask.
        frame: Number of its frame.
        objects: Ids of the objects that it is about; none for the frame as a whole.
        kind: A word of `EventKind`.
        text: One line about it.
    """

    version: int
    frame: int
    objects: tuple[int, ...]
    kind: str
    text: str


class Happenings:
    """Events by version. Safe to use from several threads.

    Args:
        path: The file of JSON lines; made where it is missing. A line at its end that isn't whole
            is cut off.
        versions: The newest version of a mask; events of later ones, whose masks were lost, are
            cut off: their versions will be given to other masks.

    Raises:
        InputError: A line is damaged, or it can't be written.
    """

    def __init__(self, path: Path, versions: int) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._found: dict[int, list[Happening]] = {}
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            if not line.endswith(b"\n"):
                break
            happening = records.decode(Happening, line, self._damaged)
            if happening.version > versions:
                break
            whole += len(line)
            self._found.setdefault(happening.version, []).append(happening)
        with writing(path):
            self._file: BinaryIO = path.open("ab", buffering=0)
            self._file.truncate(whole)

    def _damaged(self, reason: str) -> InputError:
        return InputError(f"{self._path} is damaged ({reason}); remove it, events are lost with it")

    def add(self, happenings: Sequence[Happening]) -> None:
        """Keep events.

        Raises:
            InputError: The disk is full; events before are whole.
        """
        lines = "".join(f"{json.dumps(records.encode(each))}\n" for each in happenings)
        with self._lock:
            place = self._file.seek(0, os.SEEK_END)
            try:
                with writing(self._path):
                    self._file.write(lines.encode("utf-8", "backslashreplace"))
            except BaseException:
                with suppress(OSError):
                    self._file.truncate(place)
                raise
            for each in happenings:
                self._found.setdefault(each.version, []).append(each)

    def now(self, masks: NDArray[np.int64]) -> list[Happening]:
        """Events in the masks that hold, in the order of their frames.

        Args:
            masks: Version of each frame's mask, 0 for none.
        """
        with self._lock:
            kept = sorted(self._found)
            frames = np.flatnonzero(np.isin(masks, kept))
            return [each for frame in frames for each in self._found[int(masks[frame])]]

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()
