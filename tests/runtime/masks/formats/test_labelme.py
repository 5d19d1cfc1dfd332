"""labelme files follow the documented form of shapes of type mask."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from mavos_deploy.runtime.masks.formats.labelme import LabelmeWriter
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from tests.made_clips import synthetic_clip


def test_shapes_are_masks_within_their_boxes(tmp_path: Path) -> None:
    labels = synthetic_clip(63, 97, 1, objects=3, seed=2).labels[0]
    legend = Legend(names={2: "dog"}, pictures=tmp_path / "frames")
    with LabelmeWriter(tmp_path / "out", legend) as writer:
        writer.write(LabelledFrame(0, "a b", labels, picture="a b.JPG"))
    document = json.loads((tmp_path / "out/a b.json").read_text())
    assert set(document) == {
        *("version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth")
    }
    assert document["imagePath"] == "../frames/a b.JPG"
    assert (document["imageHeight"], document["imageWidth"]) == (63, 97)
    found = np.zeros_like(labels)
    for shape in document["shapes"]:
        assert shape["shape_type"] == "mask"
        assert shape["label"] == ("dog" if shape["group_id"] == 2 else "object")
        (left, top), (right, bottom) = shape["points"]
        mask = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
        assert mask.shape == (bottom - top + 1, right - left + 1)
        found[top : bottom + 1, left : right + 1][mask > 0] = shape["group_id"]
    assert np.array_equal(found, labels)


def test_pictures_are_sought_beside_the_file_where_their_folder_is_unknown(tmp_path: Path) -> None:
    with LabelmeWriter(tmp_path, Legend()) as writer:
        writer.write(LabelledFrame(3, "00003", np.zeros((4, 5), np.uint8)))
    document = json.loads((tmp_path / "00003.json").read_text())
    assert document["imagePath"] == "00003.jpg"
    assert document["shapes"] == []


def test_files_of_other_frames_stay_and_are_named(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    writer = LabelmeWriter(tmp_path, Legend())
    with writer:
        writer.write(LabelledFrame(3, "00003", np.zeros((4, 5), np.uint8)))
    assert writer.notes == [
        f"{tmp_path} also holds 1 file of other frames (old.json), which stays as it was"
    ]
    assert (tmp_path / "old.json").read_text() == "{}"
