"""Object numbers and the groups of ten that hold them."""

import numpy as np
import pytest

from mavos_deploy.runtime.objects import (
    Count,
    merge_annotation,
    number_objects,
    object_mask,
    only_objects,
    own_ids,
    split_groups,
)


def test_only_these_objects_are_left() -> None:
    labels = np.array([[0, 1, 2], [255, 2, 9]], np.uint8)
    kept = only_objects(labels, (2, 9))
    assert kept.dtype == np.uint8
    assert kept.tolist() == [[0, 0, 2], [0, 2, 9]]
    assert labels[0, 1] == 1


@pytest.mark.parametrize(
    ("count", "merged"),
    [
        pytest.param(Count.FOLLOWED, [[0, 0, 2], [1, 1, 3]], id="erased"),
        pytest.param(Count.UPSTREAM, [[1, 0, 2], [1, 1, 3]], id="kept"),
    ],
)
def test_pixels_predicted_for_an_annotated_object_are_erased_unless_as_upstream(
    count: Count, merged: list[list[int]]
) -> None:
    predicted = np.array([[1, 0, 2], [1, 2, 3]], np.uint8)
    annotated = np.array([[0, 0, 0], [1, 1, 0]], np.uint8)
    found = merge_annotation(predicted, annotated, count)
    assert found.dtype == np.uint8
    assert found.tolist() == merged


def test_where_objects_are_given_once_as_in_data_sets_both_rules_are_one() -> None:
    random = np.random.default_rng(0)
    predicted = random.integers(0, 4, (20, 30), np.uint8)
    news = np.where(random.random((20, 30)) < 0.3, 5, 0).astype(np.uint8)
    followed, upstream = (merge_annotation(predicted, news, count) for count in Count)
    assert np.array_equal(followed, upstream)
    assert followed.max() == 5  # the number that counts objects by the authors' rule


def test_ids_that_count_up_from_one_cost_no_copy() -> None:
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    assert own_ids((1, 2, 3), labels) is labels


@pytest.mark.parametrize("ids", [(1, 3, 2), (2, 3, 4), (7, 254, 1)])
def test_labels_get_the_videos_own_ids(ids: tuple[int, ...]) -> None:
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    found = own_ids(ids, labels)
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, ids[0]], [ids[1], ids[2]]]
    assert labels.tolist() == [[0, 1], [2, 3]]
    known, internal = number_objects(ids, found)
    assert known == ids
    assert np.array_equal(internal, labels)


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
