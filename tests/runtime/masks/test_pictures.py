"""Masks in picture files keep their indices and palette, and unusable ones are refused."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.opening import open_label_maps
from mavos_deploy.runtime.masks.pictures import read_mask

LABELS = np.array([[0, 0, 1, 1], [0, 3, 3, 1], [20, 20, 0, 0]], np.uint8)


def save(path: Path, labels: NDArray[np.uint8], mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    if mode == "P":
        image.putpalette(bytes(range(96)))
    image.save(path)
    return path


@pytest.mark.parametrize("mode", ["P", "L"])
def test_indices_are_kept_with_their_gaps(tmp_path: Path, mode: str) -> None:
    mask = read_mask(save(tmp_path / "a.png", LABELS, mode))
    assert mask.labels.dtype == np.uint8
    assert np.array_equal(mask.labels, LABELS)
    assert (mask.palette is None) == (mode == "L")


def test_the_palette_of_the_file_is_kept(tmp_path: Path) -> None:
    mask = read_mask(save(tmp_path / "a.png", LABELS, "P"))
    assert mask.palette is not None
    assert mask.palette[:63] == bytes(range(63))


def bordered(inside: int, outside: int) -> NDArray[np.uint8]:
    values = np.full((20, 30), outside, np.uint8)
    values[5:15, 5:15] = inside
    return values


WHITE_EDGE = np.where(bordered(0, 1)[..., None], np.uint8(255), np.zeros(3, np.uint8))
WHITE_EDGE[16:, 10:12] = 255, 0, 0  # an object that touches the edge


@pytest.mark.parametrize(
    "values",
    [bordered(0, 255), bordered(0, 1) > 0, WHITE_EDGE, bordered(0, 255).astype(np.uint16) * 300],
    ids=["grey", "1-bit", "colours", "16-bit"],
)
def test_a_first_mask_that_looks_inverted_is_refused(
    tmp_path: Path, values: NDArray[np.uint8]
) -> None:
    path = tmp_path / "00000.png"
    Image.fromarray(values).save(path)
    with pytest.raises(InputError, match="as in an inverted mask; make the background 0"):
        open_label_maps(path).frames["00000"]()


def test_what_surrounds_the_background_and_is_no_inverted_mask_is_read(tmp_path: Path) -> None:
    save(tmp_path / "ids.png", bordered(0, 3))  # ids say what is the background
    assert np.array_equal(open_label_maps(tmp_path / "ids.png").frames["ids"](), bordered(0, 3))
    save(tmp_path / "later" / "00000.png", bordered(255, 0))
    save(tmp_path / "later" / "00001.png", bordered(0, 255))
    maps = open_label_maps(tmp_path / "later").frames
    assert [int(make().sum()) for make in maps.values()] == [100, 500]
    save(tmp_path / "objects" / "1" / "00000.png", bordered(0, 255))  # of which one is the wall
    save(tmp_path / "objects" / "2" / "00000.png", bordered(255, 0))
    assert np.array_equal(open_label_maps(tmp_path / "objects").frames["00000"](), bordered(2, 1))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.npy", "an array, not a picture; save each label map as a PNG"),
        ("a.ZIP", "an archive; unpack it, and give the folder"),
        ("matte.mp4", "a video, not a mask; take its pictures out"),
        ("a.psd", "not a format of masks; export it as PNG"),
    ],
)
def test_other_files_are_refused_with_the_way_to_masks(
    tmp_path: Path, name: str, advice: str
) -> None:
    (tmp_path / name).write_bytes(b"1234")
    with pytest.raises(InputError, match=advice):
        open_label_maps(tmp_path / name)


def test_a_picture_in_a_format_of_frames_only_is_named(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "a.pgm")
    with pytest.raises(InputError, match=r"a\.pgm: a picture in PPM, expected PNG.*as PNG$"):
        open_label_maps(tmp_path / "a.pgm").frames["a"]()


def test_ids_of_the_layout_of_pascal_voc_are_taken(tmp_path: Path) -> None:
    save(tmp_path / "SegmentationClass" / "00000.png", np.minimum(LABELS, 1))
    save(tmp_path / "SegmentationObject" / "00000.png", LABELS)
    maps = open_label_maps(tmp_path)
    assert np.array_equal(maps.frames["00000"](), LABELS)
    assert "SegmentationObject; other folders beside it are left out" in maps.notes[0]


@pytest.mark.parametrize(
    ("masks", "other"),
    [
        (["1/00000.png"], "2/00000.jpg"),
        (["1/00000.png", "1/00001.png"], "1/00002.pgm"),
        (["00000/1.png"], "00000/2.jpg"),
    ],
)
def test_an_object_whose_mask_has_another_format_is_refused(
    tmp_path: Path, masks: list[str], other: str
) -> None:
    for name in masks:
        save(tmp_path / name, np.minimum(LABELS, 1))
    (tmp_path / other).parent.mkdir(exist_ok=True)
    (tmp_path / other).touch()
    with pytest.raises(InputError, match=rf"{other}: .* so its object would be lost; save it as"):
        open_label_maps(tmp_path)


def test_pictures_that_are_frames_or_of_another_format_are_left_out(tmp_path: Path) -> None:
    for name in ("own/00000.png", "other/00000.png", "objects/1/00000.png"):
        save(tmp_path / name, np.minimum(LABELS, 1))
    (tmp_path / "objects/frames").mkdir()
    for name in ("own/00000.jpg", "own/00001.jpg", "other/00010.jpg", "objects/frames/00000.jpg"):
        (tmp_path / name).touch()
    assert open_label_maps(tmp_path / "own").notes == []  # masks beside their frames
    (note,) = open_label_maps(tmp_path / "other").notes
    assert note.endswith("that masks don't have are left out: 00010.jpg")
    for name in ("photo/mask.png", "frame/00000/1.png", "frame/00000/2.png"):
        save(tmp_path / name, np.minimum(LABELS, 1))
    for name in ("photo/photo.jpg", "frame/00000/image.jpg"):
        (tmp_path / name).touch()
    for name in ("objects", "photo", "frame"):
        assert open_label_maps(tmp_path / name).notes[-1].endswith(".jpg")


def test_folders_of_objects_with_one_unnumbered_mask_each_are_of_one_frame(tmp_path: Path) -> None:
    for name in ("1/first.png", "2/first.png"):
        save(tmp_path / name, np.minimum(LABELS, 1))
    assert open_label_maps(tmp_path).single
    save(tmp_path / "3" / "00004.png", np.minimum(LABELS, 1))
    assert not open_label_maps(tmp_path).single


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_a_mask_is_turned_as_its_exif_says(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"00000.{suffix}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(LABELS)))
    image = turned.convert("RGB") if suffix == "webp" else turned
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    image.save(path, exif=exif, **options)
    reading = read_mask(path)
    assert np.array_equal(reading.labels, LABELS)
    assert reading.how is not None
    assert reading.how.endswith("shown turned by 90 degrees to the right, as their EXIF says")


def test_void_pixels_are_kept(tmp_path: Path) -> None:
    labels = np.where(LABELS == 1, 255, LABELS).astype(np.uint8)
    assert np.array_equal(read_mask(save(tmp_path / "a.png", labels)).labels, labels)


def packed_grey(path: Path, labels: NDArray[np.uint8], bits: int) -> Path:
    """A grey PNG of 2 or 4 bits per sample, which Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    height, width = labels.shape
    unpacked = np.unpackbits(labels[..., None], axis=2)[..., 8 - bits :].reshape(height, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in unpacked)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + data)
    return path


