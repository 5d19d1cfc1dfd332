"""The short-term attention by tiles equals the formula of its window."""

import pytest
import torch

from mavos_deploy.models.propagation import ShortTermAttention
from mavos_deploy.models.variants import Variant


@pytest.mark.parametrize("tile", [(4, 5), (8, 18), (3, 40), None])
def test_tiles_of_the_short_term_attention_do_not_change_it(tile: tuple[int, int] | None) -> None:
    variant = Variant("small", "-", "-", (1, 1, 1, 1), True, embedding=8, key=6, value=10)
    generator = torch.Generator().manual_seed(0)
    attention = ShortTermAttention(variant, tile).requires_grad_(False)
    for parameter in attention.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def maps(channels: int) -> torch.Tensor:
        return torch.randn(2, channels, 11, 23, generator=generator)

    query, key, value, gate = maps(6), maps(6), maps(20), maps(20)
    expected = _windowed_attention(attention, query, key, value)
    expected = attention.projection(attention.dw_conv(expected * gate))
    actual = attention(query, gate, key, value)
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=1e-4)


def _windowed_attention(
    attention: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """Token by token, as the formula of the window says."""
    relative = attention.get_submodule("relative_emb_k")(query)
    height, width = query.shape[-2:]
    out = torch.empty_like(value)
    for y in range(height):
        for x in range(width):
            rows = range(max(y - 7, 0), min(y + 8, height))
            columns = range(max(x - 7, 0), min(x + 8, width))
            near = [(row, column) for row in rows for column in columns]
            logits = torch.stack(
                [
                    (query[:, :, y, x] * key[:, :, row, column]).sum(1) * query.shape[1] ** -0.5
                    + relative[:, (row - y + 7) * 15 + column - x + 7, y, x]
                    for row, column in near
                ],
                1,
            )
            weights = logits.softmax(1)
            values = torch.stack([value[:, :, row, column] for row, column in near], 2)
            out[:, :, y, x] = (values * weights[:, None]).sum(2)
    return out
