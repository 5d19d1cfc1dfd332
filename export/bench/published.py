"""The network in its authors' published form, which their users run.

Weights and results are those of `models`; the computation is laid out as upstream: tokens before
channels, linear layers, and a window unfolded from the keys around every query. `models` computes
the same on maps, which is quicker in PyTorch too, so the bench measures both. Encoder, decoder and
identity bank are the same in both.

Sources: AOT, GatedPropagation and LocalGatedPropagation in networks/layers/attention.py (without
the CUDA extension for correlations); MAVOS, networks/layers/externel_utils.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mavos_deploy.models.layers import LayerNorm
from mavos_deploy.models.mavos import Features, Mavos
from mavos_deploy.models.mca import HEADS, JointModulation, ModulatedAttention, SlotMca
from mavos_deploy.models.propagation import (
    OUTSIDE,
    WINDOW,
    GatedPropagation,
    PropagationBlock,
    SelfAttention,
    ShortTermAttention,
)
from mavos_deploy.models.tracker import GroupEngine, Memory
from mavos_deploy.models.variants import WINDOW_RADIUS


@dataclass(frozen=True)
class Grid:
    """The token grid and its masks, as upstream keeps them.

    Attributes:
        height: Rows of the grid, h.
        width: Columns of the grid, w.
        outside: [1, 225, N]: 1 where a place of a query's window lies beyond the map.
        within: bool [1, N, h + 14, w + 14]: a query's window on the padded map.
    """

    height: int
    width: int
    outside: Tensor
    within: Tensor


@dataclass(frozen=True)
class Projected:
    """One block's view of the current frame.

    Attributes:
        key: [N, 1, Ck].
        value: Visual half of the value, [N, 1, Cv].
        gate: [N, 1, 2 Cv].
        identity_query: Source of the value's identity half, [N, 1, C]; None in block 0.
    """

    key: Tensor
    value: Tensor
    gate: Tensor
    identity_query: Tensor | None


@cache
def grid_of(height: int, width: int, device: torch.device) -> Grid:
    """A grid with its masks."""
    reach = 2 * WINDOW_RADIUS
    outside = 1 - _unfold(torch.ones(1, 1, height, width, device=device))
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    far_y = torch.arange(height + reach, device=device) - y[:, None] - WINDOW_RADIUS
    far_x = torch.arange(width + reach, device=device) - x[:, None] - WINDOW_RADIUS
    near_y, near_x = far_y.abs() <= WINDOW_RADIUS, far_x.abs() <= WINDOW_RADIUS
    within = near_y[:, None, :, None] & near_x[None, :, None, :]
    return Grid(height, width, outside, within.flatten(0, 1)[None])


def propagate(
    network: Mavos,
    grid: Grid,
    embedding: Tensor,
    long_term: list[tuple[Tensor, Tensor]],
    short_term: list[tuple[Tensor, Tensor]],
) -> tuple[Tensor, list[Projected]]:
    """The ordinary pass.

    Args:
        network: Network with the weights.
        grid: The frame's token grid.
        embedding: [1, C, h, w].
        long_term: For each block, keys [M, 1, Ck] and values [M, 1, 2 Cv].
        short_term: For each block, keys [N, 1, Ck] and values [N, 1, 2 Cv] of the previous frame.

    Returns:
        The decoder's input [1, 2 C, h, w], and each block's projection.
    """
    visual, identity = _tokens(embedding), None
    projections = []
    for block, long, short in zip(network.blocks, long_term, short_term, strict=True):
        projected = _project(block, visual, identity)
        visual, identity = _block(block, grid, visual, identity, projected, long, short)
        projections.append(projected)
    assert identity is not None
    return network.join(_map(visual, grid), _map(identity, grid)), projections


def reference(network: Mavos, grid: Grid, embedding: Tensor, labels: Tensor) -> list[Memory]:
    """The reference pass: every block reads its own fresh memory, which is returned."""
    bank = _tokens(network.embed_identity(labels))
    visual, identity = _tokens(embedding), None
    fresh = []
    for block in network.blocks:
        projected = _project(block, visual, identity)
        own = projected.key, _written(block, projected, bank)
        visual, identity = _block(block, grid, visual, identity, projected, own, own)
        fresh.append(Memory(*own))
    return fresh


def write(network: Mavos, projections: list[Projected], labels: Tensor) -> list[Memory]:
    """The memory of a frame whose labels [1, H, W] are known."""
    bank = _tokens(network.embed_identity(labels))
    pairs = zip(network.blocks, projections, strict=True)
    return [Memory(p.key, _written(block, p, bank)) for block, p in pairs]


def update(network: Mavos, grid: Grid, new: list[Memory], dynamic: list[Memory]) -> list[Memory]:
    """A frame enters the dynamic slot by MCA."""
    merged = []
    for slots, fresh, old in zip(network.memory_modules, new, dynamic, strict=True):
        visual, identity = fresh.value.chunk(2, 2)
        old_visual, old_identity = old.value.chunk(2, 2)
        value = [
            _modulate(slots[1], grid, visual, old_visual),
            _modulate(slots[3], grid, identity, old_identity),
        ]
        key = _modulate(slots[0], grid, fresh.key, old.key)
        merged.append(Memory(key, torch.cat(value, 2)))
    return merged


class PublishedEngine(GroupEngine):
    """The authors' engine on tokens: memories are [M, 1, C]."""

    token_axis = 0
    propagate: Callable[..., tuple[Tensor, list[Projected]]] = staticmethod(propagate)
    write: Callable[..., list[Memory]] = staticmethod(write)
    update: Callable[..., list[Memory]] = staticmethod(update)

    def reference_pass(self, features: Features, labels: Tensor, objects: int) -> None:
        """See `GroupEngine.reference_pass`."""
        fresh = reference(self.network, self._grid(features), features.embedding, labels)
        self._begin(features, fresh, objects)

    def ordinary_pass(self, features: Features) -> None:
        """See `GroupEngine.ordinary_pass`."""
        self.step += 1
        self.decoder_embedding, self._projected = self.propagate(
            self.network,
            self._grid(features),
            features.embedding,
            [(memory.key, memory.value) for memory in self.long_term],
            [(memory.key, memory.value) for memory in self.short_term],
        )
        self.logits = self.network.decode(self.decoder_embedding, features)

    def memory_write(self, features: Features, labels: Tensor) -> None:
        """See `GroupEngine.memory_write`."""
        self._remember(features, self.write(self.network, self._projected, labels))

    def _merge(self, new: list[Memory], dynamic: list[Memory], features: Features) -> list[Memory]:
        return self.update(self.network, self._grid(features), new, dynamic)

    @staticmethod
    def _grid(features: Features) -> Grid:
        height, width = features.embedding.shape[-2:]
        return grid_of(height, width, features.embedding.device)


