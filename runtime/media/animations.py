"""Reads animated WebP and PNG files as videos."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from mavos_deploy.errors import InputError, one_line
from mavos_deploy.runtime.geometry import MAX_PIXELS
from mavos_deploy.runtime.protocol import RgbFrame

SUFFIXES = (".webp", ".png", ".apng")  # other animated formats are read as videos are
SHORTEST = 20  # milliseconds; browsers show a frame that states less for USUAL
USUAL = 100


def is_animation(path: Path) -> bool:
    """Whether a file is a WebP or PNG with more than one picture."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        with Image.open(path, formats=("WEBP", "PNG")) as image:
            return int(getattr(image, "n_frames", 1)) > 1
    except Exception:  # damaged bytes make the decoders fail in every way there is
        return False


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
        with Image.open(path, formats=("WEBP", "PNG")) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise InputError(
                    f"{path}: {width}x{height} pixels; the limit is {MAX_PIXELS} in all"
                )
            for number in range(int(getattr(image, "n_frames", 1))):
                image.seek(number)
                image.load()
                shown = round(float(image.info.get("duration") or 0))
                duration = Fraction(shown if shown >= SHORTEST else USUAL, 1000)
                yield np.array(image.convert("RGB"), np.uint8), time, duration
                time += duration
    except InputError:
        raise
    except Exception as error:  # damaged bytes make the decoders fail in every way there is
        reason = one_line(error) or type(error).__name__
        lines.append(f"{path}: from frame {number:05d} on it can't be read ({reason})")
