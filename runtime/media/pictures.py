"""Reads picture files, for frames and masks alike: the one door through which they come."""

import os
import re
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from mavos_deploy.errors import InputError, one_line
from mavos_deploy.reading import open_regular
from mavos_deploy.runtime.geometry import MAX_PIXELS
from mavos_deploy.runtime.media.turning import OF_EXIF, STORED, Turn
from mavos_deploy.runtime.protocol import RgbFrame

T = TypeVar("T")
Depth = Literal["grey", "colour"]
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")  # grey, of more than 8 bits

# Formats that are read, whatever a file's name says: Pillow would also open EPS, with Ghostscript.
# Older releases of Pillow have no AVIF, and HEIF comes with an extra.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "HEIF")
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".webp", ".gif", ".bmp")  # of files that keep ids
ANIMATED = ("PNG", "WEBP", "AVIF")  # formats that hold videos, too
START = 16  # bytes of a file by which Pillow tells its format
SUBFILE = 254  # tag of a TIFF page that is a smaller version, or a mask, of another one
SERVED = ("PNG", "JPEG")  # those that come over a network

_GREY_BITS = re.compile(r"\bL;([24])")  # raw modes of Pillow

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
        path: A picture in one of `formats`.
        content: Bytes to read in place of the file; the path then only names them in messages.
        check_size: Called with height and width before anything is decoded; may refuse them.
        formats: Formats that are accepted, in Pillow's names.
        as_mask: Whether the values of pixels are wanted: one channel of 16 bits is accepted then.

    Returns:
        The loaded picture in the mode of its file; the file is closed.

    Raises:
        InputError: The file is missing, no regular file, of another format, unreadable, damaged,
            cut off, too large, of 16 bits, or of several pictures.
    """
    return _read(path, content, check_size, formats, lambda image, _: image, as_mask)


def open_mask(
    path: Path,
    content: bytes | None,
    check_size: Callable[[int, int], None] | None,
    formats: tuple[str, ...],
) -> tuple[Image.Image, Turn, Turn]:
    """Read a picture whose values of pixels are wanted.

    Args:
        path: See `open_image`.
        content: See `open_image`.
        check_size: See `open_image`.
        formats: See `open_image`.

    Returns:
        The loaded picture; the turn that EXIF says is still to be made; and that which is made.

    Raises:
        InputError: See `open_image`; or its EXIF block can't be read.
    """

    def turned(image: Image.Image, made: Turn) -> tuple[Image.Image, Turn, Turn]:
        return image, turn_of_exif(path, image), made

    return _read(path, content, check_size, formats, turned, as_mask=True)


def read_rgb(
    path: Path,
    content: bytes | None = None,
    check_size: Callable[[int, int], None] | None = None,
    formats: tuple[str, ...] = FORMATS,
    cut: bool = False,
) -> RgbFrame:
    """Read a picture as a frame, as EXIF says that it is shown.

    Args:
        path: See `read_turned`.
        content: See `open_image`.
        check_size: See `read_turned`.
        formats: See `open_image`.
        cut: See `read_turned`.

    Returns:
        uint8 RGB, shape (H, W, 3).

    Raises:
        InputError: See `read_turned`.
    """
    return read_turned(path, content, check_size, formats, cut)[0]


def read_turned(
    path: Path,
    content: bytes | None = None,
    check_size: Callable[[int, int], None] | None = None,
    formats: tuple[str, ...] = FORMATS,
    cut: bool = False,
) -> tuple[RgbFrame, Turn]:
    """Read a picture as a frame, as EXIF says that it is shown, and how it was turned for that.

    Args:
        path: See `open_image`.
        content: See `open_image`.
        check_size: See `open_image`; height and width are those of the stored picture.
        formats: See `open_image`.
        cut: Whether to accept colours of 16 bits per channel, of which the higher 8 are taken.

    Returns:
        uint8 RGB, shape (H, W, 3), and the turn that was applied.

    Raises:
        InputError: See `open_image`; or its EXIF block can't be read.
    """

    def upright(image: Image.Image, turned: Turn) -> tuple[RgbFrame, Turn]:
        turn = turn_of_exif(path, image)
        rgb = np.array(image.convert("RGB"), np.uint8)
        return turn.of(rgb), turn if turned == STORED else turned

    return _read(path, content, check_size, formats, upright, deep="colour" if cut else None)


def read_values(path: Path) -> tuple[NDArray[Any], Turn]:
    """Read the values of a grey picture of more than 8 bits, as EXIF says that it is shown.

    Returns:
        Shape (H, W), in the type of the file, and the turn that was applied.

    Raises:
        InputError: See `read_turned`.
    """

    def values(image: Image.Image, turned: Turn) -> tuple[NDArray[Any], Turn]:
        if image.mode not in DEEP_MODES:
            raise InputError(
                f"{path}: a picture of mode {image.mode} among grey ones of more than 8 bits"
            )
        turn = turn_of_exif(path, image)
        return turn.of(np.array(image)), turn if turned == STORED else turned

    return _read(path, None, None, FORMATS, values, deep="grey")


def turn_of_exif(path: Path, image: Image.Image) -> Turn:
    """The turn that a picture's EXIF block asks for, with which it is shown.

    Args:
        path: Name of the picture, for errors.
        image: The picture, which is open or loaded.

    Raises:
        InputError: The block is damaged.
    """
    try:
        return OF_EXIF.get(image.getexif().get(ExifTags.Base.Orientation, 1), STORED)
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(
            f"{path}: its EXIF block, which says how the picture is turned, is damaged "
            f"({_said(error)}); save the picture again, or without it"
        ) from error


def depth_of(path: Path) -> Depth | None:
    """How a picture has more than 8 bits per channel; None where it has no more, or can't be read.

    Only its head is read.
    """
    return _of_head(path, None, _depth, None)


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


def count_of(path: Path) -> int:
    """Pictures of a file that are shown one after the other; 1 where it can't be read."""
    return _of_head(path, None, _shown_one_by_one, 1)