@pytest.mark.parametrize(
    ("bits", "given"), [(2, [1, 2, 3]), (2, [1]), (4, [1, 2, 3]), (4, [7, 15])]
)
def test_grey_of_few_bits_has_the_ids_of_the_file(
    tmp_path: Path, bits: int, given: list[int]
) -> None:
    labels = np.repeat(np.array([[0, *given, 0]] * 9, np.uint8), 6, axis=1)
    file = packed_grey(tmp_path / "masks/00000.png", labels, bits)
    reading = read_mask(file)
    assert np.array_equal(reading.labels, labels)
    assert reading.how == f"grey of {bits} bits, whose values in the file are ids"
    packed_grey(tmp_path / "masks/00004.png", np.where(labels == given[-1], labels, 0), bits)
    maps = open_label_maps(tmp_path / "masks")
    later = {stem: make() for stem, make in maps.frames.items()}["00004"]
    assert np.array_equal(later, np.where(labels == given[-1], labels, 0))


@pytest.mark.parametrize("bits", [2, 4])
def test_black_and_white_of_few_bits_is_one_object(tmp_path: Path, bits: int) -> None:
    labels = np.eye(5, dtype=np.uint8)
    file = packed_grey(tmp_path / "a.png", labels * (2**bits - 1), bits)
    assert np.array_equal(read_mask(file).labels, labels)


def test_a_jpeg_mask_is_refused_with_the_reason(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", LABELS)
    with pytest.raises(InputError, match="a picture in JPEG, whose compression changes object ids"):
        read_mask(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "header-only"]
)
def test_a_damaged_mask_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png: not a readable picture"):
        read_mask(tmp_path / "a.png")


def test_a_file_of_several_pictures_is_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(LABELS), Image.fromarray(LABELS[::-1])]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=r"a\.tif: 2 pictures in one file, but a mask is one"):
        read_mask(tmp_path / "a.tif")


