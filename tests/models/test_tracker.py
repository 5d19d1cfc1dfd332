"""The PyTorch network and tracker against the recorded behaviour of the authors' code."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.tracker import Memory, Tracker
from tests import golden

GetNetwork = Callable[[str], Mavos]

LOGITS = 1e-4  # of their range
MERGED = 1.5e-4  # absolute, of logits up to 11.5
MERGED_FREE = 2e-2  # absolute; a near tie may have flipped a remembered pixel
UNUSED = -1e9
DIFFERING_PIXELS = 20  # of 622,544 in a clip


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_blocks_and_memories_equal_the_recorded_ones_over_memory_updates(
    variant: str, network: GetNetwork
) -> None:
    run = golden.load("base", variant)
    tracker = Tracker(network(variant), golden.SIZE, golden.MEMORY_GAP)
    recorded = {0: "mem_ref", 6: "mem_up2", 12: "mem_up4"}
    compared = 0
    for index in range(golden.FRAMES):
        _advance(tracker, run, index, forced=True)
        (group,) = tracker.groups
        if index in (0, 1):
            assert group.decoder_embedding is not None
            tokens = group.decoder_embedding.flatten(2).mT
            assert run.error(f"blocks_f{index:02d}", tokens, 37) <= golden.ACTIVATIONS
        if index == 1:
            compared += _compare_memories(run, "short_f01", group.short_term)
        if index in recorded:
            compared += _compare_memories(run, recorded[index], group.long_term)
    assert compared == 4 * 6


@pytest.mark.parametrize("forced", [True, False], ids=["forced-labels", "own-labels"])
@pytest.mark.parametrize("case", list(golden.CASES))
@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_label_maps_and_logits_equal_the_recorded_ones(
    variant: str, case: str, forced: bool, network: GetNetwork
) -> None:
    run = golden.load(case, variant)
    tracker = Tracker(network(variant), golden.SIZE, golden.MEMORY_GAP)
    differing, compared = 0, 0
    for index in range(golden.FRAMES):
        labels = _advance(tracker, run, index, forced)
        differing += int(np.count_nonzero(labels != run.labels[index]))
        key = f"logits_f{index:02d}"
        if key in run.arrays:
            # In a frame where a group is new, only the groups before it have made a prediction.
            made = [group.logits for group in tracker.groups if group.logits is not None]
            logits = torch.cat(made).numpy()
            expected = run.arrays[key].reshape(-1, *logits.shape[1:])
            assert golden.relative_error(logits, expected) <= LOGITS, key
            compared += 1
        if f"merged_f{index:02d}" in run.arrays:
            assert tracker.merged is not None
            expected = run.arrays[f"merged_f{index:02d}"]
            used = expected > UNUSED  # of a single group; more groups bound theirs
            assert used.any()
            difference = tracker.merged[0].numpy().ravel()[::997][used] - expected[used]
            assert np.abs(difference).max() <= (MERGED if forced else MERGED_FREE)
        if index in run.annotations:
            for number, group in enumerate(tracker.groups):
                prefix = f"mem_f{index:02d}_g{number}"
                if f"{prefix}_b0_k" in run.arrays:
                    assert _compare_memories(run, prefix, group.long_term) == 6
    assert compared >= 1
    assert differing <= DIFFERING_PIXELS


def test_an_annotation_without_new_objects_keeps_the_count_of_visible_ones(
    network: GetNetwork,
) -> None:
    """Upstream counts the largest visible id, so a hidden last object is suppressed."""
    run = golden.load("base", "mobilenet")
    tracker = Tracker(network("mobilenet"), golden.SIZE, golden.MEMORY_GAP)
    _advance(tracker, run, 0, forced=True)
    predicted = tracker.predict(torch.from_numpy(golden.resized(1, run.size)))
    only_first = np.where(predicted == 1, predicted, 0)
    tracker.annotate(only_first, np.where(run.annotations[0] == 3, 3, 0).astype(np.uint8))
    assert tracker.groups[0].objects == 1
    assert tracker.predict(torch.from_numpy(golden.resized(2, run.size))).max() == 1


def _advance(tracker: Tracker, run: golden.Golden, index: int, forced: bool) -> NDArray[np.uint8]:
    """One frame of the recorded loop; returns its result in internal ids."""
    pixels = torch.from_numpy(golden.resized(index, run.size))
    if index == 0:
        return tracker.start(pixels, run.annotations[0])
    labels = tracker.predict(pixels)
    if index in run.annotations:
        return tracker.annotate(labels, run.annotations[index])
    tracker.remember(run.labels[index] if forced else labels)
    return labels


def _compare_memories(run: golden.Golden, prefix: str, memories: list[Memory]) -> int:
    """Compare blocks 0 and 2; returns how many arrays were compared."""
    compared = 0
    for block in (0, 2):
        visual, identity = memories[block].value.chunk(2, 1)
        parts = {"k": memories[block].key, "v": visual, "idv": identity}
        for name, tokens in parts.items():
            key = f"{prefix}_b{block}_{name}"
            assert run.error(key, tokens.mT, 37) <= golden.ACTIVATIONS, key
            compared += 1
    return compared