def grey_bits(path: Path, content: bytes | None, formats: tuple[str, ...]) -> int:
    """Bits of a sample of a grey picture, 2 or 4; 8 for all others. Only its head is read.

    Pillow spreads samples of 2 and 4 bits over 8 without a word.

    Args:
        path: The file, which can be read.
        content: Bytes to read in place of the file.
        formats: Formats that are looked for, some of `FORMATS`.
    """
    with (
        open_regular(path) if content is None else BytesIO(content) as file,
        Image.open(file, formats=formats) as image,
    ):
        match = _GREY_BITS.search(" ".join(str(tile[3]) for tile in image.tile))
        return int(match[1]) if match and image.mode == "L" else 8


def _read(
    path: Path,
    content: bytes | None,
    check_size: Callable[[int, int], None] | None,
    formats: tuple[str, ...],
    convert: Callable[[Image.Image, Turn], T],
    as_mask: bool = False,
    deep: Depth | None = None,
) -> T:
    """Check, decode and convert a picture; nothing but an InputError comes out.

    The conversion gets the picture, and the turn that Pillow applied when it was decoded.
    """
    try:
        with (
            open_regular(path) if content is None else BytesIO(content) as file,
            Image.open(file, formats=_available(path, file, formats)) as image,
        ):
            _check(path, image, check_size, as_mask, deep)
            # Pillow turns TIFF pictures by itself, and then their tag is gone.
            tag = getattr(image, "tag_v2", {}).get(ExifTags.Base.Orientation)
            image.load()
            return convert(image, OF_EXIF.get(tag, STORED) if isinstance(tag, int) else STORED)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        expected = f"expected {', '.join(formats)}"
        if kind := _other_kind(path, content):
            raise InputError(f"{path}: a picture in {kind}, {expected}; save it as PNG") from error
        raise InputError(f"{path}: not a readable picture, or damaged ({expected})") from error
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


