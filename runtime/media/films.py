"""Videos made of frames and labels: matte, green screen, cut-outs with alpha, effects.

A drawing turns a frame and its labels into one picture, grey, RGB or RGBA, and `FilmWriter` encodes
the pictures.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.writing import LabelledFrame
from mavos_deploy.runtime.media.encoding import H264, Encoding, Original, VideoWriter
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame

Drawing = Callable[[RgbFrame, Labels], NDArray[np.uint8]]

# What compositing programs read: 12 bits for each of four channels.
PRORES = Encoding("ProRes 4444", "prores_ks", "yuva444p10le", (".mov",), {"profile": "4444"})
# Frames that are never shown would break the alpha channel, which is a stream of its own.
VP9 = Encoding(
    "VP9 with alpha",
    "libvpx-vp9",
    "yuva420p",
    (".webm",),
    {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "5", "auto-alt-ref": "0"},
)
BLUR = 20  # parts of the frame's shorter side that the blur's radius is one of
BLOCKS = 24  # blocks along the frame's shorter side


class FilmWriter:
    """Encodes what a drawing makes of each frame; see `VideoWriter` for the file.

    Args:
        path: The file to create or replace.
        size: Height and width of the frames in pixels.
        draw: Makes the picture.
        original: What to take over from the source; None for 25 frames per second in silence.
        encoding: How to encode.

    Raises:
        InputError: See `VideoWriter`.
    """

    def __init__(
        self,
        path: Path,
        size: Size,
        draw: Drawing,
        original: Original | None = None,
        encoding: Encoding = H264,
    ) -> None:
        self._path = path
        self._draw = draw
        self._video = VideoWriter(path, size, original, encoding)

    @property
    def notes(self) -> list[str]:
        """What could not be taken over from the source; see `VideoWriter`."""
        return self._video.notes

    def write(self, frame: LabelledFrame) -> None:
        """Draw and encode the next frame.

        Raises:
            InputError: The frame lacks its picture, or it and its labels differ in size, or the
                disk is full.
        """
        if frame.rgb is None:
            raise InputError(
                f"cannot write {self._path}: a video needs pictures, and {frame.stem} has none"
            )
        if frame.rgb.shape[:2] != frame.labels.shape:
            raise InputError(
                f"cannot write {self._path}: frame {frame.rgb.shape[:2]} and labels "
                f"{frame.labels.shape} differ in size"
            )
        self._video.write(self._draw(frame.rgb, frame.labels), frame.time, frame.duration)

    def __enter__(self) -> "FilmWriter":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._video.__exit__(kind, error, trace)


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
