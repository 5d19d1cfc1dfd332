"""labelme's JSON, a file for each picture."""

import base64
import io
import json
import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.runtime.masks.numbering import as_text
from mavos_deploy.runtime.masks.runs import box_of
from mavos_deploy.runtime.masks.writing import FolderWriter, LabelledFrame, Legend
from mavos_deploy.runtime.objects import ids_of
from mavos_deploy.runtime.system.files import new_file
from mavos_deploy.words import counted

VERSION = "5.4.1"  # the first releases of labelme with masks are 5.3


class LabelmeWriter(FolderWriter):
    """Writes `<stem>.json` with a shape of type mask for each object; `group_id` is its id."""

    suffix = ".json"

    def __init__(self, folder: Path, legend: Legend) -> None:
        super().__init__(folder, legend)
        self.notes: list[str] = []
        self._written: set[str] = set()

    def write(self, frame: LabelledFrame) -> None:
        """Write a frame's file; see `MaskWriter.write`."""
        height, width = frame.labels.shape
        document = {
            "version": VERSION,
            "flags": {},
            "shapes": [
                {
                    "label": self.legend.name_of(number),
                    **_mask_shape(frame.labels == number),
                    "group_id": number,
                    "description": "",
                    "flags": {},
                }
                for number in ids_of(frame.labels)
            ],
            "imagePath": self._image_path(frame),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        with new_file(self.path_of(frame)) as file:
            file.write((json.dumps(document, indent=1) + "\n").encode())
        self._written.add(self.path_of(frame).name)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        there = sorted(path.name for path in self.folder.glob(f"*{self.suffix}"))
        if error is None and (others := [name for name in there if name not in self._written]):
            stay = "stays as it was" if len(others) == 1 else "stay as they were"
            self.notes.append(
                f"{self.folder} also holds {counted(len(others), 'file')} of other frames "
                f"({as_text(others, 3)}), which {stay}"
            )

    def _image_path(self, frame: LabelledFrame) -> str:
        """Path of the picture as labelme looks for it, from the file's own folder."""
        pictures = self.legend.pictures or self.folder
        folder = os.path.relpath(pictures.resolve(), self.folder.resolve())
        return Path(folder, frame.file_name).as_posix()


def _mask_shape(mask: NDArray[np.bool_]) -> dict[str, object]:
    """The part of a mask within its box, as a PNG of 0 and 1, with two corners of the box."""
    left, top, width, height = box_of(mask)
    buffer = io.BytesIO()
    part = mask[top : top + height, left : left + width]
    Image.fromarray(part.astype(np.uint8)).save(buffer, format="PNG")
    return {
        "shape_type": "mask",
        "points": [[left, top], [left + width - 1, top + height - 1]],
        "mask": base64.b64encode(buffer.getvalue()).decode("ascii"),
    }
