"""Swin-B without its last stage (Liu et al., ICCV 2021; upstream swin/swin_transformer.py).

Maps are channels last here, [B, H, W, C], since every layer works on tokens or windows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mavos_deploy.models.layers import LayerNorm

WINDOW = 7  # tokens on a window's side
SHIFT = WINDOW // 2  # tokens that windows of every second block are shifted by
HEAD_WIDTH = 32
DEPTHS = (2, 2, 18)
MASKED = -100.0  # added between tokens that a shifted window brings together across a border


def relative_position_index() -> Tensor:
    """The row of the bias table for each query and key of a window, int64 [49, 49]."""
    rows, columns = torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    side = 2 * WINDOW - 1
    return (rows[:, None] - rows + WINDOW - 1) * side + (columns[:, None] - columns + WINDOW - 1)


def shift_mask(height: int, width: int) -> Tensor:
    """Logit offsets of a shifted block on a padded map, float32 [windows, 49, 49].

    The shift brings both ends of the map into one window. Rows and columns fall into three classes
    by which end they come from, and tokens of different classes don't see each other.
    """

    def classes(side: int) -> Tensor:
        position = torch.arange(side)
        return (position >= side - WINDOW).long() + (position >= side - SHIFT).long()

    region = classes(height)[:, None] * 3 + classes(width)
    windows = split_windows(region[None, :, :, None])[..., 0]
    return (windows[:, :, None] != windows[:, None, :]).float() * MASKED


def split_windows(x: Tensor) -> Tensor:
    """Cut [B, H, W, C], with sides of multiples of 7, into windows [B * windows, 49, C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW * WINDOW, channels)


def join_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """Undo `split_windows`."""
    channels = windows.shape[-1]
    x = windows.reshape(-1, height // WINDOW, width // WINDOW, WINDOW, WINDOW, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned relative bias."""

    relative_position_index: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD_WIDTH
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * WINDOW - 1) ** 2, self.heads)
        )
        self.register_buffer("relative_position_index", relative_position_index())
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within each window.

        Args:
            windows: Tokens of each window, [windows, 49, C].
            mask: Logit offsets [windows, 49, 49] of a shifted block, else None.

        Returns:
            New tokens, [windows, 49, C].
        """
        count, tokens, channels = windows.shape
        qkv = self.qkv(windows).reshape(count, tokens, 3, self.heads, HEAD_WIDTH)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.reshape(tokens, tokens, self.heads).permute(2, 0, 1)
        logits = ((query * HEAD_WIDTH**-0.5) @ key.transpose(-1, -2)).float() + bias
        if mask is not None:
            logits = logits + mask[:, None].to(logits.dtype)
        mixed = logits.softmax(-1).to(value.dtype) @ value
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(count, tokens, channels))
        return projected


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map the channels of [..., C]; the shape stays."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class SwinBlock(nn.Module):
    """Window attention, shifted in every second block, then the MLP; both with a residual."""

    def __init__(self, channels: int, shifted: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm1 = LayerNorm(channels)
        self.attn = WindowAttention(channels)
        self.norm2 = LayerNorm(channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Transform [B, H, W, C], with B = 1 in a shifted block; the shape stays."""
        height, width = x.shape[1:3]
        bottom, right = -height % WINDOW, -width % WINDOW
        # Padded after the norm and not masked, so padded keys and values are the qkv bias.
        y = F.pad(self.norm1(x), (0, 0, 0, right, 0, bottom))
        mask = None
        if self.shifted:
            y = y.roll((-SHIFT, -SHIFT), (1, 2))
            mask = shift_mask(height + bottom, width + right).to(x.device)
        windows = self.attn(split_windows(y), mask)
        y = join_windows(windows, height + bottom, width + right)
        if self.shifted:
            y = y.roll((SHIFT, SHIFT), (1, 2))
        x = x + y[:, :height, :width]
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchMerging(nn.Module):
    """Halve the map: four neighbours become one token of twice the width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Merge [B, H, W, C] into [B, ceil(H / 2), ceil(W / 2), 2C]."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        # Order of the neighbours (row, column): (0, 0), (1, 0), (0, 1), (1, 1).
        parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        out: Tensor = self.reduction(self.norm(torch.cat(parts, -1)))
        return out


class Stage(nn.Module):
    """Blocks at one resolution, and the step to the next."""

    def __init__(self, channels: int, depth: int, last: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(SwinBlock(channels, bool(i % 2)) for i in range(depth)))
        self.downsample: nn.Module = nn.Identity() if last else PatchMerging(channels)


class PatchEmbed(nn.Module):
    """Patches of 4 x 4 pixels become tokens."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, 4, 4)
        self.norm = LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Embed [B, 3, H, W], with sides of multiples of 4, as [B, H / 4, W / 4, C]."""
        out: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return out


class SwinBase(nn.Module):
    """The encoder; gives three maps at strides 4, 8, 16 with 128, 256, 512 channels.

    The deep map is the third one.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = 128
        self.patch_embed = PatchEmbed(channels)
        stages = [
            Stage(channels << i, depth, last=i == len(DEPTHS) - 1) for i, depth in enumerate(DEPTHS)
        ]
        self.layers = nn.ModuleList(stages)
        self.norm0 = LayerNorm(channels)
        self.norm1 = LayerNorm(2 * channels)
        self.norm2 = LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode a normalised frame [1, 3, H, W]."""
        x = self.patch_embed(x)
        maps = []
        for stage, norm in zip(self.layers, (self.norm0, self.norm1, self.norm2), strict=True):
            x = stage.get_submodule("blocks")(x)
            maps.append(norm(x).permute(0, 3, 1, 2))
            x = stage.get_submodule("downsample")(x)
        return maps[0], maps[1], maps[2], maps[2]
