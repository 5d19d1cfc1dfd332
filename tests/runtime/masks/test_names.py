"""The number of a frame is found in names of several numbers, or they are refused."""

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.names import FrameNames, in_order, numbers_in, unclear_in

LETTERS = ("8aKd3Fz9QpLm2XcV7bN5", "kLm9ZxQw4ErTy7UiOpA1")
HASHES = ("d41d8cd98f00b204e9800998ecf842a4", "0cc175b9c0f1b6a831c399e269772661")


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        pytest.param(["frame_0", "frame_12"], [0, 12], id="one"),
        pytest.param(["seq12_7_v2", "seq12_8_v2"], [7, 8], id="one-differs"),
        pytest.param(["f0_t0.0s", "f25_t1.0s", "f30_t1.2s"], [0, 25, 30], id="one-of-its-own"),
        pytest.param([f"a_mp4-{n}_jpg.rf.{h}" for n, h in enumerate(HASHES)], [0, 1], id="hashes"),
        pytest.param(
            [f"a_mp4-{n}_jpg.rf.{h}" for n, h in zip((5, 0), LETTERS, strict=True)], [5, 0]
        ),
        pytest.param([f"a_mp4-5_jpg.rf.{LETTERS[0]}"], [5], id="one-hash-of-letters"),
        pytest.param([f"a_mp4-5_jpg.rf.{LETTERS[0]}_mask"], [5], id="hash-and-mask"),
        pytest.param(["shot.rf.00000012"], [12], id="digits-behind-rf"),
        pytest.param([f"a_mp4-0000_jpg.rf.{HASHES[0]}"], [0], id="one-hash"),
        pytest.param(["1a2b3c4d-frame_3", "5e6f7a8b-frame_7"], [3, 7], id="uploads"),
        pytest.param(["00000_v2"], [0], id="padded"),
        pytest.param(["obj1_00000", "obj2_00001"], [0, 1], id="padded-among-others"),
        pytest.param(["clip2_17"], [17], id="last"),
        pytest.param(["clip2_frame17_mask"], [17], id="last-before-mask"),
        pytest.param(["20240102030405060708"], [202401020304050607], id="digits-are-no-hash"),
    ],
)
def test_the_number_of_a_frame_is_found(names: list[str], numbers: list[int]) -> None:
    assert list(numbers_in(names).values()) == numbers
    assert unclear_in(names) == []


@pytest.mark.parametrize(
    "names",
    [["clean_f10_t0.4s"], ["clean_f10_t0.4s", "clean_f15_t0.6s"], ["1_2", "2_4"]],
    ids="-".join,
)
def test_names_of_which_any_number_may_be_the_frame_s_are_refused(names: list[str]) -> None:
    assert unclear_in(names) == names
    with pytest.raises(InputError, match=r"more than one number.*images.*such as 00000"):
        FrameNames(names).mask_of("00004")
    assert FrameNames(names).mask_of(names[0]) == names[0]


def test_names_are_ordered_as_files_are_without_their_hashes() -> None:
    assert in_order(["f10", "f9"]) == ["f9", "f10"]
    for names in (["f10", "f9", "a"], ["b", "a"], ["c0ffee12-1-2", "a1b2c3d4-3-2"], ["f1", "f01"]):
        assert in_order(names) == names  # their numbers don't tell
    assert in_order(["5e6f7a8b-f_7", "1a2b3c4d-f_12"]) == ["5e6f7a8b-f_7", "1a2b3c4d-f_12"]
