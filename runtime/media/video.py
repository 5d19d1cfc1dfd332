"""One video from its source to all that is written of it.

Three stages overlap, each in a thread: reading, with all work that needs no memory, which is
decoding, resizing and on CPUs encoding; the rest of segmenting; writing.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from mavos_deploy.errors import MavosError, PoisonedError
from mavos_deploy.runtime.geometry import Size, check_aspect
from mavos_deploy.runtime.masks.source import MaskSource
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.media.forward import Forward, first_mask
from mavos_deploy.runtime.media.found import Found
from mavos_deploy.runtime.media.frames import FrameSource
from mavos_deploy.runtime.media.outputs import HeldFolders, OpenOutputs, Outputs
from mavos_deploy.runtime.media.passes.backward_check import BackwardCheck
from mavos_deploy.runtime.media.passes.clip import Clip
from mavos_deploy.runtime.media.passes.directions import Passes
from mavos_deploy.runtime.media.passes.order import InOrder, Keyframe
from mavos_deploy.runtime.media.pipeline import WriteBehind
from mavos_deploy.runtime.media.results import Target
from mavos_deploy.runtime.media.resume import Resume
from mavos_deploy.runtime.media.summary import Summary
from mavos_deploy.runtime.protocol import PreparedT, StateT, VideoSegmenter
from mavos_deploy.runtime.review.second_look import SecondLook
from mavos_deploy.runtime.system.folders import FolderGoneError
from mavos_deploy.runtime.system.interrupts import deferred_interrupts
from mavos_deploy.words import counted

AHEAD = 2  # frames that may wait before and after segmenting
# A camera's next frame is read while one is segmented, and no further, so that masks lag behind the
# camera by one frame at most.
AHEAD_LIVE = 1


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
        look: SecondLook,
        started: float,
    ) -> None:
        self._look = look
        self._held = held
        self._files = files
        self._summary = summary
        self._resume = resume
        self._started = started
        self._latest: deque[tuple[StateT, int]] = deque(maxlen=2)
        self.frame: LabelledFrame | None = None  # the last one that came

    def result(self, found: Found[StateT], count: int) -> _Result:
        """The `count`-th frame of the run, with the content of its state if that is to be saved."""
        content, state, frame = None, found.state, found.frame
        if state is not None:
            self._latest.append((state, count))
        named = (frame.index, frame.stem, found.labels, frame.rgb, frame.file)
        times = (frame.time, frame.duration)
        self.frame = LabelledFrame(*named, *times, found.confidence, found.checked)
        if state is not None and self._resume is not None and self._resume.due(count):
            with suppress(PoisonedError):  # the next frame shows it, and ends the run
                content = self._content(self._resume, state, count)
        return _Result(self.frame, content)

    def _content(self, resume: Resume[StateT], state: StateT, count: int) -> bytes:
        summary = self._summary
        return resume.bytes_of(state, count, summary.added, summary.corrected, summary.empty_masks)

    def write(self, result: _Result) -> None:
        """Write a frame."""
        if self._look.stopped:
            return  # it was segmented before the rule had seen the frame that ends the run
        self._held.check()
        self._look.look(result.frame)
        if not self._files.write(result.frame):
            return
        self._summary.frames += 1
        self._summary.seconds = time.perf_counter() - self._started
        if self._resume is not None:
            self._resume.write(result.frame)
            if result.saved is not None:
                self._resume.save(result.saved, self._summary.frames)

    def save_last(self) -> None:
        """Save the latest sound state whose frame was written."""
        for state, count in reversed(self._latest):
            if self._resume is None or not self._resume.saved < count <= self._summary.frames:
                continue
            try:
                self._resume.save(self._content(self._resume, state, count), count)
            except PoisonedError:
                continue
            return


def segment_video(
    segmenter: VideoSegmenter[PreparedT, StateT],
    source: FrameSource,
    masks: MaskSource,
    outputs: Outputs,
    *,
    on_frame: Callable[[int], None] = lambda done: None,
    resume: Resume[StateT] | None = None,
    passes: Passes | None = None,
    check: int | None = None,
    look: SecondLook | None = None,
) -> Summary:
    """Segment a video and write what is wanted of each of its frames.

    Args:
        segmenter: A segmenter here, or the client of a server.
        source: The video, just opened; one of its frames has a mask.
        masks: Masks of the first frame, and of frames where objects are added or corrected.
        outputs: Everything that is to be written.
        on_frame: Called with the number of frames that are done.
        resume: Saves the run, and knows how far an earlier one came; None for neither. It goes
            forward alone.
        passes: Passes that go against time, too; None goes forward from the first mask.
        check: Most frames of a pass forward between two checks, which follow objects back and
            compare; None for no checks. It needs a source that can be read again.
        look: Finds events, and ends the run by rules; None finds events alone.

    Returns:
        A summary, also when Ctrl-C, a rule or a memory with NaN ended the run.

    Raises:
        MavosError: A frame or mask can't be used, or a file can't be written. Results of the
            frames before are kept, each file whole; the message ends with the number of frames.
            Or a folder of results was removed under the run.
    """
    summary, stems = Summary(), set[str]()
    failure: MavosError | None = None
    way, legend = _way(segmenter, source, masks, outputs, passes, resume, summary, check)
    look = look or SecondLook()
    try:
        with ExitStack() as stack:
            if resume is not None:
                stack.enter_context(resume)
            way.begin(legend)
            held = stack.enter_context(outputs.make())
            started = time.perf_counter()
            way.work_ahead()
            # From here on an interrupt ends the reading, and what was segmented is written, so
            # that all results end at the same frame.
            stack.enter_context(deferred_interrupts(way.stop))
            target = Target(
                legend,
                source.size,
                original=source.original,
                events=look.events,
                facts=look.facts,
                ended=lambda: look.stopped or look.poisoned,
                checked=check is not None,
            )
            files = stack.enter_context(outputs.open(target))
            writing = _Writing(held, files, summary, resume, look, started)
            try:
                with way, WriteBehind(writing.write, _depth(source)) as writer:
                    for count, found in enumerate(way, 1):
                        stems.add(found.frame.stem)
                        writer.put(writing.result(found, count))
                        on_frame(summary.frames)
                        if look.stopped:
                            break
                held.check_files(summary.frames)
                on_frame(summary.frames)
            except PoisonedError as error:
                if writing.frame is None:
                    raise
                look.poison(writing.frame, str(error))
            except MavosError as error:
                failure = _cause(error, held)  # the results so far are finished all the same
            writing.save_last()
    except KeyboardInterrupt:
        summary.interrupted = True
    except MavosError as error:  # a result could not be finished
        failure = failure or error
    if failure is not None:
        raise type(failure)(f"{failure}{_kept(failure, summary.frames)}") from failure
    summary.notes += files.notes if summary.frames else []
    summary.note(masks.lost())
    summary.events, summary.stopped = look.events, look.stopped or look.poisoned
    if not (summary.interrupted or summary.stopped):
        summary.unused_masks = masks.unmatched(stems)
    return summary


def _cause(error: MavosError, held: HeldFolders) -> MavosError:
    """The reason of a failure: a removed folder, where that is why a file could not be written."""
    try:
        held.check()
    except FolderGoneError as gone:
        return gone
    return error


def _kept(failure: MavosError, frames: int) -> str:
    """The end of a failed run's message, which says what is left of it."""
    if isinstance(failure, FolderGoneError):
        return f"; {counted(frames, 'mask')} had been written, each whole"
    whole = "1 mask is" if frames == 1 else f"{frames} masks are"
    return f"; {whole} whole and kept" if frames else ""


