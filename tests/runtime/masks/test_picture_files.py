"""Pictures for each frame: a mask for each object, and objects cut out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.picture_files import BinaryWriter, CutoutWriter, PaletteWriter
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend

EMPTY = np.zeros((3, 4), np.uint8)
FIRST = np.array([[0, 0, 5, 5]] * 3, np.uint8)
BOTH = np.array([[9, 0, 0, 5]] * 3, np.uint8)
RGB = np.arange(36, dtype=np.uint8).reshape(3, 4, 3) + 100


def _names(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_binary_masks_lie_in_a_folder_for_each_object(tmp_path: Path) -> None:
    with BinaryWriter(tmp_path, Legend()) as writer:
        for number, labels in enumerate((EMPTY, FIRST, BOTH, EMPTY)):
            writer.write(LabelledFrame(number, f"{number:05d}", labels))
    assert _names(tmp_path) == [
        *(f"5/{number:05d}.png" for number in range(4)),
        *(f"9/{number:05d}.png" for number in (2, 3)),
    ]
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "5/00002.png")), np.where(BOTH == 5, 255, 0)
    )
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "9/00002.png")), np.where(BOTH == 9, 255, 0)
    )
    for empty in ("5/00000.png", "9/00003.png"):
        assert not np.array(Image.open(tmp_path / empty)).any()


def test_a_video_without_objects_keeps_its_frames(tmp_path: Path) -> None:
    with BinaryWriter(tmp_path, Legend()) as writer:
        writer.write(LabelledFrame(0, "a", EMPTY))
    assert _names(tmp_path) == ["1/a.png"]


def test_cut_outs_are_opaque_where_their_object_is(tmp_path: Path) -> None:
    with CutoutWriter(tmp_path / "each", Legend(), together=False) as writer:
        writer.write(LabelledFrame(0, "a", BOTH, RGB))
        writer.write(LabelledFrame(1, "b", EMPTY, RGB))
    assert _names(tmp_path / "each") == ["5/a.png", "9/a.png"]
    with CutoutWriter(tmp_path / "all", Legend(), together=True) as writer:
        writer.write(LabelledFrame(0, "a", BOTH, RGB))
        writer.write(LabelledFrame(1, "b", EMPTY, RGB))
    assert _names(tmp_path / "all") == ["a.png", "b.png"]
    for name, inside in (("each/5/a.png", BOTH == 5), ("all/a.png", BOTH > 0)):
        picture = np.array(Image.open(tmp_path / name))
        assert np.array_equal(picture[..., 3], np.where(inside, 255, 0))
        assert np.array_equal(picture[inside][:, :3], RGB[inside])
        assert not picture[~inside].any()


def test_cut_outs_need_pictures(tmp_path: Path) -> None:
    with (
        CutoutWriter(tmp_path, Legend(), together=True) as writer,
        pytest.raises(InputError, match="cut-outs need pictures, and a has none"),
    ):
        writer.write(LabelledFrame(0, "a", BOTH))


def test_palette_pngs_have_the_palette_of_the_masks(tmp_path: Path) -> None:
    with PaletteWriter(tmp_path, Legend(palette=bytes(range(30)))) as writer:
        writer.write(LabelledFrame(0, "a", BOTH))
    image = Image.open(tmp_path / "a.png")
    assert np.array_equal(np.asarray(image), BOTH)
    assert (image.getpalette() or [])[:30] == list(range(30))
