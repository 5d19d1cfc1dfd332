"""Arrays come back from the disk as they were, and nothing is left there."""

from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.passes.spill import ConfidenceSpill, Spill


def test_arrays_come_back_in_any_order_and_nothing_is_left(tmp_path: Path) -> None:
    arrays = {
        number: np.random.default_rng(number).integers(0, 255, shape, np.uint8)
        for number, shape in enumerate([(4, 6), (2, 3, 5), (7,), (4, 6)])
    }
    with Spill(tmp_path / "new") as spill:
        for number, array in reversed(arrays.items()):
            spill[number] = array
        for number, array in arrays.items():
            np.testing.assert_array_equal(spill[number], array)
        spill[2] = arrays[0]
        np.testing.assert_array_equal(spill[2], arrays[0])
        assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file/deeper"):
        Spill(tmp_path / "file/deeper")


def test_confidence_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    given: dict[int, dict[int, float | None]] = {7: {1: 0.1 + 0.2, 254: None}, 3: {}, 4: {2: 1.0}}
    with ConfidenceSpill(tmp_path) as spill:
        for number, told in given.items():
            spill[number] = told
        assert {number: spill[number] for number in given} == given
