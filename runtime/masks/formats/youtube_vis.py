"""YouTube-VIS's JSON: for each object of a video one annotation, with a mask for every frame."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.formats import coco_runs
from mavos_deploy.runtime.masks.runs import box_of
from mavos_deploy.runtime.masks.writing import Classes, DocumentWriter, LabelledFrame, Legend
from mavos_deploy.runtime.objects import ids_of

COLUMNS = ("segmentations", "bboxes", "areas")


class YoutubeVisWriter(DocumentWriter):
    """Writes YouTube-VIS's JSON with compressed run lengths; an annotation's id is the object's.

    Args:
        path: The file to create or replace.
        legend: Class names become categories; objects without a name share one.

    Raises:
        InputError: pycocotools is missing, or the place can't be written to.
    """

    def __init__(self, path: Path, legend: Legend) -> None:
        coco_runs.check_pycocotools()
        super().__init__(path, legend)
        self._path = path
        self._classes = Classes()
        self._size: Size | None = None
        self._frames = 0
        self._objects: dict[int, int] = {}  # category by id

    def write(self, frame: LabelledFrame) -> None:
        """Add a frame; see `MaskWriter.write`. All frames have one size."""
        size = (frame.labels.shape[0], frame.labels.shape[1])
        self._size = self._size or size
        if size != self._size:
            raise InputError(
                f"cannot write {self._path}: frame {frame.stem} is {size[0]}x{size[1]} and the "
                f"first one {self._size[0]}x{self._size[1]}; YouTube-VIS holds videos of one size"
            )
        self._add("files", json.dumps(f"{self.legend.video}/{frame.file_name}"))
        self._add("numbers", str(frame.index))
        present = ids_of(frame.labels)
        for number in present:
            if number not in self._objects:
                self._objects[number] = self._classes[self.legend.name_of(number)]
                for column in COLUMNS:
                    self.sections.add(f"{column} {number}", ", ".join(["null"] * self._frames))
        for number in self._objects:
            mask = frame.labels == number
            values: tuple[object, ...] = (None, None, None)
            if number in present:
                values = (coco_runs.encode(mask), box_of(mask), int(np.count_nonzero(mask)))
            for column, value in zip(COLUMNS, values, strict=True):
                self._add(f"{column} {number}", json.dumps(value))
        self._frames += 1

    def _add(self, part: str, text: str) -> None:
        self.sections.add(part, (", " if self._frames else "") + text)

    def pieces(self) -> Iterable[tuple[str, str]]:
        """The parts of the file in order."""
        height, width = self._size or (0, 0)
        shape = f'"height": {height}, "width": {width}, "length": {self._frames}'
        info = json.dumps({"description": self.legend.video})
        yield f'{{"info": {info},\n"videos": [{{"id": 1, {shape}, "file_names": [', "files"
        yield '], "frame_numbers": [', "numbers"
        yield ']}],\n"annotations": [', ""
        between = "\n"
        for number, category in self._objects.items():
            head = f'{{"id": {number}, "video_id": 1, "category_id": {category}, "iscrowd": 0, '
            text = between + head + shape
            for column in COLUMNS:
                yield f'{text}, "{column}": [', f"{column} {number}"
                text = "]"
            between = "]},\n"
        yield (
            f'{"]}" if self._objects else ""}\n],\n"categories": {self._classes.as_json()}}}\n',
            "",
        )