def compiled_engine() -> type[PublishedEngine]:
    """The same engine with its parts compiled when they are first called."""

    class Compiled(PublishedEngine):
        propagate = staticmethod(torch.compile(propagate, dynamic=False))
        write = staticmethod(torch.compile(write, dynamic=False))
        update = staticmethod(torch.compile(update, dynamic=False))

    return Compiled


def _tokens(maps: Tensor) -> Tensor:
    """[1, C, h, w] to [N, 1, C]."""
    return maps.flatten(2).permute(2, 0, 1)


def _map(tokens: Tensor, grid: Grid) -> Tensor:
    """[N, 1, C] to [1, C, h, w]."""
    maps: Tensor = tokens.permute(1, 2, 0).unflatten(2, (grid.height, grid.width))
    return maps


def _linear(layer: nn.Linear, tokens: Tensor) -> Tensor:
    """On a matrix of tokens: PyTorch turns three axes into a thousand small products at times."""
    made: Tensor = F.linear(tokens.flatten(0, 1), layer.weight, layer.bias)
    return made.reshape(*tokens.shape[:2], -1)


def _norm(layer: LayerNorm, tokens: Tensor) -> Tensor:
    return LayerNorm.forward(layer, tokens)


def _project(block: PropagationBlock, visual: Tensor, identity: Tensor | None) -> Projected:
    tokens = _norm(block.norm1, visual)
    key, value = _linear(block.linear_QV, tokens).split(block.split, 2)
    gate = _linear(block.linear_U, tokens)
    if identity is None:
        gate = torch.cat([F.silu(gate), torch.ones_like(gate)], 2)
        return Projected(key, F.silu(value), gate, None)
    query = _norm(block.id_norm1, identity)
    gate = F.silu(torch.cat([gate, _linear(block.linear_ID_U, query)], 2))
    return Projected(key, F.silu(value), gate, query)


def _written(block: PropagationBlock, projected: Projected, bank: Tensor) -> Tensor:
    if projected.identity_query is not None:
        bank = torch.cat([projected.identity_query, bank], 2)
    return torch.cat([projected.value, F.silu(_linear(block.linear_ID_V, bank))], 2)


