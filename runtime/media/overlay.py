"""A video with the objects drawn over the frames, for people to look at."""

from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.media.masks import palette_colors
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame
from mavos_deploy.runtime.system.files import replacing, writing

FALLBACK_FPS = 25.0  # frames per second where the source has no rate
ENCODER: Final = "libx264"
ENCODER_OPTIONS = {"crf": "20", "preset": "veryfast"}
# Values of the colour fields in H.264. Players assume BT.709 for HD, and swscale does not.
BT709 = LIMITED_RANGE = 1


class OverlayWriter:
    """Encodes H.264 in an MP4 file that appears when the block ends.

    After Ctrl-C the part so far becomes a whole, playable file. After any other error nothing is
    left behind. Use it in a `with` block.
    """

    def __init__(
        self, path: Path, size: Size, fps: float | None, palette: bytes | None = None
    ) -> None:
        """Open the encoder.

        Args:
            path: The MP4 file to create or replace.
            size: Height and width of the frames in pixels; odd sides are padded by one.
            fps: Frames per second; None or 0 means 25.
            palette: RGB bytes, 3 per label; None for DAVIS's palette.

        Raises:
            InputError: This PyAV has no H.264 encoder, or the place can't be written to.
        """
        self._path = path
        self._size = size
        self._colors = palette_colors(palette).astype(np.uint16)
        self._written = 0
        self._rate = Fraction(fps or FALLBACK_FPS).limit_denominator(1001)
        if ENCODER not in av.codecs_available:
            raise InputError(
                f"cannot write {path}: this PyAV has no H.264 encoder ({ENCODER}); install the "
                "wheel from PyPI with pip install --force-reinstall av"
            )
        self._stack = ExitStack()
        temporary = self._stack.enter_context(replacing(path))
        with self._stack, writing(path):
            self._container = av.open(
                str(temporary), "w", format="mp4", options={"movflags": "+faststart"}
            )
            self._stream = self._container.add_stream(ENCODER, self._rate, ENCODER_OPTIONS)
            self._stream.pix_fmt = "yuv420p"
            self._stream.height, self._stream.width = (side + side % 2 for side in size)
            context = self._stream.codec_context
            context.color_primaries = context.color_trc = context.colorspace = BT709
            context.color_range = LIMITED_RANGE
            self._stack = self._stack.pop_all()  # no error: the file stays open for write()

    def write(self, rgb: RgbFrame, labels: Labels) -> None:
        """Draw the objects over one frame and encode it.

        Args:
            rgb: The frame, uint8, shape (H, W, 3).
            labels: Its labels, uint8, shape (H, W).

        Raises:
            InputError: The frame or its labels have another size, or the disk is full.
        """
        if rgb.shape[:2] != self._size or labels.shape != self._size:
            raise InputError(
                f"cannot write {self._path}: frame {rgb.shape[:2]} and labels {labels.shape}, "
                f"expected {self._size}"
            )
        picture = draw_objects(rgb, labels, self._colors)
        odd_height, odd_width = (side % 2 for side in self._size)
        if odd_height or odd_width:
            picture = np.pad(picture, ((0, odd_height), (0, odd_width), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709"
        )
        frame.pts = self._written
        frame.time_base = 1 / self._rate
        with writing(self._path):
            self._container.mux(self._stream.encode(frame))
        self._written += 1

    def close(self) -> None:
        """Finish the file and give it its name; without a frame there is no file.

        Raises:
            InputError: The disk is full or the place can't be written to; nothing is left behind.
        """
        if not self._written:
            self._discard(EOFError("no frame was written"))
            return
        with self._stack:  # removes the temporary file after an error, renames it otherwise
            try:
                self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()
        self._written = 0

    def _discard(self, error: BaseException) -> None:
        with suppress(OSError):
            self._container.close()
        self._stack.__exit__(type(error), error, error.__traceback__)

    def __enter__(self) -> "OverlayWriter":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, KeyboardInterrupt):
            self.close()
        else:
            self._discard(error)


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
