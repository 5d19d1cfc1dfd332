"""The history of a project: what was done, in a journal, and what holds now.

The journal is a file of JSON lines that only grows. A step sets values: masks of frames by version,
keyframes, objects. What holds now is found by applying the steps that aren't undone, in order, so
undoing and redoing compute nothing.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from mavos_deploy import records
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.objects import VOID
from mavos_deploy.runtime.system.files import writing

Number = Annotated[int, Meta(ge=0, lt=1 << 31)]
OwnId = Annotated[int, Meta(ge=1, lt=VOID)]


@dataclass(frozen=True)
class Thing:
    """An object that is followed.

    Attributes:
        id: Its id in masks.
        name: Its name.
        colour: `#rrggbb`.
    """

    id: OwnId
    name: Annotated[str, Meta(min_length=1, max_length=80)]
    colour: Annotated[str, Meta(pattern="^#[0-9a-f]{6}$")]


@dataclass(frozen=True)
class Run:
    """A pass of the tracker over neighbouring frames, which made a mask of each.

    Attributes:
        frame: The first frame that it made.
        step: 1 forward, -1 backward.
        version: Version of the first frame's mask; those of the others follow.
        count: Number of frames made.
        origin: Version of the mask that the memory held before the first frame.
        started: Whether the memory began with the origin; otherwise it went on from there.
        model: Identity of the tracker.
        objects: Ids of the objects that there were; others in masks were deleted before.
        corrections: By frame, the version of the keyframe that corrected it on the way.
        kept: Ids that it didn't follow, and whose earlier pixels it left in its masks.
        fuse: How it joined passes from both sides between keyframes, as `mavos-run --fuse` says
            it; empty for a pass in one direction.
        only: Ids that alone were asked for, and alone are in its memory; empty for all.
    """

    frame: Number
    step: Annotated[int, Meta(ge=-1, le=1)]
    version: Number
    count: Number
    origin: Number
    started: bool
    model: str
    objects: tuple[OwnId, ...]
    corrections: Mapping[str, Number] = field(default_factory=dict)
    kept: tuple[OwnId, ...] = ()
    fuse: str = ""
    only: tuple[OwnId, ...] = ()

    @property
    def versions(self) -> range:
        """Versions that it made."""
        return range(self.version, self.version + self.count)

    def frame_of(self, version: int) -> int:
        """Frame of one of its versions."""
        return self.frame + self.step * (version - self.version)


@dataclass(frozen=True)
class Step:
    """One thing that was done, and can be undone.

    Attributes:
        text: What it was, for people.
        masks: New version of each frame's mask, by frame; 0 for none.
        keyframes: Version of each frame's keyframe, by frame; 0 for none.
        objects: New or changed objects.
        deleted: Ids of objects that are deleted.
        runs: Passes of the tracker.
    """

    text: str
    masks: Mapping[str, Number] = field(default_factory=dict)
    keyframes: Mapping[str, Number] = field(default_factory=dict)
    objects: tuple[Thing, ...] = ()
    deleted: tuple[OwnId, ...] = ()
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True)
class _Line:
    """A line of the journal: one of its fields is set.

    Attributes:
        do: A step.
        begin: A step whose last run goes on; the masks behind it belong to it until a line ends it.
        undo: The last step is undone.
        redo: It is done again.
        hidden: Ids of the objects that are hidden.
    """

    do: Step | None = None
    begin: Step | None = None
    undo: bool = False
    redo: bool = False
    hidden: tuple[OwnId, ...] | None = None

    def __post_init__(self) -> None:
        if not (self.do or self.begin or self.undo or self.redo or self.hidden is not None):
            raise ValueError("it says nothing that this release knows")


@dataclass(eq=False)
class Now:
    """What holds after some steps.

    Attributes:
        masks: Version of each frame's mask, int64, 0 for none.
        keyframes: Version of the mask that a person made, by frame.
        objects: Objects by id, deleted ones left out.
        used: Ids that any step has used; none is given twice.
        runs: All passes of the tracker, in order.
    """

    masks: NDArray[np.int64]
    keyframes: dict[int, int] = field(default_factory=dict)
    objects: dict[int, Thing] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    runs: list[Run] = field(default_factory=list)

    def copy(self) -> "Now":
        """The same, which later steps don't change."""
        return Now(
            self.masks.copy(),
            dict(self.keyframes),
            dict(self.objects),
            set(self.used),
            list(self.runs),
        )

    def apply(self, step: Step) -> None:
        """Take a step."""
        for run in step.runs:
            frames = run.frame + run.step * np.arange(run.count)
            self.masks[frames] = run.version + np.arange(run.count)
        for frame, version in step.masks.items():
            self.masks[int(frame)] = version
        for frame, version in step.keyframes.items():
            self.keyframes.pop(int(frame), None)
            if version:
                self.keyframes[int(frame)] = version
        for thing in step.objects:
            self.objects[thing.id] = thing
            self.used.add(thing.id)
        for number in step.deleted:
            self.objects.pop(number, None)
        self.runs += step.runs

    def run_of(self, version: int) -> Run | None:
        """The pass that made a version; None for one that a person made."""
        return next((run for run in reversed(self.runs) if version in run.versions), None)


