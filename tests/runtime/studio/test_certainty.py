"""Confidence is kept by version, and a torn end of its file is cut off."""

from pathlib import Path

import pytest

from mavos_deploy.runtime.studio.certainty import Certainty


def test_confidence_is_there_again(tmp_path: Path) -> None:
    certainty = Certainty(tmp_path / "c", 0)
    certainty.add(1, {1: 0.5, 7: 1.0})
    certainty.add(2, {1: 0.25})
    certainty.close()
    again = Certainty(tmp_path / "c", 2)
    assert again.of(1) == {1: 0.5, 7: 1.0}
    assert again.of(2) == {1: 0.25}
    assert again.of(3) == {}


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_torn_entry_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "c"
    certainty = Certainty(path, 0)
    certainty.add(1, {1: 0.5})
    certainty.add(2, {1: 0.25})
    certainty.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = Certainty(path, 2)
    assert again.of(2) == {}
    again.add(2, {1: 0.75})
    again.close()
    assert Certainty(path, 2).of(2) == {1: 0.75}
    assert Certainty(path, 2).of(1) == {1: 0.5}


def test_confidence_in_masks_that_were_lost_is_left_out(tmp_path: Path) -> None:
    certainty = Certainty(tmp_path / "c", 0)
    certainty.add(5, {1: 0.5})
    certainty.close()
    again = Certainty(tmp_path / "c", 4)
    assert again.of(5) == {}
    again.add(5, {2: 0.25})  # of another mask, which has the version now
    again.close()
    assert Certainty(tmp_path / "c", 5).of(5) == {2: 0.25}
