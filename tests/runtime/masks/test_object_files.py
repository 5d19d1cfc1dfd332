"""A mask for each object in one folder is told from a mask for each frame."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.opening import open_label_maps
from mavos_deploy.runtime.masks.source import MaskSource


def square(left: int, value: int = 255) -> NDArray[np.uint8]:
    labels = np.zeros((24, 64), np.uint8)
    labels[8:16, left : left + 12] = value
    return labels


def save(folder: Path, *names: str, step: int = 16, value: int = 255) -> Path:
    for place, name in enumerate(names):
        file = folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(square(place * step, value)).save(file)
    return folder


@pytest.mark.parametrize("value", [255, 1])
@pytest.mark.parametrize(
    "names",
    [
        ("mask_0", "mask_1", "mask_2"),
        ("1", "2", "3"),
        ("obj_1", "obj_2"),
        ("obj_0001", "obj_0002"),
        ("person1", "person2", "dog"),
        ("person1", "dog"),
        ("inside/1", "inside/2"),
    ],
    ids=lambda names: names[0],
)
def test_objects_in_different_places_are_no_frames(
    tmp_path: Path, names: tuple[str, ...], value: int
) -> None:
    save(tmp_path, *names, value=value)
    first = f"{Path(names[0]).name}.png"
    with pytest.raises(InputError, match=rf"{first}.* several objects .* 1/00000\.png"):
        open_label_maps(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("frame_00000_obj1",),
        ("frame_00000_obj1", "frame_00000_obj2"),
        ("00000_1", "00000_2", "00001_1"),
        ("obj1_00000", "obj2_00000", "obj1_00001"),
    ],
    ids=lambda names: f"{len(names)}-{names[0]}",
)
def test_names_with_a_frame_and_an_object_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    save(tmp_path, *names, step=1)
    with pytest.raises(InputError, match=rf"{names[0]}\.png.* more than one number.*1/00000\.png"):
        open_label_maps(tmp_path)


@pytest.mark.parametrize(
    "names", [("1/00000", "2/00000", "3/00000"), ("00000/1", "00000/2", "00000/3")]
)
def test_the_advice_works(tmp_path: Path, names: tuple[str, ...]) -> None:
    maps = open_label_maps(save(tmp_path, *names))
    labels = maps.frames["00000"]()
    assert np.array_equal(labels, np.maximum.reduce([square(16 * n, n + 1) for n in range(3)]))


@pytest.mark.parametrize(
    "names",
    [("1", "2", "3"), ("mask_0", "mask_1"), ("seq12_frame_00001", "seq12_frame_00002")],
    ids=lambda names: names[0],
)
def test_an_object_that_moves_is_read_as_frames(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert tuple(open_label_maps(save(tmp_path, *names, step=4)).frames) == names


@pytest.mark.parametrize("names", [("00000", "00001"), ("00000_1", "00000_2"), ("a", "b2", "c1")])
def test_masks_named_after_frames_belong_to_them(tmp_path: Path, names: tuple[str, ...]) -> None:
    source = MaskSource(save(tmp_path, *names), frames=names)
    for place, name in enumerate(names):
        mask = source.for_stem(name, first=place == 0)
        assert mask is not None
        assert np.array_equal(mask.labels, square(16 * place, 1))


def test_numbers_with_gaps_and_label_maps_are_frames(tmp_path: Path) -> None:
    assert list(open_label_maps(save(tmp_path / "gaps", "m_0", "m_20")).frames) == ["m_0", "m_20"]
    folder = tmp_path / "maps"
    folder.mkdir()
    for name in ("m_0", "m_1"):
        labels = square(0 if name == "m_0" else 30, 1)
        labels[:4, :20] = 2
        Image.fromarray(labels).save(folder / f"{name}.png")
    assert list(open_label_maps(folder).frames) == ["m_0", "m_1"]
