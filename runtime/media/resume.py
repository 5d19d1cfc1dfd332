"""Saves a run while it goes on, so that it can continue where it ended, however it ended.

Two files lie side by side: the state after some frame, with a digest of every frame up to it,
replaced as a whole; and a run-length store of the labels so far, which only grows. The state rules:
labels behind it in the store are dropped. A run that continues reads the video from its beginning,
takes the labels of the frames that are done from the store, and gives them to all writers anew, so
that files which can't be continued, such as videos, come out as if nothing had happened.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Generic

import numpy as np
from msgspec import Meta
from safetensors import SafetensorError, safe_open

from mavos_deploy import records
from mavos_deploy.errors import InputError
from mavos_deploy.reading import open_regular
from mavos_deploy.runtime.masks.formats.store import SUFFIX, MaskStore, StoreWriter
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame, StateT
from mavos_deploy.runtime.system.files import replacing, writing

FORMAT_VERSION = 1
METADATA = "mavos_run"  # key of the progress in the state file's metadata
ENDING = ".resume"
EVERY = 100  # frames between two saved states
DIGEST = 8  # bytes
NEW_RUN = "begin anew with --resume --overwrite"


@dataclass(frozen=True)
class Progress:
    """How far a run came.

    Attributes:
        backend: Name of the backend and its arithmetic; another one finds other masks.
        frames: Frames done.
        digests: Hex digits, 16 for each of these frames: the picture, its name, its mask.
        objects: Ids followed.
        added: Stem of the first frame of objects that came later, by their ids in digits.
        ignored_masks: Later masks that hold no object.
        corrected: Stems of the frames whose masks corrected known objects; None in files of
            releases that left such masks alone, and counted them among the ignored ones.
    """

    backend: str
    frames: Annotated[int, Meta(ge=1)]
    digests: str
    objects: tuple[int, ...]
    added: Mapping[str, str] = field(default_factory=dict)
    ignored_masks: int = 0
    corrected: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.digests) != 2 * DIGEST * self.frames:
            raise ValueError("`digests` are not those of `frames`")


def is_saved(place: Path) -> bool:
    """Whether a run is saved beside its first result, if only its first labels are.

    Args:
        place: File or folder of that result.
    """
    return any(file.exists() for file in _files(place))


def _files(place: Path) -> tuple[Path, Path]:
    """The state's file and the store."""
    return place.with_name(place.name + ENDING), place.with_name(place.name + ENDING + SUFFIX)


