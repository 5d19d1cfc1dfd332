"""Confidence: from the measures of an object to one number, and what a state keeps for it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.resize import resize_labels
from mavos_deploy.runtime.review.measures import (
    Grid,
    Measures,
    Trace,
    colour_shares,
    follow,
    grid_of,
    measure,
    measure_given,
    sample,
)
from mavos_deploy.runtime.review.weights import GONE, GOOD, OVERLAP

SMALLEST = 0.01  # of what a logarithm is taken


class Judgement(NamedTuple):
    """What a frame says of one object.

    Attributes:
        confidence: Probability that its mask is good, 0..1: of the frames that say 0.8, about 80%
            overlap with the truth by half or more. 1 where the mask was given.
        overlap: Overlap with the truth (J) to be expected, 0..1.
        measures: What both are computed from.
        trace: What is remembered of the object.
        given: Whether its mask was given.
    """

    confidence: float
    overlap: float
    measures: Measures
    trace: Trace
    given: bool = False


@dataclass(frozen=True, eq=False)
class Review:
    """Judgements on a frame.

    Attributes:
        objects: One for each object that is followed, by the video's own ids.
    """

    objects: Mapping[int, Judgement] = field(default_factory=dict)

    @property
    def confidence(self) -> dict[int, float]:
        """Confidence, 0..1, by the video's own ids."""
        return {own: judgement.confidence for own, judgement in self.objects.items()}


def features(found: Measures) -> tuple[float, ...]:
    """What confidence is linear in, for an object that has pixels; 1 comes first."""
    return (
        1.0,
        _logit(found.sure),
        math.log(found.unsure + SMALLEST),
        math.log(found.jump + 0.1),
        math.log(found.rival + SMALLEST),
        found.likeness,
        _logit(found.trust),
    )


def _logit(share: float) -> float:
    inside = min(max(share, SMALLEST), 1 - SMALLEST)
    return math.log(inside / (1 - inside))


def judge(found: Measures, trace: Trace) -> Judgement:
    """Judge an object by its measures.

    Args:
        found: Its measures in a frame.
        trace: What is remembered of it after the frame.
    """
    if not found.cells:
        # Either it is gone, and nothing is right, or it is lost, and nothing is wrong.
        return Judgement(GONE, GONE, found, trace)
    values = features(found)
    good, overlap = (
        1 / (1 + math.exp(-sum(w * v for w, v in zip(weights, values, strict=True))))
        for weights in (GOOD, OVERLAP)
    )
    return Judgement(good, overlap, found, trace)


def review_given(
    labels: Labels, own_ids: Iterable[int], frame: NDArray[np.generic]
) -> dict[int, Judgement]:
    """Judgements on masks that were given: they are right, and the past begins with them.

    Args:
        labels: The video's own ids, uint8 [H, W].
        own_ids: Ids of the given objects.
        frame: The picture at the network's size.
    """
    rows, columns, step = grid_of(frame.shape[0], frame.shape[1])
    coarse = resize_labels(labels, rows, columns)
    judged = {}
    for own in own_ids:
        found, colours = measure_given(coarse == own, frame, step)
        judged[own] = Judgement(1.0, 1.0, found, follow(found, None, colours), given=True)
    return judged


def review(
    logits: Grid,
    objects: Mapping[int, int],
    frame: NDArray[np.generic],
    past: Review,
) -> Review:
    """Judge every object in a frame.

    Args:
        logits: The decoder's, float32 [groups, 11, rows, columns]; all of them finite.
        objects: The video's own ids by internal ids, ascending, of the objects that are followed.
        frame: The picture at the network's size.
        past: The review of the frame before.
    """
    seen = sample(logits, list(objects), frame)
    traces = {
        number: past.objects[own].trace for number, own in objects.items() if own in past.objects
    }
    colours = colour_shares(seen, 1 + len(objects))
    judged = {}
    for found, row, (number, own) in zip(
        measure(seen, colours, traces), colours[1:], objects.items(), strict=True
    ):
        trace = follow(found, traces.get(number), tuple(row.tolist()))
        judged[own] = judge(found, trace)
    return Review(judged)
