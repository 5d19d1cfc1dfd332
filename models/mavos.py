"""The network, MAVOS or DeAOT: stateless functions over frames and memories."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mavos_deploy.models.decoder import FpnDecoder
from mavos_deploy.models.efficientnet import EfficientNetLite0
from mavos_deploy.models.layers import ChannelNorm
from mavos_deploy.models.mca import BlockMca, ModulatedAttention
from mavos_deploy.models.mobilenet import MobileNetV2
from mavos_deploy.models.propagation import Elstt, Projection, PropagationBlock
from mavos_deploy.models.resnet import ResNet50
from mavos_deploy.models.swin import SwinBase
from mavos_deploy.models.variants import CHANNELS, STRIDE, Variant

# Encoders by their names in `variants.VARIANTS`.
ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "efficientnet_lite0": EfficientNetLite0,
    "mobilenet_v2": MobileNetV2,
    "resnet50": ResNet50,
    "resnet50_quarter": partial(ResNet50, width=16),
    "swin_base": SwinBase,
}


@dataclass(frozen=True)
class Features:
    """The encoder's maps of one frame.

    Attributes:
        feature_4x: Map at stride 4, [1, C4, H / 4, W / 4].
        feature_8x: Map at stride 8, [1, C8, H / 8, W / 8].
        feature_16x: Map at stride 16, [1, C16, h, w].
        embedding: Input of the first block, [1, C, h, w].
    """

    feature_4x: Tensor
    feature_8x: Tensor
    feature_16x: Tensor
    embedding: Tensor


class Mavos(nn.Module):
    """MAVOS or DeAOT for inference, with exactly the keys of the authors' checkpoints.

    Args:
        variant: Network to build.
        tile: Tile of the short-term attention in tokens, (height, width), for inference on CPUs,
            where MCA's heads attend one after another, too. None for attention in one piece. It
            changes speed and memory, not results.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, variant: Variant, tile: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.variant = variant
        self.encoder = ENCODERS[variant.encoder]()
        self.encoder_projector = nn.Conv2d(variant.features[3], variant.embedding, 1)
        self.LSTT = Elstt(variant, tile)
        self.decoder = FpnDecoder(variant)
        kernel, padding = variant.identity_kernel
        self.patch_wise_id_bank = nn.Conv2d(
            CHANNELS, variant.embedding, kernel, STRIDE, padding=padding
        )
        self.id_norm = ChannelNorm(variant.embedding)
        if variant.has_mca:
            self.long_term_memory_attention = nn.ModuleList(
                BlockMca(variant.key, variant.value, variant.focal_levels)
                for _ in range(variant.blocks)
            )
        for module in self.modules():
            if isinstance(module, ModulatedAttention):
                module.in_turns = tile is not None
        mean, std = (torch.tensor(three)[:, None, None] for three in variant.normalisation)
        self.register_buffer("pixel_mean", 255 * mean, persistent=False)
        self.register_buffer("pixel_std", 255 * std, persistent=False)

    @property
    def blocks(self) -> list[PropagationBlock]:
        """The propagation blocks, first to last."""
        return list(self.LSTT.layers)  # type: ignore[arg-type]  # a ModuleList of blocks

    @property
    def memory_modules(self) -> list[BlockMca]:
        """The MCA modules of each block; none in DeAOT."""
        modules = self.long_term_memory_attention if self.variant.has_mca else ()
        return list(modules)  # type: ignore[arg-type]  # of BlockMca

    def normalise(self, frame: Tensor) -> Tensor:
        """Turn pixels [1, H, W, 3], RGB 0..255, into the encoder's input [1, 3, H, W]."""
        return (frame.permute(0, 3, 1, 2) - self.pixel_mean) / self.pixel_std

    def encode(self, frame: Tensor) -> Features:
        """Encode a frame, float32 [1, H, W, 3], RGB 0..255."""
        pixels = self.normalise(frame).to(self.encoder_projector.weight.dtype)
        feature_4x, feature_8x, feature_16x, deep = self.encoder(pixels)
        return Features(feature_4x, feature_8x, feature_16x, self.encoder_projector(deep))

    def embed_identity(self, labels: Tensor) -> Tensor:
        """Embed the identities of label maps.

        Args:
            labels: Label maps, whole numbers of any type [B, H, W] at the network's input size,
                0..10 within each group.

        Returns:
            Identity embedding, [B, C, h, w].
        """
        channels = torch.arange(CHANNELS, dtype=labels.dtype, device=labels.device)[:, None, None]
        one_hot = (labels[:, None] == channels).to(self.patch_wise_id_bank.weight.dtype)
        out: Tensor = self.id_norm(self.patch_wise_id_bank(one_hot))
        return out

    def propagate(
        self,
        embedding: Tensor,
        long_term: list[tuple[Tensor, Tensor]],
        short_term: list[tuple[Tensor, Tensor]],
        long_term_bias: Tensor | None = None,
    ) -> tuple[Tensor, list[Projection]]:
        """Read the memory of every block (the ordinary pass).

        Args:
            embedding: Embedding of the frame, [B, C, h, w].
            long_term: Keys [B, Ck, M] and values [B, 2 Cv, M] of each block.
            short_term: Keys [B, Ck, h, w] and values [B, 2 Cv, h, w] of each block.
            long_term_bias: Bias of the long-term scores in every block, float32 [B, 1, M]; None
                where no slot of the memory is empty.

        Returns:
            The decoder's input [B, 2 C, h, w], and each block's projection, from which the
            frame's own memory is written.
        """
        visual, identity = embedding, None
        projections = []
        for block, long, short in zip(self.blocks, long_term, short_term, strict=True):
            projection = block.project(visual, identity)
            visual, identity = block(visual, identity, projection, long, short, long_term_bias)
            projections.append(projection)
        return self.join(visual, identity), projections

    def join(self, visual: Tensor, identity: Tensor | None) -> Tensor:
        """Join and normalise both branches behind the last block: [B, 2 C, h, w]."""
        assert identity is not None
        out: Tensor = self.LSTT.decoder_norms[0](torch.cat([visual, identity], 1))
        return out

    def decode(self, embedding: Tensor, features: Features) -> Tensor:
        """Decode the blocks' output [B, 2 C, h, w] into logits [B, 11, H / 4, W / 4]."""
        out: Tensor = self.decoder(
            embedding, features.feature_4x, features.feature_8x, features.feature_16x
        )
        return out
