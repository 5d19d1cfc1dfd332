"""Written masks keep labels and palettes, and are whole or not there."""

import errno
from pathlib import Path
from typing import BinaryIO

import imgviz
import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.masks.png import write_mask


@pytest.mark.parametrize(
    "palette",
    [
        pytest.param(None, id="davis"),
        pytest.param(bytes(range(240)) + bytes(528), id="whole"),
        pytest.param(bytes(range(12)), id="shorter-than-the-labels"),
    ],
)
def test_written_masks_read_back_with_indices_and_palette(
    tmp_path: Path, palette: bytes | None
) -> None:
    labels = np.arange(255, dtype=np.uint8).reshape(15, 17)
    write_mask(tmp_path / "a.png", labels, palette)
    mask = read_mask(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "P"
    assert np.array_equal(mask.labels, labels)
    assert mask.palette is not None
    expected = np.array(imgviz.label_colormap()).tobytes()  # type: ignore[attr-defined]
    given = palette or b""
    assert mask.palette == given + expected[len(given) :]


def test_labels_without_a_palette_get_the_colours_of_davis() -> None:
    colors = palette_colors(None)
    assert colors.shape == (256, 3)
    assert colors[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]


def test_colours_are_a_copy_that_may_be_changed() -> None:
    palette_colors(None)[:] = 7
    assert palette_colors(None)[1].tolist() == [128, 0, 0]


def test_a_full_disk_is_one_line_and_leaves_no_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(image: Image.Image, file: BinaryIO, **options: str) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(InputError, match=r"^cannot write .*a\.png: the disk is full$"):
        write_mask(tmp_path / "a.png", np.ones((3, 4), np.uint8))
    assert not list(tmp_path.iterdir())
