"""Steps through the frames of a video, whose labels are read while the GPU has the next frame.

A GPU enqueues a frame's work long before it is done, so the host's work on one frame (reading its
labels, judging and writing them) can hide behind the GPU's on the next. Nothing else changes:
frames come in their order, each with the labels and the state of plain steps, and an error comes
after the frames before it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import (
    Enqueued,
    EnqueuingSegmenter,
    PreparedT,
    StateT,
    VideoSegmenter,
)

T = TypeVar("T")  # what the caller wants back with a frame


@dataclass(frozen=True, eq=False)
class Coming(Generic[T, PreparedT, StateT]):
    """A frame that is to be segmented.

    Attributes:
        item: Comes back with the frame.
        prepared: What `VideoSegmenter.prepare` made of it.
        annotation: Labels that are known for it, uint8 [H, W]; or a function that is called with
            the state before the frame, after the earlier frames were taken, and returns them or
            None. None where nothing is known.
    """

    item: T
    prepared: PreparedT
    annotation: Labels | Callable[[StateT], Labels | None] | None = None


@dataclass(frozen=True, eq=False)
class Stepped(Generic[T, StateT]):
    """A frame that was segmented.

    Attributes:
        item: What came with it.
        labels: Its labels by the objects' ids, uint8 [H, W].
        state: The state after it.
        annotation: The labels that were known for it; None for none.
    """

    item: T
    labels: Labels
    state: StateT
    annotation: Labels | None = None


class Steps(Generic[T, PreparedT, StateT]):
    """Segments frames one after another from a state on. Iterate once.

    Where the segmenter runs ahead, a frame comes once the next one is enqueued, so its labels are
    read one frame later. A frame with known labels is enqueued when the frames before it were
    taken, and comes at once. A caller that stops early does not get the frame in flight. At the
    end or an error of the source it still comes.

    Attributes:
        item: What came with the frame that is being segmented or read, for messages.

    Args:
        segmenter: The segmenter.
        frames: The frames, which are read as they are needed.
        state: The state before them, which stays valid.
        live: Whether each frame is to come before the next one is read, as from a camera.
    """

    item: T

    def __init__(
        self,
        segmenter: VideoSegmenter[PreparedT, StateT],
        frames: Iterable[Coming[T, PreparedT, StateT]],
        state: StateT,
        live: bool = False,
    ) -> None:
        self._segmenter = segmenter
        self._frames = iter(frames)
        self._latest: StateT | Enqueued[StateT] = state  # of the frame that began last
        self._ahead: EnqueuingSegmenter[PreparedT, StateT] | None = None
        if not live and isinstance(segmenter, EnqueuingSegmenter) and segmenter.runs_ahead:
            self._ahead = segmenter

    def __iter__(self) -> Iterator[Stepped[T, StateT]]:
        """The frames with their labels, and the states after them.

        Raises:
            MavosError: A frame can't be segmented, or the source failed; the frames before it have
                come.
        """
        unread: tuple[T, Enqueued[StateT]] | None = None
        failure: Exception | None = None
        while failure is None:
            coming, enqueued = None, None
            try:
                coming = next(self._frames, None)
                if coming is not None and coming.annotation is None and self._ahead is not None:
                    self.item = coming.item
                    enqueued = self._ahead.enqueue(coming.prepared, self._latest)
                    self._latest = enqueued
            except Exception as error:  # raised again behind the frame before
                failure = error
            if unread is not None:
                yield self._read(*unread)
                unread = None
            if coming is None:
                break
            self.item = coming.item
            if enqueued is not None:
                unread = coming.item, enqueued
            elif failure is None:
                yield self._step(coming)
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # or it would hold this generator, and with it the states on the device

    def _read(self, item: T, enqueued: Enqueued[StateT]) -> Stepped[T, StateT]:
        self.item = item
        labels, state = enqueued.result()
        if self._latest is enqueued:
            self._latest = state
        return Stepped(item, labels, state)

    def _step(self, coming: Coming[T, PreparedT, StateT]) -> Stepped[T, StateT]:
        assert not isinstance(self._latest, Enqueued), "the frames before were taken"
        known = coming.annotation
        if callable(known):
            known = known(self._latest)
        labels, self._latest = self._segmenter.step(coming.prepared, self._latest, known)
        return Stepped(coming.item, labels, self._latest, known)
