"""The network's encoders and embeddings against the authors' code."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS
from tests import golden

GetNetwork = Callable[[str], Mavos]
INPUT = 2e-6  # absolute; constants in float32 or float64 differ by 5e-7


@pytest.mark.parametrize("variant", [*golden.VARIANTS, *golden.DEAOT_VARIANTS])
def test_state_dict_has_exactly_the_authors_keys_and_shapes(
    variant: str,
) -> None:
    listing = json.loads(
        (Path(__file__).parents[1] / f"data/state_dict_{variant}.json").read_text()
    )
    with torch.device("meta"):
        state = Mavos(VARIANTS[variant]).state_dict()
    expected = {key: (shape, dtype) for key, (shape, dtype) in listing.items()}
    assert {key: (list(v.shape), str(v.dtype)) for key, v in state.items()} == expected


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_encoder_and_identity_embedding_equal_the_recorded_ones(
    variant: str, network: GetNetwork
) -> None:
    run = golden.load("base", variant)
    net = network(variant)
    for index in (0, 1):
        with torch.inference_mode():
            pixels = torch.from_numpy(golden.resized(index, run.size))[None]
            features = net.encode(pixels)
            assert run.error(f"input_f{index:02d}", net.normalise(pixels), 101) <= INPUT
        maps = (features.feature_4x, features.feature_8x, features.feature_16x, features.embedding)
        for name, encoded in zip(("s0", "s1", "s2", "s3"), maps, strict=True):
            key = f"enc_f{index:02d}_{name}"
            assert run.error(key, encoded, 101) <= golden.ACTIVATIONS, key
            values = encoded.double()
            stats = [values.mean(), values.std(correction=0), values.abs().max()]
            np.testing.assert_allclose(stats, run.arrays[f"{key}_stats"], rtol=1e-5, atol=1e-6)
