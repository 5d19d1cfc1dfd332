"""Pictures drawn from a frame and its labels: matte, alpha, and effects on a part of the frame.

A drawing takes a frame, uint8 (H, W, 3), and its labels, uint8 (H, W), and returns a picture,
uint8: grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4). The arguments are not modified.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame

Drawing = Callable[[RgbFrame, Labels], NDArray[np.uint8]]

BLUR = 20  # parts of the frame's shorter side that the blur's radius is one of
BLOCKS = 24  # blocks along the frame's shorter side


def matte(rgb: RgbFrame, labels: Labels) -> NDArray[np.uint8]:
    """White where an object is and black elsewhere, uint8, shape (H, W)."""
    return np.where(labels > 0, 255, 0).astype(np.uint8)


def with_alpha(rgb: RgbFrame, labels: Labels) -> NDArray[np.uint8]:
    """The frame with the matte as alpha, uint8, shape (H, W, 4); colours stay as they are."""
    return np.dstack([rgb, matte(rgb, labels)])


def filled(colour: str, background: bool) -> Drawing:
    """A drawing that covers the objects with a colour, or everything else.

    Args:
        colour: RRGGBB.
        background: Whether everything but the objects is covered.
    """
    tone = np.frombuffer(bytes.fromhex(colour), np.uint8)

    def draw(rgb: RgbFrame, labels: Labels) -> NDArray[np.uint8]:
        return np.where(_chosen(labels, background), tone, rgb)

    return draw


def blurred(background: bool) -> Drawing:
    """A drawing that blurs the objects, or everything else; see `filled`."""

    def draw(rgb: RgbFrame, labels: Labels) -> NDArray[np.uint8]:
        soft = Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(min(labels.shape) / BLUR))
        return np.where(_chosen(labels, background), np.asarray(soft), rgb)

    return draw


def pixelated(background: bool) -> Drawing:
    """A drawing that makes coarse blocks of the objects, or of everything else; see `filled`."""

    def draw(rgb: RgbFrame, labels: Labels) -> NDArray[np.uint8]:
        side = max(2, round(min(labels.shape) / BLOCKS))
        blocks = np.asarray(Image.fromarray(rgb).reduce(side))
        height, width = labels.shape
        coarse = blocks.repeat(side, axis=0)[:height].repeat(side, axis=1)[:, :width]
        return np.where(_chosen(labels, background), coarse, rgb)

    return draw


def _chosen(labels: Labels, background: bool) -> NDArray[np.bool_]:
    """Pixels that an effect changes, shape (H, W, 1)."""
    return ((labels == 0) if background else (labels > 0))[..., None]
