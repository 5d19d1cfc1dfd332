"""The propagation through all blocks over tokens [B, N, C], for float16 graphs on GPUs.

It computes what `propagation.py` does, on the same weights. There every tensor is a map, which is
the faster layout on a CPU; TensorRT then copies maps into tokens and back around norms, products
and attention. Here tensors are tokens wherever nothing asks for a map, both branches lie side by
side, and layers that read the same tokens are one product. Memories stay maps.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mavos_deploy.models.layers import GroupNorm, LayerNorm, weighted_sum
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.propagation import (
    WINDOW,
    GatedPropagation,
    OutputNorm,
    PropagationBlock,
    skew,
)
from mavos_deploy.models.variants import WINDOW_RADIUS

Memory = tuple[Tensor, Tensor]  # keys and values
Grid = tuple[int, int]  # height and width in tokens


class TokenPropagation(nn.Module):
    """All blocks of a network and the norm behind the last one, `Mavos.propagate` over tokens."""

    def __init__(self, network: Mavos) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TokenBlock(block) for block in network.blocks)
        last = network.LSTT.decoder_norms[0]
        assert isinstance(last, OutputNorm)
        self.norm = last.gn

    def forward(
        self,
        embedding: Tensor,
        long_term: Sequence[Memory],
        short_term: Sequence[Memory],
        long_term_bias: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        """Read the memory of every block.

        Args:
            embedding: Embedding of the frame, [B, C, h, w].
            long_term: Keys [B, Ck, M] and values [B, 2 Cv, M] of each block.
            short_term: Keys [B, Ck, h, w] and values [B, 2 Cv, h, w] of each block.
            long_term_bias: Bias of the long-term scores, float32 [B, 1, M]; None where no slot of
                the memory is empty.

        Returns:
            The decoder's input [B, 2 C, h, w]; of each block its key [B, Ck, h, w] and visual value
            [B, Cv, h, w]; of each block but the first its identity query [B, C, h, w].
        """
        grid = embedding.shape[-2], embedding.shape[-1]
        x = embedding.flatten(2).transpose(1, 2)
        keys, values, identity_queries = [], [], []
        for block, long, short in zip(self.blocks, long_term, short_term, strict=True):
            flat = short[0].flatten(2), short[1].flatten(2)
            x, key, value, *identity_query = block(x, long, flat, grid, long_term_bias)
            keys.append(key.unflatten(2, grid))
            values.append(value.unflatten(2, grid))
            identity_queries += [query.unflatten(2, grid) for query in identity_query]
        joined = _normalise_branches(self.norm, x).transpose(1, 2).unflatten(2, grid)
        return joined, keys, values, identity_queries


class TokenBlock(nn.Module):
    """A `PropagationBlock` over tokens that hold both branches, visual before identity."""

    def __init__(self, block: PropagationBlock) -> None:
        super().__init__()
        own = block.self_attn
        self.has_identity = block.has_identity
        self.long_term_attn = block.long_term_attn
        self.short_term_attn = block.short_term_attn
        self.self_attn = own
        # With branches side by side, layers of one branch read the other one with weights of 0.
        spared = block.linear_QV.in_features if block.has_identity else 0
        weights = F.pad(block.linear_QV.weight, (0, spared)).split(block.split)
        self.key, self.value = map(_linear, weights, block.linear_QV.bias.split(block.split))
        if block.has_identity:
            self.norm1: nn.Module = BranchNorms(block.norm1, block.id_norm1)
            self.gate = _apart(block.linear_U, block.linear_ID_U)
            # A product that picks the identity branch. TensorRT computes it with those of key and
            # value; a slice that is transposed would have a part in how all tokens are laid out.
            picking = torch.eye(spared, dtype=self.key.weight.dtype)
            self.identity_half = _fixed(F.pad(picking, (spared, 0)))
        else:
            self.norm1 = BranchNorms(block.norm1)
            self.gate = _linear(block.linear_U.weight, block.linear_U.bias)
        self.norm2 = BranchNorms(block.norm2, block.id_norm2)
        self.own_value = _apart(own.linear_V1, own.linear_V2)
        self.own_gate = _apart(own.linear_U1, own.linear_U2)

    def forward(
        self, x: Tensor, long_term: Memory, short_term: Memory, grid: Grid, bias: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Propagate one frame.

        Args:
            x: Tokens of both branches, [B, N, 2 C]; of the visual one, [B, N, C], in block 0.
            long_term: Keys [B, Ck, M] and values [B, 2 Cv, M].
            short_term: Keys [B, Ck, N] and values [B, 2 Cv, N].
            grid: Height and width of the map of N tokens.
            bias: Bias of the long-term scores, float32 [B, 1, M], or None.

        Returns:
            New tokens of both branches, [B, N, 2 C]; key [B, Ck, N]; visual value [B, Cv, N]; in
            all blocks but the first the identity query, [B, C, N].
        """
        tokens = self.norm1(x)
        key, value = _as_maps(self.key, tokens), F.silu(_as_maps(self.value, tokens))
        gate = F.silu(self.gate(tokens))
        written = [key, value]
        if self.has_identity:
            written.append(self.identity_half @ tokens.transpose(1, 2))
        else:
            gate = torch.cat([gate, torch.ones_like(gate)], -1)
            x = F.pad(x, (0, x.shape[-1]))
        query = (key * self.long_term_attn.scale).transpose(1, 2)
        read = _attend(query, *long_term, bias)
        x = x + _finish(self.long_term_attn, read, gate, grid)
        relative = self.short_term_attn.relative_emb_k
        assert relative.bias is not None
        window = relative.weight.flatten(1) @ key + relative.bias[:, None]
        read = _attend(query, *short_term, _window_bias(window, grid))
        x = x + _finish(self.short_term_attn, read, gate, grid)
        return x + self._look_around(self.norm2(x), grid), *written

    def _look_around(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Attend within the frame, from both branches' normalised tokens [B, N, 2 C]."""
        own = self.self_attn
        # Summed up in float32, this product is none that TensorRT joins with the two below. Joined
        # with them, it would leave their biases and gates to kernels of their own.
        key = weighted_sum(tokens, own.linear_QK.weight.t()) + own.linear_QK.bias
        value = F.silu(_as_maps(self.own_value, tokens))
        gate = F.silu(self.own_gate(tokens))
        return _finish(own, _attend(key * own.scale, key.transpose(1, 2), value), gate, grid)


class BranchNorms(nn.Module):
    """Layer norms of branches that lie side by side, [B, N, branches * C]; float32 inside."""

    def __init__(self, *norms: LayerNorm) -> None:
        super().__init__()
        self.width, self.eps = norms[0].weight.shape[0], norms[0].eps
        self.weight = _fixed(torch.stack([norm.weight for norm in norms]))
        self.bias = _fixed(torch.stack([norm.bias for norm in norms]))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each branch of each token; shape and dtype stay."""
        branches = x.float().unflatten(-1, (-1, self.width))
        normalised = F.layer_norm(branches, (self.width,), eps=self.eps)
        return (normalised * self.weight + self.bias).to(x.dtype).flatten(-2)


def _fixed(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight, requires_grad=False)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer over tokens with a weight [out, in] and a bias [out]."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = _fixed(weight), _fixed(bias)
    return layer


def _apart(*layers: nn.Linear) -> nn.Linear:
    """Layers of different branches as one: each reads its own part of a token."""
    weight = torch.block_diag(*(layer.weight for layer in layers))
    return _linear(weight, torch.cat([layer.bias for layer in layers]))


def _as_maps(layer: nn.Linear, tokens: Tensor) -> Tensor:
    """Apply a layer to tokens [B, N, in]; gives flat maps [B, out, N]."""
    return layer.weight @ tokens.transpose(1, 2) + layer.bias[:, None]


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention from tokens to flat maps; the softmax is float32.

    Args:
        query: Scaled queries, [B, N, Ck].
        key: Keys, [B, Ck, M].
        value: Values, [B, Cv, M].
        bias: Bias of the logits, broadcastable to [B, N, M]; None for none.

    Returns:
        Attended values, [B, N, Cv].
    """
    logits = (query @ key).float()
    if bias is not None:
        logits = logits + bias
    return weighted_sum(logits.softmax(-1).to(value.dtype), value.transpose(1, 2))


def _finish(attention: GatedPropagation, attended: Tensor, gate: Tensor, grid: Grid) -> Tensor:
    """Gate values [B, N, 2 Cv], filter them as maps, and project them to [B, N, 2 C]."""
    gated = (attended * gate).transpose(1, 2).unflatten(2, grid)
    # Not a transpose of flat maps, before which TensorRT would copy.
    tokens = attention.dw_conv(gated).permute(0, 2, 3, 1).flatten(1, 2)
    projection = attention.projection
    return weighted_sum(tokens, projection.weight.t()) + projection.bias


def _window_bias(relative: Tensor, grid: Grid) -> Tensor:
    """Lay each query's window of biases over all keys, as `propagation.spread_relative_bias`.

    Rows are spread before columns, and what no key lies under is cut off in between, which makes
    what TensorRT writes on the way smaller.

    Args:
        relative: Biases, [B, 225, N]; see `propagation.spread_relative_bias`.
        grid: Height and width of the map of N tokens.

    Returns:
        A bias for each query and key, [B, N, N].
    """
    height, width = grid
    windows = relative.unflatten(2, grid).unflatten(1, (WINDOW, WINDOW))
    windows = skew(windows.permute(0, 4, 3, 1, 2))  # B, x, y, key y, dx
    windows = windows[..., WINDOW_RADIUS : WINDOW_RADIUS + height, :].permute(0, 2, 3, 1, 4)
    spread = skew(windows[..., None]).squeeze(-1)  # B, y, key y, x, key x
    spread = spread[..., WINDOW_RADIUS : WINDOW_RADIUS + width].permute(0, 1, 3, 2, 4)
    flat: Tensor = spread.flatten(3, 4).flatten(1, 2)
    return flat


def _normalise_branches(norm: GroupNorm, x: Tensor) -> Tensor:
    """Group normalisation of tokens [B, N, 2 C], a branch a group, over all of its positions.

    The variance is the mean of the tokens' variances and the variance of their means. No kernel
    then has to go over a whole branch a third time.
    """
    branches = x.float().unflatten(-1, (norm.num_groups, -1))
    means = branches.mean(3, keepdim=True)
    within = (branches - means).square().mean(3, keepdim=True).mean(1, keepdim=True)
    mean = means.mean(1, keepdim=True)
    variance = within + (means - mean).square().mean(1, keepdim=True)
    scale = torch.rsqrt(variance + norm.eps) * norm.weight.unflatten(0, (norm.num_groups, -1))
    shift = norm.bias.unflatten(0, (norm.num_groups, -1)) - mean * scale
    normalised: Tensor = (branches * scale + shift).to(x.dtype)
    return normalised.flatten(2)
