"""Predicted masks of a sequence, as this program or any other wrote them."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.datasets.annotations import ids_in, size_text
from mavos_deploy.runtime.datasets.sequences import Problem, VideoSequence, listed, missing
from mavos_deploy.runtime.masks.names import FrameNames
from mavos_deploy.runtime.masks.numbering import Numbering, Rule
from mavos_deploy.runtime.masks.pictures import (
    JPEG_ADVICE,
    JPEG_REASON,
    jpegs_in,
    masks_in,
    read_mask,
)
from mavos_deploy.runtime.objects import VOID, Labels


def results_folder(folder: Path, names: Collection[str]) -> tuple[Path, str | None]:
    """The folder that holds those of the sequences, which may lie one deeper than the one given.

    Args:
        folder: Folder of results.
        names: Names of the sequences.

    Returns:
        The folder itself, or the only one in it that holds sequences; and a note in that case.
    """
    if any((folder / name).is_dir() for name in names):
        return folder, None
    inside = [f for f in sorted(folder.iterdir()) if any((f / name).is_dir() for name in names)]
    if len(inside) != 1:
        return folder, None
    return inside[0], f"results are in {inside[0]}"


class Predictions:
    """The predicted masks of a sequence, read in order of time, and their problems.

    Attributes:
        notes: One line for each thing that was concluded.
    """

    def __init__(self, sequence: VideoSequence, folder: Path) -> None:
        """Find the masks.

        Args:
            sequence: Sequence with its annotations.
            folder: Folder of its masks; it may hold another one in which they are.
        """
        self.notes: list[str] = []
        self._name = sequence.name
        self._numbering = Numbering()
        self._missing: list[str] = []
        self._jpegs: dict[str, Path] = {}
        self._unusable: dict[str, list[str]] = {}  # stems by the reason, for one line each
        self._sizes: dict[str, list[str]] = {}
        self._ids: dict[int, str] = {}  # found ids, each with the first frame that has it
        self._own: dict[int, int] | None = None  # annotated ids by read ones, where they differ
        try:
            self._files = masks_in(folder)
            self._jpegs = jpegs_in(folder)
            inside = [f for f in sorted(folder.iterdir()) if f.is_dir() and not self._files]
            if len(inside) == 1 and (files := masks_in(inside[0])):
                self._files = files
                self.notes.append("masks lie one folder deeper")
            if len(inside) == 1 and not self._jpegs:
                self._jpegs = jpegs_in(inside[0])
        except InputError as error:
            self._files = {}
            self._unusable[str(error)] = list(sequence.expected[:1])
        self._names = FrameNames(self._files, sequence.expected)
        self._names_of_jpegs = FrameNames(self._jpegs, sequence.expected)

    def read(self, stem: str, size: tuple[int, ...], annotated: Collection[int]) -> Labels | None:
        """The mask of a frame; None where it is missing or can't be scored.

        Args:
            stem: Stem of the frame, later than those read before.
            size: Height and width of its annotation.
            annotated: Ids of the objects that have started.
        """
        try:
            name = self._names.mask_of(stem)
            if name is None:
                self._missing.append(stem)
                return None
            labels = self._labels(self._files[name], annotated)
        except InputError as error:
            reason = str(error).removeprefix(f"{self._files.get(name or '', '')}: ")
            self._unusable.setdefault(reason, []).append(stem)
            return None
        if self._names.by_number:
            self._note("masks are matched with frames by number")
        if labels.shape != size:
            self._sizes.setdefault(size_text(labels.shape), []).append(stem)
            self._size = size_text(size)
            return None
        for object_id in ids_in(labels):
            self._ids.setdefault(object_id, stem)
        return labels

    def _labels(self, path: Path, annotated: Collection[int]) -> Labels:
        """A mask's labels with the annotated ids."""
        reading = read_mask(path, self._numbering)
        if reading.how is None:
            return reading.labels
        found = {i for i in ids_in(reading.labels) if i != VOID}
        self._note(f"masks are {reading.how}")
        if found and self._own is None:
            self._own = self._match(annotated)
        table = np.arange(256, dtype=np.uint8)
        for read, own in (self._own or {}).items():
            table[read] = own
        return table[reading.labels]

    def _match(self, annotated: Collection[int]) -> dict[int, int]:
        """Annotated ids by those that were read, which were numbered without knowing them.

        Raises:
            InputError: It is not clear which object is which.
        """
        rule, numbers = self._numbering.rule, set(self._numbering.numbers.values()) - {0}
        if rule is Rule.IDS or self._numbering.davis:
            return {}
        if rule is Rule.LEVELS and numbers == set(annotated):
            return {}
        if len(annotated) == 1 and (rule is not Rule.COLOURS or len(numbers) == 1):
            return {1: next(iter(annotated))}
        kind = "one object" if rule in (Rule.CUT, None) else f"{len(numbers)} colours or levels"
        raise InputError(
            f"masks of {kind}, and it is not clear which of the objects "
            f"{listed(map(str, sorted(annotated)))} is which; save ids"
        )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def close(self, known: Collection[int]) -> list[Problem]:
        """All problems, once the last mask was read, one for each kind.

        Args:
            known: Annotated ids.
        """
        problems = []

        def add(stem: str, found: str, expected: str) -> None:
            problems.append(Problem(self._name, stem, found, expected))

        for reason, stems in self._unusable.items():
            add(stems[0], _counted("unusable mask", stems, reason), "a palette or grey PNG")
        for found, stems in self._sizes.items():
            add(stems[0], _counted(f"mask of {found}", stems), f"{self._size}, as annotated")
        if jpegs := self._jpegs_in_place():
            found = f"{missing(self._missing, 'mask')}; there are pictures in {JPEG_REASON}"
            add(self._missing[0], f"{found} ({listed(jpegs)})", f"PNGs; {JPEG_ADVICE}")
        elif self._missing:
            add(self._missing[0], missing(self._missing, "mask"), "one per scored frame")
        extra = {i: stem for i, stem in self._ids.items() if i not in known}
        if extra:
            add(
                next(iter(extra.values())),
                f"extra ids in masks: {listed(map(str, sorted(extra)))} (counted as background)",
                f"the annotated ids, {listed(map(str, sorted(known)))}",
            )
        return problems

    def _jpegs_in_place(self) -> list[str]:
        """Names of the JPEG pictures that are there in place of missing masks."""
        if not self._jpegs:
            return []
        try:
            found = map(self._names_of_jpegs.mask_of, self._missing)
            return [self._jpegs[name].name for name in found if name is not None]
        except InputError:  # numbers that are not clear
            return [file.name for file in self._jpegs.values()]


def _counted(what: str, stems: list[str], reason: str | None = None) -> str:
    """A phrase for one thing of several frames."""
    more = f", and {len(stems) - 1} more like it" if len(stems) > 1 else ""
    return what + (f" ({reason})" if reason else "") + more
