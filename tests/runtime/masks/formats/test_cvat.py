"""CVAT files hold each mask by its box and row-wise run lengths, background first."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.formats.cvat import CvatWriter
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.objects import Labels
from tests.made_clips import synthetic_clip

LEGEND = Legend("a & b", {2: 'the "dog" <2>'})


def _pixels(mask: ElementTree.Element, size: tuple[int, int]) -> Labels:
    left, top, width, height = (int(mask.attrib[k]) for k in ("left", "top", "width", "height"))
    counts = [int(count) for count in mask.attrib["rle"].split(",")]
    inside = np.repeat(np.arange(len(counts)) % 2, counts).reshape(height, width)
    found = np.zeros(size, np.uint8)
    found[top : top + height, left : left + width] = inside * int(mask.attrib["group_id"])
    return found


@pytest.mark.parametrize("video", [False, True], ids=["images", "video"])
def test_masks_come_back_from_their_boxes(tmp_path: Path, video: bool) -> None:
    labels = list(synthetic_clip(63, 97, 3, objects=3, seed=2).labels)
    with CvatWriter(tmp_path / "a.xml", LEGEND, video) as writer:
        for number, one in enumerate(labels):
            writer.write(LabelledFrame(number + 5, f"<{number}>", one))
    root = ElementTree.parse(tmp_path / "a.xml").getroot()  # our own
    found = [np.zeros_like(one) for one in labels]
    shapes = []
    if video:
        for track in root.iter("track"):
            (mask,) = track
            assert track.attrib["group_id"] == mask.attrib["group_id"]
            shapes.append((int(mask.attrib["frame"]) - 5, mask, track.attrib["label"]))
        assert root.findtext("meta/original_size/width") == "97"
    else:
        assert [image.attrib["name"] for image in root.iter("image")] == [
            "<0>.jpg",
            "<1>.jpg",
            "<2>.jpg",
        ]
        for image in root.iter("image"):
            assert (image.attrib["width"], image.attrib["height"]) == ("97", "63")
            order = int(image.attrib["id"]) - 5
            shapes += [(order, mask, mask.attrib["label"]) for mask in image]
    for order, mask, label in shapes:
        found[order] += _pixels(mask, (63, 97))
        assert label == LEGEND.name_of(int(mask.attrib["group_id"]))
    for one, expected in zip(found, labels, strict=True):
        assert np.array_equal(one, expected)
    task = root.find("meta/task")
    assert task is not None
    assert [task.findtext(k) for k in ("name", "size", "start_frame", "stop_frame")] == [
        "a & b",
        "3",
        "5",
        "7",
    ]
    assert [label.findtext("name") for label in task.iter("label")] == [
        "object",
        'the "dog" <2>',
    ]


def test_a_name_that_xml_cannot_hold_does_not_spoil_the_file(tmp_path: Path) -> None:
    with CvatWriter(tmp_path / "a.xml", Legend("v\x00\udcff"), False) as writer:
        writer.write(LabelledFrame(0, "b\x08\udcff", np.ones((2, 3), np.uint8)))
    ElementTree.parse(tmp_path / "a.xml")  # our own


def test_a_video_of_two_sizes_is_refused(tmp_path: Path) -> None:
    with CvatWriter(tmp_path / "a.xml", LEGEND, video=True) as writer:
        writer.write(LabelledFrame(0, "0", np.ones((4, 6), np.uint8)))
        turned = LabelledFrame(1, "1", np.ones((6, 4), np.uint8))
        with pytest.raises(InputError, match=r"frame 1 is 6x4 and the first one 4x6; .* cvat-im"):
            writer.write(turned)
