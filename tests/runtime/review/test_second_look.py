"""Rules that end a run, against made-up frames."""

import re

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.writing import LabelledFrame
from mavos_deploy.runtime.review.second_look import SecondLook


def frame(
    index: int, box: slice | None = slice(10, 30), value: float | None = 0.9
) -> LabelledFrame:
    labels = np.zeros((60, 80), np.uint8)
    if box is not None:
        labels[box, 20:40] = 1
    return LabelledFrame(index, f"{index:05d}", labels, confidence={1: value})


@pytest.mark.parametrize(
    ("look", "said"),
    [
        pytest.param(SecondLook(), "", id="goes-on"),
        pytest.param(SecondLook(stop_on_loss=True), "object 1 is lost.*00002", id="on-loss"),
        pytest.param(SecondLook(stop_below=0.3), "object 1 is 0.20 in frame 00002", id="below"),
    ],
)
def test_a_rule_ends_the_run_with_its_reason(look: SecondLook, said: str) -> None:
    for number in range(2):
        look.look(frame(number))
        assert not look.stopped
    look.look(frame(2, None, 0.2))
    assert re.search(said, look.stopped) if said else look.stopped == ""
    assert [str(event.kind) for event in look.events] == ["lost", "all-lost"]


@pytest.mark.parametrize(
    ("value", "limit", "said"),
    [(0.1, 0.5, "0.10"), (0.2999, 0.3, "0.2999"), (0.99774, 0.998, "0.9977")],
)
def test_a_confidence_is_told_with_as_many_digits_as_show_that_it_is_below(
    value: float, limit: float, said: str
) -> None:
    look = SecondLook(stop_below=limit)
    look.look(frame(0, value=value))
    assert f"object 1 is {said} in frame" in look.stopped


def test_an_object_that_leaves_the_picture_is_no_loss() -> None:
    look = SecondLook(stop_on_loss=True)
    look.look(frame(0))
    there = frame(1)
    there.labels[40:, 60:] = 2
    look.look(there)
    look.look(frame(2))
    assert [str(event.kind) for event in look.events] == ["left"]
    assert not look.stopped


def test_the_only_object_that_leaves_the_picture_is_no_loss_either() -> None:
    look = SecondLook(stop_on_loss=True)
    look.look(frame(0, slice(40, 60)))
    look.look(frame(1, None))
    assert [str(event.kind) for event in look.events] == ["left", "all-lost"]
    assert not look.stopped


def test_a_rule_that_can_not_be_kept_is_an_error() -> None:
    look = SecondLook(stop_below=1.0)
    with pytest.raises(InputError, match="confidence in object 1, which is unknown"):
        look.look(frame(0, value=None))
    SecondLook().look(frame(0, value=None))


def test_poison_is_an_event_after_the_last_frame() -> None:
    look = SecondLook()
    look.poison(frame(4), "NaN")
    assert look.poisoned == "no mask follows frame 00004: NaN"
    assert (look.events[0].index, str(look.events[0].kind)) == (4, "poisoned")
