"""Frames are found in folders and by patterns; what is left out is named, and masks are none."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.folders import find_pictures, is_pattern
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.part import Part

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)


def _save(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        suffix = Path(name).suffix.lower()
        kind = {".jfif": "JPEG", ".jpe": "JPEG", ".jpg": "JPEG", ".pnm": "PPM"}.get(suffix)
        kind = {".ppm": "PPM", ".pgm": "PPM"}.get(suffix, kind) or None
        image = Image.fromarray(PICTURE)
        image.convert("L" if suffix == ".pgm" else "RGB").save(folder / name, format=kind)
    return folder


def _names(source: str | Path, masks: Path | None = None) -> list[str]:
    return [file.name for file in find_pictures(str(source), masks).files]


def test_pictures_of_many_kinds_are_frames_in_one_order(tmp_path: Path) -> None:
    names = ["0.jpg", "1.jfif", "2.ppm", "3.pgm", "4.JPE", "5.PNG", "6.webp", "7.tiff", "8.bmp"]
    folder = _save(tmp_path / "a", *names)
    with open_frames(str(folder)) as source:
        frames = list(source)
        assert source.told.notes == []
    assert [frame.stem for frame in frames] == [str(index) for index in range(9)]
    assert all(frame.rgb.shape == PICTURE.shape for frame in frames)
    assert np.array_equal(frames[2].rgb, PICTURE)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    folder = _save(tmp_path / "a", "0.avif")
    with open_frames(str(folder)) as source:
        assert source.size == (24, 32)


def test_heic_is_read_with_its_extra(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    (tmp_path / "a").mkdir()
    heif.from_pillow(Image.fromarray(PICTURE)).save(tmp_path / "a" / "0.heic", quality=90)
    with open_frames(str(tmp_path / "a")) as source:
        (frame,) = source
    assert frame.rgb.shape == PICTURE.shape


def test_heic_without_its_extra_is_refused_with_the_line_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "0.heic").write_bytes(b"any")
    with pytest.raises(InputError, match=r"pillow-heif; pip install 'mavos-deploy\[heif\]'"):
        open_frames(str(tmp_path))


def test_pictures_that_are_not_read_are_named_once(tmp_path: Path) -> None:
    folder = _save(tmp_path / "a", "0.png", "3.png")
    Image.fromarray(PICTURE).save(folder / "1.gif")
    Image.fromarray(PICTURE).save(folder / "2.tga")
    Image.fromarray(PICTURE).save(folder / "4", format="JPEG")
    (folder / "5.dng").write_bytes(b"raw")
    for name in ("notes.txt", "0.json", "Thumbs.db", ".hidden.png", "readme"):
        (folder / name).write_bytes(b"x")
    (folder / "more").mkdir()
    found = find_pictures(str(folder))
    assert [file.name for file in found.files] == ["0.png", "3.png"]
    (note,) = found.notes
    assert note.startswith(f"4 files of {folder} look like pictures but are not read as frames")
    assert "1.gif, 2.tga, 4, 5.dng" in note


def test_a_mask_among_the_frames_is_no_frame_and_is_said(tmp_path: Path) -> None:
    folder = _save(tmp_path / "a", "frame_0.jpg", "frame_1.jpg", "first.png")
    found = find_pictures(str(folder), masks=folder / "first.png")
    assert [file.name for file in found.files] == ["frame_0.jpg", "frame_1.jpg"]
    assert found.notes == [f"{folder / 'first.png'} is the mask that was given, so it is no frame"]


def test_a_mask_named_after_its_frame_and_a_link_to_it_are_no_frames(tmp_path: Path) -> None:
    folder = _save(tmp_path / "a", "0.jpg", "1.jpg", "0.png")
    (tmp_path / "link.png").symlink_to(folder / "0.png")
    assert _names(folder, folder / "0.png") == ["0.jpg", "1.jpg"]
    assert _names(folder, tmp_path / "link.png") == ["0.jpg", "1.jpg"]
    assert _names(folder / "*", folder / "0.png") == ["0.jpg", "1.jpg"]


@pytest.mark.parametrize("mode", ["P", "1", "L"])
def test_a_stray_mask_among_the_frames_is_left_out_and_named(tmp_path: Path, mode: str) -> None:
    folder = _save(tmp_path / "a", "frame_0.jpg", "frame_1.jpg", "frame_2.jpg")
    Image.fromarray(PICTURE).convert(mode).save(folder / "first.png")
    for masks in (None, tmp_path / "masks"):
        found = find_pictures(str(folder), masks)
        assert [file.name for file in found.files] == ["frame_0.jpg", "frame_1.jpg", "frame_2.jpg"]
        (note,) = found.notes
        assert note.startswith(f"first.png of {folder} looks like a mask among frames of another")
    assert find_pictures(str(folder), folder / "first.png").notes[0].endswith("so it is no frame")


def test_pictures_that_may_be_frames_stay_frames(tmp_path: Path) -> None:
    coloured = _save(tmp_path / "a", "frame_0.jpg", "frame_1.jpg", "title.png")
    assert len(_names(coloured)) == 3
    grey = tmp_path / "b"
    grey.mkdir()
    for name in ("frame_0.jpg", "frame_1.jpg", "title.png"):
        Image.fromarray(PICTURE).convert("L").save(grey / name)
    assert len(_names(grey)) == 3
    alike = _save(tmp_path / "c", "0.jpg", "1.jpg")
    Image.fromarray(PICTURE).convert("P").save(alike / "2.png")
    assert _names(alike) == ["0.jpg", "1.jpg", "2.png"]


def test_a_mask_elsewhere_changes_nothing(tmp_path: Path) -> None:
    folder, other = _save(tmp_path / "a", "0.jpg"), _save(tmp_path / "b", "0.png")
    found = find_pictures(str(folder), other / "0.png")
    assert found.notes == []


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", ["f2.png", "f10.png", "f00100.png"]),
        ("f?.png", ["f2.png"]),
        ("f[0-9]*.png", ["f2.png", "f10.png", "f00100.png"]),
        ("f%d.png", ["f2.png", "f10.png"]),
        ("f%05d.png", ["f00100.png"]),
        ("f%02d.png", ["f10.png"]),
        ("f%01d.png", ["f2.png", "f10.png"]),
    ],
)
def test_patterns_give_frames_in_the_order_of_their_numbers(
    tmp_path: Path, pattern: str, names: list[str]
) -> None:
    folder = _save(tmp_path / "a", "f2.png", "f10.png", "f00100.png", "f2.jpg", "other.jpg")
    assert is_pattern(str(folder / pattern))
    assert _names(folder / pattern) == names
    with open_frames(str(folder / pattern)) as source:
        assert [f"{frame.stem}.png" for frame in source] == names


def test_a_pattern_may_name_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path / "a", "0.png")
    _save(tmp_path / "b", "1.png")
    monkeypatch.chdir(tmp_path)
    assert _names("*/*.png") == ["0.png", "1.png"]


def test_a_folder_whose_name_is_a_pattern_is_a_folder(tmp_path: Path) -> None:
    folder = _save(tmp_path / "take [1]", "0.png")
    with open_frames(str(folder)) as source:
        assert len(list(source)) == 1


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    for pattern in ("*.png", "%05d.png"):
        with pytest.raises(
            InputError, match=r"does not exist, and as a pattern it matches no images; .*\.png"
        ):
            open_frames(str(tmp_path / pattern))


def test_a_folder_of_folders_gets_a_hint(tmp_path: Path) -> None:
    _save(tmp_path / "b", "0.png")
    _save(tmp_path / "a", "0.png")
    with pytest.raises(InputError, match=r"no images but folders \(a, b\); give .*a, or .*batch"):
        find_pictures(str(tmp_path))


def test_a_folder_of_other_pictures_names_them(tmp_path: Path) -> None:
    (tmp_path / "0.dng").write_bytes(b"raw")
    with pytest.raises(InputError, match=r"no images that are read \(0\.dng\).*\.png"):
        find_pictures(str(tmp_path))


def test_two_pictures_of_one_frame_are_refused_with_advice_that_works(tmp_path: Path) -> None:
    folder = _save(tmp_path / "a", "0.jpg", "0.png", "1.jpg")
    with pytest.raises(InputError, match=r"give a pattern such as '\*\.jpg'"):
        find_pictures(str(folder))
    assert _names(folder / "*.jpg") == ["0.jpg", "1.jpg"]


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nbroken"], ids=["empty", "broken"])
def test_a_broken_picture_is_stepped_over_and_named(tmp_path: Path, content: bytes) -> None:
    folder = _save(tmp_path / "a", *(f"{index}.png" for index in range(6)))
    for name in ("2.png", "4.png"):
        (folder / name).write_bytes(content)
    with open_frames(str(folder)) as source:
        assert [(frame.index, frame.stem) for frame in source] == [
            (0, "0"),
            (1, "1"),
            (3, "3"),
            (5, "5"),
        ]
    first, second = source.told.damage
    assert first.startswith("frame 2 is left out: ")
    assert "2.png: not a readable picture" in first
    assert "4.png" in second


def test_a_broken_first_picture_is_refused_with_advice_that_works(tmp_path: Path) -> None:
    folder = _save(tmp_path / "a", "0.png", "1.png", "2.png")
    (folder / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match="needs a mask of its own: give --start 1 and the mask"):
        open_frames(str(folder))
    with open_frames(str(folder), Part(start=1)) as source:
        assert [frame.index for frame in source] == [1, 2]
    assert source.told.damage == []


def test_parts_of_a_folder_keep_their_numbers(tmp_path: Path) -> None:
    folder = _save(tmp_path / "a", *(f"{index}.png" for index in range(9)))
    with open_frames(str(folder), Part(2, 7, every=2)) as source:
        assert (source.length, source.stems) == (3, ("2", "4", "6"))
        assert [frame.index for frame in source] == [2, 4, 6]
    with pytest.raises(InputError, match="nothing lies in the part from frame 9 on"):
        open_frames(str(folder), Part(9))


TIMES = "times with decimals, and the order is that of times"
SIGNED = "numbers below zero and above, and the order is that of numbers"


@pytest.mark.parametrize(
    ("stems", "said"),
    [
        pytest.param(["9.5", "9.5333671", "9.56673", "9.6001", "9.7", "10.0"], TIMES, id="log"),
        pytest.param(["0.04", "0.08", "0.12", "0.2"], TIMES, id="short"),
        pytest.param(["9.033367", "9.06673", "9.5"], TIMES, id="zeros-in-front"),
        pytest.param(["9.1333669999", "9.5"], TIMES, id="floats"),
        pytest.param(["f_-10", "f_-2", "f_0", "f_3"], SIGNED, id="below-zero-behind-a-line"),
        pytest.param(["-2", "-1", "0", "1"], SIGNED, id="below-zero-alone"),
        pytest.param(["a (-1)", "a (0)", "a (10)"], SIGNED, id="below-zero-as-copies"),
    ],
)
def test_names_that_are_times_or_below_zero_are_ordered_by_value(
    tmp_path: Path, stems: list[str], said: str
) -> None:
    folder = _save(tmp_path / "a", *(f"{stem}.jpg" for stem in stems))
    found = find_pictures(str(folder))
    assert [file.stem for file in found.files] == stems
    assert found.notes == [f"names in {folder} are {said}"]


@pytest.mark.parametrize("stems", [["f_-2", "f_-1", "f_0", "f_1"], ["0.04", "0.08", "0.12", "0.2"]])
def test_a_mask_among_frames_changes_no_order(tmp_path: Path, stems: list[str]) -> None:
    folder = _save(tmp_path / "a", *(f"{stem}.png" for stem in stems))
    Image.fromarray(np.kron(np.eye(2), np.ones((12, 16))).astype(np.uint8)).save(
        folder / "mask.png"
    )
    found = find_pictures(str(folder))
    assert [file.stem for file in found.files] == stems
    assert "mask.png" in found.notes[0]
    assert "the order is that of" in found.notes[1]


@pytest.mark.parametrize(
    "stems",
    [
        pytest.param(["1.8", "1.9", "1.10", "1.11", "2.1"], id="counts"),
        pytest.param(["7.33366680", "7.66733360", "7.100100040"], id="nanoseconds"),
        pytest.param(["7.5304", "7.25301", "7.98021", "7.175300"], id="microseconds"),
        pytest.param(["7.533", "7.53312", "8.1", "8.2544"], id="both-orders-agree"),
        pytest.param(["1.2500", "1.5000", "1.7500"], id="one-length"),
        pytest.param(["f_-001", "f_-002"], id="dash-beside-a-line"),
        pytest.param(["f0", "f-1", "f-2"], id="dash-behind-a-letter"),
        pytest.param(["a_-1", "a_-2", "b_0"], id="dash-in-two-names"),
    ],
)
def test_counts_behind_a_dot_or_a_dash_are_in_natural_order(
    tmp_path: Path, stems: list[str]
) -> None:
    folder = _save(tmp_path / "a", *(f"{stem}.jpg" for stem in stems))
    found = find_pictures(str(folder))
    assert [file.stem for file in found.files] == stems
    assert found.notes == []


@pytest.mark.parametrize(
    ("stems", "decimal", "whole"),
    [
        (["17.5304", "17.25304", "17.98021", "17.175304"], "17.530400", "17.005304"),
        (["7.33366685", "7.66733361", "7.100100041"], "7.333666850", "7.033366685"),
        (["7.5", "7.25", "7.98", "7.175"], "7.500", "7.005"),
        (["7.5304", "7.25304"], "7.53040", "7.05304"),
        (["7.998", "7.1001"], "7.9980", "7.0998"),
    ],
)
def test_decimals_that_may_be_whole_numbers_are_refused_with_advice_that_works(
    tmp_path: Path, stems: list[str], decimal: str, whole: str
) -> None:
    folder = _save(tmp_path / "a", *(f"{stem}.jpg" for stem in stems))
    with pytest.raises(InputError, match="may be times with decimals") as refusal:
        find_pictures(str(folder))
    assert f"such as {decimal}.jpg if they are decimals, or {whole}.jpg if" in str(refusal.value)
    digits = len(decimal.split(".")[1])
    parts = [stem.split(".") for stem in stems]
    padded = [f"{seconds}.{part:0>{digits}}" for seconds, part in parts]
    found = find_pictures(str(_save(tmp_path / "b", *(f"{stem}.jpg" for stem in padded))))
    assert ([file.stem for file in found.files], found.notes) == (padded, [])
    filled = [f"{seconds}.{part:0<{digits}}" for seconds, part in parts]
    found = find_pictures(str(_save(tmp_path / "c", *(f"{stem}.jpg" for stem in filled))))
    assert ([file.stem for file in found.files], found.notes) == (sorted(filled), [])


def test_a_pattern_may_lie_in_a_folder_with_brackets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _save(tmp_path / "fr [4k]" / "in", "0.jpg", "1.jpg", "2.png")
    _save(tmp_path / "fr 4", "3.jpg")
    assert _names(folder / "*.jpg") == ["0.jpg", "1.jpg"]
    assert _names(folder.parent / "*" / "?.png") == ["2.png"]
    assert _names(tmp_path / "fr [0-9]" / "*") == ["3.jpg"]
    monkeypatch.chdir(tmp_path)
    assert _names("fr [4k]/in/*.jpg") == ["0.jpg", "1.jpg"]
