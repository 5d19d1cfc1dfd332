"""The differences between the networks, as a table; everything else is shared code.

DeAOT is MAVOS without its modulated cross-attention (MCA): the same blocks and keys otherwise. Of
`deaot_b` and `deaot_l` even all keys and shapes are the same; they differ in how they were trained,
and in the long-term memory that the authors run them with.
"""

from dataclasses import dataclass, replace

STRIDE = 16  # pixels per token; every encoder ends at 1/16 resolution
IDENTITIES = 10  # objects per group, one channel of the identity bank each
CHANNELS = IDENTITIES + 1  # channel 0 is the background
WINDOW_RADIUS = 7  # short-term attention sees 15 x 15 tokens
# Mean and deviation of RGB pixels in 0..1 that an encoder's weights expect.
Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]
IMAGENET: Normalisation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CENTRED: Normalisation = (127 / 255,) * 3, (128 / 255,) * 3


@dataclass(frozen=True)
class Variant:
    """One network: a published one, or one that this project trained.

    Attributes:
        name: Our name, as given to `--variant`.
        upstream: The authors' configuration name, which their checkpoint files carry; None for
            networks of this project.
        encoder: Name of the encoder, a key of `mavos.ENCODERS`.
        features: Channels of the encoder's maps at strides 4, 8, 16, and of the deep map at 16.
        align_corners: Whether bilinear resizes align the corner pixels. It also fixes the frame
            sides: 16k + 1 where true, 16k where false.
        embedding: Width of the visual and of the identity branch.
        key: Width of queries and keys in the blocks.
        value: Width of the values of each branch.
        blocks: Gated propagation blocks.
        memory: Rule of the long-term memory where none is asked for, as for `--memory`. With `mca`
            the network has the modules of MCA.
        memory_gap: Frames between two writes to the long-term memory where none are asked for, in
            rules that write at a gap. 5 is DeAOT-L's in aot-benchmark; MAVOS' own copies of its
            configurations have 10.
        focal_levels: Focal levels of MCA; the paper's Table 8 varies them.
        any_size: Whether one set of graphs can serve frames of any size. False for encoders whose
            windows are cut for one size.
        normalisation: Mean and deviation of RGB pixels in 0..1 that the encoder's weights expect.
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
    blocks: int = 3
    memory: str = "mca"
    memory_gap: int = 10
    focal_levels: int = 2
    normalisation: Normalisation = IMAGENET

    @property
    def label(self) -> str:
        """Our name, with the authors' name in brackets."""
        return f"{self.name} ({self.upstream})" if self.upstream else self.name

    @property
    def has_mca(self) -> bool:
        """Whether the network merges frames into its memory by MCA."""
        return self.memory == "mca"

    @property
    def identity_kernel(self) -> tuple[int, int]:
        """Kernel side and padding of the identity bank, which must land on the token grid."""
        return (STRIDE + 1, STRIDE // 2) if self.align_corners else (STRIDE, 0)


MOBILENET = Variant("mobilenet", "mavos", "mobilenet_v2", (24, 32, 96, 1280), align_corners=True)
RESNET50 = Variant("resnet50", "r50_mavos", "resnet50", (256, 512, 1024, 1024), align_corners=True)
SWIN_BASE = Variant(
    "swin_base",
    "swinb_mavos",
    "swin_base",
    (128, 256, 512, 512),
    align_corners=False,
    any_size=False,
)


def _deaot(
    of: Variant, name: str, upstream: str, blocks: int = 3, memory: str = "latest"
) -> Variant:
    """The DeAOT network with the encoder and the widths of a MAVOS one."""
    return replace(of, name=name, upstream=upstream, blocks=blocks, memory=memory, memory_gap=5)


VARIANTS = {
    variant.name: variant
    for variant in (
        MOBILENET,
        RESNET50,
        SWIN_BASE,
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
        Variant(
            "lite",
            None,
            "efficientnet_lite0",
            (24, 40, 112, 112),
            align_corners=True,
            embedding=96,
            key=64,
            value=96,
            normalisation=CENTRED,
        ),
        _deaot(MOBILENET, "deaot_t", "deaott", blocks=1, memory="annotations"),
        _deaot(MOBILENET, "deaot_s", "deaots", blocks=2, memory="annotations"),
        _deaot(MOBILENET, "deaot_b", "deaotb", memory="annotations"),
        _deaot(MOBILENET, "deaot_l", "deaotl"),
        _deaot(RESNET50, "r50_deaot_l", "r50_deaotl"),
        _deaot(SWIN_BASE, "swinb_deaot_l", "swinb_deaotl"),
    )
}
