"""Reads picture files, for frames and masks alike."""

import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import MAX_PIXELS

# Formats that are read, whatever a file's name says: Pillow would also open EPS, with Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")


def open_image(
    path: Path,
    content: bytes | None = None,
    check_size: Callable[[int, int], None] | None = None,
) -> Image.Image:
    """Read a picture of 8 bits per channel whole.

    Args:
        path: PNG, JPEG, BMP, WebP or TIFF.
        content: Bytes to read in place of the file; the path then only names them in messages.
        check_size: Called with height and width before anything is decoded; may refuse them.

    Returns:
        The loaded picture in the mode of its file; the file is closed.

    Raises:
        InputError: The file is missing, of another format, unreadable, damaged, cut off, too large
            or of 16 bits.
    """
    try:
        # Pillow warns of large pictures; the limit below is the one that counts.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path if content is None else BytesIO(content), formats=FORMATS)
        with opened as image:
            width, height = image.size
            if check_size is not None:
                check_size(height, width)
            if width * height > MAX_PIXELS:
                raise InputError(
                    f"{path}: {width}x{height} pixels; the limit is {MAX_PIXELS} in all"
                )
            # Pillow cuts 16-bit RGB to 8 bits without a word; only the raw mode still tells.
            raw_modes = " ".join(str(tile[3]) for tile in image.tile)
            if image.mode.startswith("I") or image.mode == "F" or ";16" in raw_modes:
                raise InputError(
                    f"{path}: more than 8 bits per channel; save it with 8 bits per channel"
                )
            image.load()
            return image
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path}: not a readable picture, or damaged (expected {', '.join(FORMATS)})"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: permission denied") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too many pixels; the limit is {MAX_PIXELS} in all") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise InputError(f"{path}: not a readable picture, or damaged ({error})") from error
