"""EfficientNet-Lite0 up to stride 16 (Tan and Le, ICML 2019; the Lite form by the TensorFlow team).

No squeeze-and-excitation and ReLU6 throughout, so that every layer quantises well. The stages at
stride 32 and the head are left out. At frame sides of 16k + 1 the symmetric padding here equals
TensorFlow's `SAME`, so published ImageNet weights fit without a change.
"""

from torch import Tensor, nn

from mavos_deploy.models.mobilenet import InvertedResidual, conv_bn, maps_behind

STEM = 32  # channels
# Expansion, output channels, units, stride of the first unit, kernel of the depthwise convolution.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
)
FEATURE_UNITS = (3, 5, 11)  # the units whose outputs are the maps at strides 4, 8 and 16


class EfficientNetLite0(nn.Module):
    """Maps at strides 4, 8, 16 with 24, 40, 112 channels; the deep map is the last of them."""

    def __init__(self) -> None:
        super().__init__()
        units: list[nn.Module] = [conv_bn(3, STEM, 3, stride=2)]
        channels = STEM
        for expansion, out_channels, count, first_stride, kernel in STAGES:
            for position in range(count):
                stride = first_stride if position == 0 else 1
                units.append(
                    InvertedResidual(channels, out_channels, expansion, stride, kernel=kernel)
                )
                channels = out_channels
        self.features = nn.Sequential(*units)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode a normalised frame [B, 3, H, W]."""
        map_4x, map_8x, map_16x = maps_behind(self.features, FEATURE_UNITS, x)
        return map_4x, map_8x, map_16x, map_16x
