"""One video from its source to all that is written of it.

Three stages overlap, each in a thread: reading, decoding and resizing; segmenting; writing. Only
segmenting is on a frame's critical path.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic

import numpy as np

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.runtime.geometry import Size, check_aspect
from mavos_deploy.runtime.masks.small_objects import small_objects
from mavos_deploy.runtime.masks.source import Mask, MaskSource
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.media.frames import FrameSource, SourceFrame
from mavos_deploy.runtime.media.outputs import HeldFolders, OpenOutputs, Outputs
from mavos_deploy.runtime.media.pipeline import ReadAhead, WriteBehind
from mavos_deploy.runtime.media.results import Target
from mavos_deploy.runtime.media.resume import Resume
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import PreparedT, StateT, VideoSegmenter
from mavos_deploy.runtime.resize import resize_labels
from mavos_deploy.runtime.system.folders import FolderGoneError
from mavos_deploy.runtime.system.interrupts import deferred_interrupts
from mavos_deploy.words import counted

AHEAD = 2  # frames that may wait before and after segmenting
# A camera's next frame is read while one is segmented, and no further, so that masks lag behind the
# camera by one frame at most.
AHEAD_LIVE = 1

# A frame, what `prepare` made of it unless an earlier run segmented it, and the mask given for it.
_Read = tuple[SourceFrame, PreparedT | None, Mask | None]


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
            objects are too small for the network.
        interrupted: Whether Ctrl-C ended the run. Everything written is whole then, and every
            frame that was segmented is written.
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

    @property
    def fps(self) -> float:
        """Frames per second, everything included."""
        return self.frames / self.seconds if self.seconds else 0.0


def check_fit(size: Size, source: FrameSource, stretch: bool) -> None:
    """Refuse a video whose shape the bundle would distort, unless that is wanted.

    Args:
        size: Height and width of frames in the network, in pixels.
        source: The video.
        stretch: Whether to accept any shape.

    Raises:
        InputError: The aspect ratios differ by more than 5%.
    """
    if not stretch:
        check_aspect(source.size, size)


@dataclass(frozen=True, eq=False)
class _Result:
    """One frame on its way to the writers.

    Attributes:
        frame: The frame with its labels.
        saved: Content of the state's file after it, to be written behind it; None for none.
    """

    frame: LabelledFrame
    saved: bytes | None = None


class _Writing(Generic[StateT]):
    """Takes the frames that are done, in the writing thread, and saves the run behind them."""

    def __init__(
        self,
        held: HeldFolders,
        files: OpenOutputs,
        summary: Summary,
        resume: Resume[StateT] | None,
    ) -> None:
        self._held = held
        self._files = files
        self._summary = summary
        self._resume = resume
        self._started = time.perf_counter()
        self._last: tuple[StateT, int] | None = None

    def result(self, frame: SourceFrame, labels: Labels, state: StateT, count: int) -> _Result:
        """The `count`-th frame of the run, with the content of its state if that is to be saved."""
        content = None
        self._last = (state, count)
        if self._resume is not None and self._resume.due(count):
            content = self._content(self._resume, state, count)
        named = (frame.index, frame.stem, labels, frame.rgb, frame.file)
        return _Result(LabelledFrame(*named, frame.time, frame.duration), content)

    def _content(self, resume: Resume[StateT], state: StateT, count: int) -> bytes:
        summary = self._summary
        return resume.bytes_of(state, count, summary.added, summary.corrected, summary.empty_masks)

    def write(self, result: _Result) -> None:
        """Write a frame."""
        self._held.check()
        if not self._files.write(result.frame):
            return
        self._summary.frames += 1
        self._summary.seconds = time.perf_counter() - self._started
        if self._resume is not None:
            self._resume.write(result.frame)
            if result.saved is not None:
                self._resume.save(result.saved, self._summary.frames)

    def save_last(self) -> None:
        """Save the state after the last frame, if that was written."""
        if self._resume is None or self._last is None:
            return
        state, count = self._last
        if count == self._summary.frames > self._resume.saved:
            self._resume.save(self._content(self._resume, state, count), count)


def segment_video(
    segmenter: VideoSegmenter[PreparedT, StateT],
    source: FrameSource,
    masks: MaskSource,
    outputs: Outputs,
    *,
    on_frame: Callable[[int], None] = lambda done: None,
    resume: Resume[StateT] | None = None,
) -> Summary:
    """Segment a video and write what is wanted of each of its frames.

    Args:
        segmenter: A segmenter here, or the client of a server.
        source: The video, just opened; one of its frames has a mask.
        masks: Masks of the first frame, and of frames where objects are added or corrected.
        outputs: Everything that is to be written.
        on_frame: Called with the number of frames that are done.
        resume: Saves the run, and knows how far an earlier one came; None for neither.

    Returns:
        A summary, also when Ctrl-C ended the run.

    Raises:
        MavosError: A frame or mask can't be used, or a file can't be written. Results of the
            frames before are kept, each file whole; the message ends with the number of frames.
            Or a folder of results was removed under the run.
    """
    frames = iter(source)
    first, mask = _start(frames, masks)
    source.original.part = max(first.index, outputs.taken.first) > 0
    summary, stems = Summary(start=first.stem), {first.stem}
    failure: MavosError | None = None
    name = (source.folder or Path(source.name)).stem
    legend = Legend(name, masks.names, mask.palette, source.folder)
    depth = AHEAD if source.kind in ("video", "images") else AHEAD_LIVE
    try:
        with ExitStack() as stack:
            state = _begin(segmenter, first, mask.labels, resume, summary)
            if resume is not None:
                state = stack.enter_context(resume).open(legend) or state
            assert state is not None
            held = stack.enter_context(outputs.make())
            ahead = _prepared(segmenter, frames, masks, resume)
            reader = ReadAhead(ahead, depth)
            # From here on an interrupt ends the reading, and what was segmented is written, so
            # that all results end at the same frame.
            stack.enter_context(deferred_interrupts(reader.stop))
            target = Target(legend, source.size, original=source.original)
            files = stack.enter_context(outputs.open(target))
            writing = _Writing(held, files, summary, resume)
            try:
                with reader, WriteBehind(writing.write, depth) as writer:
                    writer.put(writing.result(first, mask.labels, state, 1))
                    on_frame(summary.frames)
                    steps = _steps(segmenter, state, reader, summary, resume)
                    for count, (frame, labels, state) in enumerate(steps, 2):
                        stems.add(frame.stem)
                        writer.put(writing.result(frame, labels, state, count))
                        on_frame(summary.frames)
                held.check_files(summary.frames)
                on_frame(summary.frames)
            except MavosError as error:
                failure = error  # the results so far are finished all the same
            writing.save_last()
    except KeyboardInterrupt:
        summary.interrupted = True
    except MavosError as error:  # a result could not be finished
        failure = failure or error
    if failure is not None:
        whole = "1 mask is" if summary.frames == 1 else f"{summary.frames} masks are"
        kept = f"; {whole} whole and kept" if summary.frames else ""
        if isinstance(failure, FolderGoneError):
            kept = f"; {counted(summary.frames, 'mask')} had been written, each whole"
        raise type(failure)(f"{failure}{kept}") from failure
    summary.notes += files.notes if summary.frames else []
    if not summary.interrupted:
        summary.unused_masks = masks.unmatched(stems)
    return summary


def _start(frames: Iterator[SourceFrame], masks: MaskSource) -> tuple[SourceFrame, Mask]:
    """The first frame that has a mask, and its mask."""
    for before, frame in enumerate(frames):
        if (mask := masks.for_stem(frame.stem, first=True)) is not None:
            if before:
                masks.notes.append(
                    f"the first mask is that of frame {frame.stem}; "
                    + (
                        "the frame before it is"
                        if before == 1
                        else f"the {before} frames before it are"
                    )
                    + " left out"
                )
            return frame, mask
    raise InputError("no mask belongs to a frame of this video; name masks after its frames")


def _small(labels: Labels, size: Size, first: bool = False) -> list[str]:
    """Lines about objects of a mask that are too small for the network.

    Raises:
        InputError: All objects of a first mask are.
    """
    small = small_objects(labels, size)
    if first and not resize_labels(labels, *size).any():
        raise InputError("; ".join(small.values()))
    return list(small.values())


def _begin(
    segmenter: VideoSegmenter[PreparedT, StateT],
    first: SourceFrame,
    labels: Labels,
    resume: Resume[StateT] | None,
    summary: Summary,
) -> StateT | None:
    """The state after the first frame; None where an earlier run has a later one."""
    if resume is not None and resume.done(0, first.stem, first.rgb, labels):
        earlier = resume.earlier
        assert earlier is not None
        summary.resumed, summary.objects = earlier.frames, earlier.objects
        summary.added = {int(number): stem for number, stem in earlier.added.items()}
        summary.corrected = list(earlier.corrected or ())
        summary.empty_masks = earlier.ignored_masks
        return None
    size = segmenter.input_size((labels.shape[0], labels.shape[1]))
    summary.notes += _small(labels, size, first=True)
    state = segmenter.start(first.rgb, labels)
    summary.objects = state.objects
    return state


def _prepared(
    segmenter: VideoSegmenter[PreparedT, StateT],
    frames: Iterator[SourceFrame],
    masks: MaskSource,
    resume: Resume[StateT] | None,
) -> Iterator[_Read[PreparedT]]:
    """Frames with their masks, resized unless they are done; runs in the reading thread."""
    for order, frame in enumerate(frames, 1):
        mask = masks.for_stem(frame.stem, first=False)
        labels = None if mask is None else mask.labels
        done = resume is not None and resume.done(order, frame.stem, frame.rgb, labels)
        yield frame, None if done else segmenter.prepare(frame.rgb), mask


def _steps(
    segmenter: VideoSegmenter[PreparedT, StateT],
    state: StateT,
    frames: Iterable[_Read[PreparedT]],
    summary: Summary,
    resume: Resume[StateT] | None,
) -> Iterator[tuple[SourceFrame, Labels, StateT]]:
    """Frames with their labels and the state after them.

    The objects go to the summary, and the video ends with the frames. Until the frames of an
    earlier run are over, the state is the one after the last of them.
    """
    for frame, prepared, later in frames:
        if prepared is None:
            assert resume is not None
            yield frame, resume.labels(frame.index), state
            continue
        known = _known_labels(later, frame.stem, state.ids, summary)
        if known is not None:
            small = _small(known, segmenter.input_size(state.size))
            summary.notes += [line for line in small if line not in summary.notes]
        labels, state = segmenter.step(prepared, state, known)
        new = [i for i in state.objects if i not in summary.objects]
        summary.added |= dict.fromkeys(new, frame.stem)
        summary.objects = state.objects
        yield frame, labels, state
    segmenter.end(state)


def _known_labels(
    mask: Mask | None, stem: str, known: tuple[int, ...], summary: Summary
) -> Labels | None:
    """The labels of a later mask, which adds or corrects objects."""
    if mask is None:
        return None
    if not mask.labels.any():
        summary.empty_masks += 1
        return None
    if np.isin(mask.labels, known).any():
        summary.corrected.append(stem)
    return mask.labels
