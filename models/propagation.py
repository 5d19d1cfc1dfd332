"""Gated propagation blocks of the E-LSTT (upstream transformer.py and attention.py)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mavos_deploy.models.layers import (
    ChannelNorm,
    DepthwiseConv,
    GroupNorm,
    Pointwise,
    attend,
)
from mavos_deploy.models.variants import WINDOW_RADIUS, Variant

WINDOW = 2 * WINDOW_RADIUS + 1
Region = tuple[slice, slice]  # rows and columns of a map
# Outside the window softmax must give exactly 0. The authors subtract 1e8 in float32 and 1e4 in
# float16; 1e4 does it in both.
OUTSIDE = -1e4


@dataclass(frozen=True)
class Projection:
    """A block's view of the current frame, before it looks at any memory.

    Attributes:
        key: The block's query, and its key once the frame is in memory, [B, Ck, h, w].
        value: Visual half of the value, [B, Cv, h, w].
        gate: Gate of every attention, [B, 2 Cv, h, w].
        identity_query: Source of the value's identity half, beside the identity embedding,
            [B, C, h, w]. None in block 0, which takes the embedding alone.
    """

    key: Tensor
    value: Tensor
    gate: Tensor
    identity_query: Tensor | None


class GatedPropagation(nn.Module):
    """The common end of every attention: gate, depthwise 5x5, project to both branches."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.scale = variant.key**-0.5
        self.dw_conv = DepthwiseConv(2 * variant.value, 5)
        self.projection = Pointwise(2 * variant.value, 2 * variant.embedding)

    def finish(self, attended: Tensor, gate: Tensor) -> Tensor:
        """Gate values [B, 2 Cv, N] by [B, 2 Cv, h, w] and project them to [B, 2 C, h, w]."""
        out: Tensor = self.projection(self.dw_conv(attended.reshape(gate.shape) * gate))
        return out


