"""The float16 network: what is rounded, what is not, and that sums stay within the range."""

from collections.abc import Callable

import pytest
import torch

from mavos_deploy.errors import CheckpointError
from mavos_deploy.models.half import half_precision
from mavos_deploy.models.layers import ChannelNorm, FrozenBatchNorm, GroupNorm, LayerNorm, attend
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


@pytest.mark.parametrize("norm", [ChannelNorm(8), GroupNorm(2, 8)], ids=["channel", "group"])
def test_norms_square_large_float16_values_in_float32(norm: torch.nn.Module) -> None:
    x = torch.randn(1, 8, 3, 3, generator=torch.Generator().manual_seed(0)) * 1e4
    got = norm(x.half())
    assert got.dtype is torch.float16
    torch.testing.assert_close(got.float(), norm(x), atol=3e-3, rtol=0)


def test_softmax_over_many_tokens_keeps_its_sum() -> None:
    tokens = 5000  # as many as two frames of 577x1041 have; each gets a weight of 2e-4
    query, key = torch.zeros(1, 4, 1).half(), torch.zeros(1, 4, tokens).half()
    got = attend(query, key, torch.full((1, 2, tokens), 100.0).half())
    torch.testing.assert_close(got.float(), torch.full((1, 2, 1), 100.0), atol=0.1, rtol=0)


def test_a_weight_beyond_float16_is_refused() -> None:
    network = Mavos(VARIANTS["mobilenet"]).eval()
    network.decoder.conv_in.conv.weight.data[0] = 1e6
    with pytest.raises(CheckpointError, match="weight holds a value beyond 65504"):
        half_precision(network)
