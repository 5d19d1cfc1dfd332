"""Masks meet the frames that they belong to, at the frames' size, or it is said why not."""

from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.source import MaskSource, same_shape
from mavos_deploy.runtime.media.turning import STORED, Turn
from tests.runtime.masks.test_pictures import LABELS, save


def test_a_single_file_annotates_the_first_frame_only(tmp_path: Path) -> None:
    source = MaskSource(save(tmp_path / "any name.png", LABELS), size=(3, 4))
    first = source.for_stem("00000", first=True)
    assert first is not None
    assert np.array_equal(first.labels, LABELS)
    assert source.for_stem("00001", first=False) is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("00006.png", True),
        ("00002.png", False),
        ("2.png", False),
        ("first.png", False),
        ("2\u00b2.png", False),
    ],
)
def test_a_single_file_with_the_number_of_another_frame_is_told(
    tmp_path: Path, name: str, told: bool
) -> None:
    source = MaskSource(save(tmp_path / name, LABELS))
    source.tell_place("00002")
    text = "00006.png is taken as the mask of frame 00002; put it into a folder"
    assert [note[: len(text)] for note in source.notes] == [text] * told


def test_a_folder_annotates_the_frames_that_its_masks_are_named_after(tmp_path: Path) -> None:
    save(tmp_path / "00000.png", LABELS)
    save(tmp_path / "00002.PNG", np.minimum(LABELS, 1))
    save(tmp_path / ".00001.png", LABELS)
    source = MaskSource(tmp_path)
    given = [source.for_stem(f"{index:05d}", first=index == 0) for index in range(3)]
    assert [mask is not None for mask in given] == [True, False, True]
    assert source.unmatched({"00000", "00001"}) == ["00002.PNG"]
    assert source.notes == []


@pytest.mark.parametrize("name", ["0000007.png", "7.png", "frame_00007.png", "s3_7_mask.png"])
def test_names_that_differ_are_matched_by_number_and_it_is_said(tmp_path: Path, name: str) -> None:
    save(tmp_path / name, LABELS)
    save(tmp_path / name.replace("7", "9"), LABELS)
    source = MaskSource(tmp_path)
    given = {n: source.for_stem(f"{n:05d}", first=n <= 7) for n in range(12)}
    assert [n for n, mask in given.items() if mask is not None] == [7, 9]
    assert source.unmatched({f"{n:05d}" for n in range(8)}) == [name.replace("7", "9")]
    assert source.notes == [
        f"masks are matched with frames by number: {Path(name).stem} with frame 00007"
    ]


def test_pictures_that_share_a_number_take_masks_of_their_own_name_only(tmp_path: Path) -> None:
    save(tmp_path / "b1.png", LABELS)
    source = MaskSource(tmp_path, frames=("a1", "b1"))
    assert source.for_stem("a1", first=True) is None
    assert source.for_stem("b1", first=True) is not None


def test_a_number_of_two_masks_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a1.png", LABELS)
    save(tmp_path / "b1.png", LABELS)
    with pytest.raises(InputError, match="masks a1 and b1 both have the number 1"):
        MaskSource(tmp_path)
    save(tmp_path / "00001.png", LABELS)  # the name of a frame as it is
    with pytest.raises(InputError, match="masks 00001 and a1 both have the number 1"):
        MaskSource(tmp_path)
    with pytest.raises(InputError, match="masks 00001 and a1 both have the number 1"):
        MaskSource(tmp_path, frames=("f1", "f2"))
    assert MaskSource(tmp_path, frames=("00001", "00002")).has("00001")


def test_a_number_of_two_frames_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "1.png", LABELS)
    with pytest.raises(InputError, match="frames a1x1 and a1y1 both have the number 1"):
        MaskSource(tmp_path, frames=("a1x1", "a1y1"))
    assert MaskSource(tmp_path, frames=("a1x1", "a1x2")).for_stem("a1x1", first=True) is not None


def test_masks_before_the_first_frame_are_refused_with_what_is_there(tmp_path: Path) -> None:
    for index in range(1, 6):
        save(tmp_path / f"{index}.png", LABELS)
    text = r"no mask belongs to frame 00009 or a later one; there is 1, 2, 3 and 2 more"
    with pytest.raises(InputError, match=text):
        MaskSource(tmp_path).for_stem("00009", first=True)


def test_a_later_mask_may_be_empty_but_the_first_may_not(tmp_path: Path) -> None:
    save(tmp_path / "00000.png", LABELS * 0)
    source = MaskSource(tmp_path)
    assert source.for_stem("00000", first=False) is not None
    with pytest.raises(InputError, match="no object in the mask; every pixel is 0"):
        source.for_stem("00000", first=True)


def test_void_pixels_are_refused_with_their_number(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[0, :2] = 255
    source = MaskSource(save(tmp_path / "a.png", labels))
    with pytest.raises(InputError, match="2 pixels are 255, and 255 marks void in DAVIS"):
        source.for_stem("00000", first=True)


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (2, 3), (6, 8), (30, 40), (299, 401)])
def test_another_size_of_the_same_shape_is_resized_and_said(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    source = MaskSource(save(tmp_path / "a.png", LABELS), size)
    mask = source.for_stem("00000", first=True)
    assert mask is not None
    assert mask.labels.shape == size
    assert source.notes == [
        f"masks are 3x4 and were resized to their frames' {size[0]}x{size[1]} (nearest)"
    ]


def test_a_mask_of_another_shape_is_refused_with_both_sizes(tmp_path: Path) -> None:
    source = MaskSource(save(tmp_path / "a.png", LABELS), (480, 854))
    with pytest.raises(InputError, match=r"a\.png: the mask is 3x4 but its frame is 480x854"):
        source.for_stem("00000", first=True)


@pytest.mark.parametrize(
    ("turn", "advice"),
    [
        (STORED, "turn the mask so that it lies over the frame"),
        (Turn(1), "shown turned by 90 degrees to the left, so do the same to the mask"),
        (Turn(3), "shown turned by 90 degrees to the right, so do the same to the mask"),
        (Turn(3, mirrored=True), "to the right, then mirrored left to right, so do the same to"),
    ],
)
def test_a_turned_mask_is_refused_with_the_way_to_turn_it(
    tmp_path: Path, turn: Turn, advice: str
) -> None:
    labels = np.repeat(np.repeat(LABELS, 30, axis=0), 60, axis=1)
    source = MaskSource(save(tmp_path / "a.png", labels), (240, 90), turn=turn)
    with pytest.raises(InputError, match=f"turned by 90 degrees; .*{advice}"):
        source.for_stem("00000", first=True)
    turned = (turn if turn.swaps else Turn(1)).of(labels)
    again = MaskSource(save(tmp_path / "b.png", turned), (240, 90), turn=turn)
    assert again.for_stem("00000", first=True) is not None


@pytest.mark.parametrize(
    ("size", "other", "same"),
    [
        ((480, 854), (1080, 1920), True),
        ((480, 854), (480, 853), True),
        ((480, 854), (240, 427), True),
        ((480, 854), (854, 480), False),
        ((480, 854), (480, 640), False),
        ((480, 854), (2, 4), False),
    ],
)
def test_sizes_of_one_shape(size: tuple[int, int], other: tuple[int, int], same: bool) -> None:
    assert same_shape(size, other) is same
    assert same_shape(other, size) is same
