"""Masks keep their indices and palette, and unusable ones are refused with advice."""

import errno
from pathlib import Path

import imgviz
import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.masks import MaskSource, palette_colors, read_mask, write_mask

LABELS = np.array([[0, 0, 1, 1], [0, 3, 3, 1], [20, 20, 0, 0]], np.uint8)


def _save(path: Path, labels: np.ndarray, mode: str = "L") -> Path:
    image = Image.fromarray(labels)
    if mode == "P":
        image.putpalette(bytes(range(96)))
    elif mode == "1":
        image = Image.fromarray(labels > 0)
    elif mode != "L":
        image = image.convert(mode)
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["P", "L"])
def test_indices_are_kept_with_their_gaps(tmp_path: Path, mode: str) -> None:
    mask = read_mask(_save(tmp_path / "a.png", LABELS, mode), size=(3, 4))
    assert mask.labels.dtype == np.uint8
    assert np.array_equal(mask.labels, LABELS)
    assert (mask.palette is None) == (mode == "L")


def test_a_black_and_white_mask_is_object_one(tmp_path: Path) -> None:
    mask = read_mask(_save(tmp_path / "a.png", LABELS, "1"))
    assert np.array_equal(mask.labels, LABELS > 0)


def test_the_palette_of_the_file_is_kept(tmp_path: Path) -> None:
    mask = read_mask(_save(tmp_path / "a.png", LABELS, "P"))
    assert mask.palette is not None
    assert mask.palette[:63] == bytes(range(63))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_pictures_in_colour_are_refused_with_advice(tmp_path: Path, mode: str) -> None:
    with pytest.raises(InputError, match=rf"a\.png: a {mode} picture.*palette \(mode P\)"):
        read_mask(_save(tmp_path / "a.png", LABELS, mode))


def test_void_pixels_are_kept_for_scoring(tmp_path: Path) -> None:
    labels = np.where(LABELS == 1, 255, LABELS).astype(np.uint8)
    path = _save(tmp_path / "a.png", labels)
    assert np.array_equal(read_mask(path, allow_void=True).labels, labels)
    only_void = _save(tmp_path / "b.png", np.where(labels == 255, labels, 0).astype(np.uint8))
    with pytest.raises(InputError, match=r"no object in the mask; every pixel is 0 or void"):
        read_mask(only_void, require_objects=True, allow_void=True)


def test_void_pixels_are_refused_with_their_number(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[0, :2] = 255
    with pytest.raises(InputError, match="2 pixels are 255, and 255 marks void in DAVIS"):
        read_mask(_save(tmp_path / "a.png", labels))


def test_a_binary_mask_of_255_is_refused_with_its_cure(tmp_path: Path) -> None:
    labels = np.where(LABELS > 0, 255, 0).astype(np.uint8)
    with pytest.raises(InputError, match="looks like a binary mask; save the object as 1"):
        read_mask(_save(tmp_path / "a.png", labels))


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mask is 3x4 but its frame is 480x854"):
        read_mask(_save(tmp_path / "a.png", LABELS), size=(480, 854))


def test_an_empty_mask_is_refused_only_where_objects_are_required(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", np.zeros((3, 4), np.uint8))
    assert not read_mask(path).labels.any()
    with pytest.raises(InputError, match="no object in the mask"):
        read_mask(path, require_objects=True)


def test_a_mask_of_16_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="more than 8 bits"):
        read_mask(_save(tmp_path / "a.png", LABELS.astype(np.uint16)))


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "header-only"]
)
def test_a_damaged_mask_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png: not a readable picture"):
        read_mask(tmp_path / "a.png")


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
    mask = read_mask(tmp_path / "a.png", size=(15, 17))
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
    def fail(image: Image.Image, path: Path, **options: str) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(InputError, match=r"^cannot write .*a\.png: the disk is full$"):
        write_mask(tmp_path / "a.png", LABELS)
    assert not list(tmp_path.iterdir())


def test_a_single_file_annotates_the_first_frame_only(tmp_path: Path) -> None:
    source = MaskSource(_save(tmp_path / "any name.png", LABELS), size=(3, 4))
    first = source.for_stem("00000", first=True)
    assert first is not None
    assert np.array_equal(first.labels, LABELS)
    assert source.for_stem("00001", first=False) is None


def test_a_folder_annotates_the_frames_that_its_masks_are_named_after(tmp_path: Path) -> None:
    _save(tmp_path / "00000.png", LABELS)
    _save(tmp_path / "00002.PNG", np.minimum(LABELS, 1))
    _save(tmp_path / ".00001.png", LABELS)
    source = MaskSource(tmp_path)
    given = [source.for_stem(f"{index:05d}", first=index == 0) for index in range(3)]
    assert [mask is not None for mask in given] == [True, False, True]
    assert source.unmatched({"00000", "00001"}) == ["00002.PNG"]


def test_a_later_mask_may_be_empty_but_the_first_may_not(tmp_path: Path) -> None:
    _save(tmp_path / "00000.png", LABELS * 0)
    source = MaskSource(tmp_path)
    assert source.for_stem("00000", first=False) is not None
    with pytest.raises(InputError, match="no object"):
        source.for_stem("00000", first=True)


def test_a_folder_without_the_first_mask_names_it_and_what_is_there(tmp_path: Path) -> None:
    for index in range(1, 6):
        _save(tmp_path / f"{index}.png", LABELS)
    text = r"first frame needs the mask 00000\.png; there is 1\.png, 2\.png, 3\.png and 2 more"
    with pytest.raises(InputError, match=text):
        MaskSource(tmp_path).for_stem("00000", first=True)


def test_a_folder_without_masks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "00000.jpg").touch()
    with pytest.raises(InputError, match="holds no PNG; expected masks named <frame stem>"):
        MaskSource(tmp_path)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="masks does not exist"):
        MaskSource(tmp_path / "masks")
