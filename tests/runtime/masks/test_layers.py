"""Objects of which others leave no pixel are named, with their frames and what lies over them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.runtime.masks.layers import Covered, Layers
from mavos_deploy.runtime.masks.opening import open_label_maps
from tests.annotation_files import FILES

OUTER = np.zeros((12, 16), bool)
OUTER[2:10, 3:13] = True
INNER = np.zeros_like(OUTER)
INNER[4:6, 5:8] = True


def laid(*masks: NDArray[np.bool_]) -> Layers:
    layers = Layers((12, 16))
    for number, mask in enumerate(masks, 1):
        layers.draw(number, mask)
    return layers


def test_an_object_without_a_pixel_left_is_found_with_the_one_above() -> None:
    assert laid(INNER, OUTER).covered() == {1: 2}
    assert laid(OUTER, INNER).covered() == {}
    assert laid(INNER, ~OUTER, OUTER).covered() == {1: 3}


def test_an_object_out_of_sight_is_not_covered() -> None:
    assert laid(INNER & False, OUTER).covered() == {}


def test_drawing_tells_whether_another_object_is_below() -> None:
    layers = Layers((12, 16))
    assert not layers.draw(1, INNER)
    assert not layers.draw(1, INNER)
    assert layers.draw(2, OUTER)


def test_a_line_names_the_first_frames_once() -> None:
    covered = Covered("cut it out of object {over}")
    for frame in ("0", "1", "1", "2", "3"):
        covered.add(frame, laid(INNER, OUTER))
    assert covered.lines() == [
        "object 1 has no pixel left in frames 0, 1, 2, ...: object 2 lies over it; cut it out of "
        "object 2"
    ]


def test_an_object_without_a_pixel_in_any_frame_is_named() -> None:
    covered = Covered("")
    covered.add("0", laid(INNER & False, OUTER, INNER & False))
    covered.add("1", laid(INNER & False, OUTER, INNER))
    (line,) = covered.lines()
    assert line.startswith("object 1 has no pixel in any mask that was read; where")


def test_a_covered_object_of_masks_for_each_object_is_named(tmp_path: Path) -> None:
    for number, mask in ((1, OUTER), (2, INNER)):
        (tmp_path / str(number)).mkdir()
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"{number}/00004.png")
    maps = open_label_maps(tmp_path)
    assert maps.lost() == []
    assert set(np.unique(maps.frames["00004"]())) == {0, 1}
    (line,) = maps.lost()
    assert line.startswith("object 2 has no pixel left in frame 00004: object 1 lies over it; ")


class _Nested(np.ndarray[Any, np.dtype[np.uint8]]):  # noqa: PLW1641
    """Labels in which object 1 has pixels of object 2, as files of annotations may have it."""

    def __eq__(self, number: object) -> NDArray[np.bool_]:  # type: ignore[override]
        return INNER if number == 1 else OUTER


@pytest.mark.parametrize("kind", FILES)
def test_a_covered_object_of_an_annotation_file_is_named(tmp_path: Path, kind: str) -> None:
    suffix, make = FILES[kind]
    path = tmp_path / f"masks{suffix}"
    labels = np.where(INNER, 1, OUTER * 2).astype(np.uint8)
    path.write_bytes(make({"00003": labels.view(_Nested)}))
    maps = open_label_maps(path)
    assert set(np.unique(maps.frames["00003"]())) == {0, 2}
    (line,) = maps.lost()
    assert line.startswith("object 1 has no pixel left in frame 00003: object 2 lies over it; ")
