"""MobileNetV2 at output stride 16 (Sandler et al., CVPR 2018; upstream mobilenetv2.py)."""

from torch import Tensor, nn

from mavos_deploy.models.layers import FrozenBatchNorm

# Expansion, output channels, units, stride of the first unit. The last two stages keep stride 16:
# the stride of unit 14 becomes a dilation, which starts with unit 15.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 1),
    (6, 320, 1, 1),
)
FEATURE_UNITS = (3, 6, 13, 18)  # they give the maps at strides 4, 8, 16 and the deep map
DILATED_FROM = 15


def conv_bn(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """A convolution without bias, normalised and clipped to 0..6."""
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=groups,
        bias=False,
    )
    return nn.Sequential(conv, FrozenBatchNorm(out_channels), nn.ReLU6())


def maps_behind(units: nn.Sequential, wanted: tuple[int, ...], x: Tensor) -> list[Tensor]:
    """Run all units one after the other, and keep the outputs of those with the wanted indices."""
    maps = []
    for index, unit in enumerate(units):
        x = unit(x)
        if index in wanted:
            maps.append(x)
    return maps


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise k x k, project 1x1; the input is added where shapes agree."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: int,
        stride: int,
        dilation: int = 1,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        expand = [] if expansion == 1 else [conv_bn(in_channels, hidden, 1)]
        self.conv = nn.Sequential(
            *expand,
            conv_bn(hidden, hidden, kernel, stride, dilation, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            FrozenBatchNorm(out_channels),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Transform [B, in, h, w] into [B, out, h / stride, w / stride]."""
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """The encoder; gives four maps at strides 4, 8, 16, 16 with 24, 32, 96, 1280 channels."""

    def __init__(self) -> None:
        super().__init__()
        units: list[nn.Module] = [conv_bn(3, 32, 3, stride=2)]
        channels = 32
        for expansion, out_channels, count, first_stride in STAGES:
            for position in range(count):
                stride = first_stride if position == 0 else 1
                dilation = 2 if len(units) >= DILATED_FROM else 1
                units.append(InvertedResidual(channels, out_channels, expansion, stride, dilation))
                channels = out_channels
        units.append(conv_bn(channels, 1280, 1))
        self.features = nn.Sequential(*units)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode a normalised frame [B, 3, H, W]."""
        map_4x, map_8x, map_16x, deep = maps_behind(self.features, FEATURE_UNITS, x)
        return map_4x, map_8x, map_16x, deep
