"""Masks by version outlive a process that was killed while it wrote one."""

from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio.versions import Versions


def mask(number: int) -> np.ndarray:
    return np.full((4, 6), number, np.uint8)


def test_masks_are_found_by_version(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "masks.mavosmasks")
    assert [versions.add(frame, mask(frame)) for frame in (7, 6, 7)] == [1, 2, 3]
    assert [versions.frame_of(v) for v in (1, 2, 3)] == [7, 6, 7]
    assert np.array_equal(versions.labels(2), mask(6))
    versions.close()
    again = Versions(tmp_path / "masks.mavosmasks")
    assert again.add(1, mask(1)) == 4
    assert np.array_equal(again.labels(1), mask(7))


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_mask_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "masks.mavosmasks"
    versions = Versions(path)
    for frame in range(3):
        versions.add(frame, mask(frame))
    versions.sync()
    path.write_bytes(path.read_bytes()[:-cut])
    again = Versions(path)
    assert len(again) == 2
    assert again.add(9, mask(9)) == 3
    assert np.array_equal(again.labels(3), mask(9))
    assert np.array_equal(again.labels(2), mask(1))


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "masks.mavosmasks"
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match="is no run-length store"):
        Versions(path)
    assert path.read_bytes() == b"something else"
