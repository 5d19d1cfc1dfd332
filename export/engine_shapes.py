"""The shapes that an engine is built for."""

from dataclasses import dataclass, field
from pathlib import Path

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.contract import CHANNELS, GROUPS, USED, GraphSpec
from mavos_deploy.runtime.engines import (
    Flags,
    Profile,
    Shape,
)
from mavos_deploy.runtime.geometry import STRIDE, Size
from mavos_deploy.runtime.manifest import Manifest

SHORTEST_SIDE = STRIDE // 2  # pixels of a video; the authors' rule takes no shorter one


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        library: `tensorrt`, `tensorrt_rtx`, or `auto` for the one that fits this machine.
        capabilities: To build for, such as `8.6`; none means this machine's GPU.
        max_groups: Groups of ten objects that the engines take at most.
        best_groups: Groups that they are tuned for.
        max_output: Height and width of the largest label maps.
        flags: See there.
        timing_cache: Folder of files with kernel timings, one for each library release, GPU and
            driver; None for the user's cache folder. TensorRT-RTX times nothing and has none.
        jobs: Builds at a time; None takes one with TensorRT, which times kernels on the GPU, and
            one for each processor with TensorRT-RTX.
    """

    library: str = "auto"
    capabilities: tuple[str, ...] = ()
    max_groups: int = 4
    best_groups: int = 1
    max_output: Size = (1080, 1920)
    flags: Flags = field(default_factory=Flags)
    timing_cache: Path | None = None
    jobs: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.best_groups <= self.max_groups:
            raise InputError(
                f"engines tuned for {self.best_groups} groups of objects; it must be 1 to "
                f"{self.max_groups}, the most they take"
            )
        if min(self.max_output) < SHORTEST_SIDE:
            height, width = self.max_output
            raise InputError(
                f"largest masks of {height}x{width}: a side is shorter than {SHORTEST_SIDE} "
                "pixels, and so short a video can't be segmented"
            )


def largest_output(manifest: Manifest, video: Size) -> Size:
    """Height and width that engines for videos up to a size are built for."""
    # In a bundle for any size upright videos have their longer side on the other axis.
    return (max(video), max(video)) if manifest.dynamic else video


def profiles(spec: GraphSpec, manifest: Manifest, request: BuildRequest) -> tuple[Profile, ...]:
    """The shapes that an engine takes: one profile, from one group and tiny videos to the most."""
    smallest, own, largest = (SHORTEST_SIDE, SHORTEST_SIDE), manifest.size, request.max_output
    largest = largest_output(manifest, largest)
    best = min(own[0], largest[0]), min(own[1], largest[1])
    videos = smallest, best, largest
    groups = 1, request.best_groups, request.max_groups
    shapes: list[dict[str, Shape]] = []
    for which, (video, count) in enumerate(zip(videos, groups, strict=True)):
        extents = {
            GROUPS: count,
            USED: CHANNELS,
            "output_height": video[0],
            "output_width": video[1],
        }
        size = _extreme_size(manifest, video, which)
        shapes.append(
            {
                tensor.name: tuple(e if isinstance(e, int) else extents[e] for e in tensor.shape)
                for tensor in manifest.specs_at(size)[spec.name].inputs
            }
        )
    profile: Profile = {
        tensor.name: (shapes[0][tensor.name], shapes[1][tensor.name], shapes[2][tensor.name])
        for tensor in spec.inputs
        if not all(isinstance(extent, int) for extent in tensor.shape)
    }
    return (profile,) if profile else ()


def _extreme_size(manifest: Manifest, video: Size, which: int) -> Size:
    """The size in the network of the smallest, best or largest video."""
    if not manifest.dynamic:
        return manifest.size
    if which == 0:
        side = STRIDE + 1 if manifest.align_corners else STRIDE
        return side, side
    return manifest.input_size(video)
