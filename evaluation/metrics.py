"""Region similarity J and boundary accuracy F, the two DAVIS measures of a mask.

J is the overlap of the two regions (Perazzi et al., "A Benchmark Dataset and Evaluation Methodology
for Video Object Segmentation", CVPR 2016); F is the harmonic mean of the precision and recall of
the two outlines (same paper; per object in Pont-Tuset et al., "The 2017 DAVIS Challenge on Video
Object Segmentation", 2017). Conventions that the papers leave open follow the public DAVIS 2017
evaluation, so that the figures can be compared with published ones.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.objects import VOID

BOUNDARY_TOLERANCE = 0.008  # share of the image diagonal by which two outlines may differ
RECALL_THRESHOLD = 0.5  # a frame counts as found if its score is above this
DECAY_PARTS = 4  # decay compares the first with the last of so many parts of a sequence

Mask = NDArray[np.bool_]


class Score(NamedTuple):
    """Scores of one object in a frame, or their means over frames, each from 0 to 1."""

    region: float  # J
    boundary: float  # F

    @property
    def mean(self) -> float:
        """The mean of J and F, written J&F."""
        return (self.region + self.boundary) / 2


@dataclass(frozen=True)
class Statistics:
    """The figures of one object and one measure over a sequence.

    Attributes:
        mean: Mean over the scored frames.
        recall: Share of the frames that score more than 0.5.
        decay: Mean of the first quarter minus mean of the last; the loss over time.
    """

    mean: float
    recall: float
    decay: float


def region_similarity(truth: Mask, prediction: Mask) -> float:
    """Intersection over union of two masks; 1 where both are empty.

    Args:
        truth: True mask, bool (height, width).
        prediction: Predicted mask, bool (height, width).

    Returns:
        J, from 0 to 1.

    Raises:
        InputError: The masks differ in shape or are not bool [height, width].

    Source: Perazzi et al. 2016, section 4.
    """
    _check_masks(truth, prediction)
    union = np.count_nonzero(truth | prediction)
    if union == 0:
        return 1.0
    return np.count_nonzero(truth & prediction) / union


def boundary_accuracy(
    truth: Mask, prediction: Mask, tolerance: float = BOUNDARY_TOLERANCE
) -> float:
    """Harmonic mean of the precision and the recall of the predicted outline.

    A pixel of one outline counts as found when a pixel of the other lies within a disc of
    ceil(tolerance * image diagonal) pixels. Two empty outlines agree; a single empty one gives 0.

    Args:
        truth: True mask, bool (height, width).
        prediction: Predicted mask, bool (height, width).
        tolerance: Share of the image diagonal, above 0 and below 1.

    Returns:
        F, from 0 to 1.

    Raises:
        InputError: The masks differ in shape or are not bool [height, width], or the tolerance
            is out of range.

    Source: Perazzi et al. 2016, section 4; the DAVIS 2017 evaluation for empty outlines.
    """
    _check_masks(truth, prediction)
    if not 0 < tolerance < 1:
        raise InputError(
            f"tolerance {tolerance}: give a share of the image diagonal, above 0 and below 1 "
            f"(DAVIS uses {BOUNDARY_TOLERANCE})"
        )
    radius = math.ceil(tolerance * math.hypot(*truth.shape))
    truth_edge = boundary_map(truth)
    predicted_edge = boundary_map(prediction)
    if not truth_edge.any() or not predicted_edge.any():
        # With one outline empty, precision or recall is 0 by convention, and so is F.
        return float(truth_edge.any() == predicted_edge.any())
    precision = _share_within(predicted_edge, truth_edge, radius)
    recall = _share_within(truth_edge, predicted_edge, radius)
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def boundary_map(mask: Mask) -> Mask:
    """Mark the pixels that differ from their right, lower or lower-right neighbour.

    Beyond the picture the mask goes on as it is at the border, so the last row compares only to
    the right, the last column only downwards, and the last pixel is never on the outline.

    Args:
        mask: A mask, bool (height, width).

    Returns:
        The outline, one pixel wide, of the same shape.
    """
    beyond = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, lower, lower_right = beyond[:-1, 1:], beyond[1:, :-1], beyond[1:, 1:]
    edge: Mask = (mask ^ right) | (mask ^ lower) | (mask ^ lower_right)
    return edge


def score_labels(
    truth: NDArray[np.integer[Any]],
    prediction: NDArray[np.integer[Any]],
    ids: Iterable[int],
    tolerance: float = BOUNDARY_TOLERANCE,
) -> dict[int, Score]:
    """Score every object of two label maps; each frame given counts the same.

    DAVIS leaves out the first and the last frame of a sequence; the caller decides on that.
    Pixels that are 255 in truth belong to no object on either side.

    Args:
        truth: True labels, integers (frames, height, width): 0 background, else object ids.
        prediction: Predicted labels, integers (frames, height, width).
        ids: Objects to score, each from 1 to 254. An id found in neither map scores 1.
        tolerance: Share of the image diagonal by which outlines may differ.

    Returns:
        The score of each id, in the order given.

    Raises:
        InputError: The maps differ in shape or hold no frame, or an id is not from 1 to 254.
    """
    if truth.shape != prediction.shape or truth.ndim != 3 or len(truth) == 0:
        raise InputError(
            f"label maps {truth.shape} and {prediction.shape}: both need the same shape "
            "(frames, height, width), with one frame or more"
        )
    ids = list(ids)
    frames = [score_frame(*pair, ids, tolerance) for pair in zip(truth, prediction, strict=True)]
    return {
        object_id: Score(
            math.fsum(scores[object_id].region for scores in frames) / len(frames),
            math.fsum(scores[object_id].boundary for scores in frames) / len(frames),
        )
        for object_id in ids
    }


def score_frame(
    truth: NDArray[np.integer[Any]],
    prediction: NDArray[np.integer[Any]],
    ids: Iterable[int],
    tolerance: float = BOUNDARY_TOLERANCE,
) -> dict[int, Score]:
    """Score every object of one frame.

    Pixels that are 255 in truth belong to no object on either side.

    Args:
        truth: True labels, integers (height, width): 0 background, else object ids.
        prediction: Predicted labels, integers (height, width).
        ids: Objects to score, each from 1 to 254. An id found in neither map scores 1.
        tolerance: Share of the image diagonal by which outlines may differ.

    Returns:
        J and F of each id, in the order given.

    Raises:
        InputError: The maps differ in shape, or an id is not from 1 to 254.
    """
    valid = truth != VOID
    scores: dict[int, Score] = {}
    for object_id in ids:
        if not 0 < object_id < VOID:
            raise InputError(
                f"object id {object_id}: ids go from 1 to {VOID - 1}; 0 is the background "
                f"and {VOID} marks ignored pixels"
            )
        pair = truth == object_id, (prediction == object_id) & valid
        scores[object_id] = Score(region_similarity(*pair), boundary_accuracy(*pair, tolerance))
    return scores


def statistics(values: NDArray[np.float64]) -> Statistics:
    """Mean, recall and decay of one object's scores over time.

    Decay takes the frames at the four quarters' borders into both quarters, as the DAVIS 2017
    toolkit does. The toolkit counts the borders in 8 bits, which is exact up to 255 frames and
    gives a wrong figure, or none, for longer sequences; here they are whole numbers of any size.

    Args:
        values: J or F of the scored frames in order of time, one or more.

    Raises:
        InputError: There is no value.

    Source: Perazzi et al. 2016, section 4; the DAVIS 2017 evaluation for the borders.
    """
    if values.ndim != 1 or not len(values):
        raise InputError(f"scores of shape {values.shape}: need one value or more in one dimension")
    # Halves round up, so that the borders do not depend on whether a number is even.
    share = np.arange(DECAY_PARTS + 1) / DECAY_PARTS
    borders = np.floor(share * (len(values) - 1) + 0.5 + 1e-10).astype(np.int64)
    first = values[borders[0] : borders[1] + 1]
    last = values[borders[-2] : borders[-1] + 1]
    return Statistics(
        mean=float(values.mean()),
        recall=float(np.mean(values > RECALL_THRESHOLD)),
        decay=float(first.mean() - last.mean()),
    )


def _share_within(points: Mask, target: Mask, radius: int) -> float:
    """Share of the pixels of points that have a pixel of target within a disc.

    It equals a look-up of the points in the target dilated by the disc, computed at the points
    only: a disc is one span per row, and running sums tell whether a span is empty.
    """
    height, width = target.shape
    sums = np.zeros((height + 2 * radius, width + 2 * radius + 1), dtype=np.int32)
    sums[radius : radius + height, radius + 1 : radius + 1 + width] = target
    np.cumsum(sums, axis=1, out=sums)  # sums[y, x]: pixels of row y left of x, borders included

    rise = np.arange(-radius, radius + 1)
    half_span = np.array([math.isqrt(radius * radius - int(d) * int(d)) for d in rise])
    y, x = np.nonzero(points)
    rows = y[:, None] + radius + rise
    middle = x[:, None] + radius
    found = sums[rows, middle + half_span + 1] > sums[rows, middle - half_span]
    return np.count_nonzero(found.any(axis=1)) / len(y)


def _check_masks(truth: Mask, prediction: Mask) -> None:
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise InputError(
            f"masks {truth.shape} and {prediction.shape}: both need the same shape (height, width)"
        )
    if truth.dtype != np.bool_ or prediction.dtype != np.bool_:
        raise InputError(
            f"masks of {truth.dtype} and {prediction.dtype}: both need bool; "
            "compare a label map with an id to get one"
        )
