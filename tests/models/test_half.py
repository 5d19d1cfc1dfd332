"""The float16 network: what is rounded, what is not, and that sums stay within the range."""

from collections.abc import Callable

import pytest
import torch

from mavos_deploy.errors import CheckpointError
from mavos_deploy.models.half import half_precision
from mavos_deploy.models.layers import FrozenBatchNorm, GroupNorm, LayerNorm
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import VARIANTS

GetNetwork = Callable[[str], Mavos]


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_weights_are_float16_but_those_of_norms_and_logits(
    variant: str, network: GetNetwork
) -> None:
    half = half_precision(network(variant))
    full = [m for m in half.modules() if isinstance(m, (LayerNorm, GroupNorm))]
    kept = {id(p) for module in (*full, half.decoder.conv_out) for p in module.parameters()}
    for name, parameter in half.named_parameters():
        expected = torch.float32 if id(parameter) in kept else torch.float16
        assert parameter.dtype is expected, name
    assert not [m for m in half.modules() if isinstance(m, FrozenBatchNorm)]


def test_the_original_stays_as_it_is(network: GetNetwork) -> None:
    original = network("mobilenet")
    before = {key: value.clone() for key, value in original.state_dict().items()}
    half_precision(original)
    after = original.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("variant", ["mobilenet", "resnet50"])
def test_folded_batch_norms_change_nothing_but_rounding(variant: str, network: GetNetwork) -> None:
    frame = torch.rand(1, 65, 81, 3, generator=torch.Generator().manual_seed(0)) * 255
    half = half_precision(network(variant))
    with torch.inference_mode():
        expected = network(variant).encode(frame)
        got = half.encode(frame)
    for name in ("feature_4x", "feature_8x", "feature_16x", "embedding"):
        want = getattr(expected, name)
        error = (getattr(got, name).float() - want).abs().max() / (want.max() - want.min())
        assert float(error) < 1e-2, name


def test_the_first_units_of_mobilenet_meet_in_one_convolution(network: GetNetwork) -> None:
    original = network("mobilenet")
    joined = half_precision(original)
    before, after = (
        [m for m in net.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
        for net in (original, joined)
    )
    assert len(after) == len(before) - 1
    assert (after[2].in_channels, after[2].out_channels) == (32, 96)


def test_a_weight_beyond_float16_is_refused() -> None:
    network = Mavos(VARIANTS["mobilenet"]).eval()
    network.decoder.conv_in.conv.weight.data[0] = 1e6
    with pytest.raises(CheckpointError, match="weight holds a value beyond 65504"):
        half_precision(network)
