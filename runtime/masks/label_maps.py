"""Label maps of one video, whatever format they came in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.objects import Labels

FIRST = "first"  # name of the only frame of masks that name none


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """Label maps of one video, each made when it is asked for.

    Attributes:
        frames: Makes the label map of a frame, uint8 (H, W), 0 for the background, 255 for void;
            by the frame's name, in order of time. A name is the stem of a picture, or the number
            of a frame with five digits. Making one may raise InputError.
        names: Names of objects by id, where the format has names.
        size: Height and width in pixels, where the format states them.
        notes: One line for each thing that was concluded, for the user. Making label maps may add
            lines.
        palette: Returns RGB bytes, 3 per id, to show ids with, as far as label maps were made;
            None where the format has no colours.
        files: File of each frame's label map, by the frame's name, where it has one of its own.
        lost: Returns a line for each object of which others leave no pixel in a frame, as far as
            label maps were made.
        single: Whether these are the masks of one picture that may have any name, such as
            `first.png`.
    """

    frames: Mapping[str, Callable[[], Labels]]
    names: Mapping[int, str] = field(default_factory=dict)
    size: Size | None = None
    notes: list[str] = field(default_factory=list)
    palette: Callable[[], bytes | None] = lambda: None
    files: Mapping[str, Path] = field(default_factory=dict)
    lost: Callable[[], list[str]] = list
    single: bool = False
