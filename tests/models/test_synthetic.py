"""Synthetic weights are those of the recorded data."""

import json
import zlib
from collections.abc import Callable

import pytest

from mavos_deploy.models.mavos import Mavos
from tests import golden

GetNetwork = Callable[[str], Mavos]


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_synthetic_weights_are_those_the_goldens_were_recorded_with(
    variant: str, network: GetNetwork
) -> None:
    expected = json.loads((golden.FOLDER / "fill_digests.json").read_text())[variant]
    state = network(variant).state_dict()
    digests = {key: f"{zlib.crc32(value.numpy().tobytes()):08x}" for key, value in state.items()}
    assert digests == expected