def digest_of(stem: str, rgb: RgbFrame, mask: Labels | None) -> str:
    """Hex digits that tell a frame with its mask from all others."""
    digest = hashlib.blake2b(stem.encode("utf-8", "surrogateescape"), digest_size=DIGEST)
    for array in (rgb, mask):
        if array is not None:
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class Resume(Generic[StateT]):
    """The saved part of a run.

    Attributes:
        path: The state's file; the store's name is the same with the store's ending.
        earlier: How far an earlier run came; None where there is none.
        saved: Frames that the state's file covers; 0 without one.

    Args:
        place: File or folder of the run's first result, beside which the files lie.
        backend: Name of the backend and its arithmetic.
        dump: Turns a state and metadata into the bytes of a file.
        load: Reads a state from such a file.
        every: Frames between two saved states.
        fresh: Whether to begin anew where there is an earlier run.

    Raises:
        InputError: The state's file is damaged, or the earlier run had another backend.
    """

    def __init__(
        self,
        place: Path,
        backend: str,
        dump: Callable[[StateT, Mapping[str, str]], bytes],
        load: Callable[[Path], StateT],
        every: int = EVERY,
        fresh: bool = False,
    ) -> None:
        self.path, self._store_path = _files(place)
        self._backend = backend
        self._dump = dump
        self._load = load
        self._every = every
        self._digests: list[str] = []
        self.saved = 0
        self.earlier = self._read() if self.path.exists() and not fresh else None
        self._store: MaskStore | None = None
        self._writer: StoreWriter | None = None

    def _read(self) -> Progress:
        def damaged(reason: str) -> InputError:
            return InputError(
                f"{self.path} is no saved run, or is damaged ({reason})"
                + records.advice(reason, NEW_RUN)
            )

        try:
            open_regular(self.path).close()  # a pipe would be waited for
            with safe_open(self.path, framework="numpy") as file:
                text = (file.metadata() or {}).get(METADATA, "{}")
        except (SafetensorError, ValueError, OSError) as error:
            raise damaged(str(error)) from None
        earlier = records.decode(Progress, text, damaged, FORMAT_VERSION)
        if earlier.backend != self._backend:
            raise InputError(
                f"{self.path} was saved by {earlier.backend} and this is {self._backend}, which "
                f"finds slightly other masks; go on with the same backend, or {NEW_RUN}"
            )
        if earlier.corrected is None and earlier.ignored_masks:
            raise InputError(
                f"{self.path} was saved by a release that left masks of known objects alone, and "
                f"they are corrections now; {NEW_RUN}"
            )
        return earlier

    def open(self, legend: Legend) -> StateT | None:
        """Open the store, behind the frames that are done.

        Args:
            legend: Names and palette.

        Returns:
            The state after these frames; None for a run that begins.

        Raises:
            InputError: The store is missing, damaged or another one, or the place can't be written
                to.
        """
        if self.earlier is None:
            with writing(self.path):
                self.path.unlink(missing_ok=True)
                self._store_path.unlink(missing_ok=True)  # it may be a link to another's file
            self._writer = StoreWriter(self._store_path, legend)
            return None
        done = self.earlier.frames
        try:
            self._writer = StoreWriter(self._store_path, legend, after=done)
            self._store = MaskStore(self._store_path)
        except InputError as error:
            raise InputError(f"{error}; {NEW_RUN}") from None
        self.saved = done
        return self._load(self.path)

    def done(self, order: int, stem: str, rgb: RgbFrame, mask: Labels | None) -> bool:
        """Whether a frame was segmented by the earlier run; every frame is to be asked for once.

        Args:
            order: Place of the frame among those of the run, from 0.
            stem: Name of the frame.
            rgb: Its picture.
            mask: The mask that was given for it; None for none.

        Raises:
            InputError: It was, and the frame or its mask was another one.
        """
        digest = digest_of(stem, rgb, mask)
        self._digests.append(digest)
        if self.earlier is None or order >= self.earlier.frames:
            return False
        width = 2 * DIGEST
        if self.earlier.digests[order * width : (order + 1) * width] != digest:
            raise InputError(
                f"{self.path} belongs to another run: frame {stem} or its mask is not what it was; "
                f"give the same video, masks and options, or {NEW_RUN}"
            )
        return True

    def labels(self, index: int) -> Labels:
        """Labels of a frame that is done.

        Args:
            index: Number of the frame in the video.

        Raises:
            InputError: The store is damaged.
        """
        assert self._store is not None
        return self._store[index]

    def due(self, frames: int) -> bool:
        """Whether the state after so many frames is to be saved."""
        return frames > self.saved and frames % self._every == 0

    def bytes_of(
        self,
        state: StateT,
        frames: int,
        added: Mapping[int, str],
        corrected: Sequence[str],
        ignored_masks: int,
    ) -> bytes:
        """The state's file after a frame, to be written once the frame's labels are.

        Args:
            state: The state after the frame; it may be changed as soon as this returns.
            frames: Frames done.
            added: Ids of objects that came later, with the stem of their first frame.
            corrected: Stems of the frames whose masks corrected known objects.
            ignored_masks: Later masks that hold no object.
        """
        progress = Progress(
            self._backend,
            frames,
            "".join(self._digests[:frames]),
            state.objects,
            {str(number): stem for number, stem in added.items()},
            ignored_masks,
            tuple(corrected),
        )
        text = json.dumps(records.encode(progress, FORMAT_VERSION))
        return self._dump(state, {METADATA: text})

    def write(self, frame: LabelledFrame) -> None:
        """Append a frame's labels, unless the store has them.

        Raises:
            InputError: The disk is full.
        """
        assert self._writer is not None
        if self._store is None or frame.index not in self._store:
            self._writer.write(frame)

    def save(self, content: bytes, frames: int) -> None:
        """Replace the state's file.

        Args:
            content: What `bytes_of` returned.
            frames: Frames done.

        Raises:
            InputError: The disk is full; the older state stays.
        """
        assert self._writer is not None
        self._writer.sync()
        with replacing(self.path, follow=False) as temporary:
            temporary.write_bytes(content)
        self.saved = frames

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> "Resume[StateT]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
