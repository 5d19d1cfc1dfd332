"""The differences between the networks, as a table; everything else is shared code."""

from dataclasses import dataclass

STRIDE = 16  # pixels per token; every encoder ends at 1/16 resolution
BLOCKS = 3  # gated propagation blocks
IDENTITIES = 10  # objects per group, one channel of the identity bank each
CHANNELS = IDENTITIES + 1  # channel 0 is the background
WINDOW_RADIUS = 7  # short-term attention sees 15 x 15 tokens


@dataclass(frozen=True)
class Variant:
    """One network: a published one, or `tiny`, which this project trained.

    Attributes:
        name: Our name, as given to `--variant`.
        upstream: The authors' configuration name, which their checkpoint files carry; None for
            `tiny`.
        encoder: Name of the encoder, a key of `mavos.ENCODERS`.
        features: Channels of the encoder's maps at strides 4, 8, 16, and of the deep map at 16.
        align_corners: Whether bilinear resizes align the corner pixels. It also fixes the frame
            sides: 16k + 1 where true, 16k where false.
        embedding: Width of the visual and of the identity branch.
        key: Width of queries and keys in the blocks.
        value: Width of the values of each branch.
        any_size: Whether one set of graphs can serve frames of any size. False for encoders whose
            windows are cut for one size.
    """

    name: str
    upstream: str | None
    encoder: str
    features: tuple[int, int, int, int]
    align_corners: bool
    embedding: int = 256
    key: int = 128
    value: int = 512
    any_size: bool = True

    @property
    def label(self) -> str:
        """Our name, with the authors' name in brackets."""
        return f"{self.name} ({self.upstream})" if self.upstream else self.name

    @property
    def identity_kernel(self) -> tuple[int, int]:
        """Kernel side and padding of the identity bank, which must land on the token grid."""
        return (STRIDE + 1, STRIDE // 2) if self.align_corners else (STRIDE, 0)


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("mobilenet", "mavos", "mobilenet_v2", (24, 32, 96, 1280), align_corners=True),
        Variant("resnet50", "r50_mavos", "resnet50", (256, 512, 1024, 1024), align_corners=True),
        Variant(
            "swin_base",
            "swinb_mavos",
            "swin_base",
            (128, 256, 512, 512),
            align_corners=False,
            any_size=False,
        ),
        Variant(
            "tiny",
            None,
            "resnet50_quarter",
            (64, 128, 256, 256),
            align_corners=True,
            embedding=96,
            key=64,
            value=96,
        ),
    )
}
