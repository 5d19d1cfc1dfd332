"""Modulated cross-attention, which merges a frame into the dynamic memory (paper section 3.2).

Source: MAVOS, MemoryJointModulation in networks/layers/externel_utils.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mavos_deploy.models.layers import ChannelNorm, Pointwise, weighted_sum

HEADS = 4
HEADS_AT_ONCE = 2  # in exports for CPUs: an even number of products shares two threads evenly
SMALLEST_KERNEL = 3  # of the first focal level; each further one is 2 wider


class ModulatedAttention(nn.Module):
    """Attention from the new frame to the memory, whose values are a multi-scale modulator.

    Attributes:
        in_turns: Whether heads attend two at a time, so half of the scores are in memory; for
            inference on CPUs. It doesn't change the result.
    """

    in_turns = False

    def __init__(self, channels: int, focal_levels: int) -> None:
        super().__init__()
        self.q = Pointwise(channels, channels, bias=False)
        self.k = Pointwise(channels, channels, bias=False)
        # One gate for each focal level and one for the global level, behind the context itself.
        self.gates = focal_levels + 1
        self.f_context = Pointwise(channels, channels + self.gates)
        self.focal_layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(
                    channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False
                ),
                nn.GELU(),
            )
            for kernel in range(SMALLEST_KERNEL, SMALLEST_KERNEL + 2 * focal_levels, 2)
        )
        self.h = nn.Conv2d(channels, channels, 1)
        self.proj = Pointwise(channels, channels)

    def forward(self, new: Tensor, context: Tensor) -> Tensor:
        """Attend from the new map to the context, both normalised, [B, C, h, w] each."""
        modulator = self.modulate(self.f_context(context))
        attend = attend_in_turns if self.in_turns else attend_heads
        out: Tensor = self.proj(attend(self.q(new), self.k(context), modulator.contiguous()))
        return out

    def modulate(self, context: Tensor) -> Tensor:
        """Turn projected context and gates [B, C + 3, h, w] into the modulator [B, C, h, w]."""
        level, gates = context.split([context.shape[1] - self.gates, self.gates], 1)
        modulator = torch.zeros_like(level)
        for index, focal_layer in enumerate(self.focal_layers):
            level = focal_layer(level)
            modulator = modulator + level * gates[:, index : index + 1]
        mean = level.float().mean((2, 3), keepdim=True).to(level.dtype)
        out: Tensor = self.h(modulator + F.gelu(mean) * gates[:, -1:])
        return out


def attend_heads(query: Tensor, key: Tensor, modulator: Tensor) -> Tensor:
    """Attend from all positions to all, in heads.

    Args:
        query: Queries, [B, C, h, w].
        key: Keys, [B, C, h, w].
        modulator: Modulator, [B, C, h, w], contiguous.

    Returns:
        Attended values, [B, C, h, w].
    """
    mixed = _attend(*_by_head(query, key, modulator))
    return mixed.reshape(query.shape)


# An operator of its own, which exports turn into ONNX's operators.
@torch.library.custom_op("mavos::attend_in_turns", mutates_args=())
def attend_in_turns(query: Tensor, key: Tensor, modulator: Tensor) -> Tensor:
    """Attend as `attend_heads` does, two heads at a time."""
    parts = (part.split(HEADS_AT_ONCE, 1) for part in _by_head(query, key, modulator))
    mixed = [_attend(*heads) for heads in zip(*parts, strict=True)]
    return torch.cat(mixed, 1).reshape(query.shape)


@attend_in_turns.register_fake
def _attended(query: Tensor, key: Tensor, modulator: Tensor) -> Tensor:
    return torch.empty_like(query, memory_format=torch.contiguous_format)


def _by_head(query: Tensor, key: Tensor, modulator: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys [B, heads, C / heads, N], and values [B, heads, N, C / heads]."""
    batch, channels, height, width = query.shape
    tokens, head_width = height * width, channels // HEADS
    # The authors read the channel-first modulator [C, h, w] as tokens [h * w, C] without a
    # transpose, and the released weights are trained with it. Keys are ordinary tokens.
    value = modulator.reshape(batch, tokens, HEADS, head_width).transpose(1, 2)
    channels_first = batch, HEADS, head_width, tokens
    return query.reshape(channels_first), key.reshape(channels_first), value


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attended values [B, heads, C / heads, N] of queries, keys and values as `_by_head` gives."""
    logits = (query.transpose(-1, -2) @ key).float() * query.shape[-2] ** -0.5
    weights = logits.softmax(-1).to(value.dtype)
    # Weights first: compilers know attention in this form, and fuse it into one kernel.
    return weighted_sum(weights, value).transpose(-1, -2)


class Mlp(nn.Module):
    """Two pointwise layers with an exact GELU between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = Pointwise(channels, 4 * channels)
        self.fc2 = Pointwise(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map each position of [B, C, h, w]; the shape stays."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class JointModulation(nn.Module):
    """The whole module: norms, modulated attention and MLP, with residuals from the new frame."""

    def __init__(self, channels: int, focal_levels: int) -> None:
        super().__init__()
        self.norm_l = ChannelNorm(channels)
        self.norm_c = ChannelNorm(channels)
        self.attn = ModulatedAttention(channels, focal_levels)
        self.norm2 = ChannelNorm(channels)
        self.mlp = Mlp(channels)

    def forward(self, new: Tensor, dynamic: Tensor) -> Tensor:
        """Merge a frame into the dynamic slot.

        Args:
            new: Keys or values of the frame, [B, C, h, w].
            dynamic: Keys or values of the dynamic slot, [B, C, h, w].

        Returns:
            The new dynamic slot, [B, C, h, w].
        """
        mixed = new + self.attn(self.norm_l(new), self.norm_c(dynamic))
        out: Tensor = mixed + self.mlp(self.norm2(mixed))
        return out


class SlotMca(nn.Module):
    """One slot's module, under its key in the checkpoints."""

    def __init__(self, channels: int, focal_levels: int) -> None:
        super().__init__()
        self.joint_modulation = JointModulation(channels, focal_levels)

    def forward(self, new: Tensor, dynamic: Tensor) -> Tensor:
        """See `JointModulation`."""
        out: Tensor = self.joint_modulation(new, dynamic)
        return out


class BlockMca(nn.ModuleList):
    """The three modules of one block: keys, visual values, identity values.

    Slot 2 of the authors' memory is always empty and has no module.
    """

    def __init__(self, key: int, value: int, focal_levels: int) -> None:
        key_slot, *value_slots = (SlotMca(width, focal_levels) for width in (key, value, value))
        super().__init__([key_slot, value_slots[0], nn.Identity(), value_slots[1]])

    def forward(
        self, key: Tensor, value: Tensor, dynamic_key: Tensor, dynamic_value: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Merge a frame into the dynamic slot of one block.

        Args:
            key: Keys of the frame, [B, Ck, h, w].
            value: Visual and identity halves of the frame's values, [B, 2 Cv, h, w].
            dynamic_key: Keys of the dynamic slot, [B, Ck, h, w].
            dynamic_value: Values of the dynamic slot, [B, 2 Cv, h, w].

        Returns:
            The new dynamic key and value.
        """
        visual, identity = value.chunk(2, 1)
        dynamic_visual, dynamic_identity = dynamic_value.chunk(2, 1)
        updated = [self[1](visual, dynamic_visual), self[3](identity, dynamic_identity)]
        return self[0](key, dynamic_key), torch.cat(updated, 1)
