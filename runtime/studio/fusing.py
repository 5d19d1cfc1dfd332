"""Masks between keyframes out of passes from both sides, made as `mavos-run --fuse` makes them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mavos_deploy.runtime.masks.formats.store import StoreWriter
from mavos_deploy.runtime.masks.source import MaskSource
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.media.access import Clip, missing
from mavos_deploy.runtime.media.found import Found
from mavos_deploy.runtime.media.frames import FrameSource, SourceFrame, open_frames
from mavos_deploy.runtime.media.part import part_of
from mavos_deploy.runtime.media.passes.clip import Clip as Frames
from mavos_deploy.runtime.media.passes.directions import Direction, Fuse, Passes
from mavos_deploy.runtime.media.passes.order import InOrder, Keyframe
from mavos_deploy.runtime.media.summary import Summary
from mavos_deploy.runtime.objects import Labels, only_objects
from mavos_deploy.runtime.studio.history import Run
from mavos_deploy.runtime.studio.project import IMPORT
from mavos_deploy.runtime.studio.states import Tracker
from mavos_deploy.runtime.studio.versions import Versions


class _Counted(Frames):
    """Frames that are told of as passes read them.

    Args:
        source: The video.
        on_read: Called for each frame that is read, in whatever thread reads it; it may raise.
    """

    def __init__(self, source: FrameSource, on_read: Callable[[], None]) -> None:
        super().__init__(source)
        self._on_read = on_read

    def read(self) -> Iterator[SourceFrame]:
        """See `Clip.read`."""
        for frame in super().read():
            self._on_read()
            yield frame

    def frames(self, first: int, last: int) -> Iterator[SourceFrame]:
        """See `Clip.frames`."""
        for frame in super().frames(first, last):
            self._on_read()
            yield frame


def frames_read(run: Run) -> int:
    """Frames that are read for a run: all once to find keyframes, and once or more by passes."""
    keys = [run.frame - 1, *sorted(int(frame) for frame in run.corrections)]
    gaps = [late - early - 1 for early, late in pairwise(keys)]
    # Forward with the keyframe at the end, backward with that at the beginning, and to be shown.
    between = sum(3 * gap + 2 if gap else 1 for gap in gaps)
    behind = run.frame + run.count - 1 - keys[-1]
    return 1 + run.count + between + behind


def keyframes_of(run: Run, versions: Versions) -> dict[int, Labels]:
    """Masks that a run begins with and goes through, uint8 [H, W], by frame."""
    given = {run.frame - 1: run.origin, **{int(f): v for f, v in run.corrections.items()}}
    known = set(run.objects)
    return {f: only_objects(versions.labels(v), known) for f, v in sorted(given.items())}


@contextmanager
def fused(
    tracker: Tracker,
    clip: Clip,
    run: Run,
    keyframes: dict[int, Labels],
    folder: Path,
    on_read: Callable[[], None],
) -> Iterator[Iterator[Found[Any]]]:
    """Make the masks of a run in order of time.

    Args:
        tracker: The tracker.
        clip: The video.
        run: The run, with its word of `Fuse`.
        keyframes: See `keyframes_of`.
        folder: The project's folder; what has to wait lies there.
        on_read: See `_Counted`.

    Yields:
        Frames behind the first keyframe with their labels and the confidence in them.

    Raises:
        MavosError: The tracker can't do it, a frame is damaged, or the disk is full.
    """
    with ExitStack() as opened:
        place = Path(opened.enter_context(TemporaryDirectory(prefix=IMPORT, dir=folder)))
        path = place / "keyframes.mavosmasks"
        with StoreWriter(path, Legend("keyframes")) as store:
            for number, labels in keyframes.items():
                store.write(LabelledFrame(number, clip.stems[number], labels))
        part = part_of(range(run.frame - 1, run.frame + run.count), clip.length)
        source = opened.enter_context(open_frames(clip.source, part))
        frames, masks = _Counted(source, on_read), MaskSource(path, source.size, source.stems)
        first = next(frames.read())
        mask = masks.for_stem(first.stem, first=True)
        assert mask is not None
        way = InOrder(
            tracker.segmenter,
            frames,
            Keyframe(first, mask.labels),
            masks,
            Passes(Direction.BOTH, Fuse(run.fuse)),
            Summary(),
            place,
        )
        way.begin(Legend("keyframes"))
        opened.enter_context(way)
        yield _whole(islice(way, 1, None), clip, run)


def _whole(way: Iterator[Found[Any]], clip: Clip, run: Run) -> Iterator[Found[Any]]:
    """The frames of a run up to the first that is missing.

    Passes step over damaged frames, but the versions of a run are those of neighbouring frames.

    Raises:
        InputError: One is missing, with its number.
    """
    expected = run.frame
    for found in way:
        if found.frame.index != expected:
            raise missing(clip, expected)
        yield found
        expected += 1
    if expected < run.frame + run.count:
        raise missing(clip, expected)
