"""Sizes, lengths and objects of the made-up clips that a bundle is compared with PyTorch on."""

import math

from mavos_deploy.export.parity import updates_of
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.manifest import Manifest
from mavos_deploy.runtime.contract import IDENTITIES, GraphName
from mavos_deploy.runtime.geometry import Size

# Eleven objects make two groups, and the second one's first update falls into the first one's
# second. A frame smaller than this has no room for them, and is compared on a larger clip.
OBJECTS = 10
ROOM_FOR_GROUPS = 64  # pixels on a side


def default_objects(manifest: Manifest) -> int:
    """Objects in a clip's first frame: as many as make two groups, where there is room."""
    return OBJECTS if min(manifest.size) >= ROOM_FOR_GROUPS else 1


def shortest_clip(manifest: Manifest) -> int:
    """Frames it takes to read a second write to the long-term memory; 24 at the usual gap of 10.

    With more slots it takes as many writes as make a first frame leave the memory.
    """
    return (updates_of(manifest.memory) or 1) * manifest.write_every + 4


def clips_of(bundle: Bundle, objects: int | None = None) -> list[tuple[Size, int]]:
    """The clips that a bundle is compared on.

    There is one clip, of twice the bundle's size or more where objects would find no room in it. A
    bundle for frames of any size gets an upright one too, and one for each size that it has tiles
    for. Where a bundle has a decoder for a single group and no frame of these clips has so few
    objects, one with two objects is added.

    Args:
        bundle: The bundle.
        objects: Objects in the first frame of a clip, but for the late one; None for the default.

    Returns:
        Height and width in pixels of each clip, and its objects as in `objects`.
    """
    manifest = bundle.manifest
    objects = objects or default_objects(manifest)
    times = math.ceil(ROOM_FOR_GROUPS / min(manifest.size))
    height, width = times * manifest.height, times * manifest.width
    # Another size than the bundle's, so that both resizes are part of the comparison.
    sizes = [(height - 1, width + 5)]
    if manifest.dynamic:
        sizes.append((width + 37, height - 1))
        sizes += [(height - 1, width - 1) for height, width in bundle.tiled]
    clips = [(size, objects) for size in sizes]
    at_first = objects + (manifest.memory.slots == 1)  # a memory of one slot takes none later
    if GraphName.DECODER_ONE in manifest.graphs and at_first > IDENTITIES:
        clips.append((sizes[0], 1))
    return clips
