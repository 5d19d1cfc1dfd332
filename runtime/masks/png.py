"""Palette PNGs: the format in which label maps are written unless another is asked for."""

from pathlib import Path
from zlib import Z_RLE

from PIL import Image

from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.system.files import new_file


def write_mask(path: Path, labels: Labels, palette: bytes | None = None) -> None:
    """Write a palette PNG of mode P, whole or not at all; see `new_file`.

    Args:
        path: The file to create or replace, in a folder that exists.
        labels: uint8, shape (H, W).
        palette: RGB bytes of the input mask; None for DAVIS's palette.

    Raises:
        InputError: The disk is full or the place can't be written to.
    """
    image = Image.fromarray(labels)
    # All 256 colours: Pillow packs the indices of a shorter palette into fewer bits and silently
    # cuts the ones that do not fit.
    image.putpalette(palette_colors(palette).tobytes())
    with new_file(path) as file:
        # Runs of one label are what there is to compress; to look for more takes twice the time.
        image.save(file, format="PNG", compress_type=Z_RLE)
