"""labelme files: shapes, groups, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.formats.labelme_reading import read_labelme
from mavos_deploy.runtime.masks.label_maps import LabelMaps

CORNERS = [[2.0, 3.0], [8.0, 9.0]]
SQUARE = [[2, 3], [8, 3], [8, 9], [2, 9]]


def labelme(*shapes: dict[str, Any], **head: int | None) -> bytes:
    given = [{"label": "cat", "points": SQUARE, "shape_type": "polygon", **s} for s in shapes]
    return json.dumps({"shapes": given, "imageHeight": 20, "imageWidth": 30, **head}).encode()


def read(*contents: bytes) -> LabelMaps:
    return read_labelme({Path(f"a/{place}.json"): c for place, c in enumerate(contents)})


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"shape_type": "rectangle", "points": CORNERS},
        {"shape_type": "rectangle", "points": CORNERS[::-1]},
        {"shape_type": "rectangle"},
    ],
)
def test_shapes_are_filled(shape: dict[str, Any]) -> None:
    labels = read(labelme(shape)).frames["0"]()
    assert labels.shape == (20, 30)
    assert labels[3:9, 2:8].all()
    assert labels.sum() == 36


def test_a_circle_has_its_centre_and_a_point_of_its_edge() -> None:
    labels = read(labelme({"shape_type": "circle", "points": [[15, 10], [15, 15]]})).frames["0"]()
    assert labels[10, 10:20].all()
    assert not labels[5, 10]
    assert 70 < labels.sum() < 100


def test_shapes_of_a_single_file_without_groups_are_an_object_each() -> None:
    maps = read(labelme({}, {"points": [[20, 3], [25, 3], [25, 8]]}))
    assert maps.names == {1: "cat", 2: "cat"}


def test_parts_of_one_group_are_one_object_beside_shapes_without_a_group() -> None:
    parts = {"group_id": 9}, {"group_id": 9, "points": [[20, 3], [25, 3], [25, 8]]}
    maps = read(labelme({"label": "dog"}, *parts))
    assert maps.names == {1: "cat", 2: "dog"}
    labels = maps.frames["0"]()
    assert labels[4, 24] == labels[5, 5] == 1
    assert "objects are the tracks, and the shapes without one, of " in maps.notes[-1]


def test_a_group_of_two_labels_in_one_frame_is_refused() -> None:
    shapes = {"group_id": 1}, {"group_id": 1, "label": "dog"}
    for files in ([labelme(*shapes)], [labelme(*shapes), labelme(*shapes)]):
        with pytest.raises(InputError, match=r"track or group 1 has shapes of 'cat' and of 'dog'"):
            read(*files)


def test_labels_that_are_numbers_are_ids() -> None:
    assert read(labelme({"label": "7"}, {"label": "3"})).names == {3: "3", 7: "7"}


def test_groups_tell_the_objects_of_several_files() -> None:
    maps = read(labelme({"group_id": 4}), labelme({"group_id": 4}, {"group_id": 2}))
    assert maps.names == {2: "cat", 4: "cat"}
    assert maps.frames["0"]()[5, 5] == 4
    assert maps.frames["1"]()[5, 5] == 2


def test_labels_tell_the_objects_of_several_files_without_groups() -> None:
    maps = read(labelme({"label": "dog"}), labelme({"label": "dog"}, {"label": "ant"}))
    assert maps.names == {1: "ant", 2: "dog"}


def test_lines_and_points_are_left_out_and_it_is_said() -> None:
    maps = read(labelme({}, {"shape_type": "line"}, {"shape_type": "point"}))
    assert "shapes of these kinds are left out: line, point" in maps.notes


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ({"points": SQUARE[:2]}, "a polygon of 2 points"),
        ({"points": [[1, 2], [3, 4], [5, 1e8]]}, "is no point of a picture"),
        (
            {"shape_type": "rectangle", "points": SQUARE[:3]},
            "a rectangle of 3 points; it needs two",
        ),
        ({"shape_type": "circle"}, "a circle of 4 points; it needs two"),
        ({"shape_type": "mask", "points": CORNERS, "mask": "?"}, "no base64"),
        ({"shape_type": "mask", "points": CORNERS, "mask": ""}, "not a readable picture"),
    ],
)
def test_damaged_shapes_are_refused(shape: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(labelme(shape)).frames["0"]()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (labelme(), "no shape of an object in it; annotate"),
        (
            labelme({"shape_type": "linestrip"}),
            "left out: linestrip.*; draw objects as masks, poly",
        ),
        (labelme({}, imageHeight=None), "`imageHeight` or `imageWidth` is missing"),
        (labelme({}, imageHeight=60000, imageWidth=60000), "the limit is"),
        (labelme({"label": 3}), "is no labelme JSON that can be read: `shapes"),
    ],
)
def test_damaged_files_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(content)
