"""States stay within their budget, and a damaged one is made again."""

from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio.states import States, Tracker
from tests.stand_in_segmenter import StandInSegmenter, StandInState, dump, load


def careful(path: Path) -> StandInState:
    try:
        return load(path)
    except Exception as error:
        raise InputError(str(error)) from None


TRACKER = Tracker(StandInSegmenter(), "stand-in", dump, careful)


def state(seen: int) -> StandInState:
    return StandInState(np.full((8, 8), 1, np.uint8), (8, 8), 0, seen)


SIZE = len(dump(state(1), {}))


def test_states_come_back_from_the_disk(tmp_path: Path) -> None:
    states = States(tmp_path, 10 * SIZE, TRACKER, 99)
    states.keep(3, state(30))
    again = States(tmp_path, 10 * SIZE, TRACKER, 99)
    assert again.get(3).seen == 30
    assert again.get(4) is None


def test_the_budget_holds_and_gaps_stay_even(tmp_path: Path) -> None:
    states = States(tmp_path, 5 * SIZE, TRACKER, 99)
    for version in range(1, 20):
        states.keep(version, state(version))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 5 * SIZE
    held = sorted(states.versions)
    assert (held[0], held[-1]) == (1, 19)


def test_the_last_states_are_held_in_memory(tmp_path: Path) -> None:
    states = States(tmp_path, 0, TRACKER, 99)
    for version in range(5):
        states.remember(version, state(version))
        states.keep(version, state(version))
    assert sorted(states.versions) == [2, 3, 4]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"damaged"])
def test_a_damaged_state_is_left_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "7.safetensors").write_bytes(content)
    states = States(tmp_path, 10 * SIZE, TRACKER, 99)
    assert states.get(7) is None
    assert not (tmp_path / "7.safetensors").exists()


def test_the_state_of_a_mask_that_was_lost_is_removed(tmp_path: Path) -> None:
    states = States(tmp_path, 10 * SIZE, TRACKER, 0)
    states.keep(3, state(30))
    states.keep(4, state(40))
    again = States(tmp_path, 10 * SIZE, TRACKER, 3)
    assert again.versions == {3}
    assert again.get(4) is None
    again.keep(4, state(50))  # after another mask, which has the version now
    assert again.get(4).seen == 50
