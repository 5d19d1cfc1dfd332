"""COCO's JSON: images, and for each an annotation of each object."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mavos_deploy.runtime.masks.formats import coco_runs
from mavos_deploy.runtime.masks.runs import box_of
from mavos_deploy.runtime.masks.writing import Classes, DocumentWriter, LabelledFrame, Legend
from mavos_deploy.runtime.objects import ids_of


class CocoWriter(DocumentWriter):
    """Writes COCO's JSON with compressed run lengths.

    `track_id` holds the object's id, `frame_index` the frame's number in the video; an image's id
    is that number and 1, because some programs take 0 for none.

    Args:
        path: The file to create or replace.
        legend: Class names become categories; objects without a name share one.

    Raises:
        InputError: pycocotools is missing, or the place can't be written to.
    """

    def __init__(self, path: Path, legend: Legend) -> None:
        coco_runs.check_pycocotools()
        super().__init__(path, legend)
        self._classes = Classes()
        self._images = self._annotations = 0

    def write(self, frame: LabelledFrame) -> None:
        """Add an image with its annotations; see `MaskWriter.write`."""
        height, width = frame.labels.shape
        image = {
            "id": frame.index + 1,
            "file_name": frame.file_name,
            "height": height,
            "width": width,
            "frame_index": frame.index,
        }
        self.sections.add("images", self._comma(self._images) + json.dumps(image))
        self._images += 1
        for number in ids_of(frame.labels):
            mask = frame.labels == number
            annotation = {
                "id": self._annotations + 1,
                "image_id": frame.index + 1,
                "category_id": self._classes[self.legend.name_of(number)],
                "track_id": number,
                "segmentation": coco_runs.encode(mask),
                "area": int(np.count_nonzero(mask)),
                "bbox": box_of(mask),
                "iscrowd": 0,
            }
            text = self._comma(self._annotations) + json.dumps(annotation)
            self.sections.add("annotations", text)
            self._annotations += 1

    @staticmethod
    def _comma(before: int) -> str:
        return ",\n" if before else ""

    def pieces(self) -> Iterable[tuple[str, str]]:
        """The parts of the file in order."""
        info = json.dumps({"description": self.legend.video})
        yield f'{{"info": {info},\n"images": [\n', "images"
        yield '\n],\n"annotations": [\n', "annotations"
        yield f'\n],\n"categories": {self._classes.as_json()}}}\n', ""
