"""A segmenter that keeps, beside the labels of a step, how likely they are."""

import numpy as np

from mavos_deploy.runtime.media.passes.fusion import Shares, shares_of
from mavos_deploy.runtime.objects import Labels, object_mask, own_ids
from mavos_deploy.runtime.segmenter import AnyFrame, Observation, Segmenter
from mavos_deploy.runtime.state import State


class SoftSegmenter(Segmenter):
    """Runs the graphs of another segmenter, and keeps the soft labels of its latest step.

    Attributes:
        ids: Ids of the objects in the latest frame.
        shares: Their probabilities before any annotation, see `shares_of`.
        predicted: The frame's labels before any annotation.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__(segmenter.bundle, segmenter.backend, segmenter.count)
        self.ids: tuple[int, ...] = ()
        self.shares: Shares = np.zeros((1, 1, 1), np.uint8)
        self.predicted: Labels = np.zeros((1, 1), np.uint8)

    @property
    def runs_ahead(self) -> bool:
        """Never: what is kept of a step is read before the next one."""
        return False

    def observe(self, frame: AnyFrame, state: State) -> Observation:
        """Predict a frame's labels, and keep them; see `Segmenter.observe`."""
        observation = super().observe(frame, state)
        mask = object_mask(state.visible, state.groups, state.removed)
        numbers = [number for number, own in enumerate(state.ids, 1) if own in state.objects]
        self.ids = state.objects
        self.shares = shares_of(observation.logits, mask, numbers)
        self.predicted = own_ids(state.ids, observation.labels)
        return observation
