"""Label Studio's files: strokes, polygons, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.formats.label_studio_reading import read_label_studio, unpack_brush
from mavos_deploy.runtime.masks.label_maps import LabelMaps
from tests.annotation_files import brush

Task = dict[str, Any]
SQUARE = [[10, 15], [40, 15], [40, 45], [10, 45]]  # percent of 20 x 20


def region(**given: object) -> dict[str, Any]:
    return {
        "type": "polygonlabels",
        "original_width": 20,
        "original_height": 20,
        "value": {"points": SQUARE, "polygonlabels": ["cat"]},
        **given,
    }


def task(*regions: dict[str, Any], image: str = "/data/upload/3/ab12cd34-00003.jpg") -> Task:
    return {"data": {"image": image}, "annotations": [{"result": list(regions)}]}


def read(*tasks: object) -> LabelMaps:
    return read_label_studio(Path("a.json"), json.dumps(tasks).encode())


@pytest.mark.parametrize(
    "shape",
    [
        region(),
        region(
            type="rectanglelabels",
            value={"x": 10, "y": 15, "width": 30, "height": 30, "rectanglelabels": ["cat"]},
        ),
    ],
)
def test_shapes_are_filled(shape: dict[str, Any]) -> None:
    (labels,) = (make() for make in read(task(shape)).frames.values())
    assert labels[3:9, 2:8].all()
    assert labels.sum() == 36


@pytest.mark.parametrize(
    "image",
    [
        "00003.jpg",
        "/data/upload/3/00003.jpg",
        "https://host/a/00003.jpg?x=1",
        "/data/local-files/?d=clip/00003.jpg",
        "/data/local-files?x=a/7.jpg&d=clip%2F00003.jpg&y=b/8.jpg",
        "https://host/a/00003.jpg?GoogleAccessId=me&Signature=a%2Fb9c",
        "//[share]/00003.jpg",
        "https://host/a/00003.jpg?d=20240102",
        "s3://bucket/clip/00003.jpg",
    ],
)
def test_frames_are_named_after_their_pictures(image: str) -> None:
    assert list(read(task(region(), image=image)).frames) == ["00003"]


def test_an_ellipse_is_filled() -> None:
    value = {"x": 50, "y": 50, "radiusX": 40, "radiusY": 20, "ellipselabels": ["cat"]}
    (make,) = read(task(region(type="ellipselabels", value=value))).frames.values()
    assert make()[10, 3:18].all()
    assert not make()[6, 4]


def test_regions_of_a_single_task_are_an_object_each() -> None:
    assert read(task(region(), region())).names == {1: "cat", 2: "cat"}


def test_labels_tell_the_objects_of_several_tasks() -> None:
    other = region(value={"points": SQUARE, "polygonlabels": ["ant"]})
    maps = read(task(region(), image="1.jpg"), task(region(), other, image="2.jpg"))
    assert maps.names == {1: "ant", 2: "cat"}


def test_labels_in_results_of_their_own_belong_to_the_region_of_their_id() -> None:
    box = {"x": 10, "y": 15, "width": 30, "height": 30}
    tasks = [
        task(
            region(type="labels", id=place, value={**box, "labels": [label]}),
            region(type="rectangle", id=place, value=box),
            image=f"{place}.jpg",
        )
        for place, label in (("1", "dog"), ("2", "ant"))
    ]
    maps = read(*tasks)
    assert maps.names == {1: "ant", 2: "dog"}
    assert [make().max() for make in maps.frames.values()] == [2, 1]
    assert not any("left out" in note for note in maps.notes)


def test_the_first_of_several_annotations_counts_and_it_is_said() -> None:
    given = task(region())
    given["annotations"].append({"result": [region(), region()]})
    maps = read(given)
    assert maps.names == {1: "cat"}
    assert "of several annotations of a task the first one counts" in maps.notes


@pytest.mark.parametrize("seed", range(4))
def test_strokes_of_repeated_and_of_single_words_are_unpacked(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((13, 17)) < 0.4
    assert np.array_equal(unpack_brush(brush(mask), (13, 17)), mask)
    flat = np.repeat(mask.ravel(), 4)
    words = "".join(f"{255 * value:08b}" for value in flat)
    bits = f"{flat.size:032b}{7:05b}{15:04b}{15:04b}{15:04b}{15:04b}0{2:02b}{flat.size - 1:016b}"
    bits += words
    data = [int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8)]
    assert np.array_equal(unpack_brush(data, (13, 17)), mask)


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ([task(region(image_rotation=90))], "is turned by 90 degrees"),
        ([task(region(original_width=None))], "regions without `original_width`"),
        ([task(region()), task(region())], "two tasks have the picture"),
        ([task()], "no shape of an object"),
        ([task(region(type="bitmasklabels"))], "left out: bitmasklabels.*; draw objects as masks"),
        ([{"image": "/x/00000.jpg", "id": 1, "tag": []}], "as JSON-MIN is; export it as JSON"),
        ([{"data": {}, "annotations": 3}], "is no Label Studio JSON that can be read"),
    ],
)
def test_damaged_files_are_refused(tasks: list[Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read(*tasks)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "ends too early"),
        (brush(np.ones((3, 3), bool)), "a brush stroke of 36 bytes for a picture of 20x20"),
        (brush(np.ones((20, 20), bool))[:-1], "ends too early"),
    ],
)
def test_damaged_strokes_are_refused(data: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unpack_brush(data, (20, 20))
