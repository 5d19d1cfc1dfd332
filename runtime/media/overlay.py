"""A video with the objects drawn over the frames, for people to look at."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.media.encoding import Original, VideoWriter
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame


class OverlayWriter:
    """Draws objects over frames and encodes them as H.264.

    The file appears when the block ends, and is left whole or absent as `VideoWriter` says. Use it
    in a `with` block.
    """

    def __init__(
        self,
        path: Path,
        size: Size,
        original: Original | None = None,
        palette: bytes | None = None,
    ) -> None:
        """Open the encoder.

        Args:
            path: The file to create or replace.
            size: Height and width of the frames in pixels; odd sides are padded by one.
            original: What to take over from the source; None for 25 frames per second in silence.
            palette: RGB bytes, 3 per label; None for DAVIS's palette.

        Raises:
            InputError: See `VideoWriter`.
        """
        self._colors = palette_colors(palette).astype(np.uint16)
        self._video = VideoWriter(path, size, original)

    @property
    def notes(self) -> list[str]:
        """What could not be taken over from the source; see `VideoWriter`."""
        return self._video.notes

    def write(
        self,
        rgb: RgbFrame,
        labels: Labels,
        time: Fraction | None = None,
        duration: Fraction | None = None,
    ) -> None:
        """Draw the objects over one frame and encode it.

        Args:
            rgb: The frame, uint8, shape (H, W, 3).
            labels: Its labels, uint8, shape (H, W).
            time: Time of the frame in the source, in seconds; see `VideoWriter.write`.
            duration: Time that it is shown, in seconds; see `VideoWriter.write`.

        Raises:
            InputError: The frame or its labels have another size, or the disk is full.
        """
        if rgb.shape[:2] != labels.shape:
            raise InputError(f"frame {rgb.shape[:2]} and labels {labels.shape} differ in size")
        self._video.write(draw_objects(rgb, labels, self._colors), time, duration)

    def __enter__(self) -> "OverlayWriter":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._video.__exit__(kind, error, trace)


def draw_objects(rgb: RgbFrame, labels: Labels, colors: NDArray[np.uint16]) -> RgbFrame:
    """Blend object colours half and half and draw a white contour inside each object.

    Args:
        rgb: The frame, uint8, shape (H, W, 3).
        labels: Its labels, uint8, shape (H, W).
        colors: Colour of each label, uint16, shape (256, 3), RGB 0..255.

    Returns:
        uint8, shape (H, W, 3). The arguments are not modified.
    """
    picture = rgb.copy()
    inside = labels > 0
    picture[inside] = (rgb[inside] + colors[labels[inside]]) // 2
    picture[inside & _borders(labels, max(1, round(min(labels.shape) / 480)))] = 255
    return picture


def _borders(labels: Labels, thickness: int) -> NDArray[np.bool_]:
    """Pixels within `thickness` pixels, along a row or column, of another label."""
    border = np.zeros(labels.shape, np.bool_)
    for step in range(1, thickness + 1):
        differs = labels[:-step] != labels[step:]
        border[:-step] |= differs
        border[step:] |= differs
        differs = labels[:, :-step] != labels[:, step:]
        border[:, :-step] |= differs
        border[:, step:] |= differs
    return border
