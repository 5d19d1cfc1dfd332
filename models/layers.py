"""Small layers on feature maps; their parameters have the names and shapes of the checkpoints.

The authors keep tokens as [tokens, batch, channels]. Here every tensor is a map [batch, channels,
height, width], which is the memory contract of the exported graphs and the faster layout on a CPU.
A linear layer over tokens is then a 1x1 convolution with the same weights.

Norms and softmax are computed in float32 whatever the type of the network is, since their sums and
squares leave the range of float16; in a float32 network that adds nothing.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Pointwise(nn.Linear):
    """A linear layer over the channels of a map: [B, in, h, w] to [B, out, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the [out, in] weight as a 1x1 convolution."""
        return F.conv2d(x, self.weight[:, :, None, None], self.bias)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the last axis; its weights and arithmetic are float32."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; shape and dtype stay."""
        return super().forward(x.float()).to(x.dtype)


class ChannelNorm(LayerNorm):
    """Layer normalisation over the channels of each position of a map [B, C, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; shape and dtype stay."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GroupNorm(nn.GroupNorm):
    """Group normalisation of a map [B, C, h, w]; its weights and arithmetic are float32.

    Args:
        groups: Groups of channels.
        channels: Channels of the map.
        rounded: Whether the result has the map's type again, and is not left in float32.
    """

    def __init__(self, groups: int, channels: int, *, rounded: bool = True) -> None:
        super().__init__(groups, channels)
        self.rounded = rounded

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; the shape stays."""
        normalised = super().forward(x.float())
        return normalised.to(x.dtype) if self.rounded else normalised


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with stored statistics; has no `num_batches_tracked`, as upstream."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a map [B, C, h, w]."""
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=False,
            eps=self.eps,
        )


class DepthwiseConv(nn.Module):
    """Depthwise convolution without bias, under the key `conv` (upstream DWConv2d)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """Filter each channel of a map [B, C, h, w]."""
        out: Tensor = self.conv(x)
        return out


class ConvGroupNorm(nn.Module):
    """Convolution with bias, then group normalisation in 8 groups (upstream ConvGN)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, rounded: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
        self.gn = GroupNorm(8, out_channels, rounded=rounded)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalise a map: [B, in, h, w] to [B, out, h, w]."""
        out: Tensor = self.gn(self.conv(x))
        return out


def weighted_sum(left: Tensor, right: Tensor) -> Tensor:
    """Multiply matrices with many terms to a sum; in exported graphs the sums are float32.

    These are values and weights of an attention, and projections of wide tokens. TensorRT chooses
    how it sums up float16 products, and on GeForce GPUs float16 is quicker. Over thousands of
    tokens its errors reach 2e-2 of the result. Casts rule that out and cost nothing,
    because its kernels take them in. They don't around a product whose result stays float32, such
    as that of queries and keys.

    Args:
        left: Matrices, [..., N, K].
        right: Matrices, [..., K, M], of the same type.

    Returns:
        The products, [..., N, M], of the same type.
    """
    if left.dtype == torch.float16 and torch.compiler.is_exporting():
        return (left.float() @ right.float()).to(left.dtype)
    product: Tensor = left @ right
    return product


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention, channels first; the softmax is float32.

    Args:
        query: Scaled queries, [..., Ck, N].
        key: Keys, [..., Ck, M].
        value: Values, [..., Cv, M].
        bias: Bias of the logits, broadcastable to [..., N, M]; None for none.

    Returns:
        Attended values, [..., Cv, N].
    """
    logits = (query.transpose(-1, -2) @ key).float()
    if bias is not None:
        logits = logits + bias
    return weighted_sum(value, logits.softmax(-1).to(value.dtype).transpose(-1, -2))
