"""A data set of short videos."""

import pytest

from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.sequences import Dataset
from tests.made_sequences import write_clips

SIZE = (64, 96)
NAMES = ["e", "b", "d", "a", "c", "f"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Six videos of four frames."""
    return open_dataset(write_clips(tmp_path_factory.mktemp("data") / "DAVIS", NAMES, SIZE, 4))