def test_a_folder_has_a_label_map_for_each_file_in_natural_order(tmp_path: Path) -> None:
    for name in ("2.png", "10.PNG", "1.tif", ".3.png"):
        save(tmp_path / name, LABELS)
    maps = open_label_maps(tmp_path)
    assert list(maps.frames) == ["1", "2", "10"]
    assert all(np.array_equal(draw(), LABELS) for draw in maps.frames.values())
    assert not maps.single


def test_two_masks_of_one_frame_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "1.png", LABELS)
    save(tmp_path / "1.tif", LABELS)
    with pytest.raises(InputError, match=r"holds 1\.png and 1\.tif"):
        open_label_maps(tmp_path)


def per_object(labels: NDArray[np.uint8], object_id: int) -> NDArray[np.uint8]:
    return np.where(labels == object_id, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("names", "frame"),
    [
        pytest.param({1: "1/00000.png", 3: "3/00000.png", 20: "20/00000.png"}, "00000", id="sam2"),
        pytest.param({1: "001/7.png", 3: "003/7.png", 20: "020/7.png"}, "7", id="padded-objects"),
        pytest.param(
            {1: "obj1/7.png", 3: "obj3/7.png", 20: "obj20/7.png"}, "7", id="named-and-numbered"
        ),
        pytest.param({1: "00007/1.png", 3: "00007/3.png", 20: "00007/20.png"}, "00007", id="frame"),
    ],
)
def test_masks_of_single_objects_are_put_together(
    tmp_path: Path, names: dict[int, str], frame: str
) -> None:
    for object_id, name in names.items():
        save(tmp_path / name, per_object(LABELS, object_id))
    maps = open_label_maps(tmp_path)
    assert list(maps.frames) == [frame]
    assert np.array_equal(maps.frames[frame](), LABELS)
    assert "for each object" in maps.notes[0]


def test_objects_that_are_named_get_numbers_in_the_order_of_names(tmp_path: Path) -> None:
    save(tmp_path / "dog.png", per_object(LABELS, 1))
    save(tmp_path / "cat.png", per_object(LABELS, 20))
    maps = open_label_maps(tmp_path)
    assert maps.names == {1: "cat", 2: "dog"}
    (draw,) = maps.frames.values()
    assert np.array_equal(draw(), np.where(LABELS == 1, 2, LABELS == 20))
    assert maps.notes[0] == "masks have one file for each object: cat is 1, dog is 2"


def test_objects_that_overlap_share_their_pixels_by_id_and_it_is_said(tmp_path: Path) -> None:
    save(tmp_path / "2/00000.png", np.full((3, 4), 255, np.uint8))
    save(tmp_path / "1/00000.png", per_object(LABELS, 1))
    maps = open_label_maps(tmp_path)
    assert np.array_equal(maps.frames["00000"](), np.where(LABELS == 1, 1, 2))
    assert any("shared pixels go to the smaller id" in note for note in maps.notes)


def test_a_label_map_where_one_object_is_expected_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "1/00000.png", LABELS)
    save(tmp_path / "2/00000.png", LABELS)
    with pytest.raises(InputError, match="3 values in the mask of one object"):
        open_label_maps(tmp_path).frames["00000"]()


def test_a_folder_within_the_folder_is_read_and_said(tmp_path: Path) -> None:
    save(tmp_path / "clip/00000.png", LABELS)
    maps = open_label_maps(tmp_path)
    assert np.array_equal(maps.frames["00000"](), LABELS)
    assert maps.notes == [f"masks are in {tmp_path / 'clip'}"]


@pytest.mark.parametrize("name", ["00000.png", "dog.png"])
def test_folders_beside_masks_are_left_out_and_it_is_said(tmp_path: Path, name: str) -> None:
    save(tmp_path / name, LABELS)
    save(tmp_path / "2/00000.png", LABELS)
    maps = open_label_maps(tmp_path)
    assert list(maps.frames) == [name.removesuffix(".png")]
    assert maps.notes == [f"masks lie in {tmp_path} itself, so folders within are left out: 2"]


def test_a_folder_without_masks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no mask \([^)]*\); expected .* each object$"):
        open_label_maps(tmp_path)
    (tmp_path / "00000.jpg").touch()
    with pytest.raises(InputError, match=r"holds no mask .*; expected masks named <frame stem>"):
        open_label_maps(tmp_path)
    with pytest.raises(InputError, match=r"but pictures in JPEG, .* ids \(00000\.jpg\); .*as PNG"):
        open_label_maps(tmp_path)


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="masks does not exist"):
        open_label_maps(tmp_path / "masks")
