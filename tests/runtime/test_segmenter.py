"""The segmenter: states are values, objects come and go, and a state outlives its process."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from mavos_deploy.errors import BackendError, InputError
from mavos_deploy.evaluation.scenes.clip import synthetic_clip
from mavos_deploy.runtime import Segmenter, State
from mavos_deploy.runtime.objects import number_objects, object_mask, split_groups
from mavos_deploy.runtime.segmenter import PreparedFrame
from tests import golden

GetSegmenter = Callable[[str], Segmenter]
Labels = NDArray[np.uint8]


def follow(segmenter: Segmenter, state: State, frames: range) -> tuple[list[Labels], State]:
    results = []
    for index in frames:
        labels, state = segmenter.step(golden.frame(index), state)
        results.append(labels)
    return results, state


@pytest.fixture
def chain(segmenter: GetSegmenter) -> Segmenter:
    return segmenter("mobilenet")


def test_a_state_can_be_stepped_twice_with_the_same_result(chain: Segmenter) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    _, middle = follow(chain, state, range(1, 7))
    first, _ = follow(chain, middle, range(7, 11))
    again, _ = follow(chain, middle, range(7, 11))
    np.testing.assert_array_equal(first, again)


def test_interleaved_videos_get_the_masks_they_get_alone(chain: Segmenter) -> None:
    annotation = golden.load("base", "mobilenet").annotations[0]
    many = golden.load("many", "mobilenet").annotations[0]
    alone_a, _ = follow(chain, chain.start(golden.frame(0), annotation), range(1, 9))
    alone_b, _ = follow(chain, chain.start(golden.frame(0), many), range(1, 9))
    state_a = chain.start(golden.frame(0), annotation)
    state_b = chain.start(golden.frame(0), many)
    for index in range(1, 9):
        labels_a, state_a = chain.step(golden.frame(index), state_a)
        labels_b, state_b = chain.step(golden.frame(index), state_b)
        np.testing.assert_array_equal(labels_a, alone_a[index - 1])
        np.testing.assert_array_equal(labels_b, alone_b[index - 1])


def test_a_saved_state_continues_exactly(chain: Segmenter, tmp_path: Path) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    _, middle = follow(chain, state, range(1, 8))
    middle = chain.remove(middle, {6})
    chain.save(middle, tmp_path / "state.safetensors")
    loaded = chain.load(tmp_path / "state.safetensors")
    assert replace(loaded, memory={}).__dict__ == replace(middle, memory={}).__dict__
    np.testing.assert_array_equal(
        follow(chain, loaded, range(8, 12))[0], follow(chain, middle, range(8, 12))[0]
    )


def test_a_state_of_another_bundle_is_refused(
    chain: Segmenter, segmenter: GetSegmenter, tmp_path: Path
) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    chain.save(state, tmp_path / "state.safetensors")
    with pytest.raises(InputError, match="state of another bundle"):
        segmenter("resnet50").load(tmp_path / "state.safetensors")
    with pytest.raises(InputError, match="belongs to another bundle"):
        segmenter("resnet50").step(golden.frame(1), state)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(b"", "is not a saved state, or is damaged", id="empty"),
        pytest.param(b"not a state", "is not a saved state, or is damaged", id="text"),
        pytest.param(b"\x08\0\0\0\0\0\0\0{}      ", "is not a state of this release", id="others"),
    ],
)
def test_a_damaged_state_is_refused(
    chain: Segmenter, tmp_path: Path, content: bytes, text: str
) -> None:
    (tmp_path / "state.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=text):
        chain.load(tmp_path / "state.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda tensors, meta: tensors.pop("short_key_0"), id="tensor-missing"),
        pytest.param(lambda tensors, meta: meta.pop("ids"), id="counter-missing"),
        pytest.param(lambda tensors, meta: meta.update(updated=3), id="counter-of-another-kind"),
        pytest.param(lambda tensors, meta: meta.update(updated=[True] * 2), id="other-groups"),
        pytest.param(lambda tensors, meta: meta.update(updated=[]), id="no-groups"),
        pytest.param(lambda tensors, meta: meta.update(visible=None), id="no-visible-number"),
        pytest.param(lambda tensors, meta: meta.update(visible=99), id="visible-beyond-the-ids"),
        pytest.param(lambda tensors, meta: meta.update(removed=[77]), id="unknown-removed"),
        pytest.param(lambda tensors, meta: meta.update(ids=[3, 6, 300]), id="id-of-nine-bits"),
        pytest.param(lambda tensors, meta: meta.update(ids=[3, 3, 6]), id="id-twice"),
        pytest.param(lambda tensors, meta: meta.update(size=None), id="no-size"),
        pytest.param(lambda tensors, meta: meta.update(since_update="x"), id="counter-of-letters"),
        pytest.param(
            lambda tensors, meta: tensors.update(
                short_key_0=tensors["short_key_0"].astype(np.float16)
            ),
            id="tensor-of-another-type",
        ),
        pytest.param(
            lambda tensors, meta: tensors.update(
                short_key_0=tensors["short_key_0"][..., :-1].copy()
            ),
            id="tensor-of-another-shape",
        ),
        pytest.param(
            lambda tensors, meta: tensors["dynamic_value_2"].fill(np.nan), id="memory-of-nan"
        ),
    ],
)
def test_a_state_that_is_not_whole_is_refused(
    chain: Segmenter, tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]
) -> None:
    path = tmp_path / "state.safetensors"
    chain.save(chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0]), path)
    with safe_open(path, framework="numpy") as file:
        meta = json.loads(file.metadata()["mavos_state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors, meta)
    save_file(tensors, path, {"mavos_state": json.dumps(meta)})
    with pytest.raises(InputError, match="not a whole state"):
        chain.load(path)


def test_ids_of_the_masks_are_kept_with_their_gaps(chain: Segmenter) -> None:
    run = golden.load("newobj", "mobilenet")
    state = chain.start(golden.frame(0), run.annotations[0])
    assert state.objects == (3, 6, 20)
    _, state = follow(chain, state, range(1, 5))
    labels, state = chain.step(golden.frame(5), state, run.annotations[5])
    assert state.objects == (3, 6, 20, 5)
    assert set(np.unique(labels)) == {0, 3, 5, 6, 20}
    assert (labels[run.annotations[5] == 5] == 5).all()


def test_a_removed_object_is_gone_and_the_others_stay(chain: Segmenter) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    _, state = follow(chain, state, range(1, 4))
    kept, _ = chain.step(golden.frame(4), state)
    fewer = chain.remove(state, {6})
    assert fewer.objects == (3, 20)
    labels, _ = chain.step(golden.frame(4), fewer)
    assert 6 in kept
    assert 6 not in labels
    outside = kept != 6
    np.testing.assert_array_equal(labels[outside], kept[outside])
    assert 6 in chain.step(golden.frame(4), state)[0]


def test_removing_an_unknown_object_is_refused(chain: Segmenter) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    with pytest.raises(InputError, match=r"no object 7 to remove; the video has \[3, 6, 20\]"):
        chain.remove(state, {7})


@pytest.mark.parametrize("gone", [range(1, 11), range(11, 14)], ids=["first", "last"])
def test_a_group_that_is_removed_whole_leaves_the_memory_without_a_trace(
    chain: Segmenter, gone: range
) -> None:
    annotation = golden.load("many", "mobilenet").annotations[0]
    ids, _ = number_objects((), annotation)
    state = chain.start(golden.frame(0), annotation)
    _, state = follow(chain, state, range(1, 8))
    assert state.groups == 2
    leaving = {ids[i - 1] for i in gone}
    masked = replace(state, removed=frozenset(gone))
    dropped = chain.remove(state, leaving)
    assert dropped.groups == 1
    assert dropped.objects == masked.objects
    for index in range(8, 13):
        expected, masked = chain.step(golden.frame(index), masked)
        labels, dropped = chain.step(golden.frame(index), dropped)
        # Groups share no memory; only float rounding of the merge may flip a near tie.
        assert np.mean(labels == expected) >= 0.9999


def test_an_object_can_come_back_after_it_was_removed(chain: Segmenter) -> None:
    annotation = golden.load("base", "mobilenet").annotations[0]
    state = chain.remove(chain.start(golden.frame(0), annotation), {6})
    again = np.where(annotation == 6, 6, 0).astype(np.uint8)
    labels, state = chain.step(golden.frame(1), state, again)
    assert state.objects == (3, 6, 20)
    assert 6 in labels


def test_a_group_of_removed_objects_goes_when_a_new_group_comes(chain: Segmenter) -> None:
    annotation = golden.load("many", "mobilenet").annotations[0]
    ids, internal = number_objects((), annotation)
    first_ten = np.where(internal <= 10, annotation, 0).astype(np.uint8)
    state = chain.remove(chain.start(golden.frame(0), first_ten), set(ids[:10]))
    assert state.groups == 1
    news = np.where(internal > 10, annotation, 0).astype(np.uint8)
    labels, state = chain.step(golden.frame(1), state, news)
    assert state.groups == 1
    assert state.objects == ids[10:]
    assert set(np.unique(labels)) - {0} == set(ids[10:])
    labels, _ = chain.step(golden.frame(2), state)
    assert set(np.unique(labels)) - {0} <= set(ids[10:])


def test_an_object_left_out_of_an_annotation_is_not_listed_until_the_count_rises(
    chain: Segmenter,
) -> None:
    """As upstream: the count is the largest visible number at the latest annotation."""
    annotation = golden.load("base", "mobilenet").annotations[0]
    state = chain.start(golden.frame(0), np.where(annotation == 3, 3, 0).astype(np.uint8))
    everything = np.where(annotation > 0, annotation, 3).astype(np.uint8)
    _, state = chain.step(golden.frame(1), state, everything)
    assert state.objects == (3, 6, 20)
    _, state = chain.step(golden.frame(2), state, np.full(golden.SIZE, 3, np.uint8))
    assert state.objects == (3,)
    _, state = chain.step(golden.frame(3), state, np.where(annotation == 20, 9, 0).astype(np.uint8))
    assert state.objects == (3, 6, 20, 9)


def test_objects_are_added_until_a_third_group_is_needed(segmenter: GetSegmenter) -> None:
    chain = segmenter("mobilenet")
    clip = synthetic_clip(160, 288, 10, objects=24, seed=5)
    visible = np.where(clip.labels[0] <= 8, clip.labels[0], 0).astype(np.uint8)
    state = chain.start(clip.frames[0], visible)
    assert state.groups == 1
    for index in range(1, 10):
        news = None
        if index in (2, 7):
            upto = 15 if index == 2 else 24
            labels = clip.labels[index]
            news = np.where((labels > len(state.ids)) & (labels <= upto), labels, 0)
            news = news.astype(np.uint8)
        result, state = chain.step(clip.frames[index], state, news)
        if index == 2:
            assert state.groups == 2
            assert state.updated == (True, False)
        if index == 7:
            assert state.groups == 3
            assert state.updated == (True, True, False)
    assert set(np.unique(result)) - {0} <= set(range(1, 25))
    assert len(np.unique(result)) > 15


@pytest.mark.parametrize(
    ("frame", "labels", "text"),
    [
        pytest.param((164, 292), None, "expected RGB", id="grey-frame"),
        pytest.param((164, 292, 4), None, "expected RGB", id="four-channels"),
        pytest.param((100, 100, 3), (164, 292), "expected uint8 of the frame's size", id="size"),
    ],
)
def test_arrays_of_the_wrong_shape_are_refused(
    chain: Segmenter, frame: tuple[int, ...], labels: tuple[int, ...] | None, text: str
) -> None:
    with pytest.raises(InputError, match=text):
        chain.start(np.zeros(frame, np.uint8), np.ones(labels or frame[:2], np.uint8))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        pytest.param(lambda c, f, s: c.step(None, s), "frame of type NoneType", id="no-frame"),
        pytest.param(lambda c, f, s: c.step(s, f), "state of type ndarray", id="swapped"),
        pytest.param(lambda c, f, s: c.step(f, (f, s)), "state of type tuple", id="not-unpacked"),
        pytest.param(lambda c, f, s: c.step(f, s, s), "labels of type State", id="annotation"),
        pytest.param(
            lambda c, f, s: c.step(np.full(f.shape, np.nan, np.float32), s),
            "values that aren't finite",
            id="nan",
        ),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(
    chain: Segmenter, call: Callable[[Segmenter, Any, State], object], text: str
) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    with pytest.raises(InputError, match=text):
        call(chain, golden.frame(1), state)


def test_opening_untrained_weights_warns(chain: Segmenter) -> None:
    with (
        pytest.warns(UserWarning, match="exported without a checkpoint"),
        Segmenter.open(chain.bundle.path) as opened,
    ):
        state = opened.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    with pytest.raises(BackendError, match="the segmenter is closed"):
        opened.step(golden.frame(1), state)


def test_a_frame_of_another_size_in_mid_video_is_refused(chain: Segmenter) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    with pytest.raises(InputError, match="all frames of a video have one size"):
        chain.step(np.zeros((164, 290, 3), np.uint8), state)


def test_a_prepared_frame_gives_what_the_frame_gives(chain: Segmenter) -> None:
    annotation = golden.load("base", "mobilenet").annotations[0]
    prepared = [chain.prepare(golden.frame(index)) for index in range(2)]
    assert prepared[0].size == golden.SIZE
    assert prepared[0].resized.shape == (*chain.bundle.manifest.size, 3)
    expected, _ = chain.step(golden.frame(1), chain.start(golden.frame(0), annotation))
    labels, _ = chain.step(prepared[1], chain.start(prepared[0], annotation))
    np.testing.assert_array_equal(labels, expected)


def test_a_frame_prepared_for_another_bundle_is_refused(chain: Segmenter) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    other = PreparedFrame(golden.SIZE, np.zeros((97, 161, 3), np.float32))
    with pytest.raises(InputError, match="prepared for a bundle of 97x161; this one is 161x289"):
        chain.step(other, state)


def test_labels_without_an_object_are_refused(chain: Segmenter) -> None:
    with pytest.raises(InputError, match="hold no object"):
        chain.start(golden.frame(0), np.zeros(golden.SIZE, np.uint8))


@pytest.mark.parametrize(
    ("visible", "groups", "removed", "used"),
    [
        pytest.param(3, 1, set(), [4], id="one-group"),
        pytest.param(10, 1, set(), [11], id="full-group"),
        pytest.param(13, 2, set(), [11, 4], id="two-groups"),
        pytest.param(20, 2, set(), [11, 11], id="two-full-groups"),
        pytest.param(3, 2, set(), [11, 4], id="count-dropped-as-upstream"),
        pytest.param(0, 1, set(), [1], id="nothing-visible"),
        pytest.param(13, 2, {2, 12}, [10, 3], id="removed"),
    ],
)
def test_the_object_mask_opens_the_channels_in_use(
    visible: int, groups: int, removed: set[int], used: list[int]
) -> None:
    mask = object_mask(visible, groups, removed)
    assert mask.shape == (groups, 11)
    assert [(row == 0).sum() for row in mask] == used
    assert (mask[:, 0] == 0).all()


def test_groups_get_their_own_numbers() -> None:
    labels = np.array([[0, 1, 10], [11, 20, 21]], np.uint8)
    split = split_groups(labels, 3, (2, 3))
    np.testing.assert_array_equal(split[0], [[0, 1, 10], [0, 0, 0]])
    np.testing.assert_array_equal(split[1], [[0, 0, 0], [1, 10, 0]])
    np.testing.assert_array_equal(split[2], [[0, 0, 0], [0, 0, 1]])
