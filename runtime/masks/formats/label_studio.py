"""Label Studio's JSON: a task for each picture, with brush strokes as run lengths.

Label Studio packs the four channels of a picture in bits: 32 for the number of bytes, 5 for the
width of a word less 1, four times 4 for the widths of lengths less 1. Then come runs: one bit that
says whether one word is repeated, two that choose the width of the length, the length less 1, and
the word.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.masks.runs import runs_of
from mavos_deploy.runtime.masks.writing import DocumentWriter, LabelledFrame, Legend
from mavos_deploy.runtime.objects import ids_of

CHANNELS = 4  # red, green, blue and alpha of a stroke are the same
WORD = 8  # bits
WIDTHS = (3, 4, 8, 16)  # bits of a run's length, less 1


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Pack a mask as Label Studio does.

    Args:
        mask: Shape (H, W).

    Returns:
        Bytes, 0..255.
    """
    bits = [f"{mask.size * CHANNELS:032b}{WORD - 1:05b}"]
    bits += [f"{width - 1:04b}" for width in WIDTHS]
    lengths, values = runs_of(mask.view(np.uint8))
    most = 1 << WIDTHS[-1]
    for length, value in zip((lengths * CHANNELS).tolist(), values.tolist(), strict=True):
        for taken in [most] * (length // most) + [length % most]:
            if taken:
                choice = next(i for i, width in enumerate(WIDTHS) if taken <= 1 << width)
                bits.append(f"1{choice:02b}{taken - 1:0{WIDTHS[choice]}b}{255 * value:08b}")
    text = "".join(bits)
    packed = np.packbits(np.frombuffer(text.encode(), np.uint8) - ord("0"))
    numbers: list[int] = packed.tolist()
    return numbers


class LabelStudioWriter(DocumentWriter):
    """Writes a task for each frame; regions are named `object_<id>`.

    Args:
        path: The file to create or replace.
        legend: Class names of objects become brush labels.

    Raises:
        InputError: The place can't be written to.
    """

    def __init__(self, path: Path, legend: Legend) -> None:
        super().__init__(path, legend)
        self._frames = 0

    def write(self, frame: LabelledFrame) -> None:
        """Add a task; see `MaskWriter.write`."""
        height, width = frame.labels.shape
        regions = [
            {
                "id": f"object_{number}",
                "type": "brushlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {
                    "format": "rle",
                    "rle": encode_brush(frame.labels == number),
                    "brushlabels": [self.legend.name_of(number)],
                },
            }
            for number in ids_of(frame.labels)
        ]
        task = {
            "id": frame.index + 1,
            "data": {"image": frame.file_name, "width": width, "height": height},
            "annotations": [{"result": regions}],
        }
        self.sections.add("tasks", (",\n" if self._frames else "") + json.dumps(task))
        self._frames += 1

    def pieces(self) -> Iterable[tuple[str, str]]:
        """The list of tasks."""
        yield "[\n", "tasks"
        yield "\n]\n", ""
