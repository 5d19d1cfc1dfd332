"""A frame of a run with all that is known of it, on its way to the writers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic

from mavos_deploy.runtime.masks.writing import Checked
from mavos_deploy.runtime.media.frames import SourceFrame
from mavos_deploy.runtime.objects import Labels, ids_of
from mavos_deploy.runtime.protocol import StateT, VideoState

Confidence = Mapping[int, float | None]  # 0..1 by id; None for one of which nothing is known


@dataclass(frozen=True, eq=False)
class Found(Generic[StateT]):
    """A frame with its labels.

    Attributes:
        frame: The frame.
        labels: Its labels by the objects' ids, uint8 [H, W].
        confidence: Confidence in the masks of the followed objects; empty where it isn't kept.
        state: The state after it; None where the way through the video has no single one.
        checked: What a backward check from this frame found; None where there was none.
    """

    frame: SourceFrame
    labels: Labels
    confidence: Confidence = field(default_factory=dict)
    state: StateT | None = None
    checked: Checked | None = None


def confidence_of(state: VideoState) -> Confidence:
    """Confidence in the latest mask of each object that a state follows."""
    known = state.confidence
    return {own: known.get(own) for own in state.objects}


def certain(labels: Labels) -> Confidence:
    """Confidence in the masks of a frame that were all given."""
    return dict.fromkeys(ids_of(labels), 1.0)
