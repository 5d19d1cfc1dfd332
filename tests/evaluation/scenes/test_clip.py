"""The made-up video: repeatable, exact, and never without its objects."""

import itertools
import tracemalloc
import zlib

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.scenes.clip import iter_clip
from tests.made_clips import synthetic_clip

LABELS_CRC = 0xAB5AF7DB
FRAMES_MEAN = [139.41, 130.33, 106.62]  # red, green, blue
FRAMES_STD = [42.56, 44.54, 44.09]


def test_labels_are_the_same_on_every_machine() -> None:
    labels = synthetic_clip(96, 128, frames=6, objects=5, late_objects=1, seed=7).labels
    assert zlib.crc32(labels.tobytes()) == LABELS_CRC


def test_frames_keep_their_look() -> None:
    # Fourier transforms may round differently elsewhere, so averages stand in for a checksum.
    frames = synthetic_clip(96, 128, frames=6, objects=5, late_objects=1, seed=7).frames
    np.testing.assert_allclose(frames.mean(axis=(0, 1, 2)), FRAMES_MEAN, atol=0.1)
    np.testing.assert_allclose(frames.std(axis=(0, 1, 2)), FRAMES_STD, atol=0.1)


def test_the_same_seed_gives_the_same_clip_and_another_seed_another() -> None:
    first, again, other = (synthetic_clip(96, 96, frames=2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert np.mean(first.frames != other.frames) > 0.5
    assert np.any(first.labels != other.labels)


def test_arrays_have_the_documented_shapes_and_types() -> None:
    clip = synthetic_clip(97, 131, frames=3)
    assert clip.frames.shape == (3, 97, 131, 3)
    assert clip.frames.dtype == np.dtype(np.uint8)
    assert clip.labels.shape == (3, 97, 131)
    assert clip.labels.dtype == np.dtype(np.uint8)


def test_one_frame_at_a_time_equals_the_whole_clip() -> None:
    arguments = (96, 128, 5, 3, 1, 2, 4)
    clip = synthetic_clip(*arguments)
    for index, (frame, labels) in enumerate(iter_clip(*arguments)):
        np.testing.assert_array_equal(frame, clip.frames[index])
        np.testing.assert_array_equal(labels, clip.labels[index])
    assert index == 4


def test_a_frame_does_not_depend_on_the_length_of_the_clip() -> None:
    short = synthetic_clip(96, 96, frames=2, seed=5)
    for index, (frame, _) in enumerate(itertools.islice(iter_clip(96, 96, 1000, seed=5), 2)):
        np.testing.assert_array_equal(frame, short.frames[index])


def test_memory_stays_constant_over_a_long_clip() -> None:
    clip = iter_clip(96, 128, frames=120)
    tracemalloc.start()
    try:
        peaks = []
        for _ in range(2):
            tracemalloc.reset_peak()
            for _ in itertools.islice(clip, 60):
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert peaks[1] <= peaks[0] + 96 * 128 * 4  # less than one frame with its labels


@pytest.mark.parametrize(
    ("height", "width", "objects"),
    [
        pytest.param(96, 96, 1, id="one"),
        pytest.param(96, 96, 44, id="44-in-the-smallest"),
        pytest.param(96, 400, 12, id="wide"),
        pytest.param(300, 96, 6, id="tall"),
        pytest.param(300, 96, 1, id="one-in-a-tall-picture"),
        pytest.param(240, 427, 44, id="44-in-a-video"),
        pytest.param(1080, 1920, 3, id="full-hd"),
    ],
)
def test_the_first_frame_shows_every_object(height: int, width: int, objects: int) -> None:
    labels = synthetic_clip(height, width, frames=1, objects=objects).labels[0]
    pixels = np.bincount(labels.ravel())
    assert len(pixels) == objects + 1
    assert pixels.min() >= 48


@pytest.mark.parametrize(
    ("objects", "frames"),
    [
        pytest.param(4, 2500, id="few-over-thousands-of-frames"),
        pytest.param(44, 250, id="44-objects"),
    ],
)
def test_every_object_stays_in_sight(objects: int, frames: int) -> None:
    for _, labels in iter_clip(96, 96, frames, objects, seed=3):
        assert np.bincount(labels.ravel(), minlength=objects + 1).min() >= 16


def test_late_objects_appear_exactly_at_their_frame_and_stay() -> None:
    clip = synthetic_clip(96, 170, frames=50, objects=4, late_objects=3, late_frame=9)
    for index, labels in enumerate(clip.labels):
        pixels = np.bincount(labels.ravel(), minlength=8)
        assert pixels[1:5].min() >= 16
        assert pixels[5:].min() >= 16 if index >= 9 else pixels[5:].max() == 0


def test_late_objects_join_halfway_unless_told_otherwise() -> None:
    labels = synthetic_clip(96, 96, frames=9, objects=2, late_objects=1).labels
    assert 3 not in labels[:4]
    assert 3 in labels[4]


def test_labels_lie_exactly_where_an_object_is_drawn() -> None:
    # The same scene with and without the fifth object, which moves in front of the others.
    joined = synthetic_clip(96, 170, 60, objects=4, late_objects=1, late_frame=1, seed=2)
    without = synthetic_clip(96, 170, 60, objects=4, late_objects=1, late_frame=59, seed=2)
    fifth = joined.labels[1:59] == 5
    np.testing.assert_array_equal(joined.labels[1:59][~fifth], without.labels[1:59][~fifth])
    changed = np.any(joined.frames[1:59] != without.frames[1:59], axis=-1)
    assert np.mean(changed[fifth]) > 0.999  # its colour may equal what is behind it by chance
    assert np.mean(changed[~fifth]) < 0.1  # the shadow around it


def test_objects_pass_behind_each_other() -> None:
    joined = synthetic_clip(96, 170, 60, objects=4, late_objects=1, late_frame=1, seed=2)
    without = synthetic_clip(96, 170, 60, objects=4, late_objects=1, late_frame=59, seed=2)
    hidden = (joined.labels[1:59] == 5) & (without.labels[1:59] > 0)
    assert hidden.sum(axis=(1, 2)).max() > 50
    assert hidden.sum(axis=(1, 2)).min() == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"objects": 99}, "99 objects in 96x96 pixels", id="too-many"),
        pytest.param({"height": 8}, "3 objects in 8x96 pixels", id="too-small"),
        pytest.param(
            {"height": 1080, "width": 1920, "objects": 255}, "254 is the most", id="more-than-ids"
        ),
        pytest.param({"objects": 0}, "1 object or more", id="no-object"),
        pytest.param({"frames": 0}, "1 frame", id="no-frame"),
        pytest.param({"seed": -1}, "nothing negative", id="negative-seed"),
        pytest.param({"late_objects": 1, "frames": 1}, "late frame 0 of 1", id="no-room-to-join"),
        pytest.param(
            {"late_objects": 1, "late_frame": 4}, "late frame 4 of 4", id="joins-after-the-end"
        ),
    ],
)
def test_a_clip_that_cannot_be_made_is_refused_at_once(
    changed: dict[str, int], message: str
) -> None:
    arguments = {"height": 96, "width": 96, "frames": 4} | changed
    with pytest.raises(InputError, match=message):
        iter_clip(**arguments)
