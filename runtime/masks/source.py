"""The label maps of a video beside its frames: found by name, and brought to the frames' size."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import ASPECT_LIMIT, Size
from mavos_deploy.runtime.masks.names import FrameNames
from mavos_deploy.runtime.masks.opening import open_label_maps
from mavos_deploy.runtime.media.turning import STORED, Turn
from mavos_deploy.runtime.objects import VOID, Labels
from mavos_deploy.runtime.resize import resize_labels

NOT_TURNED = "turn the mask so that it lies over the frame as it is shown"


class NoMaskError(InputError):
    """No frame that is left can have the first mask."""


@dataclass(frozen=True, eq=False)
class Mask:
    """Labels of one frame.

    Attributes:
        labels: uint8, shape (H, W); 0 is background, other values are object ids, gaps allowed.
        palette: RGB bytes of the file, 3 per index, at most 768; None for a grey mask.
    """

    labels: Labels
    palette: bytes | None


class MaskSource:
    """The annotations of one video: those of one frame, or of frames that they are named after.

    Attributes:
        notes: One line for each thing that was concluded from the masks that were read so far.
        lost: Returns a line for each object that others cover wholly; see `LabelMaps`.
        names: Names of objects by id, where the format has names.
        single: Whether it is one mask that is named after no frame.
    """

    def __init__(
        self,
        path: Path,
        size: Size | None = None,
        frames: Collection[str] | None = None,
        turn: Turn = STORED,
        stored: Size | None = None,
    ) -> None:
        """Find the annotations; they are read when asked for.

        Args:
            path: A mask file, a folder of masks, or an annotation file.
            size: Height and width of the frames in pixels; None accepts any.
            frames: Names of all frames; None where frames are named by their number.
            turn: How the frames' stored pictures are turned and mirrored to be shown.
            stored: Height and width of the frames in their file, where they are shown in another
                shape; masks of that size are right, too.

        Raises:
            InputError: The path does not exist, or holds no masks, or a number in names is that of
                several masks or frames.
        """
        self._path = path
        self._size = size
        self._turn = turn
        self._stored = stored
        self._passed = set[str]()
        self._maps = open_label_maps(path, frames)
        self._names = FrameNames(self._maps.frames, frames)
        self.names = self._maps.names
        self.single = self._maps.single
        if not self.single:
            self._names.check()
        self.notes = self._maps.notes
        self.lost = self._maps.lost

    def for_stem(self, stem: str, first: bool) -> Mask | None:
        """The annotation of one frame.

        Args:
            stem: File stem of the frame, or its five-digit number in a video.
            first: Whether no earlier frame had a mask, so that this one must have objects.

        Returns:
            The mask, or None for a frame without one.

        Raises:
            InputError: No later frame can have a first mask either, the first mask has no object,
                or a mask can't be used.
        """
        name = self._name_of(stem, first)
        if name is None:
            return None
        labels = self._maps.frames[name]()
        if first and not labels.any() and self._has_later(name):
            text = f"masks without an object before the first one are passed over: frame {stem}"
            self._note(text, once=60)
            self._passed.add(name)
            return None
        what = str(self._maps.files.get(name, f"{self._path}: frame {name}"))
        if self._size is not None:
            labels = self._fitted(what, labels, self._size)
        _check(what, labels, require_objects=first)
        return Mask(labels, self._maps.palette())

    def has(self, stem: str) -> bool:
        """Whether there is a mask that is named after a frame."""
        return not self.single and self._names.mask_of(stem) is not None

    def tell_place(self, stem: str) -> None:
        """Note that a single mask is taken for a frame, where its name is another frame's number.

        Args:
            stem: The frame that it was taken for.
        """
        own = self._path.stem
        if self.single and own.isdecimal() and stem.isdecimal() and int(own) != int(stem):
            self._note(
                f"{self._path.name} is taken as the mask of frame {stem}; put it into a folder, "
                f"and give that as --masks, if it belongs to frame {own}"
            )

    def _name_of(self, stem: str, first: bool) -> str | None:
        if self._maps.single:
            return next(iter(self._maps.frames)) if first else None
        name = self._names.mask_of(stem)
        if name is None and first and not self._names.may_come(stem):
            raise self.none_belongs(f"frame {stem} or a later one", stem)
        if name is not None and name != stem and self._names.by_number:
            self._note(
                f"masks are matched with frames by number: {name} with frame {stem}", once=38
            )
        return name

    def none_belongs(self, where: str, stem: str) -> NoMaskError:
        """An error that names masks that are there, and says how to name them.

        Args:
            where: Frames that no mask belongs to.
            stem: Stem of one of them, for an example.
        """
        masks = list(self._maps.frames)
        listed = ", ".join(masks[:3]) + (f" and {len(masks) - 3} more" if masks[3:] else "")
        if self._maps.files or self._path.is_dir():
            how = f"name a mask after its frame, such as {stem}.png"
        else:
            how = f"name the images in the file after their frames, such as {stem}.jpg"
        return NoMaskError(f"{self._path}: no mask belongs to {where}; there is {listed}; {how}")

    def _has_later(self, name: str) -> bool:
        return not self._maps.single and name != list(self._maps.frames)[-1]

    def _fitted(self, what: str, labels: Labels, size: Size) -> Labels:
        """Labels at the frames' size."""
        own: Size = (labels.shape[0], labels.shape[1])
        if own == size:
            return labels
        if same_shape(own, size) or (self._stored and same_shape(own, self._stored)):
            self._note(
                f"masks are {own[0]}x{own[1]} and were resized to their frames' "
                f"{size[0]}x{size[1]} (nearest)"
            )
            return resize_labels(labels, *size)
        sizes = f"the mask is {own[0]}x{own[1]} but its frame is {size[0]}x{size[1]}"
        if same_shape((own[1], own[0]), size):
            advice = NOT_TURNED
            if self._turn.swaps:
                advice = f"the frame is shown {self._turn.words}, so do the same to the mask"
            raise InputError(
                f"{what}: {sizes}, turned by 90 degrees; {advice}; sizes are height x width"
            )
        raise InputError(
            f"{what}: {sizes}, which has another aspect; make the mask on a frame of this video, "
            "as it is shown; sizes are height x width"
        )

    def _note(self, text: str, once: int | None = None) -> None:
        """Add a note, unless one with the same first characters is there."""
        if not any(note[:once] == text[:once] for note in self.notes):
            self.notes.append(text)

    def unmatched(self, stems: set[str]) -> list[str]:
        """Names of the masks' files, or frames, that belong to none of these frames, in order.

        Args:
            stems: Stems of the frames.
        """
        if self._maps.single:
            return []
        used = {self._names.mask_of(stem) for stem in stems} | self._passed
        left = [name for name in self._maps.frames if name not in used]
        return [self._maps.files[name].name if name in self._maps.files else name for name in left]


def same_shape(size: Size, other: Size) -> bool:
    """Whether one size is the other one scaled, as far as whole pixels allow, or off by a pixel."""
    if abs(size[0] - other[0]) <= 1 and abs(size[1] - other[1]) <= 1:
        return True
    (height, width), (other_height, other_width) = sorted((size, other))
    ratio = (width * other_height) / (height * other_width)
    if max(ratio, 1 / ratio) > 1 + ASPECT_LIMIT:
        return False
    return abs(height - other_height * width / other_width) <= 1 or (
        abs(width - other_width * height / other_height) <= 1
    )


def _check(what: str, labels: Labels, require_objects: bool) -> None:
    if void := np.count_nonzero(labels == VOID):
        if require_objects and not ((labels > 0) & (labels < VOID)).any():
            raise InputError(f"{what}: no object in the mask; every pixel is 0 or void (255)")
        raise InputError(
            f"{what}: {void} pixels are 255, and 255 marks void in DAVIS; set them to 0, or to "
            "the id of their object"
        )
    if require_objects and not labels.any():
        raise InputError(f"{what}: no object in the mask; every pixel is 0")
