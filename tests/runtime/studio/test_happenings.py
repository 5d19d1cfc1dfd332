"""Events belong to masks: those of masks that hold are given."""

from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio.happenings import Happening, Happenings

LOST = Happening(3, 7, (1,), "lost", "object 1 is lost")
FOUND = Happening(5, 2, (1,), "found", "object 1 is found again")
MASKS = np.array([0, 0, 5, 0, 0, 0, 0, 3, 0], np.int64)


def test_events_of_masks_that_hold_are_given_in_order(tmp_path: Path) -> None:
    events = Happenings(tmp_path / "events.jsonl", 0)
    events.add([LOST, FOUND])
    events.close()
    again = Happenings(tmp_path / "events.jsonl", 5)
    assert again.now(MASKS) == [FOUND, LOST]
    assert again.now(np.zeros(9, np.int64)) == []
    again.close()
    assert Happenings(tmp_path / "events.jsonl", 4).now(MASKS) == [LOST]
    # A version whose mask was lost is given to another mask, which has no event.
    assert Happenings(tmp_path / "events.jsonl", 5).now(MASKS) == [LOST]


def test_a_torn_line_is_cut_off_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = Happenings(path, 0)
    events.add([LOST])
    events.add([FOUND])
    events.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    again = Happenings(path, 5)
    assert again.now(MASKS) == [LOST]
    again.add([FOUND])
    again.close()
    assert path.read_bytes() == whole
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(InputError, match=r"events.jsonl is damaged .*; remove it"):
        Happenings(path, 5)
