"""Every mask that was ever made in a project, by version, in one file that only grows."""

import threading
from contextlib import suppress
from pathlib import Path

import numpy as np

from mavos_deploy.errors import MavosError
from mavos_deploy.runtime.masks.formats.store import MaskStore, StoreWriter
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.objects import Labels


class Versions:
    """Masks by version: 1, 2, ... in the order in which they were made.

    They lie in a run-length store whose numbers are versions and whose names are frames. What was
    appended is there after the process was killed. Safe to use from several threads.

    Args:
        path: The store; made where it is missing.

    Raises:
        InputError: It is damaged, or can't be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._writer: StoreWriter | None = None
        self._store: MaskStore | None = None
        self._open()

    def _open(self) -> None:
        """Begin to append behind the last whole mask; what follows it is cut off."""
        count = 0
        if self._path.exists():
            with MaskStore(self._path) as store:
                count = len(store)
        self.close()
        self._writer = StoreWriter(self._path, Legend(self._path.parent.stem), after=count)
        self._store = MaskStore(self._path)

    @property
    def _held(self) -> MaskStore:
        if self._store is None:
            self._open()
        assert self._store is not None
        return self._store

    @property
    def folder(self) -> Path:
        """The folder that they lie in."""
        return self._path.parent

    def __len__(self) -> int:
        """The newest version; 0 where there is none."""
        return len(self._held)

    def add(self, frame: int, labels: Labels) -> int:
        """Keep a frame's mask.

        Args:
            frame: Number of the frame.
            labels: uint8, shape (H, W).

        Returns:
            Its version.

        Raises:
            InputError: The disk is full; the masks before are whole.
        """
        with self._lock:
            held = self._held
            version = len(held) + 1
            labelled = LabelledFrame(version, f"{frame:05d}", np.ascontiguousarray(labels))
            assert self._writer is not None
            try:
                self._writer.write(labelled)
            except BaseException:
                self._open()
                raise
            held.extend()
            return version

    def labels(self, version: int) -> Labels:
        """A mask, uint8, shape (H, W).

        Raises:
            InputError: There is no such version, or it is damaged.
        """
        with self._lock:
            return self._held[version]

    def frame_of(self, version: int) -> int:
        """Number of the frame that a version belongs to."""
        with self._lock:
            return int(self._held.stem(version))

    def sync(self) -> None:
        """Wait until all masks are on the disk, also if the machine itself stops."""
        with self._lock:
            if self._writer is not None:
                self._writer.sync()

    def close(self) -> None:
        """End the file. Safe to call twice."""
        with self._lock:
            writer, store = self._writer, self._store
            self._writer = self._store = None
            if store is not None:
                store.close()
            if writer is not None:
                with suppress(MavosError):  # of a full disk; the masks are whole without an index
                    writer.close()
