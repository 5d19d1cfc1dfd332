"""Slots of the long-term memory: which a frame takes and which are held; names that are refused."""

import re

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.models.long_term import LongTerm
from mavos_deploy.runtime.bundles.memory import EMPTY, MOST_SLOTS, MemoryRule, Rule

RULES = ["mca", "latest", "annotations", "lvos:2", "lvos:3", "lvos:6"]
WRITES = 15
JOINED = (0, 1, 2, 5, 8)  # writes of the video when a group starts, one group each


def _filled(rule: MemoryRule, joined: int) -> list[list[int | None]]:
    """The writes that a group holds after each write; its reference is the one it joins at."""
    slots: list[int | None] = [joined] + [None] * (rule.slots - 1)
    history = [list(slots)]
    for writes in range(joined, WRITES):
        target = rule.slot_for(writes - joined, writes)
        assert target is not None
        slots[target] = writes + 1
        history.append(list(slots))
    return history


@pytest.mark.parametrize("joined", JOINED)
@pytest.mark.parametrize("text", RULES)
def test_slots_hold_what_the_authors_bank_holds(text: str, joined: int) -> None:
    rule = MemoryRule.named(text, 4 if text == "annotations" else None)
    bank = [joined]
    for entered, slots in enumerate(_filled(rule, joined)):
        held = rule.is_held(entered, joined + entered)
        assert {write for write, one in zip(slots, held, strict=True) if one} == set(bank)
        assert all(one is not None for one, filled in zip(slots, held, strict=True) if filled)
        kept = LongTerm(rule.rule, rule.slots).kept(len(bank))
        bank = [joined + entered + 1, *(bank[place] for place in kept)]


def test_groups_that_are_full_write_to_the_same_slot() -> None:
    """A write then replaces whole tensors, whenever its groups joined."""
    rule = MemoryRule.named("lvos:6")
    for writes in range(JOINED[-1] + 5, 30):
        assert len({rule.slot_for(writes - joined, writes) for joined in JOINED}) == 1


def test_the_reference_is_never_replaced() -> None:
    for text in RULES:
        rule = MemoryRule.named(text)
        assert 0 not in {rule.slot_for(count, count) for count in range(WRITES)}


def test_a_single_slot_has_no_room_for_another_frame() -> None:
    assert MemoryRule.named("annotations", 1).slot_for(0, 0) is None


def test_the_bias_hides_empty_slots_of_each_group() -> None:
    rule = MemoryRule.named("lvos:3")
    bias = rule.bias((0, 1, 2, 7), writes=7)
    assert bias.dtype == np.float32
    # The third group's second write took the slot whose turn it was.
    held = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 1], [1, 1, 1, 1]]
    np.testing.assert_array_equal(bias, np.where(held, 0, np.float32(EMPTY)))


@pytest.mark.parametrize(("text", "slots"), [("lvos:6", 7), ("latest", 2), ("annotations", 2)])
def test_a_name_says_how_many_slots_there_are(text: str, slots: int) -> None:
    rule = MemoryRule.named(text)
    assert rule.slots == slots
    assert str(rule) == text


@pytest.mark.parametrize(
    ("text", "slots", "words"),
    [
        ("grow", None, "accepted are mca, annotations, latest and lvos:L"),
        ("growing", None, "a memory without end .* take lvos:6, .* or latest"),
        ("lvos", None, "accepted are"),
        ("lvos:", None, "accepted are"),
        ("latest:2", None, "accepted are"),
        ("lvos:1", None, f"L is a number from 2 to {MOST_SLOTS - 1}"),
        ("lvos:64", None, "L is a number"),
        ("lvos:six", None, "L is a number"),
        ("lvos:-3", None, "L is a number"),
        ("latest", 3, "--slots has no effect with --memory latest"),
        ("annotations", 0, "--slots 0: accepted are 1 to 64"),
        ("annotations", 65, "--slots 65"),
    ],
)
def test_other_names_and_numbers_are_refused(text: str, slots: int | None, words: str) -> None:
    with pytest.raises(InputError) as refused:
        MemoryRule.named(text, slots)
    assert re.search(words, str(refused.value))


@pytest.mark.parametrize(("rule", "slots"), [(Rule.MCA, 3), (Rule.LATEST, 1), (Rule.LVOS, 2)])
def test_a_record_with_another_number_of_slots_is_refused(rule: Rule, slots: int) -> None:
    with pytest.raises(ValueError, match="slots"):
        MemoryRule(rule, slots)
