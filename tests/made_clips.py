"""Whole clips of the made-up scenes that `iter_clip` renders frame by frame."""

import numpy as np

from mavos_deploy.evaluation.scenes.clip import Clip, iter_clip


def synthetic_clip(
    height: int,
    width: int,
    frames: int,
    objects: int = 3,
    late_objects: int = 0,
    late_frame: int | None = None,
    seed: int = 0,
) -> Clip:
    """A whole clip of `iter_clip`, with its arguments and errors."""
    rendered = iter_clip(height, width, frames, objects, late_objects, late_frame, seed)
    pictures = np.empty((frames, height, width, 3), dtype=np.uint8)
    labels = np.empty((frames, height, width), dtype=np.uint8)
    for index, (picture, label_map) in enumerate(rendered):
        pictures[index] = picture
        labels[index] = label_map
    return Clip(pictures, labels)
