"""pycocotools itself reads what the COCO writer writes, and finds the same pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from mavos_deploy.runtime.masks.formats.coco import CocoWriter
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from tests.made_clips import synthetic_clip

LEGEND = Legend("clip", {1: "cat", 2: "dog"})


def test_pycocotools_loads_the_file_and_finds_the_same_pixels(tmp_path: Path) -> None:
    labels = list(synthetic_clip(63, 97, 3, objects=3, seed=2).labels)
    labels.append(np.zeros((63, 97), np.uint8))
    with CocoWriter(tmp_path / "a.json", LEGEND) as writer:
        for number, one in enumerate(labels):
            writer.write(LabelledFrame(10 * number, f"{10 * number:05d}", one, picture="x.png"))
    coco = COCO(str(tmp_path / "a.json"))
    assert [image["frame_index"] for image in coco.dataset["images"]] == [0, 10, 20, 30]
    names = {c["id"]: c["name"] for c in coco.dataset["categories"]}
    assert sorted(names.values()) == ["cat", "dog", "object"]
    for image, expected in zip(coco.dataset["images"], labels, strict=True):
        assert (image["height"], image["width"], image["file_name"]) == (63, 97, "x.png")
        found = np.zeros_like(expected)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
            mask = coco.annToMask(annotation)
            assert annotation["area"] == mask.sum()
            left, top, width, height = annotation["bbox"]
            assert mask[top : top + height, left : left + width].sum() == mask.sum()
            assert mask[top].any()
            assert mask[:, left + width - 1].any()
            number = annotation["track_id"]
            assert names[annotation["category_id"]] == LEGEND.name_of(number)
            found[mask > 0] = number
        assert np.array_equal(found, expected)


def test_its_annotations_are_results_for_pycocotools_too(tmp_path: Path) -> None:
    labels = synthetic_clip(63, 97, 1, objects=3, seed=2).labels[0]
    with CocoWriter(tmp_path / "a.json", LEGEND) as writer:
        writer.write(LabelledFrame(0, "00000", labels))
    truth = COCO(str(tmp_path / "a.json"))
    results = [{**annotation, "score": 1.0} for annotation in truth.dataset["annotations"]]
    loaded = truth.loadRes(results)
    for annotation in loaded.dataset["annotations"]:
        assert np.array_equal(loaded.annToMask(annotation), labels == annotation["track_id"])


def _write_and_raise(path: Path, frame: LabelledFrame, error: type[BaseException]) -> None:
    with CocoWriter(path, LEGEND) as writer:
        writer.write(frame)
        assert not path.exists()
        raise error


def test_a_file_appears_at_the_end_and_after_ctrl_c_and_not_after_an_error(tmp_path: Path) -> None:
    frame = LabelledFrame(0, "00000", np.ones((4, 5), np.uint8))
    for error in (KeyboardInterrupt, ZeroDivisionError):
        path = tmp_path / f"{error.__name__}.json"
        with pytest.raises(error):
            _write_and_raise(path, frame, error)
    assert [path.name for path in tmp_path.iterdir()] == ["KeyboardInterrupt.json"]
    assert len(json.loads((tmp_path / "KeyboardInterrupt.json").read_text())["images"]) == 1


def test_a_missing_pycocotools_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.mask", None)
    with pytest.raises(Exception, match=r"pip install 'mavos-deploy\[annotations\]'"):
        CocoWriter(tmp_path / "a.json", LEGEND)
    assert not list(tmp_path.iterdir())
