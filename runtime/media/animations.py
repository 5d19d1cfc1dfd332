"""Reads animated WebP, PNG and AVIF files as videos."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from mavos_deploy.errors import InputError, one_line
from mavos_deploy.runtime.geometry import MAX_PIXELS
from mavos_deploy.runtime.media.pictures import ANIMATED, count_of
from mavos_deploy.runtime.protocol import RgbFrame

SUFFIXES = (".webp", ".png", ".apng", ".avif")  # other animated formats are read as videos are
SHORTEST = 20  # milliseconds; browsers show a frame that states less for USUAL
USUAL = 100


def is_animation(path: Path) -> bool:
    """Whether a file is a WebP, PNG or AVIF with more than one picture."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        with _opened(path) as image:
            return len(_places(image)) > 1
    except Exception:  # damaged bytes make the decoders fail in every way there is
        return False


def no_video(path: Path) -> str:
    """A message for a file of pictures that is no animation."""
    if (count := count_of(path)) > 1:
        return f"{path} holds {count} pictures; save each as a PNG, and give the folder of them"
    return f"{path} is a single image; give the folder of the video's frames"


def _opened(path: Path) -> Image.Image:
    Image.init()
    return Image.open(path, formats=[name for name in ANIMATED if name in Image.OPEN])


def _places(image: Image.Image) -> range:
    """Places of the frames in a file; a PNG may have a picture before them that isn't shown."""
    return range(int(getattr(image, "default_image", False)), int(getattr(image, "n_frames", 1)))


def read_animation(path: Path, lines: list[str]) -> Iterator[tuple[RgbFrame, Fraction, Fraction]]:
    """Frames of an animation, each with its time and duration in seconds.

    Args:
        path: The file.
        lines: Gets a line if the file can't be read to its end.

    Raises:
        InputError: The pictures are too large.
    """
    time = Fraction(0)
    number = 0
    try:
        with _opened(path) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise InputError(
                    f"{path}: {width}x{height} pixels; the limit is {MAX_PIXELS} in all"
                )
            for place in _places(image):
                image.seek(place)
                image.load()
                shown = round(float(image.info.get("duration") or 0))
                duration = Fraction(shown if shown >= SHORTEST else USUAL, 1000)
                yield np.array(image.convert("RGB"), np.uint8), time, duration
                time += duration
                number += 1
    except InputError:
        raise
    except Exception as error:  # damaged bytes make the decoders fail in every way there is
        reason = one_line(error) or type(error).__name__
        lines.append(f"{path}: from frame {number:05d} on it can't be read ({reason})")