class LongTermAttention(GatedPropagation):
    """Every position looks at every token of the long-term memory."""

    def forward(
        self,
        query: Tensor,
        gate: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Read the long-term memory.

        Args:
            query: Queries, [B, Ck, h, w].
            gate: Gate, [B, 2 Cv, h, w].
            key: Keys, [B, Ck, M]; the order of the M tokens doesn't matter.
            value: Values, [B, 2 Cv, M].
            bias: Bias of every score of a token, float32 [B, 1, M]: 0 for tokens that are held and
                -1e4 for those of empty slots. None where no slot is empty.

        Returns:
            Increments of both branches, [B, 2 C, h, w].
        """
        return self.finish(attend(query.flatten(2) * self.scale, key, value, bias), gate)


class ShortTermAttention(GatedPropagation):
    """Every position looks at the 15 x 15 tokens around it in the previous frame.

    The attention runs tile by tile: dense between a tile and all keys that any of its queries may
    see, with everything outside a query's own window masked. One tile the size of the map is the
    plain dense form. All forms give the same result; they differ in speed.
    """

    def __init__(self, variant: Variant, tile: tuple[int, int] | None) -> None:
        super().__init__(variant)
        self.tile = tile
        self.relative_emb_k = nn.Conv2d(variant.key, WINDOW * WINDOW, 1)

    def forward(self, query: Tensor, gate: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Read the short-term memory.

        Args:
            query: Queries, [B, Ck, h, w].
            gate: Gate, [B, 2 Cv, h, w].
            key: Keys, [B, Ck, h, w].
            value: Values, [B, 2 Cv, h, w].

        Returns:
            Increments of both branches, [B, 2 C, h, w].
        """
        relative = self.relative_emb_k(query)  # from the unscaled query
        query = query * self.scale
        if self.tile is None:
            whole = slice(0, query.shape[-2]), slice(0, query.shape[-1])
            attended = _attend_tile(query, relative, key, value, whole, whole)
        else:
            attended = attend_tiles(query, relative, key, value, *self.tile)
        return self.finish(attended, gate)


# An operator of its own, which exports turn into ONNX's operators: they would trace so many tiles
# for most of their time.
@torch.library.custom_op("mavos::attend_tiles", mutates_args=())
def attend_tiles(
    query: Tensor, relative: Tensor, key: Tensor, value: Tensor, tile_height: int, tile_width: int
) -> Tensor:
    """Attend from each position to the 15 x 15 around it, tile by tile; for inference.

    Args:
        query: Scaled queries, [B, Ck, h, w].
        relative: Biases of the window's places, [B, 225, h, w].
        key: Keys, [B, Ck, h, w].
        value: Values, [B, Cv, h, w].
        tile_height: Rows of positions in a tile; the last one may have fewer.
        tile_width: Columns.

    Returns:
        Attended values, [B, Cv, h, w].
    """
    bands = [
        [_attend_tile(query, relative, key, value, *tile) for tile in band]
        for band in tiles_of((query.shape[-2], query.shape[-1]), (tile_height, tile_width))
    ]
    return torch.cat([torch.cat(band, -1) for band in bands], -2)


@attend_tiles.register_fake
def _attended(
    query: Tensor, relative: Tensor, key: Tensor, value: Tensor, tile_height: int, tile_width: int
) -> Tensor:
    return torch.empty_like(value, memory_format=torch.contiguous_format)


def tiles_of(size: tuple[int, int], tile: tuple[int, int]) -> list[list[tuple[Region, Region]]]:
    """Bands of tiles that cover a map.

    Args:
        size: Height and width of the map.
        tile: Height and width of a tile.

    Returns:
        For each tile its positions, and those of all keys that any of them may see.
    """
    rows, columns = (
        [slice(start, min(start + each, whole)) for start in range(0, whole, each)]
        for whole, each in zip(size, tile, strict=True)
    )
    return [[((r, c), (_reach(r, size[0]), _reach(c, size[1]))) for c in columns] for r in rows]


def extents(region: Region) -> tuple[int, int]:
    """Height and width of a region."""
    rows, columns = region
    return rows.stop - rows.start, columns.stop - columns.start


def seen_window(tile: Region, seen: Region) -> Region:
    """Where the keys that a tile sees lie in its biases of `spread_relative_bias`."""
    rows, columns = (
        slice(keys.start - own.start + WINDOW_RADIUS, keys.stop - own.start + WINDOW_RADIUS)
        for keys, own in zip(seen, tile, strict=True)
    )
    return rows, columns


def _attend_tile(
    query: Tensor, relative: Tensor, key: Tensor, value: Tensor, tile: Region, seen: Region
) -> Tensor:
    """Attend from one tile of queries to the keys that any of them may see.

    Returns:
        Attended values, [B, Cv, tile height, tile width].
    """
    queries, keys, window = ((..., *region) for region in (tile, seen, seen_window(tile, seen)))
    attended = attend(
        query[queries].flatten(2),
        key[keys].flatten(2),
        value[keys].flatten(2),
        spread_relative_bias(relative[queries])[window].flatten(3, 4).flatten(1, 2),
    )
    return attended.reshape(*attended.shape[:2], *extents(tile))


def _reach(span: slice, size: int) -> slice:
    """The keys along an axis that queries within a span may see."""
    return slice(max(span.start - WINDOW_RADIUS, 0), min(span.stop + WINDOW_RADIUS, size))


def spread_relative_bias(relative: Tensor) -> Tensor:
    """Lay each query's window of biases over the keys it belongs to.

    Args:
        relative: Biases, [B, 225, h, w]; channel 15 * (dy + 7) + dx + 7 belongs to the key at
            (dy, dx) from the query.

    Returns:
        A bias for each query and each key of the region that reaches 7 tokens beyond the map on
        every side, [B, h, w, h + 14, w + 14]; `OUTSIDE` for keys out of the query's window.
    """
    spread = relative.unflatten(1, (WINDOW, WINDOW)).permute(0, 3, 1, 4, 2)  # B, y, dy, x, dx
    spread = skew(spread[..., None]).squeeze(-1).permute(0, 3, 1, 2, 4)  # B, x, y, dy, key x
    return skew(spread).permute(0, 2, 1, 3, 4)


def skew(offsets: Tensor) -> Tensor:
    """Move row j of [..., n, 15, m] right by j places: [..., n, n + 14, m], `OUTSIDE` elsewhere.

    Padded to n + 15 columns and read again with n + 14 a row, each row starts one place later
    than the one before. No index tensor is needed, so the form also serves dynamic sizes. The m
    numbers of a place stay together, which is what makes it quick.
    """
    count, wide = offsets.shape[-3], offsets.shape[-3] + WINDOW - 1
    padded = F.pad(offsets, (0, 0, 0, count), value=OUTSIDE).flatten(-3, -2)
    skewed: Tensor = padded[..., : count * wide, :].unflatten(-2, (count, wide))
    return skewed


class SelfAttention(GatedPropagation):
    """Every position looks at every other one of the same frame, in both branches at once."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(variant)
        self.linear_QK = Pointwise(2 * variant.embedding, variant.key)
        self.linear_V1 = Pointwise(variant.embedding, variant.value)
        self.linear_V2 = Pointwise(variant.embedding, variant.value)
        self.linear_U1 = Pointwise(variant.embedding, variant.value)
        self.linear_U2 = Pointwise(variant.embedding, variant.value)

    def forward(self, visual: Tensor, identity: Tensor) -> Tensor:
        """Attend within both branches, [B, C, h, w] each and normalised; gives [B, 2 C, h, w]."""
        key = self.linear_QK(torch.cat([visual, identity], 1)).flatten(2)
        value = F.silu(torch.cat([self.linear_V1(visual), self.linear_V2(identity)], 1))
        gate = F.silu(torch.cat([self.linear_U1(visual), self.linear_U2(identity)], 1))
        return self.finish(attend(key * self.scale, key, value.flatten(2)), gate)


class PropagationBlock(nn.Module):
    """One block: read long-term and short-term memory, then propagate within the frame."""

    def __init__(self, variant: Variant, index: int, tile: tuple[int, int] | None) -> None:
        super().__init__()
        width, value = variant.embedding, variant.value
        self.split = (variant.key, value)
        self.norm1 = ChannelNorm(width)
        self.linear_QV = Pointwise(width, variant.key + value)
        self.linear_U = Pointwise(width, value)
        self.has_identity = index > 0
        if self.has_identity:
            self.id_norm1 = ChannelNorm(width)
            self.linear_ID_U = Pointwise(width, value)
        self.linear_ID_V = Pointwise(2 * width if self.has_identity else width, value)
        self.long_term_attn = LongTermAttention(variant)
        self.short_term_attn = ShortTermAttention(variant, tile)
        self.norm2 = ChannelNorm(width)
        self.id_norm2 = ChannelNorm(width)
        self.self_attn = SelfAttention(variant)

    def project(self, visual: Tensor, identity: Tensor | None) -> Projection:
        """Make query, value and gate of the branches [B, C, h, w]; block 0 has no identity."""
        tokens = self.norm1(visual)
        key, value = self.linear_QV(tokens).split(self.split, 1)
        gate = self.linear_U(tokens)
        if identity is None:
            return Projection(
                key, F.silu(value), torch.cat([F.silu(gate), torch.ones_like(gate)], 1), None
            )
        identity_query = self.id_norm1(identity)
        gate = F.silu(torch.cat([gate, self.linear_ID_U(identity_query)], 1))
        return Projection(key, F.silu(value), gate, identity_query)

    def write(self, value: Tensor, identity_query: Tensor | None, embedding: Tensor) -> Tensor:
        """Complete a frame's value with the identity of its objects.

        Args:
            value: Visual half of the value, [B, Cv, h, w].
            identity_query: Source of the identity half, [B, C, h, w]; None in block 0.
            embedding: Identity embedding of the frame's labels, [B, C, h, w].

        Returns:
            The value, [B, 2 Cv, h, w].
        """
        if identity_query is not None:
            embedding = torch.cat([identity_query, embedding], 1)
        return torch.cat([value, F.silu(self.linear_ID_V(embedding))], 1)

    def forward(
        self,
        visual: Tensor,
        identity: Tensor | None,
        projection: Projection,
        long_term: tuple[Tensor, Tensor],
        short_term: tuple[Tensor, Tensor],
        long_term_bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Propagate one frame.

        Args:
            visual: Visual branch, [B, C, h, w].
            identity: Identity branch, [B, C, h, w]; None in block 0.
            projection: Projection of these two branches.
            long_term: Keys [B, Ck, M] and values [B, 2 Cv, M].
            short_term: Keys [B, Ck, h, w] and values [B, 2 Cv, h, w].
            long_term_bias: Bias of the long-term scores, see `LongTermAttention`.

        Returns:
            The new visual and identity branches, [B, C, h, w] each.
        """
        read = self.long_term_attn(projection.key, projection.gate, *long_term, long_term_bias)
        read = read + self.short_term_attn(projection.key, projection.gate, *short_term)
        visual_read, identity_read = read.chunk(2, 1)
        visual = visual + visual_read
        identity = identity_read if identity is None else identity + identity_read
        own = self.self_attn(self.norm2(visual), self.id_norm2(identity))
        visual_own, identity_own = own.chunk(2, 1)
        return visual + visual_own, identity + identity_own


class OutputNorm(nn.Module):
    """Group normalisation with one group for each branch (upstream GroupNorm1D)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gn = GroupNorm(2, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, 2 C, h, w] over all positions of each branch."""
        out: Tensor = self.gn(x)
        return out


class Elstt(nn.Module):
    """The blocks and the norm behind the last one; the loop over them belongs to the caller."""

    def __init__(self, variant: Variant, tile: tuple[int, int] | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            PropagationBlock(variant, i, tile) for i in range(variant.blocks)
        )
        self.decoder_norms = nn.ModuleList([OutputNorm(2 * variant.embedding)])
