"""ResNet-50 without its last stage (He et al., CVPR 2016; upstream resnet.py)."""

import torch.nn.functional as F
from torch import Tensor, nn

from mavos_deploy.models.layers import FrozenBatchNorm

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride), 1x1, and the shortcut."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = width * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = FrozenBatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = FrozenBatchNorm(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = FrozenBatchNorm(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                FrozenBatchNorm(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Transform [B, in, h, w] into [B, 4 * width, h / stride, w / stride]."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.downsample(x))


def _stage(in_channels: int, width: int, count: int, stride: int) -> nn.Sequential:
    first = Bottleneck(in_channels, width, stride)
    return nn.Sequential(
        first, *(Bottleneck(width * EXPANSION, width, 1) for _ in range(count - 1))
    )


class ResNet50(nn.Module):
    """The encoder; gives maps at strides 4, 8, 16 with 4, 8, 16 times `width` channels.

    The deep map is the third one.

    Args:
        width: Channels of the first convolution, 64 in the published network.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = FrozenBatchNorm(width)
        self.layer1 = _stage(width, width, 3, 1)
        self.layer2 = _stage(4 * width, 2 * width, 4, 2)
        self.layer3 = _stage(8 * width, 4 * width, 6, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode a normalised frame [B, 3, H, W]."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        feature_4x = self.layer1(x)
        feature_8x = self.layer2(feature_4x)
        feature_16x = self.layer3(feature_8x)
        return feature_4x, feature_8x, feature_16x, feature_16x
