"""The annotations of a sequence in order of time, and the objects that start in them."""

from pathlib import Path

import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.datasets.sequences import Problem, VideoSequence, listed
from mavos_deploy.runtime.masks.formats.coco_reading import unpack
from mavos_deploy.runtime.masks.formats.shapes import from_runs
from mavos_deploy.runtime.masks.numbering import Numbering, Reading
from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.objects import VOID, Labels


class Truth:
    """The annotations of a sequence, read in order of time, and the objects that start in them.

    Attributes:
        starts: Stem of the frame with each object's reference mask, by id, as far as it was read.
        problems: Annotations that could not be read or understood so far.
        palette: Palette of the first annotation that has one; None until then.
        notes: One line for each thing that was concluded from the annotations.
    """

    def __init__(self, sequence: VideoSequence) -> None:
        self.starts: dict[int, str] = {}
        self.problems: list[Problem] = []
        self.palette: bytes | None = None
        self.notes: list[str] = []
        self._sequence = sequence
        self._size: tuple[int, int] | None = None
        self._numbering = Numbering()
        self._unknown: dict[int, str] = {}

    def read(self, stem: str) -> tuple[Labels | None, list[int]]:
        """Read a frame's annotation.

        Args:
            stem: Stem of a frame later than those read before.

        Returns:
            The labels, uint8 [H, W] with 255 for void, or None where they are missing or can't be
            used; and the ids of the objects whose reference mask they are.
        """
        path = self._sequence.annotations.get(stem)
        if path is None:
            return None, []
        try:
            mask = self._mask(stem, path)
        except InputError as error:
            self._add(stem, f"unusable annotation ({error})", "a palette or grey PNG")
            return None, []
        labels = mask.labels
        if mask.how and (note := f"annotations are {mask.how}") not in self.notes:
            self.notes.append(note)
        self.palette = self.palette or mask.palette
        self._size = self._size or (labels.shape[0], labels.shape[1])
        if labels.shape != self._size:
            self._add(stem, f"annotation of {size_text(labels.shape)}", size_text(self._size))
            return None, []
        present = [i for i in ids_in(labels) if i != VOID]
        new = self._sequence.starting(stem, present, self.starts)
        self.starts |= dict.fromkeys(new, stem)
        if self._sequence.spans is not None:
            for unknown in set(present) - set(self._sequence.spans):
                self._unknown.setdefault(unknown, stem)
        return labels, new

    def _mask(self, stem: str, path: Path) -> Reading:
        encoded = self._sequence.encoded.get(stem)
        if encoded is None:
            return read_mask(path, self._numbering)
        labels = np.zeros(encoded.size, np.uint8)
        try:
            for number, runs in sorted(encoded.runs.items(), reverse=True):
                labels[from_runs(unpack(runs), encoded.size, by_column=True)] = number
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
        return Reading(labels)

    def close(self) -> list[Problem]:
        """All problems, once the last annotation was read."""
        spans = self._sequence.spans or {}
        for object_id in sorted(set(spans) - set(self.starts)):
            self._add(
                spans[object_id][0],
                f"object {object_id} has no reference mask",
                "its pixels in the annotation of this frame",
            )
        if self._unknown:
            self._add(
                next(iter(self._unknown.values())),
                f"extra ids in annotations: {listed(map(str, sorted(self._unknown)))}",
                f"the ids of the metadata, {listed(map(str, sorted(spans)))}",
            )
        if not self.starts and not self.problems:
            self._add(None, "no object in any annotation", "ids from 1 to 254")
        return self.problems

    def _add(self, stem: str | None, found: str, expected: str) -> None:
        self.problems.append(Problem(self._sequence.name, stem, found, expected))


def ids_in(labels: Labels) -> list[int]:
    """All values of a label map but 0, ascending; 255 too, which is an id like any other here."""
    return [int(i) for i in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)) if i]


def size_text(shape: tuple[int, ...]) -> str:
    """Height and width as messages write them."""
    return f"{shape[0]}x{shape[1]}"
