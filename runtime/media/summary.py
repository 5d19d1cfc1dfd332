"""The result of a run, and what it takes from masks on the way."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.small_objects import small_objects
from mavos_deploy.runtime.masks.source import Mask
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.resize import resize_labels
from mavos_deploy.runtime.review.events import Event


@dataclass
class Summary:
    """The result of a run.

    Attributes:
        frames: Frames written.
        resumed: Frames among them that an earlier run had segmented.
        start: Stem of the frame that the first mask belongs to.
        objects: Ids followed at the end.
        added: Ids of objects that came after the first frame, with the stem of their first frame.
        corrected: Stems of the frames whose masks corrected objects that were known.
        empty_masks: Number of later masks that hold no object, and change nothing.
        unused_masks: Mask files that belong to no frame of the video.
        seconds: Time from the first frame to the last mask.
        notes: Lines that say what a written video could not take over from the source, and which
            objects are too small for the network, or covered by others in their masks.
        interrupted: Whether Ctrl-C ended the run. Everything written is whole then, and every
            frame that was segmented is written.
        stopped: Why a rule ended the run, or a memory with NaN; empty where neither did.
        events: Events of the run.
    """

    frames: int = 0
    resumed: int = 0
    start: str = ""
    objects: tuple[int, ...] = ()
    added: dict[int, str] = field(default_factory=dict)
    corrected: list[str] = field(default_factory=list)
    empty_masks: int = 0
    unused_masks: list[str] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    stopped: str = ""
    events: Sequence[Event] = ()

    @property
    def fps(self) -> float:
        """Frames per second, everything included."""
        return self.frames / self.seconds if self.seconds else 0.0

    def begin(self, labels: Labels, size: Size) -> None:
        """Note objects of a first mask that are too small for the network.

        Args:
            labels: The mask's labels.
            size: Height and width of frames in the network, in pixels.

        Raises:
            InputError: All of them are.
        """
        small = small_objects(labels, size)
        if not resize_labels(labels, *size).any():
            raise InputError("; ".join(small.values()))
        self.note(small.values())

    def known(
        self, mask: Mask | None, stem: str, ids: Collection[int], size: Size
    ) -> Labels | None:
        """The labels of a later mask, which adds or corrects objects; None where there is none.

        Args:
            mask: The mask of a frame, if it has one.
            stem: Stem of the frame.
            ids: Ids that are known.
            size: Height and width of frames in the network, in pixels.
        """
        if mask is None:
            return None
        if not mask.labels.any():
            self.empty_masks += 1
            return None
        if np.isin(mask.labels, list(ids)).any() and stem not in self.corrected:
            self.corrected.append(stem)
        self.note(small_objects(mask.labels, size).values())
        return mask.labels

    def joined(self, objects: tuple[int, ...], stem: str) -> None:
        """Note the objects that are followed after a frame."""
        new = [number for number in objects if number not in self.objects]
        self.added |= dict.fromkeys(new, stem)
        self.objects = objects

    def note(self, lines: Collection[str]) -> None:
        """Add lines to the notes that aren't there yet."""
        self.notes += [line for line in lines if line not in self.notes]
