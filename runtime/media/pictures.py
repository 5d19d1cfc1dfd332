"""Reads picture files, for frames and masks alike: the one door through which they come."""

import os
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from mavos_deploy.errors import InputError, one_line
from mavos_deploy.reading import open_regular
from mavos_deploy.runtime.geometry import MAX_PIXELS
from mavos_deploy.runtime.protocol import RgbFrame

T = TypeVar("T")

# Formats that are read, whatever a file's name says: Pillow would also open EPS, with Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
SERVED = ("PNG", "JPEG")  # those that come over a network

# Pillow's advice on broken metadata, and on large pictures, for which MAX_PIXELS counts. Set once:
# `catch_warnings` would change what other threads see.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def open_image(
    path: Path,
    content: bytes | None = None,
    check_size: Callable[[int, int], None] | None = None,
    formats: tuple[str, ...] = FORMATS,
    as_mask: bool = False,
) -> Image.Image:
    """Read a picture of 8 bits per channel whole, as it is in its file.

    Args:
        path: PNG, JPEG, BMP, WebP or TIFF.
        content: Bytes to read in place of the file; the path then only names them in messages.
        check_size: Called with height and width before anything is decoded; may refuse them.
        formats: Formats that are accepted, in Pillow's names.
        as_mask: Whether the values of pixels are wanted: one channel of 16 bits is accepted then,
            and a file of several pictures is refused.

    Returns:
        The loaded picture in the mode of its file; the file is closed.

    Raises:
        InputError: The file is missing, no regular file, of another format, unreadable, damaged,
            cut off, too large or of 16 bits.
    """
    return _read(path, content, check_size, formats, lambda image: image, as_mask)


def read_rgb(
    path: Path,
    content: bytes | None = None,
    check_size: Callable[[int, int], None] | None = None,
    formats: tuple[str, ...] = FORMATS,
) -> RgbFrame:
    """Read a picture as a frame, with EXIF rotation applied.

    Args:
        path: See `open_image`.
        content: See `open_image`.
        check_size: See `open_image`; height and width are those before the rotation.
        formats: See `open_image`.

    Returns:
        uint8 RGB, shape (H, W, 3).

    Raises:
        InputError: See `open_image`; or its EXIF block can't be read.
    """

    def upright(image: Image.Image) -> RgbFrame:
        try:
            turned = ImageOps.exif_transpose(image)
        except MemoryError:
            raise
        except Exception as error:
            raise InputError(
                f"{path}: its EXIF block, which says how the picture is turned, is damaged "
                f"({_said(error)}); save the picture again, or without it"
            ) from error
        return np.array(turned.convert("RGB"), np.uint8)

    return _read(path, content, check_size, formats, upright)


def mode_of(path: Path, formats: tuple[str, ...] = FORMATS) -> str | None:
    """Pillow's mode of a picture, such as `P`; None where it can't be read. Only its head is read.

    Args:
        path: The file.
        formats: Formats that are looked for, some of `FORMATS`.
    """
    try:
        with open_regular(path) as file, Image.open(file, formats=formats) as image:
            return image.mode
    except Exception:  # damaged bytes make the decoders fail in every way there is
        return None


def _read(
    path: Path,
    content: bytes | None,
    check_size: Callable[[int, int], None] | None,
    formats: tuple[str, ...],
    convert: Callable[[Image.Image], T],
    as_mask: bool = False,
) -> T:
    """Check, decode and convert a picture; nothing but an InputError comes out."""
    try:
        with (
            open_regular(path) if content is None else BytesIO(content) as file,
            Image.open(file, formats=formats) as image,
        ):
            _check(path, image, check_size, as_mask)
            image.load()
            return convert(image)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path}: not a readable picture, or damaged (expected {', '.join(formats)})"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: permission denied") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too many pixels; the limit is {MAX_PIXELS} in all") from error
    except MemoryError as error:
        raise InputError(
            f"{path}: there is not enough memory to decode it; use smaller pictures, or raise the "
            "limit of memory"
        ) from error
    except Exception as error:  # damaged bytes make the decoders fail in every way there is
        raise InputError(f"{path}: not a readable picture, or damaged ({_said(error)})") from error


def _check(
    path: Path,
    image: ImageFile.ImageFile,
    check_size: Callable[[int, int], None] | None,
    as_mask: bool,
) -> None:
    """Refuse a picture by what its head says."""
    width, height = image.size
    if check_size is not None:
        check_size(height, width)
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: {width}x{height} pixels; the limit is {MAX_PIXELS} in all")
    # Pillow cuts 16-bit RGB to 8 bits without a word; only the raw mode still tells.
    raw_modes = " ".join(str(tile[3]) for tile in image.tile)
    whole = image.mode.startswith("I")
    if (whole and not as_mask) or image.mode == "F" or (";16" in raw_modes and not whole):
        raise InputError(f"{path}: more than 8 bits per channel; save it with 8 bits per channel")
    if as_mask and (count := getattr(image, "n_frames", 1)) > 1:
        raise InputError(
            f"{path}: {count} pictures in one file, but a mask is one; save each as a PNG"
        )


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return one_line(error) or type(error).__name__
