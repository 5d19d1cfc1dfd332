"""The shapes that engines are built for."""

from dataclasses import dataclass

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.bundles.engines import Profile, Shape
from mavos_deploy.runtime.bundles.manifest import Manifest
from mavos_deploy.runtime.contract import GraphSpec, extents
from mavos_deploy.runtime.geometry import STRIDE, Size

SHORTEST_SIDE = STRIDE // 2  # pixels of a video; the authors' rule takes no shorter one


@dataclass(frozen=True)
class ShapeLimits:
    """How much the engines of a bundle take.

    Attributes:
        max_groups: Largest number of groups of ten objects.
        best_groups: Number of groups that kernels are chosen for.
        max_output: Height and width of the largest label maps, in pixels.

    Raises:
        InputError: The numbers contradict each other, or no video is as small as the label maps.
    """

    max_groups: int = 4
    best_groups: int = 1
    max_output: Size = (1080, 1920)

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

    def largest_output(self, manifest: Manifest) -> Size:
        """Height and width of the largest label maps of a bundle's engines, in pixels."""
        # In a bundle for any size upright videos have their longer side on the other axis.
        side = max(self.max_output)
        return (side, side) if manifest.dynamic else self.max_output


def profiles(spec: GraphSpec, manifest: Manifest, limits: ShapeLimits) -> tuple[Profile, ...]:
    """The shapes that an engine takes: one profile, from one group and tiny videos to the most.

    Args:
        spec: Contract of the graph.
        manifest: Manifest of the bundle.
        limits: Upper end of the profile, and the number of groups in its middle.

    Returns:
        Smallest, best and largest shape of every input that varies; empty if none does.
    """
    own, largest = manifest.size, limits.largest_output(manifest)
    videos = (
        (SHORTEST_SIDE, SHORTEST_SIDE),
        (min(own[0], largest[0]), min(own[1], largest[1])),
        largest,
    )
    groups = 1, limits.best_groups, limits.max_groups
    sizes = _smallest_size(manifest), *(manifest.input_size(video) for video in videos[1:])
    shapes: list[dict[str, Shape]] = []
    for video, count, size in zip(videos, groups, sizes, strict=True):
        at, inputs = extents(count, video), manifest.specs_at(size)[spec.name].inputs
        shapes.append({tensor.name: tensor.shape_at(**at) for tensor in inputs})
    profile: Profile = {
        tensor.name: (shapes[0][tensor.name], shapes[1][tensor.name], shapes[2][tensor.name])
        for tensor in spec.inputs
        if not all(isinstance(extent, int) for extent in tensor.shape)
    }
    return (profile,) if profile else ()


def _smallest_size(manifest: Manifest) -> Size:
    """Height and width that the smallest video has in the network."""
    if not manifest.dynamic:
        return manifest.size
    side = STRIDE + 1 if manifest.align_corners else STRIDE
    return side, side