def _way(
    segmenter: VideoSegmenter[PreparedT, StateT],
    source: FrameSource,
    masks: MaskSource,
    outputs: Outputs,
    passes: Passes | None,
    resume: Resume[StateT] | None,
    summary: Summary,
    check: int | None,
) -> tuple[Forward[PreparedT, StateT] | InOrder[PreparedT, StateT], Legend]:
    """The way through a video, and the names and palette of its masks."""
    clip = None if passes is None and check is None else Clip(source)
    frames = iter(source) if clip is None else clip.read()
    before, first, mask = first_mask(frames, masks, source.skipped)
    summary.start = first.stem
    name = (source.folder or Path(source.name)).stem
    legend = Legend(name, masks.names, mask.palette, source.folder)
    if clip is None or passes is None:
        if before:
            one = f"the {before} frames before it are" if before > 1 else "the frame before it is"
            both = "" if source.again is None else "; --direction both segments backward, too"
            masks.notes.append(
                f"the first mask is that of frame {first.stem}; {one} left out{both}"
            )
        source.original.part = max(first.index, outputs.taken.first) > 0
        back = None if clip is None or check is None else BackwardCheck(segmenter, clip, check)
        given = segmenter, first, mask.labels, frames, masks, summary, _depth(source), resume
        return Forward(*given, check=back, live=source.live), legend
    source.original.part = max(clip.numbers[0], outputs.taken.first) > 0
    keyframe = Keyframe(first, mask.labels)
    return InOrder(segmenter, clip, keyframe, masks, passes, summary, outputs.folder), legend


def _depth(source: FrameSource) -> int:
    """Frames that may wait before and after segmenting."""
    return AHEAD_LIVE if source.live else AHEAD