def _block(
    block: PropagationBlock,
    grid: Grid,
    visual: Tensor,
    identity: Tensor | None,
    projected: Projected,
    long: tuple[Tensor, Tensor],
    short: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    query, gate = projected.key, projected.gate
    read = _attend(block.long_term_attn, grid, query, gate, *long)
    read = read + _attend_nearby(block.short_term_attn, grid, query, gate, *short)
    visual_read, identity_read = read.chunk(2, 2)
    visual = visual + visual_read
    identity = identity_read if identity is None else identity + identity_read
    own = _attend_itself(
        block.self_attn, grid, _norm(block.norm2, visual), _norm(block.id_norm2, identity)
    )
    visual_own, identity_own = own.chunk(2, 2)
    return visual + visual_own, identity + identity_own


def _attend(
    module: GatedPropagation, grid: Grid, query: Tensor, gate: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    logits = (query * module.scale).permute(1, 0, 2) @ key.permute(1, 2, 0)
    attended = logits.float().softmax(-1).to(value.dtype) @ value.permute(1, 0, 2)
    return _finish(module, grid, attended, gate)


def _attend_itself(module: SelfAttention, grid: Grid, visual: Tensor, identity: Tensor) -> Tensor:
    key = _linear(module.linear_QK, torch.cat([visual, identity], 2))
    value = [_linear(module.linear_V1, visual), _linear(module.linear_V2, identity)]
    gate = [_linear(module.linear_U1, visual), _linear(module.linear_U2, identity)]
    return _attend(module, grid, key, F.silu(torch.cat(gate, 2)), key, F.silu(torch.cat(value, 2)))


def _attend_nearby(
    module: ShortTermAttention, grid: Grid, query: Tensor, gate: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    maps = _map(query, grid)
    relative = module.relative_emb_k(maps).flatten(2)  # 1, 225, N
    around = _unfold(_map(key, grid)).unflatten(1, (key.shape[2], WINDOW * WINDOW))
    logits = ((maps * module.scale).flatten(2)[:, :, None] * around).sum(1) + relative
    local = (logits + OUTSIDE * grid.outside).float().softmax(1).to(value.dtype)
    spread = local.new_zeros(grid.within.shape)
    spread[grid.within] = local.transpose(1, 2).reshape(-1)
    edge = slice(WINDOW_RADIUS, -WINDOW_RADIUS)
    attended = spread[:, :, edge, edge].flatten(2) @ value.permute(1, 0, 2)
    return _finish(module, grid, attended, gate)


def _finish(module: GatedPropagation, grid: Grid, attended: Tensor, gate: Tensor) -> Tensor:
    gated = attended.permute(1, 0, 2) * gate
    return _linear(module.projection, _tokens(module.dw_conv(_map(gated, grid))))


def _unfold(maps: Tensor) -> Tensor:
    """Windows around every place: [1, C, h, w] to [1, 225 C, N]."""
    return F.unfold(F.pad(maps, [WINDOW_RADIUS] * 4), WINDOW)


def _modulate(slot: nn.Module, grid: Grid, new: Tensor, context: Tensor) -> Tensor:
    assert isinstance(slot, SlotMca)
    module: JointModulation = slot.joint_modulation
    new, context = new.transpose(0, 1), context.transpose(0, 1)  # 1, N, C
    mixed = new + _mix(module.attn, grid, _norm(module.norm_l, new), _norm(module.norm_c, context))
    hidden = F.gelu(_linear(module.mlp.fc1, _norm(module.norm2, mixed)))
    return (mixed + _linear(module.mlp.fc2, hidden)).transpose(0, 1)


def _mix(module: ModulatedAttention, grid: Grid, new: Tensor, context: Tensor) -> Tensor:
    batch, count, channels = new.shape
    heads = HEADS, channels // HEADS
    query = _linear(module.q, new).unflatten(2, heads).transpose(1, 2)
    key = _linear(module.k, context).unflatten(2, heads).transpose(1, 2)
    weights = ((query @ key.transpose(2, 3)).float() * heads[1] ** -0.5).softmax(-1)
    made = _linear(module.f_context, context).unflatten(1, (grid.height, grid.width))
    modulator = module.modulate(made.permute(0, 3, 1, 2).contiguous())
    value = modulator.reshape(batch, count, *heads).transpose(1, 2)
    attended = (weights.to(value.dtype) @ value).transpose(1, 2).reshape(batch, count, channels)
    return _linear(module.proj, attended)
