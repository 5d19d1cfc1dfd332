"""DeAOT and every rule of the long-term memory against the recorded behaviour of its authors' code.

Of the runs' names `newobj` have an object that joins at frame 5, `many` thirteen objects in two
groups, and `regroup` a second group that starts at frame 5.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mavos_deploy.models.long_term import LongTerm
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.tracker import Memory, Tracker
from tests import golden

GetNetwork = Callable[[str], Mavos]

LOGITS = 1e-4  # of their range
AGREEMENT = 0.9999  # of the pixels of a clip
OWN_LABELS = ("newobj_deaot_t", "newobj_deaot_l_lvos3_gap1")
EVERY_DAY = (  # every number of blocks, rule and kind of clip; the others take minutes
    "base_deaot_s",
    "base_deaot_l_latest",
    "base_deaot_l_lvos6_gap1",
    "many_deaot_t",
    "newobj_deaot_l_lvos3_gap1",
    "newobj_deaot_t",
    "regroup_deaot_l",
)


def rule_of(run: golden.Golden) -> LongTerm:
    """The rule of a recorded run, with room for all that it keeps."""
    if run.about["rule"] == "grow":
        return LongTerm("annotations", 3) if _gap(run) is None else LongTerm("growing", None)
    if run.about["rule"] == "latest":
        return LongTerm("latest")
    return LongTerm("lvos", int(run.about["rule"].removeprefix("lvos")) + 1)


def _gap(run: golden.Golden) -> int | None:
    gap: int = run.about["gap"]
    return gap if gap < golden.FRAMES else None


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in EVERY_DAY else pytest.mark.slow)
        for name in golden.DEAOT_RUNS
    ],
)
def test_logits_labels_and_memories_equal_the_recorded_ones(name: str, network: GetNetwork) -> None:
    compared, agreement = _follow(name, network, forced=True)
    assert compared >= golden.FRAMES - 1
    assert agreement >= AGREEMENT


@pytest.mark.parametrize("name", OWN_LABELS)
def test_label_maps_equal_the_recorded_ones_with_own_labels_remembered(
    name: str, network: GetNetwork
) -> None:
    _, agreement = _follow(name, network, forced=False)
    assert agreement >= AGREEMENT


def _follow(name: str, network: GetNetwork, forced: bool) -> tuple[int, float]:
    """Run a recorded clip; gives the number of compared arrays, and the share of equal pixels."""
    run = golden.load_deaot(name)
    tracker = Tracker(network(run.variant), golden.SIZE, _gap(run), memory=rule_of(run))
    compared, equal = 0, []
    for index in range(golden.FRAMES):
        pixels = torch.from_numpy(golden.resized(index, run.size))
        annotation = run.annotations.get(index)
        if index == 0:
            assert annotation is not None
            labels = tracker.start(pixels, annotation)
        else:
            labels = tracker.predict(pixels)
            groups = [group.logits for group in tracker.groups]
            if forced:
                logits = torch.cat([g for g in groups if g is not None]).flatten()[::37].numpy()
                assert (
                    golden.relative_error(logits, run.arrays[f"logits_s37_f{index:02d}"]) <= LOGITS
                )
                compared += 1
            if annotation is not None:
                labels = tracker.annotate(labels, annotation)
            else:
                tracker.remember(run.labels[index] if forced else labels)
        equal.append(float(np.mean(labels == run.labels[index])))
        if forced:
            compared += _compare_blocks(run, tracker, index)
            compared += _compare_banks(run, tracker, index)
    return compared, float(np.mean(equal))


def _compare_blocks(run: golden.Golden, tracker: Tracker, index: int) -> int:
    """Compare the blocks' output, and the short-term memory; returns how many arrays."""
    key = f"blocks_f{index:02d}"
    if key not in run.arrays:
        return 0
    embedding = tracker.groups[0].decoder_embedding
    assert embedding is not None
    assert run.error(key, embedding.flatten(2).mT, 37) <= golden.ACTIVATIONS, key
    compared = 1
    for block, memory in enumerate(tracker.groups[0].short_term):
        compared += _compare(run, f"short_f{index:02d}_b{block}", memory, 37)
    return compared


def _compare_banks(run: golden.Golden, tracker: Tracker, index: int) -> int:
    """Compare every group's long-term memory: the frames it holds, and their values."""
    compared = 0
    for number, group in enumerate(tracker.groups):
        held = [bank for frame, bank in run.about["banks"].items() if int(frame) <= index][-1]
        tokens = group.short_term[0].key.shape[-1]
        assert group.long_term[0].key.shape[-1] == len(held[number]) * tokens
        for block, memory in enumerate(group.long_term):
            compared += _compare(run, f"bank_f{index:02d}_g{number}_b{block}", memory, 211)
    return compared


def _compare(run: golden.Golden, prefix: str, memory: Memory, sampling: int) -> int:
    if f"{prefix}_k" not in run.arrays:
        return 0
    visual, identity = memory.value.chunk(2, 1)
    for part, tokens in (("k", memory.key), ("v", visual), ("idv", identity)):
        key = f"{prefix}_{part}"
        assert run.error(key, tokens.mT, sampling) <= golden.ACTIVATIONS, key
    return 3


@pytest.mark.parametrize(
    ("rule", "slots", "writes", "expected"),
    [
        pytest.param("latest", 2, 3, [3, 0], id="latest"),
        pytest.param("annotations", 3, 4, [4, 1, 0], id="annotations-replace-the-latest-late-one"),
        pytest.param("lvos", 4, 2, [2, 1, 0], id="lvos-with-room"),
        pytest.param("lvos", 4, 6, [6, 5, 1, 0], id="lvos-drops-the-second-newest"),
        pytest.param("lvos", 3, 4, [4, 3, 0], id="lvos-of-two"),
        pytest.param("growing", None, 4, [4, 3, 2, 1, 0], id="growing"),
    ],
)
def test_a_rule_keeps_these_writes(
    rule: str, slots: int | None, writes: int, expected: list[int]
) -> None:
    bank = [0]
    for write in range(1, writes + 1):
        bank = [write, *(bank[place] for place in LongTerm(rule, slots).kept(len(bank)))]
    assert bank == expected
