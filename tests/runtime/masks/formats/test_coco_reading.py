"""COCO and YouTube-VIS files: run lengths, polygons, and how objects are told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.formats.coco_reading import read_coco, read_youtube_vis, unpack
from mavos_deploy.runtime.masks.label_maps import LabelMaps
from tests.annotation_files import packed

SQUARE = [[2.0, 3.0, 8.0, 3.0, 8.0, 9.0, 2.0, 9.0]]
OTHER = [[10.0, 3.0, 16.0, 3.0, 16.0, 9.0, 10.0, 9.0]]


def document(*annotations: dict[str, Any], images: int = 1) -> dict[str, Any]:
    return {
        "images": [
            {"id": i, "file_name": f"{i:05d}.jpg", "height": 20, "width": 30} for i in range(images)
        ],
        "annotations": [
            {"id": place, "image_id": 0, "category_id": 4, "segmentation": SQUARE, **given}
            for place, given in enumerate(annotations)
        ],
        "categories": [{"id": 4, "name": "cat"}, {"id": 5, "name": "ant"}],
    }


def coco(*annotations: dict[str, Any], images: int = 1) -> LabelMaps:
    return read_coco(Path("a.json"), json.dumps(document(*annotations, images=images)).encode())


def test_polygons_are_filled() -> None:
    labels = coco({}).frames["00000"]()
    assert labels.shape == (20, 30)
    assert labels[3:9, 2:8].all()
    assert labels.sum() == 36


def test_annotations_of_one_image_are_an_object_each_and_the_later_lies_above() -> None:
    maps = coco({}, {"segmentation": OTHER}, {"category_id": 5})
    assert maps.names == {1: "cat", 2: "cat", 3: "ant"}
    labels = maps.frames["00000"]()
    assert (labels[5, 5], labels[5, 12]) == (3, 2)
    assert maps.notes == [
        "objects are the shapes of a.json, by numbers in order: 1 (cat), 2 (cat), 3 (ant)"
    ]


@pytest.mark.parametrize("segmentation", [{"segmentation": []}, {"segmentation": None}])
def test_boxes_without_a_mask_are_rectangles_and_it_is_said(segmentation: dict[str, Any]) -> None:
    maps = coco({}, {**segmentation, "bbox": [10, 4, 5.0, 3]})
    labels = maps.frames["00000"]()
    assert (labels[4:7, 10:15] == 2).all()
    assert np.count_nonzero(labels == 2) == 15
    assert np.count_nonzero(labels == 1) == 36
    assert maps.notes[0] == "1 annotation has a box and no mask, and is read as 1 rectangle"
    two = coco(*[{**segmentation, "bbox": [10, 4, 5.0, 3]}] * 2)
    assert two.notes[0] == "2 annotations have a box and no mask, and are read as 2 rectangles"
    with pytest.raises(InputError, match="a `bbox` of 3 numbers"):
        coco({**segmentation, "bbox": [1, 2, 3]}).frames["00000"]()


def test_annotations_without_mask_and_box_are_counted() -> None:
    out_of_sight = {"segmentation": [], "bbox": [0, 0, 0, 0]}
    maps = coco({}, {"segmentation": []}, {"segmentation": [], "bbox": []}, out_of_sight)
    assert maps.names == {1: "cat"}
    assert maps.notes[0] == "3 annotations have no mask or box, and are left out"


def test_a_file_without_any_mask_says_what_is_left_out() -> None:
    with pytest.raises(
        InputError, match=r"no shape .*\(1 annotation has neither mask nor box, and"
    ):
        coco({"segmentation": []})


def test_a_missing_key_is_no_mask() -> None:
    data = document({"bbox": [10, 4, 5, 3]})
    del data["annotations"][0]["segmentation"]
    maps = read_coco(Path("a.json"), json.dumps(data).encode())
    assert maps.frames["00000"]().sum() == 15


@pytest.mark.parametrize(
    "given",
    [
        {"bbox": None},
        {"iscrowd": False},
        {"iscrowd": None},
        {"attributes": None},
        {"category_id": 4.0},
        {"image_id": "0", "category_id": "4"},
        {"segmentation": [[], *SQUARE]},
    ],
)
def test_values_as_other_programs_write_them_are_read(given: dict[str, Any]) -> None:
    maps = coco(given)
    assert maps.names == {1: "cat"}
    assert maps.frames["00000"]().sum() == 36
    assert len(maps.notes) == 1


def test_an_empty_polygon_is_no_mask_and_it_is_said() -> None:
    maps = coco({}, {"segmentation": [[]]}, {"segmentation": [[], []], "bbox": [10, 4, 5, 3]})
    assert np.bincount(maps.frames["00000"]().ravel()).tolist()[1:] == [36, 15]
    assert maps.notes[0].startswith("1 annotation has a box and no mask")
    assert maps.notes[1].startswith("1 annotation has neither mask nor box")


@pytest.mark.parametrize("track", ["9", 9.0])
def test_tracks_may_be_text_or_have_a_decimal_point(track: object) -> None:
    maps = coco({"track_id": track}, {"attributes": {"track_id": track}, "image_id": 1}, images=2)
    assert maps.names == {9: "cat"}


@pytest.mark.parametrize("track", ["a7", 1.5])
def test_tracks_that_are_no_numbers_are_refused(track: object) -> None:
    with pytest.raises(InputError, match=rf"the track '{track}' is no whole number; number the"):
        coco({"track_id": track})


def test_annotations_marked_as_crowds_are_objects_and_it_is_said() -> None:
    maps = coco({"iscrowd": 1}, {"segmentation": OTHER, "iscrowd": 0})
    assert maps.names == {1: "cat", 2: "cat"}
    assert maps.notes[0].startswith("1 annotation marked iscrowd, read like all others: remove")


@pytest.mark.parametrize(
    "track", [{"track_id": 9}, {"instance_id": 9}, {"attributes": {"track_id": 9}}]
)
def test_tracks_tell_the_objects(track: dict[str, Any]) -> None:
    maps = coco({**track}, {**track, "image_id": 1, "segmentation": OTHER}, images=2)
    assert maps.names == {9: "cat"}
    assert maps.frames["00001"]()[5, 12] == 9


def test_tracks_beyond_the_ids_are_numbered_in_order() -> None:
    maps = coco({"track_id": 3000}, {"track_id": 900, "segmentation": OTHER})
    labels = maps.frames["00000"]()
    assert (labels[5, 5], labels[5, 12]) == (2, 1)


def test_categories_tell_the_objects_of_several_images_in_alphabetical_order() -> None:
    maps = coco({}, {"category_id": 5, "image_id": 1}, {"image_id": 2}, images=3)
    assert maps.names == {1: "ant", 2: "cat"}
    assert [make().max() for make in maps.frames.values()] == [2, 1, 2]


def test_two_of_a_category_in_several_images_are_refused() -> None:
    with pytest.raises(InputError, match="2 shapes of 'cat' in frame 00000, and no tracks"):
        coco({}, {"segmentation": OTHER}, {"image_id": 1}, images=2)


def test_labels_tell_the_objects_where_tracks_of_some_shapes_agree_with_them() -> None:
    first, other = {"track_id": 9}, {"category_id": 5}
    for second in (first, {}):
        maps = coco(first, {**second, "image_id": 1}, {**other, "image_id": 1}, images=2)
        assert maps.names == {1: "ant", 2: "cat"}


@pytest.mark.parametrize(
    ("tracks", "other", "reason"),
    [
        ((1, 7), 5, r"shapes of 'cat' have the track or group 1, 7; .*give every shape a track"),
        ((1, 2), 4, "the track or group 1, 2, and others none"),
    ],
)
def test_tracks_of_some_shapes_that_labels_contradict_are_refused(
    tracks: tuple[int | None, ...], other: int, reason: str
) -> None:
    shapes = [{"track_id": track, "image_id": place} for place, track in enumerate(tracks)]
    with pytest.raises(InputError, match=reason):
        coco(*shapes, {"category_id": other, "image_id": 2}, images=3)


def test_a_track_of_two_labels_beside_shapes_without_one_is_refused() -> None:
    first, second = {"track_id": 1}, {"track_id": 1, "category_id": 5, "image_id": 1}
    with pytest.raises(InputError, match="track or group 1 has shapes of 'ant', 'cat', and other"):
        coco(first, second, {"category_id": 6, "image_id": 1}, images=2)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"image_id": 7}, "an annotation of image 7, which is not there"),
        ({"segmentation": [[1, 2, 3]]}, "a polygon of 3 numbers"),
        ({"segmentation": [[1, 2, 3, 4, 5, 1e9]]}, "is no point of a picture of 20x30"),
        ({"segmentation": [[1, 2, 3, 4]]}, "a polygon of 2 points"),
        ({"segmentation": {"size": [20, 30], "counts": [600, 1]}}, "run lengths of 601 pixels"),
        ({"segmentation": {"size": [20, 30], "counts": [-1, 601]}}, "run lengths"),
        ({"segmentation": {"size": [20, 30], "counts": [2**63 + 5]}}, "run lengths of 600 pixels"),
        ({"segmentation": {"size": [20, 30], "counts": "ooooooooooooO1"}}, "run lengths of"),
        ({"segmentation": {"size": [20, 30], "counts": [-(2**63), 2**64 - 1]}}, "run lengths of"),
        ({"segmentation": {"size": [20, 31], "counts": [620]}}, "a mask of 20x31 in a picture"),
        ({"segmentation": {"size": [20, 30], "counts": "~"}}, "no compressed run length"),
        ({"segmentation": {"size": [20, 30], "counts": "o"}}, "end within a number"),
        ({"segmentation": 3}, "is no COCO JSON that can be read"),
    ],
)
def test_damaged_annotations_are_refused(annotation: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        [make() for make in coco(annotation).frames.values()]


def test_frames_come_in_the_order_of_their_names_whatever_the_file_s_is() -> None:
    data = document(
        {"track_id": 1}, {"track_id": 1, "segmentation": OTHER, "image_id": 1}, images=2
    )
    data["images"][0]["file_name"], data["images"][1]["file_name"] = "f_10.jpg", "f_9.jpg"
    maps = read_coco(Path("a.json"), json.dumps(data).encode())
    assert list(maps.frames) == ["f_9", "f_10"]
    assert maps.frames["f_9"]()[5, 12] == maps.frames["f_10"]()[5, 5] == 1


def test_frames_of_youtube_vis_keep_their_order() -> None:
    video = {"id": 1, "file_names": ["v/b.jpg", "v/a.jpg"], "height": 20, "width": 30}
    track = {"id": 1, "video_id": 1, "category_id": 1, "segmentations": [SQUARE, None]}
    data = {"videos": [video], "annotations": [track]}
    assert list(read_youtube_vis(Path("a.json"), json.dumps(data).encode()).frames) == ["b", "a"]


@pytest.mark.parametrize("name", ["a\0b.jpg", "clip/.."])
def test_names_that_no_file_can_have_are_refused(name: str) -> None:
    data = document({})
    data["images"][0]["file_name"] = name
    with pytest.raises(InputError, match=r"a\.json: '.*' can't be the name of a frame; give"):
        read_coco(Path("a.json"), json.dumps(data).encode())


def test_an_image_without_a_name_is_the_first_frame() -> None:
    data = document({})
    data["images"][0]["file_name"] = ""
    maps = read_coco(Path("a.json"), json.dumps(data).encode())
    assert list(maps.frames) == ["first"]
    assert maps.single


def test_two_images_of_one_name_are_refused() -> None:
    data = document({}, images=2)
    data["images"][1]["file_name"] = "other/00000.png"
    with pytest.raises(InputError, match="two images have one name"):
        read_coco(Path("a.json"), json.dumps(data).encode())


@pytest.mark.parametrize("seed", range(5))
def test_compressed_run_lengths_are_those_of_pycocotools(seed: int) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(seed)
    mask = np.repeat(random.integers(0, 2, (9, 70), np.uint8), 100 ** (seed % 3), axis=0)
    text = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
    counts = unpack(text)
    assert packed(counts) == text
    values = np.repeat(np.arange(len(counts)) % 2, counts)
    assert np.array_equal(values.reshape(mask.shape[::-1]).T, mask)


def test_several_videos_in_a_file_are_refused() -> None:
    video = {"id": 1, "file_names": ["v/0.jpg"], "height": 20, "width": 30}
    data = {"videos": [video, video | {"id": 2}], "annotations": [], "categories": []}
    with pytest.raises(InputError, match="2 videos; save the masks of one"):
        read_youtube_vis(Path("a.json"), json.dumps(data).encode())


def test_masks_that_are_not_one_for_each_frame_are_refused() -> None:
    video = {"id": 1, "file_names": ["v/0.jpg"], "height": 20, "width": 30}
    track = {"id": 1, "video_id": 1, "category_id": 1, "segmentations": [None, None]}
    data = {"videos": [video], "annotations": [track]}
    with pytest.raises(InputError, match="annotation 1 has 2 masks of video 1, but 1 frames"):
        read_youtube_vis(Path("a.json"), json.dumps(data).encode())
