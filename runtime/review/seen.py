"""What the host sees of a frame's prediction, which may still be on its way from a GPU."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import PoisonedError
from mavos_deploy.runtime.objects import Labels, own_ids
from mavos_deploy.runtime.protocol import Enqueued
from mavos_deploy.runtime.resize import PreparedFrame
from mavos_deploy.runtime.review.confidence import Review, review
from mavos_deploy.runtime.state import State

_Array = NDArray[Any]


class Seen:
    """What the host sees of a prediction, read when it is asked for.

    Args:
        labels: Waits for the backend, and gives the decoder's labels.
        logits: The same for the decoder's logits.
    """

    def __init__(self, labels: Callable[[], _Array], logits: Callable[[], _Array]) -> None:
        self._labels = labels
        self._logits = logits

    @cached_property
    def labels(self) -> Labels:
        """Internal ids at the video's size, uint8 [H, W]; waits for the backend."""
        labels: Labels = self._labels()[0]
        return labels

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """Logits, float32 [groups, 11, height / 4, width / 4]; waits for the backend.

        Raises:
            PoisonedError: One of them is NaN or infinite.
        """
        logits = np.asarray(self._logits(), np.float32)
        if not np.isfinite(logits.sum(dtype=np.float64)):
            raise PoisonedError(
                "the network's output holds NaN or infinite values, so the memory before this "
                "frame is no longer sound; go on from an earlier state, or start again at a frame "
                "with a mask"
            )
        return logits

    def judged(self, frame: PreparedFrame, state: State) -> Review:
        """Judgements on the objects that are followed; waits for the backend.

        Args:
            frame: The frame.
            state: The state before it, or after it with the judgements of the one before.

        Raises:
            PoisonedError: See `logits`.
        """
        followed = set(state.objects)
        objects = {number: own for number, own in enumerate(state.ids, 1) if own in followed}
        return review(self.logits, objects, frame.resized, state.review)


class EnqueuedFrame:
    """See `Enqueued`; labels and logits stay on their way until `result`.

    Attributes:
        state: The state after the frame, without judgements.

    Args:
        seen: The prediction.
        frame: The frame.
        state: The state after the frame.
        past: Judgements on the frame before, or that frame while nobody may have read it.
    """

    def __init__(
        self, seen: Seen, frame: PreparedFrame, state: State, past: Review | Enqueued[State]
    ) -> None:
        self.state = replace(state, review=Review())
        self._on_its_way: tuple[Seen, PreparedFrame, Review | Enqueued[State]] | None
        self._on_its_way = seen, frame, past
        self._result: tuple[Labels, State] | None = None

    def result(self) -> tuple[Labels, State]:
        """See `Enqueued.result`."""
        if self._on_its_way is not None:
            seen, frame, past = self._on_its_way
            review = past if isinstance(past, Review) else past.result()[1].review
            labels = own_ids(self.state.ids, seen.labels)
            judged = seen.judged(frame, replace(self.state, review=review))
            self._result = labels, replace(self.state, review=judged)
            self._on_its_way = None
        assert self._result is not None
        return self._result
