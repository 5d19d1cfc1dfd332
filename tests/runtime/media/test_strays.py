"""Masks among frames are told from them: by content, by name, or the folder is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.folders import find_pictures

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
LABELS = np.zeros((48, 64), np.uint8)
LABELS[8:24, 8:24], LABELS[28:40, 30:60] = 1, 2
COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)


def photo() -> Image.Image:
    return Image.fromarray(NOISE)


def grey_photo() -> Image.Image:
    return photo().convert("L")


def drawing() -> Image.Image:
    """A frame of a cartoon: areas of one colour, as masks have."""
    return Image.fromarray(COLOURS[LABELS] + 40)


def black() -> Image.Image:
    return Image.new("RGB", (64, 48))


def coloured_mask() -> Image.Image:
    return Image.fromarray(COLOURS[LABELS])


def grey_mask() -> Image.Image:
    return Image.fromarray(LABELS)


def palette_mask() -> Image.Image:
    mask = Image.fromarray(LABELS, "P")
    mask.putpalette(COLOURS.tobytes())
    return mask


def blended_mask() -> Image.Image:
    """A mask in colours with smooth borders, which have more colours than masks do."""
    shaded: NDArray[np.uint8] = COLOURS[LABELS]
    shaded[8:24, 8:24, 2] = np.arange(16, dtype=np.uint8)[:, None]
    large = Image.fromarray(shaded).resize((640, 480), Image.Resampling.NEAREST)
    return large.filter(ImageFilter.GaussianBlur(2))


Make = Callable[[], Image.Image]


def folder_of(path: Path, frames: Make, suffix: str, **others: Make) -> Path:
    """Six frames, and other pictures by their names, with two underscores for the dot."""
    path.mkdir()
    for index in range(6):
        frames().save(path / f"frame_{index:05d}{suffix}")
    for name, make in others.items():
        make().save(path / name.replace("__", "."))
    return path


def names(folder: Path | str, masks: Path | None = None) -> list[str]:
    return [file.name for file in find_pictures(str(folder), masks).files]


FRAMES = [f"frame_{index:05d}" for index in range(6)]


@pytest.mark.parametrize("make", [coloured_mask, grey_mask, photo], ids=["colours", "grey", "any"])
@pytest.mark.parametrize("name", ["first__png", "frame_00000_mask__png", "frame_00006__png"])
def test_a_copy_of_the_given_mask_is_no_frame_and_is_named(
    tmp_path: Path, make: Make, name: str
) -> None:
    folder = folder_of(tmp_path / "a", grey_photo, ".jpg", **{name: make})
    file = folder / name.replace("__", ".")
    copy = tmp_path / "copy.png"
    copy.write_bytes(file.read_bytes())
    found = find_pictures(str(folder), copy)
    assert [picture.stem for picture in found.files] == FRAMES
    assert found.notes == [
        f"{file.name} has the content of the mask that was given, {copy}, so it is no frame"
    ]


def test_copies_of_masks_of_a_folder_are_no_frames(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", photo, ".jpg", a__png=coloured_mask, b__png=grey_mask)
    masks = tmp_path / "masks"
    masks.mkdir()
    for index, name in enumerate(("a.png", "b.png")):
        (masks / f"{index:05d}.png").write_bytes((folder / name).read_bytes())
    found = find_pictures(str(folder), masks)
    assert [picture.stem for picture in found.files] == FRAMES
    assert found.notes == [
        f"a.png, b.png have the content of a mask in {masks}, so they are no frame"
    ]
    for name in ("a.png", "b.png"):
        (folder / name).unlink()
    assert find_pictures(str(folder), masks).notes == []


@pytest.mark.parametrize("frames", [photo, palette_mask], ids=["colours", "palette"])
def test_png_frames_beside_files_of_labelme_are_no_given_masks(
    tmp_path: Path, frames: Make
) -> None:
    folder = folder_of(tmp_path / "a", frames, ".png")
    (folder / "frame_00000.json").write_text('{"imageHeight": 48, "shapes" : []}')
    found = find_pictures(str(folder), folder)
    assert [picture.stem for picture in found.files] == FRAMES
    assert found.notes == []


def test_masks_beside_other_json_are_given_masks(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", palette_mask, ".png")
    (folder / "meta.json").write_text('{"images": []}')
    with pytest.raises(InputError, match="holds no frames but masks that --masks gives"):
        find_pictures(str(folder), folder)


def test_a_folder_of_given_masks_alone_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", palette_mask, ".png")
    with pytest.raises(InputError, match="holds no frames but masks that --masks gives"):
        find_pictures(str(folder), folder)


@pytest.mark.parametrize(
    ("frames", "suffix", "mask", "name"),
    [
        (photo, ".jpg", coloured_mask, "first__png"),
        (photo, ".png", coloured_mask, "first__png"),
        (grey_photo, ".jpg", grey_mask, "first__png"),
        (grey_photo, ".jpg", coloured_mask, "first__png"),
        (photo, ".png", grey_mask, "masks__tif"),
        (photo, ".png", palette_mask, "first__bmp"),
        (photo, ".jpg", coloured_mask, "object_1__png"),
        (photo, ".jpg", coloured_mask, "frame_00000_mask__png"),
        (drawing, ".png", drawing, "frame_00000_mask__png"),
        (photo, ".jpg", photo, "frame_00000-labels__jpg"),
        (photo, ".jpg", photo, "frame_00000_mask_2__jpg"),
    ],
)
def test_a_mask_of_any_kind_among_frames_is_left_out_and_named(
    tmp_path: Path, frames: Make, suffix: str, mask: Make, name: str
) -> None:
    folder = folder_of(tmp_path / "a", frames, suffix, **{name: mask})
    found = find_pictures(str(folder), tmp_path / "elsewhere.png")
    assert [picture.stem for picture in found.files] == FRAMES
    (note,) = found.notes
    assert note.startswith(f"{name.replace('__', '.')} of {folder} looks like a mask among frames")


def test_masks_beside_all_frames_are_left_out(tmp_path: Path) -> None:
    beside = {f"{stem}_mask__png": coloured_mask for stem in FRAMES}
    folder = folder_of(tmp_path / "a", photo, ".jpg", **beside)
    numbered = {f"mask_{index:05d}__png": palette_mask for index in range(9)}
    other = folder_of(tmp_path / "b", photo, ".jpg", **numbered)
    for each, count in ((folder, 6), (other, 9)):
        found = find_pictures(str(each))
        assert [picture.stem for picture in found.files] == FRAMES
        (note,) = found.notes
        assert f" and {count - 5} more of {each} look like masks among frames" in note


@pytest.mark.parametrize(
    ("frames", "suffix", "other", "name"),
    [
        (photo, ".jpg", blended_mask, "first__png"),
        (photo, ".jpg", photo, "mask__jpg"),
        (photo, ".jpg", black, "labels__png"),
        (drawing, ".png", coloured_mask, "first__png"),
        (photo, ".jpg", palette_mask, "frame_00006__png"),
        (photo, ".jpg", coloured_mask, "frame_00006__png"),
    ],
)
def test_what_may_be_a_mask_or_a_frame_is_refused_with_advice_that_works(
    tmp_path: Path, frames: Make, suffix: str, other: Make, name: str
) -> None:
    folder = folder_of(tmp_path / "a", frames, suffix, **{name: other})
    file, pattern = folder / name.replace("__", "."), folder / f"frame_%05d{suffix}"
    with pytest.raises(InputError) as refusal:
        find_pictures(str(folder))
    assert str(refusal.value).startswith(
        f"{file.name} of {folder} looks unlike the frames there, and may be a mask; move it out"
    )
    assert f"or give {pattern} if so" in str(refusal.value)
    assert [Path(frame).stem for frame in names(str(pattern))] == FRAMES
    with Image.open(file) as image:
        image.convert("RGB").save(folder / f"frame_00007{suffix}")
    file.unlink()
    assert len(names(folder)) == 7
    (folder / f"frame_00007{suffix}").unlink()
    assert [Path(frame).stem for frame in names(folder)] == FRAMES


def test_a_first_picture_of_ids_among_colours_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", photo, ".png")
    palette_mask().save(folder / "frame_00000.png")
    with pytest.raises(InputError, match=r"^frame_00000\.png of .* may be a mask") as refusal:
        find_pictures(str(folder))
    assert " or give " not in str(refusal.value)  # no pattern leaves it out
    drawing().save(folder / "frame_00000.png")
    assert len(names(folder)) == 6


def test_masks_that_are_not_all_of_one_kind_are_refused(tmp_path: Path) -> None:
    others = {"object_1__png": coloured_mask, "object_2__png": photo}
    folder = folder_of(tmp_path / "a", photo, ".jpg", **others)
    with pytest.raises(InputError, match=r"^object_1\.png, object_2\.png of .* may be masks"):
        find_pictures(str(folder))


def test_a_picture_without_a_number_among_numbered_ones_is_a_frame_and_named(
    tmp_path: Path,
) -> None:
    folder = folder_of(tmp_path / "a", photo, ".jpg", title__png=photo, end__jpg=photo)
    found = find_pictures(str(folder))
    assert [file.stem for file in found.files] == ["end", *FRAMES, "title"]
    (note,) = found.notes
    assert note.startswith(f"end.jpg, title.png of {folder} are named unlike the other frames")
    assert note.endswith(f"or give {folder / 'frame_%05d.jpg'}")


@pytest.mark.parametrize(
    "pictures",
    [
        {"beach.jpg": photo, "dog.png": photo, "tree.jpg": coloured_mask},
        {"f1.jpg": photo, "f2.png": photo, "f3.jpg": photo, "f9.jpg": photo, "f12.png": photo},
        {"f1.jpg": photo, "f2.jpg": photo, "f3.png": black, "f4.jpg": photo},
        {"f1.png": black, "f2.png": photo, "f3.png": photo},
        {"f1.png": drawing, "f2.png": photo, "f3.png": photo},
        {"IMG_1.jpg": photo, "IMG_2.jpg": photo, "IMG_3.jpg": photo, "GOPR4.jpg": photo},
        {"a_1.png": drawing, "a_2.png": drawing, "a_3.png": drawing, "b_4.png": drawing},
        {"mask_1.png": drawing, "mask_2.png": drawing, "mask_3.png": palette_mask},
        {"f1.png": palette_mask, "f2.png": palette_mask, "f3.png": palette_mask},
        {"unmasked1.jpg": photo, "segue2.jpg": photo, "street3.jpg": photo},
        {"f1.jpg": photo},
    ],
)
def test_ordinary_folders_are_taken_without_a_word(
    tmp_path: Path, pictures: dict[str, Make]
) -> None:
    for name, make in pictures.items():
        make().save(tmp_path / name)
    found = find_pictures(str(tmp_path))
    assert len(found.files) == len(pictures)
    assert found.notes == []


def test_a_black_frame_does_not_make_masks_look_like_frames(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", photo, ".png", first__png=coloured_mask)
    black().save(folder / "frame_00003.png")
    assert [Path(frame).stem for frame in names(folder)] == FRAMES


def test_a_broken_picture_of_another_name_is_told_when_it_is_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", photo, ".jpg")
    (folder / "first.png").write_bytes(b"broken")
    assert len(names(folder)) == 7


def test_a_picture_of_colours_that_are_not_converted_is_told_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "a", photo, ".jpg")
    convert = Image.Image.convert

    def without_lab(image: Image.Image, mode: str) -> Image.Image:
        if image.mode == "LAB":
            raise ValueError("conversion not supported")  # as Pillow says in some builds
        return convert(image, mode)

    monkeypatch.setattr(Image.Image, "convert", without_lab)
    Image.new("LAB", (64, 48)).save(folder / "first.tif")
    assert len(names(folder)) == 7


@pytest.mark.parametrize(
    ("name", "make"),
    [
        pytest.param("{:05d}_gt.png", palette_mask, id="masks"),
        pytest.param("gt_{:05d}.png", palette_mask, id="masks-in-front"),
        pytest.param("{:05d}_matte.png", grey_photo, id="mattes"),
        pytest.param("{:05d}_depth.png", grey_photo, id="depth"),
        pytest.param("{:05d}_ids.png", coloured_mask, id="colours"),
    ],
)
def test_as_many_masks_as_frames_are_left_out(tmp_path: Path, name: str, make: Make) -> None:
    for number in range(6):
        photo().save(tmp_path / f"{number:05d}.jpg")
        make().save(tmp_path / name.format(number))
    found = find_pictures(str(tmp_path))
    assert [file.name for file in found.files] == [f"{number:05d}.jpg" for number in range(6)]
    (note,) = found.notes
    assert "look like masks" in note
    palette_mask().save(tmp_path / "00000_more.png")
    palette_mask().save(tmp_path / "00001_more.png")
    assert find_pictures(str(tmp_path)).files == found.files
    for number in range(2):  # of another camera, perhaps
        grey_photo().save(tmp_path / f"{number:05d}_more.png")
    with pytest.raises(InputError, match=r"^00000_more\.png, 00001_more\.png of .* may be masks"):
        find_pictures(str(tmp_path))


@pytest.mark.parametrize(
    ("first", "second", "make", "advice"),
    [
        ("{:05d}.jpg", "{:05d}_flow.png", photo, "%05d.jpg"),
        ("rgb_{:05d}.jpg", "depth_{:05d}.jpg", photo, "rgb_%05d.jpg"),
        ("day_{:05d}.png", "night_{:05d}.png", grey_photo, "day_%05d.png"),
        ("rgb_{:05d}.png", "ir_{:05d}.png", grey_photo, "rgb_%05d.png"),
        ("frame_{:05d}.jpg", "{:05d}.png", palette_mask, "frame_%05d.jpg"),
    ],
)
def test_two_pictures_for_each_number_are_refused_where_neither_is_surely_the_frame(
    tmp_path: Path, first: str, second: str, make: Make, advice: str
) -> None:
    for number in range(4):
        photo().save(tmp_path / first.format(number))
        make().save(tmp_path / second.format(number))
    with pytest.raises(InputError, match="move them out of the folder or give") as refusal:
        find_pictures(str(tmp_path))
    assert f"give {tmp_path / advice} if so" in str(refusal.value)
    names = [first.format(number) for number in range(4)]
    assert [file.name for file in find_pictures(str(tmp_path / advice)).files] == names


def test_other_numbers_under_another_name_are_frames(tmp_path: Path) -> None:
    for number in range(4):
        photo().save(tmp_path / f"a_{number}.jpg")
        photo().save(tmp_path / f"b_{number + 4}.jpg")
    assert len(find_pictures(str(tmp_path)).files) == 8


@pytest.mark.parametrize(
    ("prefixes", "make"),
    [
        pytest.param(["left_", "right_"], photo, id="cameras"),
        pytest.param(["shotA_", "shotB_"], photo, id="shots"),
        pytest.param(["morning_", "night_", "noon_"], photo, id="three"),
        pytest.param(["a", "b"], grey_photo, id="grey"),
        pytest.param(["a", "b"], drawing, id="drawings"),
    ],
)
def test_frames_with_the_same_numbers_under_several_names_are_kept_and_named(
    tmp_path: Path, prefixes: list[str], make: Make
) -> None:
    names = [f"{prefix}{number:03d}" for prefix in prefixes for number in range(3)]
    for name in names:
        make().save(tmp_path / f"{name}.png")
    found = find_pictures(str(tmp_path))
    assert [file.stem for file in found.files] == names
    (note,) = found.notes
    kinds = ", ".join(f"{prefix}%03d.png" for prefix in prefixes)
    assert f"the same numbers under several names ({kinds}), all taken as frames" in note
    assert note.endswith(f"or give {tmp_path / prefixes[0]}%03d.png")
    alone = find_pictures(f"{tmp_path / prefixes[0]}%03d.png")
    assert ([file.stem for file in alone.files], alone.notes) == (names[:3], [])
