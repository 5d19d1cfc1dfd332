"""The plain way through a video: forward from its first mask, frame by frame."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Generic

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.source import Mask, MaskSource, NoMaskError
from mavos_deploy.runtime.masks.writing import Checked, Legend
from mavos_deploy.runtime.media.found import Found, confidence_of
from mavos_deploy.runtime.media.frames import SourceFrame
from mavos_deploy.runtime.media.passes.backward_check import BackwardCheck
from mavos_deploy.runtime.media.pipeline import ReadAhead
from mavos_deploy.runtime.media.resume import Resume
from mavos_deploy.runtime.media.steps import Coming, Steps
from mavos_deploy.runtime.media.summary import Summary
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import PreparedT, StateT, VideoSegmenter

# A frame, what `prepare` made of it unless an earlier run segmented it, and the mask given for it.
_Read = tuple[SourceFrame, PreparedT | None, Mask | None]


def first_mask(
    frames: Iterator[SourceFrame],
    masks: MaskSource,
    skipped: Callable[[], Mapping[str, int]] = dict,
) -> tuple[int, SourceFrame, Mask]:
    """Read up to the first frame that has a mask.

    Args:
        frames: Frames from the first one on.
        masks: The video's masks.
        skipped: Gives the frames that were stepped over; see `FrameSource.skipped`.

    Returns:
        The number of frames before it, the frame, and its mask.

    Raises:
        InputError: No mask belongs to a frame.
    """
    stem = "00000"
    try:
        for before, frame in enumerate(frames):
            stem = frame.stem
            if (mask := masks.for_stem(stem, first=True)) is not None:
                masks.tell_place(stem)
                return before, frame, mask
        raise masks.none_belongs("a frame of this video", stem)
    except NoMaskError:
        for stem, start in skipped().items():
            if masks.has(stem):
                raise InputError(
                    f"frame {stem} has a mask, and --every leaves the frame out; give --start "
                    f"{start}, so that it is among those that are taken, or leave --every out"
                ) from None
        raise


class Forward(Generic[PreparedT, StateT]):
    """Segments the frames of a video from the first one with a mask on, as they come.

    Args:
        segmenter: A segmenter here, or the client of a server.
        first: The first frame.
        labels: Labels of its mask.
        frames: The frames behind it.
        masks: Masks of the video.
        summary: Takes what becomes of masks and objects.
        depth: Frames that may be read ahead.
        resume: Saves the run, and knows how far an earlier one came; None for neither. It is open.
        check: Follows objects back now and then, and compares; None for never.
        live: Whether each frame is to come before the next one is read.
    """

    def __init__(
        self,
        segmenter: VideoSegmenter[PreparedT, StateT],
        first: SourceFrame,
        labels: Labels,
        frames: Iterator[SourceFrame],
        masks: MaskSource,
        summary: Summary,
        depth: int,
        resume: Resume[StateT] | None,
        check: BackwardCheck[PreparedT, StateT] | None = None,
        live: bool = False,
    ) -> None:
        self._segmenter = segmenter
        self._first = first
        self._labels = labels
        self._frames = frames
        self._masks = masks
        self._summary = summary
        self._resume = resume
        self._check = check
        self._live = live
        read = self._prepared()
        ahead = ((item, False) for item in read) if check is None else _looking_ahead(read)
        self._reader = ReadAhead(ahead, depth)
        self._state: StateT | None = None

    def begin(self, legend: Legend) -> None:
        """Make the state after the first frame, or take the one of an earlier run.

        Args:
            legend: Names and palette of the masks.

        Raises:
            MavosError: The frame or the mask can't be used.
        """
        first, labels, summary, resume = self._first, self._labels, self._summary, self._resume
        if resume is not None and resume.done(0, first.stem, first.rgb, labels):
            earlier = resume.earlier
            assert earlier is not None
            summary.resumed, summary.objects = earlier.frames, earlier.objects
            summary.added = {int(number): stem for number, stem in earlier.added.items()}
            summary.corrected = list(earlier.corrected or ())
            summary.empty_masks = earlier.ignored_masks
        else:
            summary.begin(labels, self._segmenter.input_size((labels.shape[0], labels.shape[1])))
            self._state = self._segmenter.start(first.rgb, labels)
            summary.objects = self._state.objects
        if resume is not None:
            self._state = resume.open(legend) or self._state

    def work_ahead(self) -> None:
        """Do nothing; the first frame needs no other."""

    def stop(self) -> None:
        """End before the next frame. A signal handler may call this."""
        self._reader.stop()
        if self._check is not None:
            self._check.stop()

    def __enter__(self) -> "Forward[PreparedT, StateT]":
        self._reader.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__()

    def __iter__(self) -> Iterator[Found[StateT]]:
        """Frames with their labels and the state after them.

        The objects go to the summary, and the video ends with the frames. Until the frames of an
        earlier run are over, the state is the one after the last of them.
        """
        state, summary = self._state, self._summary
        assert state is not None
        if self._check is not None:
            self._check.begin(self._first, self._labels)
        yield self._found(self._first, self._labels, state)
        size = self._segmenter.input_size(state.size)
        reader = iter(self._reader)
        for item in reader:
            (frame, prepared, _), _ = item
            if prepared is not None:
                reader = chain([item], reader)
                break
            assert self._resume is not None
            yield Found(frame, self._resume.labels(frame.index), state=state)
        coming = (self._coming(*read, ends, size) for read, ends in reader)
        for stepped in Steps(self._segmenter, coming, state, self._live):
            (frame, ends), labels, state = stepped.item, stepped.labels, stepped.state
            summary.joined(state.objects, frame.stem)
            try:
                checked, failure = self._checked(frame, labels, stepped.annotation, ends), None
            except MavosError as error:
                checked, failure = None, error
            yield self._found(frame, labels, state, checked)
            if failure is not None:
                raise failure  # the frame itself is whole, and was written
        self._segmenter.end(state)

    def _coming(
        self,
        frame: SourceFrame,
        prepared: PreparedT | None,
        later: Mask | None,
        ends: bool,
        size: Size,
    ) -> Coming[tuple[SourceFrame, bool], PreparedT, StateT]:
        assert prepared is not None, "frames of an earlier run come first"

        def known(state: StateT) -> Labels | None:
            return self._summary.known(later, frame.stem, state.ids, size)

        return Coming((frame, ends), prepared, None if later is None else known)

    def _checked(
        self, frame: SourceFrame, labels: Labels, known: Labels | None, ends: bool
    ) -> Checked | None:
        if self._check is None:
            return None
        if known is None:
            return self._check.look(frame, labels, ends)
        self._check.begin(frame, labels)
        return None

    def _found(
        self, frame: SourceFrame, labels: Labels, state: StateT, checked: Checked | None = None
    ) -> Found[StateT]:
        # With an earlier run the state may be that of a later frame.
        told = confidence_of(state) if self._resume is None else {}
        return Found(frame, labels, told, state, checked)

    def _prepared(self) -> Iterator[_Read[PreparedT]]:
        """Frames with their masks, prepared unless they are done; runs in the reading thread."""
        resume = self._resume
        for order, frame in enumerate(self._frames, 1):
            mask = self._masks.for_stem(frame.stem, first=False)
            labels = None if mask is None else mask.labels
            done = resume is not None and resume.done(order, frame.stem, frame.rgb, labels)
            yield frame, None if done else self._segmenter.prepare(frame.rgb), mask


def _looking_ahead(read: Iterator[_Read[PreparedT]]) -> Iterator[tuple[_Read[PreparedT], bool]]:
    """What is read, each with whether a keyframe or nothing follows it."""
    held = next(read, None)
    while held is not None:
        try:
            following = next(read, None)
        except Exception:
            yield held, True  # what came before the error is segmented all the same
            raise
        yield held, following is None or _is_keyframe(following)
        held = following


def _is_keyframe(item: _Read[PreparedT]) -> bool:
    mask = item[2]
    return mask is not None and bool(mask.labels.any())
