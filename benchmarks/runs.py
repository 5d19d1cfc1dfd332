"""Made-up clips in files, and `mavos-run` as a process of its own."""

import sys
from pathlib import Path

from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.export.bench.end_to_end import write_clip
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.png import write_mask

MAVOS_RUN = [
    sys.executable,
    "-c",
    "import sys; from mavos_deploy.cli.run import main; sys.argv[0] = 'mavos-run'; main()",
]


def make_clip(folder: Path, size: Size, frames: int, objects: int) -> tuple[Path, Path]:
    """Write a made-up clip and its first mask.

    Args:
        folder: Folder of both files.
        size: Height and width in pixels.
        frames: Number of frames.
        objects: Number of objects.

    Returns:
        Paths of `clip.mp4` and `first.png`.
    """
    video, masks = folder / "clip.mp4", folder / "first.png"
    write_clip(video, size, frames, objects)
    write_mask(masks, next(iter_clip(*size, 1, objects=objects))[1])
    return video, masks
