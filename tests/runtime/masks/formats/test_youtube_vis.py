"""YouTube-VIS files have one annotation for each object, with a mask or null for each frame."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.formats.youtube_vis import YoutubeVisWriter
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from tests.made_clips import synthetic_clip


def test_every_object_has_its_masks_and_null_where_it_is_not_seen(tmp_path: Path) -> None:
    labels = list(synthetic_clip(63, 97, 4, objects=2, late_objects=1, late_frame=2, seed=2).labels)
    labels[3] = np.where(labels[3] == 1, 0, labels[3])
    with YoutubeVisWriter(tmp_path / "a.json", Legend("clip", {2: "dog"})) as writer:
        for number, one in enumerate(labels):
            writer.write(LabelledFrame(2 * number, f"{2 * number:05d}", one))
    document = json.loads((tmp_path / "a.json").read_text())
    (video,) = document["videos"]
    assert video["file_names"] == [f"clip/{2 * number:05d}.jpg" for number in range(4)]
    assert video["frame_numbers"] == [0, 2, 4, 6]
    assert (video["height"], video["width"], video["length"]) == (63, 97, 4)
    assert {a["id"] for a in document["annotations"]} == {1, 2, 3}
    names = {c["id"]: c["name"] for c in document["categories"]}
    for annotation in document["annotations"]:
        assert names[annotation["category_id"]] == ("dog" if annotation["id"] == 2 else "object")
        lists = [annotation[key] for key in ("segmentations", "bboxes", "areas")]
        for one, runs, box, area in zip(labels, *lists, strict=True):
            expected = one == annotation["id"]
            assert (runs is None) == (box is None) == (area is None) == (not expected.any())
            if runs is not None:
                assert np.array_equal(coco.decode(runs), expected)
                assert area == expected.sum()


def test_a_video_without_objects_is_a_whole_file(tmp_path: Path) -> None:
    with YoutubeVisWriter(tmp_path / "a.json", Legend()) as writer:
        writer.write(LabelledFrame(0, "00000", np.zeros((4, 5), np.uint8)))
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["annotations"] == document["categories"] == []


def test_frames_of_two_sizes_are_refused(tmp_path: Path) -> None:
    with YoutubeVisWriter(tmp_path / "a.json", Legend()) as writer:
        writer.write(LabelledFrame(0, "a", np.ones((4, 5), np.uint8)))
        with pytest.raises(InputError, match="frame b is 5x5 and the first one 4x5"):
            writer.write(LabelledFrame(1, "b", np.ones((5, 5), np.uint8)))
