"""MOTS lines have the frame, the object, its class, the size and run lengths."""

from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from mavos_deploy.runtime.masks.formats.mots import MotsWriter
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend


def test_a_line_for_each_object_of_each_frame(tmp_path: Path) -> None:
    labels = np.zeros((6, 9), np.uint8)
    labels[1:3, 2:7] = 4
    labels[4:, :5] = 254
    with MotsWriter(tmp_path / "a.txt", Legend(names={4: "car"})) as writer:
        writer.write(LabelledFrame(7, "00007", labels))
        writer.write(LabelledFrame(8, "00008", np.zeros((6, 9), np.uint8)))
    lines = [line.split(" ") for line in (tmp_path / "a.txt").read_text().splitlines()]
    assert [line[:5] for line in lines] == [
        ["7", "1004", "1", "6", "9"],
        ["7", "2254", "2", "6", "9"],
    ]
    for line, number in zip(lines, (4, 254), strict=True):
        found = coco.decode({"size": [6, 9], "counts": line[5]})
        assert np.array_equal(found, labels == number)
