"""Scenes: repeatable, exact, and with everything that makes video object segmentation hard."""

import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.scenes.scene import SceneStyle, iter_scene
from mavos_deploy.evaluation.scenes.textures import Photo

LABELS_CRC = 0x198428DC
FRAMES_MEAN = [158.86, 146.57, 151.51]  # red, green, blue

USUAL = SceneStyle()
Rendered = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def _render(frames: int, objects: int = 3, seed: int = 0, style: SceneStyle = USUAL) -> Rendered:
    scene = iter_scene(96, 144, frames, objects, seed, style=style)
    pictures, labels = zip(*scene, strict=True)
    return np.stack(pictures), np.stack(labels)


def test_labels_and_look_are_the_same_on_every_machine() -> None:
    frames, labels = _render(4, objects=5, seed=11)
    assert zlib.crc32(labels.tobytes()) == LABELS_CRC
    np.testing.assert_allclose(frames.mean(axis=(0, 1, 2)), FRAMES_MEAN, atol=0.1)


def test_the_same_seed_gives_the_same_scene_and_another_seed_another() -> None:
    first, again, other = _render(2, seed=1), _render(2, seed=1), _render(2, seed=2)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert np.mean(first[0] != other[0]) > 0.5
    assert np.any(first[1] != other[1])


def test_a_frame_does_not_depend_on_the_length_of_the_scene() -> None:
    short, long = _render(2, seed=3), _render(5, seed=3)
    np.testing.assert_array_equal(short[0], long[0][:2])
    np.testing.assert_array_equal(short[1], long[1][:2])


@pytest.mark.parametrize("objects", [1, 4, 10])
def test_every_object_shows_in_the_first_frame_and_no_other_id_ever(objects: int) -> None:
    for seed in range(4):
        frames, labels = _render(3, objects, seed)
        assert frames.shape == (3, 96, 144, 3)
        assert frames.dtype == labels.dtype == np.uint8
        assert set(np.unique(labels[0])) - {0} == set(range(1, objects + 1))
        assert labels.max() <= objects
        least = np.bincount(labels[0].ravel())[1:].min()
        assert least >= 20


def test_objects_leave_the_picture_and_come_back() -> None:
    returned = 0
    for seed in range(8):
        shown = [
            [np.any(labels == label) for label in (1, 2, 3)]
            for labels in _render(110, seed=seed, style=SceneStyle(leaving=1.0))[1]
        ]
        for column in zip(*shown, strict=True):
            gone = column.index(False) if False in column else len(column)
            returned += any(column[gone:])
    assert returned >= 8


def test_unlabelled_things_of_the_same_kind_move_about() -> None:
    # What moves outside all labelled regions, beyond what a still camera explains.
    found = 0
    for seed in range(8):
        frames, labels = _render(2, objects=1, seed=seed, style=SceneStyle(pace=(4.0, 4.0)))
        changed = np.abs(frames[1].astype(int) - frames[0]).max(-1) > 60
        found += bool(np.mean(changed & (labels == 0).all(0)) > 0.01)
    assert found >= 4


def test_photographs_change_the_picture_but_not_the_size_of_anything() -> None:
    photo = Photo(np.full((60, 80, 3), 200, np.uint8), None)
    plain = next(iter_scene(96, 144, 1, 2, 5))
    with_photo = next(iter_scene(96, 144, 1, 2, 5, (photo,)))
    assert np.mean(plain[0] != with_photo[0]) > 0.3
    assert with_photo[1].shape == plain[1].shape


@pytest.mark.parametrize(
    "arguments",
    [
        (40, 144, 1, 1, 0),
        (96, 40, 1, 1, 0),
        (96, 144, 0, 1, 0),
        (96, 144, 1, 0, 0),
        (96, 144, 1, 11, 0),
        (96, 144, 1, 1, -1),
    ],
)
def test_numbers_out_of_range_are_refused(arguments: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(InputError, match="1 to 10 objects"):
        iter_scene(*arguments)


def test_objects_that_find_no_room_are_refused() -> None:
    with pytest.raises(InputError, match="find no room"):
        iter_scene(48, 48, 1, 10, 0, style=SceneStyle(visible=1.1))
