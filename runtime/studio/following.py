"""Following in a thread of its own, which pauses and stops, and keeps each mask as it is made."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from mavos_deploy.errors import InputError, MavosError, one_line, shortage
from mavos_deploy.runtime.media.access import Clip, FrameAccess
from mavos_deploy.runtime.media.frames import SourceFrame
from mavos_deploy.runtime.media.pipeline import ReadAhead
from mavos_deploy.runtime.objects import Labels, ids_of, only_objects
from mavos_deploy.runtime.review.events import Watch
from mavos_deploy.runtime.studio.fusing import frames_read, fused, keyframes_of
from mavos_deploy.runtime.studio.happenings import Happening
from mavos_deploy.runtime.studio.history import Run, Step, ended
from mavos_deploy.runtime.studio.passes import (
    Direction,
    Memory,
    chosen,
    plan,
    plan_fused,
    same_objects,
    without,
)
from mavos_deploy.runtime.studio.progress import Progress
from mavos_deploy.runtime.studio.project import Project
from mavos_deploy.runtime.studio.states import Tracker

AHEAD = 1  # frame that is prepared ahead; each takes 8 MB of a full HD video and its features
EVERY = 10  # frames between two states that are kept
SYNC = 0.5  # seconds after which masks are on the disk
SMOOTH = 0.2  # weight of the newest frame in the speed that is shown


class _StoppedError(Exception):
    """Following is to end, and everything made so far stays."""


def _why(error: Exception) -> str:
    """Why following ended, in words for the page."""
    if isinstance(error, MavosError):
        return str(error)
    return shortage(error) or f"{type(error).__name__}: {one_line(error)}"


class Following:
    """Follows the objects of one project, one pass after the other.

    Args:
        tracker: The tracker.
        project: The project.
        clip: The video.
        lock: The project's lock, held for each change of the history.
        on_mask: Called after each mask with its frame, the confidence in its objects, and whether
            something happened in it.
        on_progress: Called with every change.
    """

    def __init__(
        self,
        tracker: Tracker,
        project: Project,
        clip: Clip,
        lock: threading.RLock,
        on_mask: Callable[[int, Mapping[int, float], bool], None],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._tracker = tracker
        self._states = project.states
        self._versions = project.versions
        self._history = project.history
        self._certainty = project.certainty
        self._happenings = project.happenings
        self._clip = clip
        self._lock = lock
        self._on_mask = on_mask
        self._on_progress = on_progress
        self._wake = threading.Condition()
        self._wanted: Literal["run", "pause", "stop"] = "stop"
        self._thread: threading.Thread | None = None
        self._since = 0.0  # when the last frame was made
        self.progress = Progress()

    @property
    def active(self) -> bool:
        """Whether a pass is under way, paused or not."""
        return self.progress.state != "idle"

    def start(
        self,
        frame: int,
        direction: Direction,
        until: int | None,
        fuse: str | None = None,
        objects: tuple[int, ...] | None = None,
    ) -> None:
        """Begin to follow, under the project's lock.

        Args:
            frame: Frame to go on from; it has a mask.
            direction: The way to go.
            until: The last frame to make; None for the end of the video, or its beginning.
            fuse: A word of `Fuse`, which begins at the first keyframe and joins passes from both
                sides between keyframes; None for passes in one direction.
            objects: Ids to follow alone, in one direction; the others keep their masks. None for
                all.

        Raises:
            InputError: Nothing can be followed from there.
        """
        steps = {"forward": (1,), "backward": (-1,), "both": (1, -1)}[direction]
        ends = {1: self._clip.length - 1, -1: 0}
        if until is not None:
            ends[steps[0]] = until
        now, model = self._history.now, self._tracker.identity
        only = chosen(now, objects)
        if fuse is not None:
            if only:
                raise InputError("from both sides all objects are followed; leave `objects` out")
            self._begin_fused(plan_fused(now, ends[1], model, fuse))
            return
        if only:
            self._check_only(frame, only)
        planned = [plan(now, frame, step, ends[step], model, only) for step in steps]
        runs = [run for run in planned if run is not None]
        if not runs:
            where = "a later" if direction == "backward" else "an earlier"
            raise MavosError(
                f"nothing is left to follow {direction} from frame {frame}; go to {where} frame "
                "that has a mask"
            )
        self._show(
            Progress(
                "running", frame, direction, ends[steps[0]], total=sum(run.count for run in runs)
            )
        )
        alone = f", object {', '.join(map(str, only))} alone" if only else ""
        self._begin(f"following {direction} from frame {frame}{alone}", runs)

    def _check_only(self, frame: int, only: tuple[int, ...]) -> None:
        """Refuse objects that a pass can't begin with; one that goes on may have lost them."""
        version = int(self._history.now.masks[frame])
        run = self._history.now.run_of(version) if version else None
        if run is not None and same_objects(self._history.now, run, only):
            return
        there = ids_of(self._versions.labels(version)) if version else ()
        if not set(only) & set(there):
            named = ", ".join(map(str, only))
            who = f"object {named} has" if len(only) == 1 else f"objects {named} have"
            raise InputError(f"{who} no mask in frame {frame}; make one first")

    def _begin_fused(self, run: Run) -> None:
        origin, until = run.frame - 1, run.frame + run.count - 1
        total = frames_read(run)
        self._show(Progress("running", origin, until=until, total=total, fuse=run.fuse))
        self._begin(f"following from keyframes on both sides, from frame {origin}", [run])

    def _begin(self, text: str, runs: list[Run]) -> None:
        self._wanted = "run"
        self._thread = threading.Thread(
            target=self._work, args=(text, runs), name="mavos-following", daemon=True
        )
        self._thread.start()

    def pause(self) -> None:
        """Wait after the frame that is being made."""
        self._want("pause")

    def resume(self) -> None:
        """Go on after a pause."""
        self._want("run")

    def stop(self) -> None:
        """End, and wait until the masks made so far are kept. Not under the project's lock."""
        self._want("stop")
        if self._thread is not None:
            self._thread.join()

    def _want(self, wanted: Literal["run", "pause", "stop"]) -> None:
        with self._wake:
            if self.active and self._wanted != "stop":
                self._wanted = wanted
                if wanted != "stop":
                    state: Literal["running", "paused"] = "running" if wanted == "run" else "paused"
                    self._show(replace(self.progress, state=state))
            self._wake.notify_all()

    def _show(self, progress: Progress) -> None:
        self.progress = progress
        self._on_progress(progress)

    def _check(self) -> None:
        """Wait while it is paused.

        Raises:
            _StoppedError: It is to end.
        """
        with self._wake:
            if self._wanted == "pause":
                self._wake.wait_for(lambda: self._wanted != "pause")
                self._since = time.perf_counter()
            if self._wanted == "stop":
                raise _StoppedError

    def _work(self, text: str, runs: list[Run]) -> None:
        message = ""
        frames = FrameAccess(self._clip)
        step = Step(text)
        try:
            for run in runs:
                step = self._pass(step, run, frames)
        except _StoppedError:
            pass
        except Exception as error:  # shown on the page, whatever it is
            message = _why(error)
        finally:
            try:
                frames.close()
                self._tracker.rest()
            except Exception as error:  # the first reason is the one to know
                message = message or _why(error)
            finally:
                with self._wake:
                    self._wanted = "stop"
                    self._show(replace(self.progress, state="idle", message=message))

    def _pass(self, step: Step, run: Run, frames: FrameAccess) -> Step:
        """One pass, which is kept as far as it comes, whatever ends it.

        Args:
            step: The step so far, with the passes before.
            run: The pass.
            frames: The video.

        Returns:
            The step with the pass.
        """
        made = _Made()
        make: Callable[[Run], None]
        if run.fuse:
            keyframes = keyframes_of(run, self._versions)
            known = {number for labels in keyframes.values() for number in ids_of(labels)}
            make = partial(self._fused, keyframes=keyframes, made=made)
        else:
            memory = Memory(self._tracker, self._states, self._versions, frames)
            state = memory.before(run, self._history.now, self._check)
            state = without(self._tracker, state, run)
            known = set(state.ids)
            make = partial(self._frames, memory=memory, state=state, made=made)
        self._look_back(run, frames, made.watch)
        with self._lock:
            unknown = tuple(i for i in sorted(self._history.now.objects) if i not in known)
            run = replace(run, version=len(self._versions) + 1, kept=unknown)
            step = replace(step, runs=(*step.runs, run))
            self._history.begin(step)
        try:
            make(run)
        finally:
            with self._lock:
                step = ended(step, made.count, tuple(sorted(made.kept)))
                self._history.end(step)
        return step

    def _look_back(self, run: Run, frames: FrameAccess, watch: Watch) -> None:
        """Let a watch see the mask that a pass begins with."""
        number = self._versions.frame_of(run.origin)
        labels = only_objects(self._versions.labels(run.origin), set(self._history.now.objects))
        watch.look(number, self._clip.stems[number], labels, frames.read(number).rgb)

    def _frames(self, run: Run, memory: Memory, state: Any, made: "_Made") -> None:  # noqa: ANN401
        segmenter, access = self._tracker.segmenter, memory.frames
        last = run.frame_of(run.version + run.count - 1)
        prepared = ((frame, segmenter.prepare(frame.rgb)) for frame in access.span(run.frame, last))
        version, synced = 0, time.monotonic()
        self._since = time.perf_counter()
        try:
            with ReadAhead(prepared, AHEAD) as reader:
                for frame, ready in reader:
                    self._check()
                    known = memory.annotation(run, frame.index)
                    labels, state = segmenter.step(ready, state, known)
                    version = self._keep(run, frame, labels, state.confidence, made)
                    self._states.remember(version, state)
                    if made.count % EVERY == 0:
                        self._states.keep(version, state)
                    if time.monotonic() - synced > SYNC:
                        self._versions.sync()
                        synced = time.monotonic()
                    self._advance(frame.index, 1)
        finally:
            self._versions.sync()
            if version:
                self._states.keep(version, state)

    def _fused(self, run: Run, keyframes: dict[int, Labels], made: "_Made") -> None:
        """The frames of a pass that is joined from both sides, without states."""
        folder = self._versions.folder
        self._since = time.perf_counter()

        def read() -> None:  # in the thread that reads, while this one waits for the passes
            self._check()
            self._advance(None, 1)

        with fused(self._tracker, self._clip, run, keyframes, folder, read) as way:
            try:
                for found in way:
                    self._check()
                    self._keep(run, found.frame, found.labels, found.confidence, made)
                    self._advance(found.frame.index, 0)
            finally:
                self._versions.sync()

    def _keep(
        self,
        run: Run,
        frame: SourceFrame,
        labels: Labels,
        told: Mapping[int, float | None],
        made: "_Made",
    ) -> int:
        """Keep a mask with the confidence and the events in it; its version."""
        number = frame.index
        labels = only_objects(labels, set(run.objects))
        confidence = {i: v for i, v in told.items() if v is not None and i in run.objects}
        if run.kept and (before := int(self._history.now.masks[number])):
            earlier = only_objects(self._versions.labels(before), set(run.kept))
            if run.only:  # the others keep their masks, those that were corrected too
                labels = np.where(earlier > 0, 0, labels).astype(labels.dtype)
            earlier[labels > 0] = 0
            made.kept.update(ids_of(earlier))
            labels = labels | earlier
            confidence |= {i: v for i, v in self._certainty.of(before).items() if i in run.kept}
        version = self._versions.add(number, labels)
        made.count += 1
        with self._lock:
            self._history.now.masks[number] = version
        self._certainty.add(version, confidence)
        events = made.watch.look(number, frame.stem, labels, frame.rgb)
        self._happenings.add(
            [Happening(version, number, e.objects, str(e.kind), e.text) for e in events]
        )
        self._on_mask(number, confidence, bool(events))
        return version

    def _advance(self, number: int | None, done: int) -> None:
        """Show that a frame is made, if it is, and how many of the frames to do are done."""
        now = time.perf_counter()
        with self._wake:
            shown = self.progress
            fps = shown.fps
            if done:
                speed, self._since = 1 / max(now - self._since, 1e-6), now
                fps = speed if fps is None else fps * (1 - SMOOTH) + speed * SMOOTH
            frame = shown.frame if number is None else number
            self._show(replace(shown, frame=frame, done=shown.done + done, fps=fps))


@dataclass
class _Made:
    """What a pass has made so far.

    Attributes:
        count: Number of frames.
        kept: Ids of objects that it doesn't follow and left as they were.
        watch: Looks for events in its masks.
    """

    count: int = 0
    kept: set[int] = field(default_factory=set)
    watch: Watch = field(default_factory=Watch)
