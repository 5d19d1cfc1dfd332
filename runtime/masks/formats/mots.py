"""MOTS text files: one line for each object of each frame."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from mavos_deploy.runtime.masks.formats import coco_runs
from mavos_deploy.runtime.masks.writing import DocumentWriter, LabelledFrame, Legend
from mavos_deploy.runtime.objects import ids_of

CLASSES: Final = {"car": 1, "pedestrian": 2}
OF_CLASS = 1000  # an object's number in the file is class * 1000 + id


class MotsWriter(DocumentWriter):
    """Writes `frame object class height width run-lengths`, with frames numbered from 0.

    A frame without an object has no line.

    Args:
        path: The file to create or replace.
        legend: Names of objects; those that MOTS has classes for decide over `other`.
        other: Class of all other objects, a key of `CLASSES`.

    Raises:
        InputError: pycocotools is missing, or the place can't be written to.
    """

    def __init__(self, path: Path, legend: Legend, other: str = "pedestrian") -> None:
        coco_runs.check_pycocotools()
        super().__init__(path, legend)
        self._other = CLASSES[other]

    def write(self, frame: LabelledFrame) -> None:
        """Add a line for each object; see `MaskWriter.write`."""
        height, width = frame.labels.shape
        for number in ids_of(frame.labels):
            kind = CLASSES.get(self.legend.name_of(number), self._other)
            runs = coco_runs.encode(frame.labels == number)["counts"]
            line = f"{frame.index} {kind * OF_CLASS + number} {kind} {height} {width} {runs}\n"
            self.sections.add("lines", line)

    def pieces(self) -> Iterable[tuple[str, str]]:
        """The only part of the file."""
        yield "", "lines"
