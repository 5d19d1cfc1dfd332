"""One pass: frames segmented one after another from a state on, in whatever order they come."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic

from mavos_deploy.errors import PoisonedError
from mavos_deploy.runtime.media.frames import SourceFrame
from mavos_deploy.runtime.media.pipeline import ReadAhead
from mavos_deploy.runtime.media.steps import Coming, Steps
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import PreparedT, StateT, VideoSegmenter

AHEAD = 2  # frames that are read and prepared while one is segmented

# A frame's labels that are known, given the ids that the state knows; None for none.
Given = Callable[[SourceFrame], Labels | None]


@dataclass(frozen=True, eq=False)
class Followed(Generic[StateT]):
    """A frame that was segmented.

    Attributes:
        frame: The frame.
        labels: Its labels by the objects' ids, uint8 [H, W].
        state: The state after it, from which any number of passes may go on, in any direction.
    """

    frame: SourceFrame
    labels: Labels
    state: StateT


class Halt:
    """Ends passes from outside of them, such as from a signal handler."""

    def __init__(self) -> None:
        self.wanted = False
        self._stops: list[Callable[[], None]] = []

    def add(self, stop: Callable[[], None]) -> None:
        """Call a function when passes are to end."""
        self._stops.append(stop)

    def remove(self, stop: Callable[[], None]) -> None:
        """Forget a function."""
        self._stops.remove(stop)

    def __call__(self) -> None:
        """End all passes before their next frame."""
        self.wanted = True
        for stop in list(self._stops):
            stop()


def nothing_given(frame: SourceFrame) -> None:
    """No labels are known for any frame."""


def follow(
    segmenter: VideoSegmenter[PreparedT, StateT],
    frames: Iterable[SourceFrame],
    state: StateT,
    given: Given = nothing_given,
    halt: Halt | None = None,
) -> Generator[Followed[StateT], None, None]:
    """Segment frames from a state on. They may be those behind it or those before it, backward.

        state = segmenter.start(frame.rgb, labels)
        for followed in follow(segmenter, clip.frames(frame.index - 1, 0), state):
            ...

    Reading and `prepare` run in a thread beside the steps. A frame may come once the next one was
    read; see `Steps`. The state that is given stays valid.

    Args:
        segmenter: The segmenter.
        frames: Frames in the order in which they are to be segmented.
        state: A state after any frame of the same video.
        given: Gives the labels that are known for a frame, which add or correct objects.
        halt: Ends the pass early.

    Raises:
        MavosError: A frame, or labels of one, can't be used.
    """
    reader = ReadAhead(_prepared(segmenter, frames, given), AHEAD)
    halt = halt or Halt()
    halt.add(reader.stop)
    try:
        with reader:
            if halt.wanted:
                return
            steps = Steps(segmenter, reader, state)
            try:
                for stepped in steps:
                    yield Followed(stepped.item, stepped.labels, stepped.state)
            except PoisonedError as error:
                raise PoisonedError(f"frame {steps.item.stem}: {error}") from error
    finally:
        halt.remove(reader.stop)


def _prepared(
    segmenter: VideoSegmenter[PreparedT, StateT], frames: Iterable[SourceFrame], given: Given
) -> Iterator[Coming[SourceFrame, PreparedT, StateT]]:
    """Frames, prepared, with what is known of them; runs in the reading thread."""
    for frame in frames:
        yield Coming(frame, segmenter.prepare(frame.rgb), given(frame))