def _other_kind(path: Path, content: bytes | None) -> str | None:
    """Pillow's name of the format of a picture that is read elsewhere; None where it is none."""
    return _of_head(path, content, lambda image: image.format, None)


def _of_head(
    path: Path, content: bytes | None, look: Callable[[ImageFile.ImageFile], T], otherwise: T
) -> T:
    """Look at the head of a picture of any format; `otherwise` is for one that can't be read."""
    try:
        with (
            open_regular(path) if content is None else BytesIO(content) as file,
            Image.open(file, formats=_available(path, file, FORMATS)) as image,
        ):
            return look(image)
    except Exception:  # damaged bytes make the decoders fail in every way there is
        return otherwise


def _check(
    path: Path,
    image: ImageFile.ImageFile,
    check_size: Callable[[int, int], None] | None,
    as_mask: bool,
    deep: Depth | None,
) -> None:
    """Refuse a picture by what its head says."""
    width, height = image.size
    if check_size is not None:
        check_size(height, width)
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: {width}x{height} pixels; the limit is {MAX_PIXELS} in all")
    depth = _depth(image)
    whole = as_mask and image.mode.startswith("I")
    if depth is not None and depth != deep and not whole:
        raise InputError(f"{path}: more than 8 bits per channel; save it with 8 bits per channel")
    if as_mask and (count := getattr(image, "n_frames", 1)) > 1:
        raise InputError(
            f"{path}: {count} pictures in one file, but a mask is one; save each as a PNG"
        )
    if not as_mask and (count := _shown_one_by_one(image)) > 1:
        video = "give the file itself as the video, or " if image.format in ANIMATED else ""
        raise InputError(
            f"{path}: {count} pictures in one file, but a frame is one; {video}save each as a PNG"
        )


def _shown_one_by_one(image: Image.Image) -> int:
    """Pictures of a file that are shown one after the other.

    Photographs may hold a smaller picture, or one of another exposure, beside the one to show.
    """
    count = int(getattr(image, "n_frames", 1))
    if image.format in ANIMATED or count == 1:
        return count
    if image.format != "TIFF":
        return 1
    whole = 0
    for place in range(count):
        image.seek(place)
        whole += not getattr(image, "tag_v2", {}).get(SUBFILE, 0)
    image.seek(0)
    return whole


def _depth(image: Image.Image) -> Depth | None:
    # Pillow cuts 16-bit RGB to 8 bits without a word; only the raw mode still tells.
    raw_modes = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    if image.mode in DEEP_MODES:
        return "grey"
    return "colour" if ";16" in raw_modes else None


def _available(path: Path, file: BinaryIO, formats: tuple[str, ...]) -> tuple[str, ...]:
    """The formats among those given that this installation reads.

    Pillow's modules for rare formats are imported where the file is of no common one.

    Raises:
        InputError: The picture, by its ending, has another one.
    """
    suffix = path.suffix.lower()
    if suffix in HEIF_SUFFIXES and "HEIF" in formats:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise InputError(
                f"{path}: HEIC pictures need pillow-heif; pip install 'mavos-deploy[heif]'"
            ) from error
        register_heif_opener()
    Image.preinit()
    start = file.read(START)
    file.seek(0)
    fit = [Image.OPEN[name][1] for name in formats if name in Image.OPEN]
    common = len(start) == START and any(fits and fits(start) is True for fits in fit)
    if suffix == ".avif" or not common:
        Image.init()
    if suffix == ".avif" and "AVIF" in formats and "AVIF" not in Image.OPEN:
        raise InputError(
            f"{path}: this Pillow reads no AVIF; pip install --upgrade Pillow, to 11.3 or later"
        )
    return tuple(name for name in formats if name in Image.OPEN)


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return one_line(error) or type(error).__name__
