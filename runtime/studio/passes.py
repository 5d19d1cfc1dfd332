"""Passes of the tracker: from which memory one goes on, and how that memory is made again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.access import FrameAccess
from mavos_deploy.runtime.objects import Labels, only_objects
from mavos_deploy.runtime.studio.history import Now, Run
from mavos_deploy.runtime.studio.states import States, Tracker
from mavos_deploy.runtime.studio.versions import Versions

Direction = Literal["forward", "backward", "both"]


def chosen(now: Now, objects: tuple[int, ...] | None) -> tuple[int, ...]:
    """Ids to follow alone; empty where those that are asked for are all.

    Raises:
        InputError: There is no such object, or none is asked for.
    """
    if objects is not None and not objects:
        raise InputError("no object is chosen to follow; leave `objects` out for all")
    wanted = set(objects or ())
    if unknown := sorted(wanted - set(now.objects)):
        raise InputError(f"no object {unknown[0]}; it may have been deleted on another page")
    return () if wanted == set(now.objects) else tuple(sorted(wanted))


def same_objects(now: Now, run: Run, only: tuple[int, ...]) -> bool:
    """Whether a pass followed these objects, of those that still exist.

    Args:
        now: What holds.
        run: The pass.
        only: Ids that are followed alone; empty for all.
    """
    if not run.only:
        return not only
    return set(run.only) & set(now.objects) == set(only or now.objects)


def plan(
    now: Now, frame: int, step: int, until: int, model: str, only: tuple[int, ...] = ()
) -> Run | None:
    """A pass from a frame on, before it has made anything.

    Args:
        now: What holds.
        frame: Frame to go on from.
        step: 1 forward, -1 backward.
        until: The last frame to make.
        model: Identity of the tracker.
        only: Ids to follow alone; empty for all objects.

    Returns:
        The pass, with version 0 and its whole length; None where no frame lies in that direction.

    Raises:
        InputError: The frame has no mask, or one that the tracker can't go on from.
    """
    version, key = int(now.masks[frame]), now.keyframes.get(frame)
    if not version:
        raise InputError(f"frame {frame} has no mask; make one first")
    run = now.run_of(version)
    own = _is_way(now, run, step, model, only)
    begin, origin, started = frame + step, version, False
    if own and run is not None and run.corrections.get(str(frame)) == key:
        pass  # the memory holds this mask already
    elif key is None:
        how = "by another bundle or backend" if run and run.step == step else "the other way"
        if run and run.step == step and not same_objects(now, run, only):
            how = "for other objects"
        raise InputError(
            f"frame {frame} is no keyframe, and its mask was made "
            + ("from both sides" if run and run.fuse else how)
            + "; correct its mask to make it a keyframe, or follow from a keyframe"
        )
    elif (before := _before(now, frame, step, model, only)) is not None:
        begin, origin = frame, before
    else:
        started = True
    if (until - begin) * step < 0:
        return None
    frames = range(begin, until + step, step)
    corrections = {str(f): now.keyframes[f] for f in frames if f in now.keyframes}
    objects = only or tuple(sorted(now.objects))
    run = Run(begin, step, 0, len(frames), origin, started, model, objects, corrections)
    return replace(run, only=only)


def _before(now: Now, frame: int, step: int, model: str, only: tuple[int, ...]) -> int | None:
    """Version of the mask on the frame before, if a pass of this kind made it."""
    place = frame - step
    if not 0 <= place < len(now.masks):
        return None
    version = int(now.masks[place])
    run = now.run_of(version) if version else None
    return version if _is_way(now, run, step, model, only) else None


def _is_way(now: Now, run: Run | None, step: int, model: str, only: tuple[int, ...]) -> bool:
    """Whether a pass went this way for these objects, so that its memory can go on."""
    if run is None or run.fuse:
        return False
    return (run.step, run.model) == (step, model) and same_objects(now, run, only)


def plan_fused(now: Now, until: int, model: str, fuse: str) -> Run:
    """A pass from the first keyframe on, which joins passes from both sides between keyframes.

    Args:
        now: What holds.
        until: The last frame to make.
        model: Identity of the tracker.
        fuse: A word of `Fuse`.

    Returns:
        The pass, with version 0 and its whole length.

    Raises:
        InputError: Fewer than two keyframes lie before the end.
    """
    first, *later = [frame for frame in sorted(now.keyframes) if frame <= until] or [0]
    if not later:
        raise InputError(
            f"up to frame {until} there is no second frame whose mask you made, so nothing lies "
            "between two of them; make a mask in a later frame, or follow forward"
        )
    corrections = {str(frame): now.keyframes[frame] for frame in later}
    objects, count, key = tuple(sorted(now.objects)), until - first, now.keyframes[first]
    return Run(first + 1, 1, 0, count, key, True, model, objects, corrections, fuse=fuse)


@dataclass(frozen=True)
class Memory:
    """Makes the state after a mask again, from kept ones and from the frames between.

    Attributes:
        tracker: The tracker.
        states: Its states.
        versions: All masks.
        frames: The video.
    """

    tracker: Tracker
    states: States
    versions: Versions
    frames: FrameAccess

    def before(self, run: Run, now: Now, on_step: Callable[[], None]) -> Any:  # noqa: ANN401
        """The state that a pass begins with.

        Args:
            run: The pass.
            now: What holds.
            on_step: Called before each frame that has to be computed again; it may raise.
        """
        if run.started:
            frame = self.frames.read(self.versions.frame_of(run.origin))
            labels = only_objects(self.versions.labels(run.origin), set(run.objects))
            return self.tracker.segmenter.start(frame.rgb, labels)
        return self._after(run.origin, now, on_step)

    def _after(self, version: int, now: Now, on_step: Callable[[], None]) -> Any:  # noqa: ANN401
        missing: list[tuple[Run, int]] = []
        state = self.states.get(version)
        while state is None:
            run = now.run_of(version)
            assert run is not None
            missing.append((run, version))
            if version > run.version:
                version -= 1
            elif run.started:
                state = self.before(run, now, on_step)
                break
            else:
                version = run.origin
            state = self.states.get(version)
        segmenter = self.tracker.segmenter
        for run, made in reversed(missing):
            on_step()
            number = run.frame_of(made)
            prepared = segmenter.prepare(self.frames.read(number).rgb)
            state = without(self.tracker, state, run)
            _, state = segmenter.step(prepared, state, self.annotation(run, number))
        return state

    def annotation(self, run: Run, frame: int) -> Labels | None:
        """Labels that are known for a frame of a pass."""
        version = run.corrections.get(str(frame))
        if version is None:
            return None
        labels = only_objects(self.versions.labels(version), set(run.objects))
        return labels if labels.any() else None


def without(tracker: Tracker, state: Any, run: Run) -> Any:  # noqa: ANN401
    """A state without the objects that were deleted before a pass."""
    gone = set(state.objects) - set(run.objects)
    return tracker.segmenter.remove(state, gone) if gone and set(state.objects) - gone else state


def chain(now: Now, version: int, frame_of: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """Frames and versions of the masks that the memory behind a mask was given, latest first.

    Args:
        now: What holds.
        version: Version of a mask.
        frame_of: Frame of a version.
    """
    while (run := now.run_of(version)) is not None:
        reached = run.frame_of(version)
        given = [(int(f), v) for f, v in run.corrections.items()]
        passed = [pair for pair in given if (reached - pair[0]) * run.step >= 0]
        yield from sorted(passed, key=lambda pair: -pair[0] * run.step)
        version = run.origin
        if run.started:
            break
    yield frame_of(version), version
