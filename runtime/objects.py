"""Object numbers: the video's own ids, internal ids, groups of ten (upstream AOTInferEngine)."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.contract import CHANNELS, IDENTITIES, UNUSED_OBJECT
from mavos_deploy.runtime.resize import resize_labels
from mavos_deploy.words import Word

BLOCK = 1 << 18  # pixels that are counted at once
VOID = 255  # "do not evaluate" in DAVIS and YouTube-VOS; it is no object

Labels = NDArray[np.uint8]


class Count(Word):
    """Rule by which a later annotation decides about the objects that are known already."""

    FOLLOWED = "followed"  # each object is followed until it is removed
    UPSTREAM = "upstream"  # the authors': up to the largest number that is visible in the frame


def histogram(values: NDArray[Any], length: int) -> NDArray[np.int64]:
    """How often each of the values 0 to `length` - 1 occurs in integers of any shape."""
    counts = np.zeros(length, np.int64)
    flat = values.ravel()
    for at in range(0, flat.size, BLOCK):  # bincount takes eight bytes for each pixel
        counts += np.bincount(flat[at : at + BLOCK], minlength=length)
    return counts


def ids_of(labels: Labels) -> list[int]:
    """Ids in a label map but 0, ascending.

    Args:
        labels: uint8 of any shape.
    """
    return [int(number) for number in np.flatnonzero(histogram(labels, 256)) if number]


def number_objects(ids: tuple[int, ...], annotation: Labels) -> tuple[tuple[int, ...], Labels]:
    """Give internal ids to an annotation's objects, known and new.

    Internal ids count up from 1 in order of first appearance, ascending within an annotation.

    Args:
        ids: The video's own id of each internal id known so far.
        annotation: The video's own ids, uint8, 0 where nothing is annotated.

    Returns:
        All ids known now, and the annotation in internal ids.
    """
    ids = (*ids, *(value for value in ids_of(annotation) if value not in ids))
    table = np.zeros(256, np.uint8)
    table[list(ids)] = np.arange(1, len(ids) + 1)
    return ids, np.take(table, annotation)


def own_ids(ids: tuple[int, ...], labels: Labels) -> Labels:
    """Labels with the video's own ids in place of internal ones.

    Args:
        ids: The video's own id of internal ids 1, 2, ...
        labels: Internal ids, uint8 of any shape, none of them beyond the last of `ids`.

    Returns:
        uint8 of the same shape; the argument itself where all ids are the internal ones.
    """
    if ids == tuple(range(1, len(ids) + 1)):
        return labels
    table = np.zeros(256, np.uint8)
    table[1 : len(ids) + 1] = ids
    return np.take(table, labels)


def only_objects(labels: Labels, ids: Collection[int]) -> Labels:
    """Labels in which these objects alone are left and all other pixels are 0.

    Args:
        labels: Ids, uint8 of any shape.
        ids: The objects to keep.
    """
    return np.where(np.isin(labels, list(ids)), labels, 0).astype(np.uint8)


def merge_annotation(predicted: Labels, annotated: Labels, count: Count) -> Labels:
    """The labels of a frame of which some are known.

    Args:
        predicted: Internal ids, uint8 [H, W].
        annotated: Internal ids that are known, uint8 [H, W]; 0 where nothing is.
        count: With `FOLLOWED` an annotated object has the annotated pixels and no others. With
            `UPSTREAM` it also keeps those that were predicted outside of them.
    """
    if count is Count.FOLLOWED:
        predicted = np.where(np.isin(predicted, np.unique(annotated)), 0, predicted)
    return np.where(annotated > 0, annotated, predicted).astype(np.uint8)


def groups_for(objects: int) -> int:
    """Groups of ten that hold this many objects; at least one."""
    return max(1, -(-objects // IDENTITIES))


def object_mask(visible: int, groups: int, removed: AbstractSet[int]) -> NDArray[np.float32]:
    """The decoder's summand for the logits of every channel.

    Args:
        visible: The largest internal id in use; see `State.visible`.
        groups: Groups of ten in memory; every one but the last counts as full.
        removed: Internal ids that are no longer wanted.

    Returns:
        float32 [groups, 11]: 0 for the background and identities in use, -1e4 for others. With
        one group the channels behind the last one in use may be left out.
    """
    mask = np.zeros((groups, CHANNELS), np.float32)
    last = visible if groups == 1 else visible % IDENTITIES or IDENTITIES
    mask[-1, last + 1 :] = UNUSED_OBJECT
    for internal in removed:
        group, channel = divmod(internal - 1, IDENTITIES)
        mask[group, channel + 1] = UNUSED_OBJECT
    return mask


def split_groups(labels: Labels, groups: int, size: tuple[int, int]) -> Labels:
    """Each group's own label map at the network's input size.

    Args:
        labels: Internal ids, uint8 [H, W].
        groups: Number of groups.
        size: Height and width to resize to (nearest).

    Returns:
        uint8 [groups, *size], values 0..10.
    """
    resized = resize_labels(labels, *size).astype(np.int16)
    own = resized - np.arange(0, groups * IDENTITIES, IDENTITIES, dtype=np.int16)[:, None, None]
    return np.where((own > 0) & (own <= IDENTITIES), own, 0).astype(np.uint8)
