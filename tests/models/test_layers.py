"""Layers keep sums of float16 values within the range."""

import numpy as np
import pytest
import torch

from mavos_deploy.export.parity import LIMITS
from mavos_deploy.models.layers import ChannelNorm, GroupNorm, attend, weighted_sum

TOGETHER = 16  # products that a GPU's matrix instruction adds before it rounds


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


def summed_in_float16(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A product as a GPU computes it that sums up in float16."""
    total = np.zeros((left.shape[0], right.shape[1]), np.float16)
    for start in range(0, left.shape[1], TOGETHER):
        part = slice(start, start + TOGETHER)
        products = left[:, part].astype(np.float32) @ right[part].astype(np.float32)
        total = (total.astype(np.float32) + products).astype(np.float16)
    return total


def error(got: np.ndarray, left: np.ndarray, right: np.ndarray) -> float:
    """Largest error as a share of the result's range, as in the comparison with PyTorch."""
    exact = left.astype(np.float64) @ right.astype(np.float64)
    return float(np.abs(got - exact).max() / (exact.max() - exact.min()))


def test_float16_sums_of_projections_are_far_within_the_limit() -> None:
    """TensorRT may choose them; a projection sums over up to 2,048 channels."""
    rng = np.random.default_rng(0)
    left = rng.normal(0, 1, (256, 2048)).astype(np.float16)
    right = (rng.normal(0, 1, (2048, 64)) / np.sqrt(2048)).astype(np.float16)
    assert error(summed_in_float16(left, right), left, right) < LIMITS["fp16"].tensors / 10


def test_float16_sums_over_an_attentions_tokens_are_not() -> None:
    """So casts around `weighted_sum` rule them out."""
    rng = np.random.default_rng(0)
    weights = np.exp(rng.normal(0, 0.5, (256, 3348)))
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float16)
    values = rng.normal(0, 1, (3348, 64))
    values = (values / (1 + np.exp(-values))).astype(np.float16)
    worst = error(summed_in_float16(weights, values), weights, values)
    assert worst > LIMITS["fp16"].tensors / 10
    wide = (weights.astype(np.float32) @ values.astype(np.float32)).astype(np.float16)
    assert error(wide, weights, values) < worst / 4


def test_exported_attention_in_float16_sums_in_float32() -> None:
    class Attention(torch.nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return weighted_sum(left, right)

    for dtype in (torch.float16, torch.float32):
        arguments = torch.ones(2, 3, dtype=dtype), torch.ones(3, 4, dtype=dtype)
        program = torch.export.export(Attention(), arguments)
        products = [node for node in program.graph.nodes if "matmul" in str(node.target)]
        assert [node.meta["val"].dtype for node in products] == [torch.float32]
        assert program.module()(*arguments).dtype is dtype
        assert weighted_sum(*arguments).dtype is dtype
