"""FPN decoder: block output and encoder maps to logits (upstream decoders/fpn.py)."""

import torch.nn.functional as F
from torch import Tensor, nn

from mavos_deploy.models.layers import ConvGroupNorm
from mavos_deploy.models.variants import CHANNELS, Variant


class FpnDecoder(nn.Module):
    """Adds the encoder's maps on the way from 1/16 up to 1/4 resolution."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        wide, narrow = variant.embedding, variant.embedding // 2
        feature_4x, feature_8x, feature_16x, _ = variant.features
        self.align_corners = variant.align_corners
        self.conv_in = ConvGroupNorm(2 * variant.embedding, wide, 1)
        self.conv_16x = ConvGroupNorm(wide, wide, 3)
        self.conv_8x = ConvGroupNorm(wide, narrow, 3)
        # Rounded here, the largest map would be written twice: logits are made in float32.
        self.conv_4x = ConvGroupNorm(narrow, narrow, 3, rounded=False)
        self.adapter_16x = nn.Conv2d(feature_16x, wide, 1)
        self.adapter_8x = nn.Conv2d(feature_8x, wide, 1)
        self.adapter_4x = nn.Conv2d(feature_4x, narrow, 1)
        self.conv_out = nn.Conv2d(narrow, CHANNELS, 1)

    def forward(
        self, embedding: Tensor, feature_4x: Tensor, feature_8x: Tensor, feature_16x: Tensor
    ) -> Tensor:
        """Decode the blocks' output with the encoder's maps.

        Args:
            embedding: Output of the blocks, [B, 2 C, h, w].
            feature_4x: Map at stride 4, [1 or B, C4, H / 4, W / 4].
            feature_8x: Map at stride 8, [1 or B, C8, H / 8, W / 8].
            feature_16x: Map at stride 16, [1 or B, C16, h, w].

        Returns:
            Logits of background and identities 1 to 10, [B, 11, H / 4, W / 4].
        """
        x = F.relu(self.conv_in(embedding))
        x = F.relu(self.conv_16x(self.adapter_16x(feature_16x) + x))
        x = F.relu(self.conv_8x(self.adapter_8x(feature_8x) + self._up(x, feature_8x)))
        x = F.relu(self.conv_4x(self.adapter_4x(feature_4x) + self._up(x, feature_4x)))
        logits: Tensor = self.conv_out(x)  # float32, like everything that makes masks
        return logits

    def _up(self, x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(
            x, size=like.shape[-2:], mode="bilinear", align_corners=self.align_corners
        )
