"""Palette PNG masks: the annotations that come in and the label maps that go out."""

from dataclasses import dataclass
from pathlib import Path

import imgviz
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.media.pictures import mode_of, open_image
from mavos_deploy.runtime.objects import VOID, Labels
from mavos_deploy.runtime.system.files import replacing


@dataclass(frozen=True, eq=False)
class Mask:
    """Labels of one frame.

    Attributes:
        labels: uint8, shape (H, W); 0 is background, other values are object ids, gaps allowed.
        palette: RGB bytes of the file, 3 per index, at most 768; None for a grey mask.
    """

    labels: Labels
    palette: bytes | None


def read_mask(
    path: Path,
    size: Size | None = None,
    require_objects: bool = False,
    allow_void: bool = False,
) -> Mask:
    """Read the indices of a palette or grey PNG.

    Args:
        path: A picture of mode P, L or 1.
        size: Height and width that the mask must have, in pixels; None accepts any.
        require_objects: Whether to refuse a mask without an object.
        allow_void: Whether to keep pixels of 255 as they are, for scoring; they are no object.

    Returns:
        The labels as they are in the file, and its palette.

    Raises:
        InputError: The file is missing, damaged, of another mode or size, marks void where that
            is not allowed, or lacks objects where some are required.
    """
    image = open_image(path)
    if image.mode not in ("P", "L", "1"):
        raise InputError(
            f"{path}: a {image.mode} picture, but a mask needs one object id per pixel; save it "
            "as a palette (mode P) or grey (mode L) PNG"
        )
    if image.format == "JPEG":
        raise InputError(
            f"{path}: a JPEG picture, whose compression changes object ids; save it as a palette "
            "(mode P) or grey (mode L) PNG"
        )
    labels = np.array(image, np.uint8)
    if size is not None and labels.shape != size:
        raise InputError(
            f"{path}: the mask is {labels.shape[0]}x{labels.shape[1]} but its frame is "
            f"{size[0]}x{size[1]}; resize it without interpolation (nearest)"
        )
    ids = set(np.unique(labels).tolist())
    if VOID in ids and not allow_void:
        count = np.count_nonzero(labels == VOID)
        if ids <= {0, VOID}:
            raise InputError(
                f"{path}: the only values are 0 and 255 ({count} pixels), which looks like a "
                "binary mask; save the object as 1"
            )
        raise InputError(
            f"{path}: {count} pixels are 255, and 255 marks void in DAVIS; set them to 0, or to "
            "the id of their object"
        )
    if require_objects and ids <= {0, VOID}:
        values = "0 or void (255)" if VOID in ids else "0"
        raise InputError(f"{path}: no object in the mask; every pixel is {values}")
    palette = image.getpalette("RGB") if image.mode == "P" else None
    return Mask(labels, bytes(palette) if palette else None)


def palette_colors(palette: bytes | None) -> NDArray[np.uint8]:
    """Colours of all labels.

    Args:
        palette: RGB bytes, 3 per index; None or a short one is completed from DAVIS's palette.

    Returns:
        uint8, shape (256, 3), RGB.
    """
    colors = np.array(imgviz.label_colormap(), np.uint8)  # type: ignore[attr-defined]
    given = np.frombuffer((palette or b"")[:768], np.uint8)
    colors.reshape(-1)[: given.size] = given
    return colors


def write_mask(path: Path, labels: Labels, palette: bytes | None = None) -> None:
    """Write a palette PNG of mode P, whole or not at all.

    Args:
        path: The file to create or replace.
        labels: uint8, shape (H, W).
        palette: RGB bytes of the input mask; None for DAVIS's palette.

    Raises:
        InputError: The disk is full or the place can't be written to.
    """
    image = Image.fromarray(labels)
    # All 256 colours: Pillow packs the indices of a shorter palette into fewer bits and silently
    # cuts the ones that do not fit.
    image.putpalette(palette_colors(palette).tobytes())
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def is_palette_png(path: Path) -> bool:
    """Whether a file is a PNG of mode P, as `write_mask` makes them. Only its header is read."""
    return mode_of(path, ("PNG",)) == "P"


class MaskSource:
    """The annotations of one video: a file for the first frame, or a folder of <stem>.png."""

    def __init__(self, path: Path, size: Size | None = None) -> None:
        """Find the annotations; they are read when asked for.

        Args:
            path: A mask file, or a folder of masks named after their frames.
            size: Height and width of the frames in pixels; None accepts any.

        Raises:
            InputError: The path does not exist, or is a folder without a PNG.
        """
        if not path.exists():
            raise InputError(f"{path} does not exist; expected a mask PNG or a folder of them")
        self._path = path
        self._size = size
        self._files: dict[str, Path] | None = None
        if path.is_dir():
            found = (file for file in path.iterdir() if not file.name.startswith("."))
            self._files = {f.stem: f for f in sorted(found) if f.suffix.lower() == ".png"}
            if not self._files:
                raise InputError(f"{path} holds no PNG; expected masks named <frame stem>.png")

    def for_stem(self, stem: str, first: bool) -> Mask | None:
        """The annotation of one frame.

        Args:
            stem: File stem of the frame, or its five-digit number in a video.
            first: Whether this is the first frame, which must have objects.

        Returns:
            The mask, or None for a later frame without one.

        Raises:
            InputError: The first frame has no mask or no object in it, or a mask can't be used.
        """
        if self._files is None:
            return read_mask(self._path, self._size, require_objects=True) if first else None
        file = self._files.get(stem)
        if file is None and first:
            names = sorted(found.name for found in self._files.values())
            listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
            raise InputError(
                f"{self._path}: the first frame needs the mask {stem}.png; there is {listed}"
            )
        return None if file is None else read_mask(file, self._size, require_objects=first)

    def unmatched(self, stems: set[str]) -> list[str]:
        """File names of the masks in the folder that belong to none of these frames, sorted.

        Args:
            stems: Stems of the frames.
        """
        return sorted(f.name for stem, f in (self._files or {}).items() if stem not in stems)
