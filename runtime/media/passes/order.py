"""The frames of a video with their labels in order of time, made by passes in both directions."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Generic, cast

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.source import Mask, MaskSource
from mavos_deploy.runtime.masks.writing import Legend
from mavos_deploy.runtime.media.found import Found, certain, confidence_of
from mavos_deploy.runtime.media.frames import SourceFrame
from mavos_deploy.runtime.media.passes.between import Between
from mavos_deploy.runtime.media.passes.clip import Clip
from mavos_deploy.runtime.media.passes.directions import Direction, Fuse, Passes
from mavos_deploy.runtime.media.passes.follow import Followed, Halt, follow
from mavos_deploy.runtime.media.passes.fusion import Enlarger
from mavos_deploy.runtime.media.passes.soft import SoftSegmenter
from mavos_deploy.runtime.media.passes.spill import ConfidenceSpill, Spill
from mavos_deploy.runtime.media.summary import Summary
from mavos_deploy.runtime.objects import Labels, ids_of
from mavos_deploy.runtime.protocol import PreparedT, StateT, VideoSegmenter
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.words import counted


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A frame with a mask.

    Attributes:
        frame: The frame.
        labels: The mask's labels, uint8 [H, W].
    """

    frame: SourceFrame
    labels: Labels


class InOrder(Generic[PreparedT, StateT]):
    """Segments a video in both directions and gives its frames in order of time. Iterate once.

    Labels and confidence of passes that go against time wait on the disk, and pictures are read
    again for the output, so that memory stays flat.

    Args:
        segmenter: A segmenter here, or the client of a server.
        clip: The video, of which the frames up to the first keyframe were read.
        first: The first keyframe.
        masks: Masks of all keyframes.
        passes: Passes that are wanted.
        summary: Takes what becomes of masks and objects.
        folder: Folder on whose disk they wait.
    """

    def __init__(
        self,
        segmenter: VideoSegmenter[PreparedT, StateT],
        clip: Clip,
        first: Keyframe,
        masks: MaskSource,
        passes: Passes,
        summary: Summary,
        folder: Path,
    ) -> None:
        self._segmenter = segmenter
        self._soft: SoftSegmenter | None = None
        if passes.fuse is Fuse.BLEND:
            if not isinstance(segmenter, Segmenter):
                raise InputError(
                    "blend needs the network's logits, which a server keeps; take nearest, or "
                    "segment here"
                )
            self._soft = SoftSegmenter(segmenter)
            self._segmenter = cast("VideoSegmenter[PreparedT, StateT]", self._soft)
        self._clip = clip
        self._first = first
        self._masks = masks
        self._passes = passes
        self._summary = summary
        self._folder = folder
        self._halt = Halt()
        self._results = self._in_order()
        self._ready: list[Found[StateT]] = []
        self._given = -1  # number of the latest frame

    def begin(self, legend: Legend) -> None:
        """Check the first keyframe's mask, unless passes begin at the last one.

        Args:
            legend: Names and palette of the masks.

        Raises:
            InputError: All objects are too small for the network.
        """
        del legend
        if self._passes.direction is Direction.BOTH:
            self._check(self._first)

    def _check(self, keyframe: Keyframe) -> None:
        """Refuse a keyframe to begin with whose objects are all too small."""
        labels = keyframe.labels
        size = self._segmenter.input_size((labels.shape[0], labels.shape[1]))
        self._summary.begin(labels, size)

    def work_ahead(self) -> None:
        """Do all that must come before the first frame can be given.

        Raises:
            MavosError: A frame or a mask can't be used, or the disk is full.
        """
        self._ready = list(islice(self._results, 1))

    def stop(self) -> None:
        """End all passes before their next frame. A signal handler may call this."""
        self._halt()

    def __enter__(self) -> "InOrder[PreparedT, StateT]":
        return self

    def __exit__(self, *_: object) -> None:
        self._results.close()
        # The source was read further than what is shown of it.
        self._clip.source.original.ended &= self._given == self._clip.numbers[-1]

    def __iter__(self) -> Iterator[Found[StateT]]:
        """Frames with their labels, without a state.

        Raises:
            MavosError: A frame or a mask can't be used, or the disk is full.
        """
        for found in chain(self._ready, self._results):
            if self._halt.wanted:
                return
            self._given = found.frame.index
            yield found

    def _in_order(self) -> Generator[Found[StateT], None, None]:
        if self._passes.direction is Direction.BACKWARD:
            yield from self._all_backward()
            return
        yield from self._beginning()
        if self._passes.fuse is None:
            yield from self._forward()
        else:
            yield from self._fused(self._passes.fuse)

    def _beginning(self) -> Iterator[Found[StateT]]:
        """The frames before the first keyframe, backward from it."""
        before = self._clip.numbers[:-1]
        if before:
            yield from self._backward(self._first, before)

    def _forward(self) -> Iterator[Found[StateT]]:
        """The first keyframe and all frames behind it, forward."""
        yield _given(self._first)
        state = self._started(self._first)
        for followed in self._followed(self._clip.read(), state):
            self._summary.joined(followed.state.objects, followed.frame.stem)
            yield _found(followed)

    def _fused(self, fuse: Fuse) -> Iterator[Found[StateT]]:
        """The first keyframe and all frames behind it, fused between keyframes."""
        here, state = self._first, self._started(self._first)
        found: Found[StateT] = _given(here)
        while True:
            yield found
            numbers, there = self._gap()
            if there is None:
                break
            with Between(fuse, self._folder, self._soft) as between:
                last = self._both_ways(between, found, state, there, numbers)
                if last is None:
                    return
                yield from self._inside(between, numbers, last.state)
            self._summary.joined(last.state.objects, last.frame.stem)
            here, state, found = there, last.state, _found(last)
        if here is self._first and not self._halt.wanted:
            self._masks.notes.append(
                f"frame {here.frame.stem} alone has a mask with an object, so --fuse {fuse} has "
                "nothing to fuse; give masks of two frames or more"
            )
        rest = self._clip.frames(numbers[0], numbers[-1]) if numbers else iter(())
        for followed in self._followed(rest, state):
            yield _found(followed)

    def _gap(self) -> tuple[list[int], Keyframe | None]:
        """Numbers of the frames up to the next keyframe, and this; None where none is left."""
        numbers: list[int] = []
        for frame in self._clip.read():
            if self._halt.wanted:
                break
            mask = self._masks.for_stem(frame.stem, first=False)
            if mask is not None and mask.labels.any():
                return numbers, Keyframe(frame, mask.labels)
            numbers.append(frame.index)
        return numbers, None

    def _both_ways(
        self,
        between: Between,
        here: Found[StateT],
        state: StateT,
        there: Keyframe,
        numbers: list[int],
    ) -> Followed[StateT] | None:
        """Follow the frames between two keyframes from both; see `Between.take_forward`."""
        if numbers:
            back = self._segmenter.start(there.frame.rgb, there.labels)
            frames = self._clip.frames(numbers[-1], here.frame.index)
            with closing(follow(self._segmenter, frames, back, halt=self._halt)) as passed:
                last = between.take_backward(passed, numbers, here.labels)
            if last is None:
                return None
            self._segmenter.end(last.state)
        first = numbers[0] if numbers else there.frame.index
        forward = self._followed(self._clip.frames(first, there.frame.index), state, ends=False)
        return between.take_forward(forward, numbers, there.labels)

    def _inside(
        self, between: Between, numbers: list[int], state: StateT
    ) -> Iterator[Found[StateT]]:
        """The frames between two keyframes with their fused labels.

        An object that the later keyframe brings joins in the first frame that shows it.
        """
        enlarger = None
        if self._soft is not None:
            aligned = self._soft.bundle.manifest.align_corners
            enlarger = Enlarger(state.size, self._soft.input_size(state.size), aligned)
        known = self._summary.objects
        coming = set(state.objects) - set(known)
        for frame in self._clip.frames(numbers[0], numbers[-1]) if numbers else ():
            labels = between.labels(frame.index, enlarger)
            if coming and (shown := coming.intersection(ids_of(labels))):
                known = (*known, *sorted(shown))
                self._summary.joined(known, frame.stem)
                coming -= shown
            yield Found(frame, labels, between.confidence(frame.index))

    def _all_backward(self) -> Iterator[Found[StateT]]:
        """All frames up to the last keyframe, backward from it."""
        last = self._first
        for frame in self._clip.read():
            if self._halt.wanted:
                return
            mask = self._masks.for_stem(frame.stem, first=False)
            if mask is not None and mask.labels.any():
                last = Keyframe(frame, mask.labels)
        self._check(last)
        numbers = self._clip.numbers
        place = numbers.index(last.frame.index)
        if left := len(numbers) - 1 - place:
            told = counted(left, "frame") + (" behind it is" if left == 1 else " behind it are")
            self._masks.notes.append(
                f"the last mask is that of frame {last.frame.stem}; {told} left out, since the "
                "pass goes backward"
            )
        if place:
            yield from self._backward(last, numbers[:place])
        else:
            self._segmenter.end(self._started(last))
        yield _given(last)

    def _backward(self, start: Keyframe, numbers: Sequence[int]) -> Iterator[Found[StateT]]:
        """Frames before a keyframe, segmented backward from it, in order of time.

        Args:
            start: The keyframe.
            numbers: Numbers of the frames, ascending.
        """
        with Spill(self._folder) as spill, ConfidenceSpill(self._folder) as confidence:
            state = self._started(start)
            for followed in self._followed(self._clip.frames(numbers[-1], numbers[0]), state):
                self._summary.joined(followed.state.objects, followed.frame.stem)
                spill[followed.frame.index] = followed.labels
                confidence[followed.frame.index] = confidence_of(followed.state)
            if self._halt.wanted:
                return
            for frame in self._clip.frames(numbers[0], numbers[-1]):
                yield Found(frame, spill[frame.index], confidence[frame.index])

    def _started(self, keyframe: Keyframe) -> StateT:
        """The state after a keyframe in which a pass starts."""
        state = self._segmenter.start(keyframe.frame.rgb, keyframe.labels)
        self._summary.objects = state.objects
        return state

    def _followed(
        self, frames: Iterator[SourceFrame], state: StateT, ends: bool = True
    ) -> Iterator[Followed[StateT]]:
        """A pass with masks on its way, whose stream ends with it or not."""
        size = self._segmenter.input_size(state.size)
        known = set(state.ids)

        def given(frame: SourceFrame) -> Labels | None:
            mask: Mask | None = self._masks.for_stem(frame.stem, first=False)
            labels = self._summary.known(mask, frame.stem, known, size)
            if labels is not None:
                known.update(ids_of(labels))
            return labels

        with closing(follow(self._segmenter, frames, state, given, self._halt)) as passed:
            for followed in passed:
                state = followed.state
                yield followed
        if ends:
            self._segmenter.end(state)


def _given(keyframe: Keyframe) -> Found[StateT]:
    """A keyframe with its own mask."""
    return Found(keyframe.frame, keyframe.labels, certain(keyframe.labels))


def _found(followed: Followed[StateT]) -> Found[StateT]:
    """A frame of a pass, without its state."""
    return Found(followed.frame, followed.labels, confidence_of(followed.state))