class History:
    """The journal and what holds now. Use it under the project's lock.

    Attributes:
        now: What holds.
        hidden: Ids of objects that are hidden.
        revision: Number of lines of the journal.
    """

    def __init__(
        self,
        path: Path,
        length: int,
        frame_of: Callable[[int], int | None] = lambda version: None,
    ) -> None:
        """Open a journal, or begin one.

        Args:
            path: The file. A last line that isn't whole is cut off.
            length: Number of frames of the video.
            frame_of: Gives the frame of a version, None for one that was never made. A pass that a
                killed process left without an end made those behind its first one.

        Raises:
            InputError: It is damaged, or can't be read.
        """
        self._path = path
        self._lock = threading.RLock()
        self._length = length
        self._steps: list[Step] = []
        self._done = 0
        self._open: Step | None = None
        self._late: Step | None = None
        self.hidden: tuple[int, ...] = ()
        self.revision = 0
        whole = self._read() if path.exists() else 0
        with writing(path):
            self._file: BinaryIO = path.open("ab")
            self._file.truncate(whole)
        if self._open is not None:
            self.end(_recovered(self._open, frame_of))
        self.now = self._applied()

    def _read(self) -> int:
        """Take all whole lines; the number of their bytes."""
        content, whole = self._path.read_bytes(), 0
        for number, line in enumerate(content.splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                break

            def damaged(reason: str, number: int = number) -> InputError:
                return InputError(
                    f"{self._path}: line {number} is damaged ({reason}); remove it and the lines "
                    "behind it to go back to what was before"
                )

            self._take(records.decode(_Line, line, damaged))
            whole += len(line)
        return whole

    def _take(self, line: _Line) -> None:
        self.revision += 1
        if self._open is not None and (line.undo or line.redo):
            raise InputError(f"{self._path}: line {self.revision}: a pass has no end")
        if line.begin is not None:
            self._open = line.begin
        if line.do is not None:
            more = self._done and _goes_on(self._steps[self._done - 1], line.do)
            self._done -= 1 if more and self._open is not None else 0
            self._open = None
            self._steps = [*self._steps[: self._done], line.do]
            self._done += 1
        if line.undo:
            self._done = max(0, self._done - 1)
        if line.redo:
            self._done = min(len(self._steps), self._done + 1)
        if line.hidden is not None:
            self.hidden = line.hidden

    def _applied(self) -> Now:
        now = Now(np.zeros(self._length, np.int64))
        for step in self._steps[: self._done]:
            now.apply(step)
        for step in self._steps:
            now.used |= {thing.id for thing in step.objects}
        return now

    def _write(self, line: _Line) -> None:
        plain = {key: value for key, value in records.encode(line).items() if value}
        if line.hidden is not None:
            plain["hidden"] = list(line.hidden)
        text = json.dumps(plain, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        place = self._file.tell()
        try:
            with writing(self._path):
                self._file.write(text)
                self._file.flush()
                os.fsync(self._file.fileno())
        except BaseException:
            with suppress(OSError, ValueError):  # nothing of the line may stay
                self._file.close()
            self._file = self._path.open("ab")
            self._file.truncate(place)
            raise
        self._take(line)

    @property
    def undoable(self) -> str | None:
        """The step that would be undone, in words."""
        return self._steps[self._done - 1].text if self._done else None

    @property
    def redoable(self) -> str | None:
        """The step that would be done again, in words."""
        return self._steps[self._done].text if self._done < len(self._steps) else None

    def do(self, step: Step) -> None:
        """Take a step and keep it; steps that were undone are forgotten.

        Raises:
            InputError: The disk is full; nothing has changed.
        """
        self._catch_up()
        self._write(_Line(do=step))
        self.now.apply(step)

    def _catch_up(self) -> None:
        """Keep the end of a pass for which the disk was too full."""
        if self._late is not None:
            self.end(self._late)

    def begin(self, step: Step) -> None:
        """Keep the beginning of a step whose last pass goes on; see `end`."""
        self._catch_up()
        self._write(_Line(begin=step))

    def end(self, step: Step) -> None:
        """Keep a step that was begun, as far as it came.

        Raises:
            InputError: The disk is full; it is kept before the next step.
        """
        self._late = step
        self._write(_Line(do=step))
        self._late = None
        self.now = self._applied()

    def undo(self) -> str:
        """Take the last step back; its words."""
        self._catch_up()
        text = self.undoable
        if text is None:
            raise InputError("nothing can be undone")
        self._write(_Line(undo=True))
        self.now = self._applied()
        return text

    def redo(self) -> str:
        """Take the step again that was undone; its words."""
        self._catch_up()
        text = self.redoable
        if text is None:
            raise InputError("nothing can be done again")
        self._write(_Line(redo=True))
        self.now = self._applied()
        return text

    def hide(self, numbers: tuple[int, ...]) -> None:
        """Keep which objects are hidden, which can't be undone."""
        self._write(_Line(hidden=numbers))

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if not self._file.closed:
            with suppress(InputError):  # the disk is full; the next start finds the masks
                self._catch_up()
        self._file.close()


def _goes_on(before: Step, step: Step) -> bool:
    """Whether a step has more passes than the one before and is the same otherwise."""
    return bool(before.runs) and step.runs[: len(before.runs)] == before.runs


def _recovered(step: Step, frame_of: Callable[[int], int | None]) -> Step:
    """A step that a killed process had begun, with all masks that its last pass made."""
    last, count = step.runs[-1], 0
    while count < last.count and (frame_of(last.version + count) == last.frame + last.step * count):
        count += 1
    return ended(step, count)


def ended(step: Step, count: int, kept: tuple[int, ...] | None = None) -> Step:
    """A step whose last pass came so far.

    Args:
        step: The step as it was begun.
        count: Frames that its last pass made.
        kept: See `Run.kept`; None for all that it might have kept.
    """
    *before, last = step.runs
    passed = {
        frame: version
        for frame, version in last.corrections.items()
        if last.fuse or 0 <= (int(frame) - last.frame) * last.step < count
    }
    left = last.kept if kept is None else kept
    done = replace(last, count=count, corrections=passed, kept=left)
    return replace(step, runs=(*before, *([done] if count else [])))
