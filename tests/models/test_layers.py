"""Layers keep sums of float16 values within the range."""

import pytest
import torch

from mavos_deploy.models.layers import ChannelNorm, GroupNorm, attend


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
