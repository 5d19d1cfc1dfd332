"""Arithmetic of fusion: two passes over the same frames become one, for every pixel and object.

docs/keyframes.md gives the rule and what it is worth.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.contract import CHANNELS, IDENTITIES
from mavos_deploy.runtime.geometry import FloatImage, Size, downsampled
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.resize import bilinear_matrix

FULL = 255  # a share of 1
DOUBTFUL = (0.2, 0.8)  # probabilities between which a pixel is uncertain
STEADY = 0.02  # risk of a frame in which nothing is uncertain
LEAST = 0.02  # trust in a pass that has nothing in common with the mask at its end
FAINTEST = 1 / 1024  # probability below which logarithms don't go

Shares = NDArray[np.uint8]  # [1 + objects, h, w]: of the background and of each object, in 255ths


def shares_of(logits: FloatImage, mask: NDArray[np.float32], numbers: Sequence[int]) -> Shares:
    """Probabilities of the background and of objects, at a fourth of the network's size.

    Args:
        logits: The decoder's logits, float32 [groups, 11, h, w].
        mask: Its summand for channels that no object has, float32 [groups, 11].
        numbers: Internal ids of the objects.
    """
    masked = logits + mask[:, :, None, None]
    powers = np.exp(masked - masked.max(1, keepdims=True))
    single = powers / powers.sum(1, keepdims=True)
    channels = [divmod(number - 1, IDENTITIES) for number in numbers]
    background = single[:, 0].prod(0)
    merged = np.stack([background, *(single[group, 1 + place] for group, place in channels)])
    assert masked.shape[1] == CHANNELS
    merged /= merged.sum(0)  # more than one group shares its pixels
    shares: Shares = np.rint(merged * FULL).astype(np.uint8)
    return shares


def risk(share: Shares) -> float:
    """How uncertain an object is in a frame, 0 to 1: its doubtful pixels among all it may have.

    Args:
        share: Its share of each pixel, uint8 [h, w].
    """
    low, high = (round(bound * FULL) for bound in DOUBTFUL)
    doubtful = int(np.count_nonzero((share > low) & (share < high)))
    certain = int(np.count_nonzero(share >= high))
    return doubtful / max(1, doubtful + certain)


def trust(risks: Sequence[float], overlap: float) -> list[float]:
    """How likely a pass still has an object in each of its frames.

    A pass that loses an object seldom finds it again, so trust only falls: from 1 at its keyframe
    to its overlap with the mask of the keyframe at its end, most where the object is uncertain.

    Args:
        risks: Risk of the object in each frame in the order of the pass, the end among them.
        overlap: Overlap of the object with its mask at the end, 0 to 1.

    Returns:
        Numbers from 0 to 1, as many as risks.
    """
    gone = np.cumsum([STEADY + each for each in risks])
    fallen: list[float] = (max(overlap, LEAST) ** (gone / gone[-1])).tolist()
    return fallen


def weight(forward: float, backward: float) -> float:
    """Weight of the forward pass where passes differ, so that one is right and the other isn't.

    Args:
        forward: Trust in the forward pass.
        backward: Trust in the backward pass.
    """
    one, other = forward * (1 - backward), backward * (1 - forward)
    return one / (one + other) if one + other else 0.5


def overlap(labels: Labels, truth: Labels, number: int) -> float:
    """Overlap (J) of an object in two label maps; 1 where neither has it."""
    found, wanted = labels == number, truth == number
    union = np.count_nonzero(found | wanted)
    return np.count_nonzero(found & wanted) / union if union else 1.0


def blend(
    forward: Mapping[int, FloatImage],
    backward: Mapping[int, FloatImage],
    weights: Mapping[int, float],
) -> dict[int, FloatImage]:
    """Probabilities of objects out of two passes.

    Args:
        forward: Probability of each object by its id in the forward pass, float32 [h, w].
        backward: The same in the backward pass.
        weights: Weight of the forward pass for each object that both have.

    Returns:
        Probabilities of all objects that one of them has.
    """
    mixed = {}
    for number in sorted({*forward, *backward}):
        if number not in backward:
            mixed[number] = forward[number]
        elif number not in forward:
            mixed[number] = backward[number]
        else:
            w = np.float32(weights[number])
            mixed[number] = w * forward[number] + (1 - w) * backward[number]
    return mixed


def by_object(shares: Shares, ids: Sequence[int]) -> dict[int, FloatImage]:
    """Probability of each object by its id; `ids` are in the order of the shares."""
    scaled = shares.astype(np.float32) / FULL
    return dict(zip(ids, scaled[1:], strict=True))


class Enlarger:
    """Makes label maps of probabilities as the decoder makes them of logits.

    Args:
        size: Height and width of the video's frames, in pixels.
        input_size: Height and width of frames in the network, in pixels.
        align_corners: True: the outer samples keep their places. False: half-pixel centres.
    """

    def __init__(self, size: Size, input_size: Size, align_corners: bool) -> None:
        self._rows, self._columns = (
            bilinear_matrix(downsampled(inside, 4), outside, align_corners)
            for inside, outside in zip(input_size, size, strict=True)
        )

    def labels(self, objects: Mapping[int, FloatImage]) -> Labels:
        """The likeliest object of each pixel; 0 where none is likelier than the background.

        Args:
            objects: Probability of each object by its id, float32 [h, w].
        """
        left = 1 - sum(objects.values(), np.zeros((), np.float32))
        best = self._enlarged(np.asarray(left, np.float32))
        labels = np.zeros(best.shape, np.uint8)
        for number, probability in objects.items():
            enlarged = self._enlarged(probability)
            labels[enlarged > best] = number
            np.maximum(best, enlarged, out=best)
        return labels

    def _enlarged(self, probability: FloatImage) -> FloatImage:
        logits = np.log(np.maximum(probability, np.float32(FAINTEST)))
        enlarged: FloatImage = self._rows @ logits @ self._columns.T
        return enlarged


def nearest(near: Labels, far: Labels, only_far: Sequence[int]) -> Labels:
    """Labels of the pass whose keyframe is nearer, with the objects that only the other one knows.

    Args:
        near: Labels of the nearer pass.
        far: Labels of the other one.
        only_far: Ids of objects that the nearer one doesn't know. They get what it leaves free.
    """
    if not only_far:
        return near
    return np.where((near == 0) & np.isin(far, list(only_far)), far, near).astype(np.uint8)
