"""Changes of masks, keyframes and objects, each of them one step of the history."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.runtime.masks.source import MaskSource
from mavos_deploy.runtime.media.access import Clip
from mavos_deploy.runtime.objects import VOID, Labels, ids_of, only_objects
from mavos_deploy.runtime.protocol import check_labels
from mavos_deploy.runtime.studio.history import History, Step, Thing
from mavos_deploy.runtime.studio.versions import Versions

# Colours that are far apart and show on most pictures, by place; ids beyond them begin again.
COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#ffe119",
    "#f58231",
    "#911eb4",
    "#42d4f4",
    "#f032e6",
    "#bfef45",
    "#fabed4",
)


class ConflictError(MavosError):
    """A change that rests on something that has changed meanwhile, or can't be made just now."""


@dataclass(frozen=True)
class Taken:
    """The masks of a file that became those of frames.

    Attributes:
        frames: Frames that have a new mask.
        notes: Lines on how the file was read.
        lost: Lines on objects of the file that have no pixel.
    """

    frames: list[int]
    notes: list[str]
    lost: list[str]


class Editor:
    """Makes changes. Use it under the project's lock, while nothing follows.

    Args:
        clip: The video.
        versions: All masks.
        history: The history.
    """

    def __init__(self, clip: Clip, versions: Versions, history: History) -> None:
        self._clip = clip
        self._versions = versions
        self._history = history

    def mask(self, frame: int) -> Labels:
        """The mask of a frame without deleted objects, uint8 [height, width]."""
        return self._known(int(self._history.now.masks[frame]))

    def _known(self, version: int) -> Labels:
        if not version:
            return np.zeros(self._clip.size, np.uint8)
        return only_objects(self._versions.labels(version), set(self._history.now.objects))

    def put(self, frame: int, labels: Labels, base: int, edited: set[int]) -> list[str]:
        """Take a mask that a person made; the frame becomes a keyframe.

        Args:
            frame: Number of the frame.
            labels: Ids, uint8 [height, width].
            base: Version of the mask that was edited.
            edited: Ids that were edited; others stay as they are.

        Returns:
            Lines that the person should know.

        Raises:
            ConflictError: The mask is another by now.
            InputError: The labels can't be used, or an id is unknown.
        """
        now = self._history.now
        check_labels(labels, self._clip.size)
        if int(now.masks[frame]) != base:
            raise ConflictError(
                f"the mask of frame {frame} was changed meanwhile, on another page or by "
                "following; look at it and edit it again"
            )
        if unknown := sorted((edited | set(ids_of(labels))) - set(now.objects)):
            raise InputError(f"no object {unknown[0]}; it may have been deleted on another page")
        step, notes = self._edited(frame, labels, edited)
        self._history.do(replace(step, text=f"the mask of frame {frame}"))
        return notes

    def _edited(self, frame: int, labels: Labels, edited: set[int]) -> tuple[Step, list[str]]:
        """A step that sets objects of a frame, without its words."""
        now = self._history.now
        old_mask, old_key = self.mask(frame), self._known(now.keyframes.get(frame, 0))
        new = only_objects(labels, edited)
        whole, key = (_over(old, new, edited) for old in (old_mask, old_key))
        version = self._versions.add(frame, whole) if whole.any() else 0
        own = version if np.array_equal(whole, key) else 0
        if not own and key.any():
            own = self._versions.add(frame, key)
        self._versions.sync()
        notes = [
            f"object {number} has no pixel in frame {frame} now; where following passes, it is "
            "looked for again"
            for number in sorted(edited & set(ids_of(old_mask)) - set(ids_of(new)))
        ]
        name = str(frame)
        return Step("", masks={name: version}, keyframes={name: own}), notes

    def copy(self, frame: int, origin: int, base: int, ids: set[int] | None) -> list[str]:
        """Take objects of another frame's mask; see `put`."""
        labels = self.mask(origin)
        wanted = set(ids_of(labels)) if ids is None else ids
        if not only_objects(labels, wanted).any():
            raise InputError(f"frame {origin} has no mask to copy")
        return self.put(frame, only_objects(labels, wanted), base, wanted)

    def take(self, frame: int, path: Path) -> Taken:
        """Take the masks of a file.

        Args:
            frame: Number of the frame for a file that holds one mask.
            path: A mask or annotation file.

        Returns:
            Its frames, and how it was read.

        Raises:
            InputError: It can't be read, or belongs to no frame.
        """
        clip, now = self._clip, self._history.now
        named = clip.stems if clip.files else None
        source = MaskSource(path, clip.size, named, clip.told.turn, clip.told.stored)
        found: dict[int, Labels] = {}
        if source.single:
            mask = source.for_stem(clip.stems[frame], first=True)
            assert mask is not None
            found[frame] = mask.labels
        else:
            for number, stem in enumerate(clip.stems):
                mask = source.for_stem(stem, first=False)
                if mask is not None and mask.labels.any():
                    found[number] = mask.labels
        if not found:
            raise InputError("no mask in the file belongs to a frame of this video")
        given = sorted({number for labels in found.values() for number in ids_of(labels)})
        ids, notes = self._own_ids(given)
        new = tuple(
            self._thing(ids[number], source.names.get(number))
            for number in given
            if ids[number] not in now.objects
        )
        step = Step("an import of masks", objects=new)
        table = np.arange(256, dtype=np.uint8)
        table[list(ids)] = list(ids.values())
        for number, read in found.items():
            labels = table[read]
            part, _ = self._edited(number, labels, set(ids_of(labels)))
            step = replace(
                step,
                masks={**step.masks, **part.masks},
                keyframes={**step.keyframes, **part.keyframes},
            )
        self._history.do(step)
        return Taken(sorted(found), [*source.notes, *notes], source.lost())

    def _own_ids(self, given: list[int]) -> tuple[dict[int, int], list[str]]:
        """Ids for those of a file: their own, but for those of objects that were deleted."""
        now = self._history.now
        free = [i for i in range(1, VOID) if i not in now.used and i not in given]
        ids, notes = {}, []
        for number in given:
            gone = number in now.used and number not in now.objects
            if gone and not free:
                raise InputError(f"no more than {VOID - 1} objects can be told apart in a mask")
            ids[number] = free.pop(0) if gone else number
            if gone:
                notes.append(f"{number} was the id of a deleted object; it is {ids[number]} now")
        return ids, notes

    def drop(self, frame: int) -> None:
        """Take a frame's mask away; it is no keyframe any more.

        Raises:
            InputError: It has none.
        """
        if not self._history.now.masks[frame] and frame not in self._history.now.keyframes:
            raise InputError(f"frame {frame} has no mask that could be taken away")
        name = str(frame)
        self._history.do(Step(f"the removal of the mask of frame {frame}", {name: 0}, {name: 0}))

    def add_object(self, name: str | None, colour: str | None) -> Thing:
        """Make an object with an id that none had before.

        Raises:
            InputError: All ids are used up.
        """
        free = next((i for i in range(1, VOID) if i not in self._history.now.used), None)
        if free is None:
            raise InputError(f"no more than {VOID - 1} objects can be told apart in a mask")
        thing = self._thing(free, name, colour)
        self._history.do(Step(f"object {free}", objects=(thing,)))
        return thing

    def _thing(self, number: int, name: str | None = None, colour: str | None = None) -> Thing:
        plain = COLOURS[(number - 1) % len(COLOURS)]
        return Thing(number, (name or "").strip() or f"object {number}", colour or plain)

    def change_object(self, number: int, name: str | None, colour: str | None) -> Thing:
        """Give an object another name or colour.

        Raises:
            InputError: There is no such object.
        """
        before = self._object(number)
        thing = replace(before, name=(name or "").strip() or before.name)
        thing = replace(thing, colour=colour or thing.colour)
        if thing != before:
            self._history.do(Step(f"the name or colour of object {number}", objects=(thing,)))
        return thing

    def delete_object(self, number: int) -> None:
        """Delete an object from all masks.

        Raises:
            InputError: There is no such object.
        """
        self._object(number)
        self._history.do(Step(f"the deletion of object {number}", deleted=(number,)))

    def _object(self, number: int) -> Thing:
        thing = self._history.now.objects.get(number)
        if thing is None:
            raise InputError(f"no object {number}; it may have been deleted on another page")
        return thing


def _over(old: Labels, new: Labels, edited: set[int]) -> Labels:
    """Labels in which some objects have new pixels and no others."""
    kept = np.where(np.isin(old, sorted(edited)), 0, old)
    return np.where(new > 0, new, kept).astype(np.uint8)
