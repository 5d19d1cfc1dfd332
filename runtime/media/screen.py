"""Turns decoded pictures into frames as a player shows them: upright, in shape, in daylight."""

from fractions import Fraction
from functools import cache

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image, ImageFilter

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.decoding import check_pixels, reason_of, turn_of
from mavos_deploy.runtime.media.levels import Levels
from mavos_deploy.runtime.media.told import Told
from mavos_deploy.runtime.media.turning import STORED, Turn
from mavos_deploy.runtime.protocol import RgbFrame

# Pixels that differ less from squares are kept: nobody sees it, and scaling would blur. Encoders
# write such shapes to make up for a side that they rounded.
SQUARE_ENOUGH = Fraction(1, 100)
NARROWEST = Fraction(1, 16)  # pixels beyond this, or its inverse, are an error of the file
PQ = 16  # FFmpeg's number of the transfer function of SMPTE ST 2084
WHITE = 203.0  # candela per square metre of diffuse white in PQ (ITU-R BT.2408)
PEAK = 1000.0  # brightest light that keeps a step of its own
KNEE = 0.6  # share of white up to which light is kept as it is
STEPS = 65  # points of the table of colours along each side


class Screen:
    """Makes frames of one video's pictures.

    Attributes:
        pixel_aspect: Width of a frame's pixel by its height, known with the first one; close to 1.
    """

    def __init__(
        self,
        name: str,
        stream: VideoStream,
        told: Told,
        levels: Levels | None = None,
        turns: dict[int, Turn] | None = None,
    ) -> None:
        """Take a video.

        Args:
            name: Name of the video in notes.
            stream: The stream that decodes it.
            told: Gets what is said about the pictures, with the first one.
            levels: Values that become black and white, for grey pictures of more than 8 bits; None
                leaves them to FFmpeg, which takes the whole range of their type.
            turns: Turns that earlier screens of the same video found, by the angle of the pictures'
                matrix; gets those of this one. None where there are no others.
        """
        self._levels = levels
        self.pixel_aspect = Fraction(1)
        self._name = name
        self._stream = stream
        self._told = told
        self._scale: tuple[Fraction, Fraction] | None = None  # of width and height
        self._bright = False
        self._turns = {} if turns is None else turns

    def frame(self, picture: av.VideoFrame) -> RgbFrame:
        """A picture as it is shown.

        Returns:
            uint8 RGB, shape (H, W, 3), with square pixels, turned and mirrored as its file says,
            and light in PQ brought into the range of ordinary screens.

        Raises:
            InputError: It is too large, or of a kind that can't be converted.
        """
        self.begin(picture)
        assert self._scale is not None
        width, height = (
            round(side * factor)
            for side, factor in zip((picture.width, picture.height), self._scale, strict=True)
        )
        rgb = _converted(self._name, picture, width, height, self._levels)
        if picture.color_trc == PQ:
            rgb = self._daylight(rgb)
        angle = picture.rotation
        if angle not in self._turns:
            self._turns[angle] = turn_of(picture) or STORED
        return self._turns[angle].of(rgb)

    def begin(self, picture: av.VideoFrame) -> None:
        """Look at the first picture, while the stream is open; later ones change nothing."""
        if self._scale is not None:
            return
        # The container's shape counts before the codec's, as in players.
        aspect = (
            self._stream.sample_aspect_ratio
            or self._stream.codec_context.sample_aspect_ratio
            or Fraction(1)
        )
        if not NARROWEST <= aspect <= 1 / NARROWEST:
            aspect = Fraction(1)
        known = self._turns.get(picture.rotation)
        turn = turn_of(picture) if known is None else known
        if turn is None:
            self._told.notes.append(
                f"{self._name}: its display matrix is neither quarter turns nor a mirror, and is "
                "not applied; frames and masks are those of the stored pictures"
            )
            turn = STORED
        elif turn != STORED:
            self._told.notes.append(
                f"{self._name} is shown {turn.words}, as its file says, and its masks are, too"
            )
        self._told.turn = self._turns[picture.rotation] = turn
        if abs(aspect - 1) < SQUARE_ENOUGH:
            self.pixel_aspect = 1 / aspect if turn.swaps else aspect
            self._scale = Fraction(1), Fraction(1)
            return
        # Pixels are stretched, never squeezed, so that no detail is lost.
        self._scale = (aspect, Fraction(1)) if aspect > 1 else (Fraction(1), 1 / aspect)
        stored = picture.width, picture.height
        shown = tuple(round(s * by) for s, by in zip(stored, self._scale, strict=True))
        if turn.swaps:
            stored, shown = stored[::-1], shown[::-1]
        self._told.stored = stored[::-1]
        self._told.notes.append(
            f"{self._name} stores {stored[1]}x{stored[0]} pixels that are not square; it is read "
            f"as players show it, {shown[1]}x{shown[0]}, and its masks have that size"
        )

    def _daylight(self, rgb: RgbFrame) -> RgbFrame:
        if not self._bright:
            self._bright = True
            self._told.notes.append(
                f"{self._name} is HDR in PQ; its light is tone-mapped to an ordinary screen's"
            )
        return np.asarray(Image.fromarray(rgb).filter(_tone_map()), np.uint8)


def is_deep(stream: VideoStream) -> bool:
    """Whether a video is grey with more than 8 bits, such as a thermal camera's."""
    parts = stream.codec_context.format.components if stream.codec_context.format else ()
    return len(parts) == 1 and parts[0].bits > 8


def _converted(
    name: str, picture: av.VideoFrame, width: int, height: int, levels: Levels | None
) -> RgbFrame:
    check_pixels(name, height, width)
    kind = picture.format.name
    try:
        if (width, height) != (picture.width, picture.height):
            shape = kind if levels is not None else "rgb24"
            picture = picture.reformat(width, height, shape, interpolation="BICUBIC")
        if levels is not None:
            return levels.frame(picture.to_ndarray())
        return np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
    except MemoryError as error:
        raise InputError(
            f"{name}: there is not enough memory to convert a frame of format {kind}"
        ) from error
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"{name}: a frame of format {kind} can't be converted to RGB ({reason_of(error)})"
        ) from error


@cache
def _tone_map() -> ImageFilter.Color3DLUT:
    """A table from colours of BT.2020 in PQ to those of BT.709 on an ordinary screen.

    Source: SMPTE ST 2084 for PQ; ITU-R BT.2087 for the matrix.
    """
    axis = np.linspace(0, 1, STEPS)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")  # red is the fastest
    code = np.stack([red, green, blue], -1)
    root = code ** (1 / 78.84375)
    light = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
    linear = light ** (1 / 0.1593017578125) * (10000 / WHITE)
    matrix = np.array(
        [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    )
    linear = np.maximum(linear @ matrix.T, 0)
    # The brightest channel decides, and the others follow, so that hues stay.
    brightest = linear.max(-1, keepdims=True)
    top = PEAK / WHITE
    over = np.clip((brightest - KNEE) / (top - KNEE), 0, 1)
    rolled = KNEE + (1 - KNEE) * over * (1 + 9) / (1 + 9 * over)
    mapped = np.where(brightest > KNEE, rolled, brightest)
    shown = np.clip(linear * mapped / np.maximum(brightest, 1e-9), 0, 1) ** (1 / 2.2)
    return ImageFilter.Color3DLUT(STEPS, shown.reshape(-1).tolist())
