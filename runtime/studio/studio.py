"""All that a page can ask of a project; safe to use from several threads."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.access import Clip
from mavos_deploy.runtime.objects import Labels, only_objects
from mavos_deploy.runtime.studio.editing import ConflictError, Editor
from mavos_deploy.runtime.studio.exporting import FOLDER, Content, Export, Exporter, Order, kinds
from mavos_deploy.runtime.studio.following import Following
from mavos_deploy.runtime.studio.making import MaskMaker, Prompt
from mavos_deploy.runtime.studio.passes import Direction
from mavos_deploy.runtime.studio.pictures import Pictures
from mavos_deploy.runtime.studio.progress import Progress
from mavos_deploy.runtime.studio.project import Project
from mavos_deploy.runtime.studio.reproducing import (
    Reproduction,
    legend_of,
    ranges,
    write_keyframes,
)
from mavos_deploy.runtime.studio.states import Tracker
from mavos_deploy.runtime.studio.telling import (
    about_model,
    about_project,
    confidence_in,
    events_in,
    facts_of,
)

Message = dict[str, Any]


@dataclass(frozen=True)
class MaskOf:
    """The mask of a frame as the page gets it.

    Attributes:
        labels: uint8 [height, width].
        version: Its version; 0 for none.
        keyframe: Whether a person made it.
    """

    labels: Labels
    version: int
    keyframe: bool


class Studio:
    """One open project with its tracker.

    Args:
        project: The project.
        clip: The video.
        tracker: The tracker.
        maker: Makes masks from prompts.
    """

    def __init__(self, project: Project, clip: Clip, tracker: Tracker, maker: MaskMaker) -> None:
        self.project = project
        self.clip = clip
        self._tracker = tracker
        self._maker = maker
        self._making = threading.Lock()
        self._lock = threading.RLock()
        self._telling = threading.Lock()  # taken after the other one, never before it
        self._listeners: list[Callable[[Message], None]] = []
        self._editor = Editor(clip, project.versions, project.history)
        self.pictures = Pictures(clip, project.folder, self._thumbnails)
        self._following = Following(tracker, project, clip, self._lock, self._made, self._followed)
        self._exporter = Exporter(project.folder, clip.source, clip.length, self._exported)

    # What the page hears.

    def listen(self, listener: Callable[[Message], None]) -> Callable[[], None]:
        """Call a function with the project, and then with every message, from any thread.

        Returns:
            A function that ends it.
        """
        with self._lock:
            first = {"type": "project", "project": self.about()}
            with self._telling:
                listener(first)
                self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self, message: Message) -> None:
        with self._telling:
            for listener in list(self._listeners):
                listener(message)

    def _tell_all(self) -> None:
        with self._lock:  # so that no older project is told behind a newer one
            self._tell({"type": "project", "project": self.about()})
            self._tell({"type": "events", "events": self.events()})

    def _made(self, frame: int, confidence: Mapping[int, float], happened: bool) -> None:
        revision = self.project.history.revision
        self._tell({"type": "masks", "frames": [[frame, frame]], "revision": revision})
        values = {str(number): [round(value, 3)] for number, value in confidence.items()}
        self._tell({"type": "confidence", "from": frame, "to": frame, "objects": values})
        if happened:
            self._tell({"type": "events", "events": self.events()})

    def _followed(self, progress: Progress) -> None:
        self._tell({"type": "following", "following": progress.as_json()})
        if progress.state == "idle":
            self._tell_all()
            if progress.message:
                self._tell({"type": "notice", "level": "error", "text": progress.message})

    def _exported(self, export: Export) -> None:
        self._tell({"type": "export", "export": export.as_json()})

    def _thumbnails(self, done: int, every: int) -> None:
        self._tell({"type": "thumbnails", "done": done, "every": every})

    # What the page asks for.

    def about(self) -> Message:
        """The whole project but its masks, as the page gets it."""
        with self._lock:
            return {
                **about_project(self.project, self.clip),
                "following": self._following.progress.as_json(),
                "exports": [export.as_json() for export in self._exporter.exports],
                "thumbnails": self.pictures.progress(),
                "model": about_model(self._tracker, self.clip),
                "engines": list(self._maker.engines),
                "results": kinds(),
            }

    def mask(self, frame: int) -> MaskOf:
        """The mask of a frame.

        Raises:
            InputError: There is no such frame.
        """
        self._check(frame)
        with self._lock:
            now = self.project.history.now
            version = int(now.masks[frame])
            return MaskOf(self._editor.mask(frame), version, frame in now.keyframes)

    def confidence(self, first: int, last: int) -> Message:
        """Confidence in each object of each frame of a part; see `confidence_in`."""
        self._check(first, last)
        with self._lock:
            return confidence_in(self.project, first, last)

    def events(self) -> list[Message]:
        """Events in the masks that hold, one for each object that it is about."""
        with self._lock:
            return events_in(self.project)

    def _check(self, *frames: int) -> None:
        for frame in frames:
            if not 0 <= frame < self.clip.length:
                raise InputError(f"no frame {frame}; the video has 0 to {self.clip.length - 1}")

    def prompt(self, frame: int, prompt: Prompt, labels: Labels | None) -> NDArray[np.bool_]:
        """An object's mask from what a person drew; nothing is kept.

        Args:
            frame: Number of the frame.
            prompt: What was drawn.
            labels: The frame's masks so far; None for those of the project.
        """
        rgb = self.pictures.frame(frame)
        known = self.mask(frame).labels if labels is None else labels
        with self._making:
            return self._maker.make(frame, rgb, prompt, known)

    # Changes. Each ends following first, since it may change what that rests on.

    def _changed(self, *frames: int) -> int:
        revision = self.project.history.revision
        spans = [[frame, frame] for frame in frames]
        if spans:
            self._tell({"type": "masks", "frames": spans, "revision": revision})
        self._tell_all()
        return revision

    def put_mask(self, frame: int, labels: Labels, base: int, edited: set[int]) -> Message:
        """Take a mask that a person made; see `Editor.put`."""
        self._check(frame)
        self._following.stop()
        with self._lock:
            notes = self._editor.put(frame, labels, base, edited)
            version = int(self.project.history.now.masks[frame])
            return {"version": version, "revision": self._changed(frame), "notes": notes}

    def copy_mask(self, frame: int, origin: int, base: int, ids: set[int] | None) -> Message:
        """Take another frame's mask; see `Editor.copy`."""
        self._check(frame, origin)
        self._following.stop()
        with self._lock:
            notes = self._editor.copy(frame, origin, base, ids)
            version = int(self.project.history.now.masks[frame])
            return {"version": version, "revision": self._changed(frame), "notes": notes}

    def take_masks(self, frame: int, path: Path, name: str) -> Message:
        """Take the masks of a file that a person knows by a name; see `Editor.take`."""
        self._check(frame)
        self._following.stop()
        with self._lock:
            taken = self._editor.take(frame, path)
            return {
                "frames": taken.frames,
                "notes": [line.replace(str(path), name) for line in taken.notes],
                "lost": [line.replace(str(path), name) for line in taken.lost],
                "revision": self._changed(*taken.frames),
            }

    def drop_mask(self, frame: int) -> Message:
        """Take a frame's mask away."""
        self._check(frame)
        self._following.stop()
        with self._lock:
            self._editor.drop(frame)
            return {"revision": self._changed(frame)}

    def add_object(self, name: str | None, colour: str | None) -> Message:
        """Make an object."""
        self._following.stop()
        with self._lock:
            thing = self._editor.add_object(name, colour)
            return {**vars(thing), "visible": True, "revision": self._changed()}

    def change_object(
        self, number: int, name: str | None, colour: str | None, visible: bool | None
    ) -> Message:
        """Give an object another name, colour or visibility."""
        if name is not None or colour is not None:
            self._following.stop()
        with self._lock:
            history = self.project.history
            thing = history.now.objects.get(number)
            if name is not None or colour is not None or thing is None:
                thing = self._editor.change_object(number, name, colour)
            hidden = set(history.hidden)
            if visible is not None and visible == (number in hidden):
                history.hide(tuple(sorted(hidden ^ {number})))
            shown = number not in history.hidden
            return {**vars(thing), "visible": shown, "revision": self._changed()}

    def delete_object(self, number: int) -> Message:
        """Delete an object."""
        self._following.stop()
        with self._lock:
            self._editor.delete_object(number)
            return {"revision": self._changed(), "text": ""}

    def undo(self, revision: int | None, again: bool = False) -> Message:
        """Take the last step back, or take it again.

        Args:
            revision: The revision that the page knows; None takes any.
            again: Whether to do again what was undone.

        Raises:
            ConflictError: The project has another revision by now.
        """
        was_active = self._following.active
        self._following.stop()
        with self._lock:
            history = self.project.history
            if revision is not None and revision != history.revision and not was_active:
                raise ConflictError(
                    "the project was changed meanwhile, on another page; look at it first"
                )
            before = history.now.masks.copy()
            text = history.redo() if again else history.undo()
            changed = ranges(history.now.masks != before)
            if changed:
                self._tell({"type": "masks", "frames": changed, "revision": history.revision})
            return {"revision": self._changed(), "text": text}

    # Following.

    def follow(
        self,
        frame: int,
        direction: Direction,
        until: int | None,
        fuse: str | None = None,
        only: tuple[int, ...] | None = None,
    ) -> Message:
        """Begin to follow; see `Following.start`.

        Raises:
            ConflictError: It runs already.
        """
        self._check(frame, *([] if until is None else [until]))
        if until is not None and direction == "both":
            raise InputError("following both ways has two ends; leave `until` out")
        with self._lock:
            if self._following.active:
                raise ConflictError("it is following already; stop it first")
            self._following.start(frame, direction, until, fuse, only)
            return self._following.progress.as_json()

    def steer(self, word: Literal["pause", "resume", "stop"]) -> Message:
        """Let following wait or go on, or end it; everything made so far stays."""
        following = self._following
        act = {"pause": following.pause, "resume": following.resume, "stop": following.stop}
        act[word]()
        return following.progress.as_json()

    # Taking away.

    def _ordered(self, order: Order) -> tuple[Content, tuple[int, ...] | None, Reproduction]:
        """Content and ids of an order, and what holds, as later changes don't touch it."""
        project, now = self.project, self.project.history.now
        found = np.flatnonzero(now.masks)
        if not found.size:
            raise InputError("no frame has a mask; make one first")
        start = int(found[0]) if order.start is None else order.start
        end = int(found[-1]) if order.end is None else order.end
        self._check(start, end)
        if end < start:
            raise InputError(f"the part ends at frame {end}, before it starts at {start}")
        ids = set(now.objects) if order.objects is None else set(order.objects)
        if unknown := sorted(ids - set(now.objects)):
            raise InputError(f"no object {unknown[0]}; it may have been deleted on another page")
        if not ids:
            raise InputError("no object is chosen; choose one or more")
        held = now.copy()

        def labels(frame: int) -> Labels:
            version = int(held.masks[frame])
            if not version:
                return np.zeros(self.clip.size, np.uint8)
            return only_objects(project.versions.labels(version), ids)

        def confidence(frame: int) -> dict[int, float]:
            told = project.certainty.of(int(held.masks[frame]))
            return {number: value for number, value in told.items() if number in ids}

        legend = legend_of(held.objects, Path(self.clip.source).stem)
        facts = facts_of(self._tracker)
        content = Content(range(start, end + 1), legend, labels, confidence, facts)
        some = None if ids == set(now.objects) else tuple(sorted(ids))
        return content, some, Reproduction(held, self.clip, project.versions, self._tracker)

    def command(self, order: Order) -> Message:
        """The command line that does the same as an export."""
        with self._lock:
            content, ids, made = self._ordered(order)
            keys = self.project.folder / FOLDER / "keyframes.mavosmasks"
            found = made.command(self._exporter.place(order), content.frames, ids, keys)
            # Whoever copies the command needs the file that it names.
            write_keyframes(keys, made.now, self.clip, self.project.versions, content.legend)
            return {"command": found.text, "same": found.same, "why": found.why}

    def export(self, order: Order) -> Message:
        """Begin to write a result.

        Raises:
            ConflictError: One is being written.
        """
        with self._lock:
            if self._exporter.active:
                raise ConflictError("a result is being written already; wait for it, or stop it")
            content, ids, made = self._ordered(order)
            wanted = self._exporter.place(order)
            keys = wanted.path.parent / "keyframes.mavosmasks"
            command = made.command(wanted, content.frames, ids, keys)
            write_keyframes(keys, made.now, self.clip, self.project.versions, content.legend)
            return self._exporter.start(wanted, command, content).as_json()

    def stop_export(self) -> None:
        """End the export that runs."""
        self._exporter.stop()

    def exported(self, number: int) -> Path:
        """File or folder of an export that is done.

        Raises:
            InputError: There is none.
        """
        for export in self._exporter.exports:
            if export.number == number and export.state == "done":
                path = Path(export.path)
                if not path.exists():
                    raise InputError(f"{path} is not there any more; export it again")
                return path
        raise InputError(f"no export {number} is done")

    def close(self) -> None:
        """End everything; what was done is kept."""
        self._following.stop()
        self._exporter.stop()
        self.pictures.close()
        self.project.close()
