"""Frames between two keyframes, out of a pass from each of them to the other."""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from mavos_deploy.runtime.media.found import Confidence, confidence_of
from mavos_deploy.runtime.media.passes.directions import Fuse
from mavos_deploy.runtime.media.passes.follow import Followed
from mavos_deploy.runtime.media.passes.fusion import (
    Enlarger,
    blend,
    by_object,
    nearest,
    overlap,
    risk,
    trust,
    weight,
)
from mavos_deploy.runtime.media.passes.soft import SoftSegmenter
from mavos_deploy.runtime.media.passes.spill import ConfidenceSpill, Spill
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import StateT


@dataclass
class _Pass:
    """What one pass over the frames between two keyframes leaves.

    Attributes:
        spill: Labels of its frames, or with `BLEND` the shares of its objects.
        confidence: Confidence in its masks.
        ids: Ids of its objects.
        risks: Risk of each object in each frame, in the order of the pass, by id.
        trust: Trust in each object in each frame, by its id and the frame's number.
    """

    spill: Spill
    confidence: ConfidenceSpill
    ids: tuple[int, ...] = ()
    risks: dict[int, list[float]] = field(default_factory=dict)
    trust: dict[int, dict[int, float]] = field(default_factory=dict)


class Between:
    """Fuses two passes. Use it in a `with` block: what it keeps of them lies on the disk.

    Args:
        fuse: How the passes become one.
        folder: Folder on whose disk they wait.
        soft: The segmenter that makes both passes; needed for `BLEND`.
    """

    def __init__(self, fuse: Fuse, folder: Path, soft: SoftSegmenter | None = None) -> None:
        self._soft = soft if fuse is Fuse.BLEND else None
        assert fuse is Fuse.NEAREST or soft is not None
        self._open = ExitStack()
        self._forward, self._backward = (
            _Pass(
                self._open.enter_context(Spill(folder)),
                self._open.enter_context(ConfidenceSpill(folder)),
            )
            for _ in range(2)
        )
        self._numbers: list[int] = []

    def __enter__(self) -> "Between":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def take_forward(
        self, passed: Iterator[Followed[StateT]], numbers: list[int], end: Labels
    ) -> Followed[StateT] | None:
        """Take the pass from the earlier keyframe to the later one.

        Args:
            passed: The pass over the frames between and the later keyframe.
            numbers: Numbers of the frames between.
            end: Labels of the later keyframe's mask.

        Returns:
            The later keyframe, as it was segmented with its mask; None where the pass ended early.
        """
        self._numbers = numbers
        return self._take(self._forward, passed, numbers, end)

    def take_backward(
        self, passed: Iterator[Followed[StateT]], numbers: list[int], end: Labels
    ) -> Followed[StateT] | None:
        """Take the pass from the later keyframe to the earlier one; see `take_forward`."""
        return self._take(self._backward, passed, numbers[::-1], end)

    def _take(
        self, track: _Pass, passed: Iterator[Followed[StateT]], numbers: list[int], end: Labels
    ) -> Followed[StateT] | None:
        last: Followed[StateT] | None = None
        for step, followed in enumerate(passed):
            inside = step < len(numbers)
            if self._soft is not None:
                track.ids = self._soft.ids
                for number, share in zip(track.ids, self._soft.shares[1:], strict=True):
                    track.risks.setdefault(number, []).append(risk(share))
                if inside:
                    track.spill[followed.frame.index] = self._soft.shares
            elif inside:
                track.ids = followed.state.objects
                track.spill[followed.frame.index] = followed.labels
            if inside:
                track.confidence[followed.frame.index] = confidence_of(followed.state)
            last = None if inside else followed
        if last is not None and self._soft is not None:
            for number, risks in track.risks.items():
                values = trust(risks, overlap(self._soft.predicted, end, number))
                track.trust[number] = dict(zip(numbers, values, strict=False))
        return last

    def labels(self, number: int, enlarger: Enlarger | None = None) -> Labels:
        """The fused labels of a frame between, uint8 [H, W].

        Args:
            number: Number of the frame.
            enlarger: Brings probabilities to the size of the video; needed for `BLEND`.
        """
        if self._soft is None:
            near, far = self._near_first(number)
            only_far = [other for other in far.ids if other not in near.ids]
            return nearest(near.spill[number], far.spill[number], only_far)
        assert enlarger is not None
        one, other = (
            by_object(way.spill[number], way.ids) for way in (self._forward, self._backward)
        )
        return enlarger.labels(blend(one, other, self._weights(number)))

    def confidence(self, number: int) -> Confidence:
        """Confidence in the fused masks of a frame between.

        An object has that of the pass whose mask is taken, and with `BLEND` a mixture as that of
        the masks.

        Args:
            number: Number of the frame.
        """
        if self._soft is None:
            near, far = self._near_first(number)
            return {**far.confidence[number], **near.confidence[number]}
        one, other = self._forward.confidence[number], self._backward.confidence[number]
        mixed = {**one, **other}
        for own, share in self._weights(number).items():
            here, there = one.get(own), other.get(own)
            known = None if here is None or there is None else share * here + (1 - share) * there
            mixed[own] = known
        return mixed

    def _near_first(self, number: int) -> tuple[_Pass, _Pass]:
        """Both passes, that of the nearer keyframe first."""
        place = bisect_left(self._numbers, number)
        ways = self._forward, self._backward
        return ways if 2 * place <= len(self._numbers) - 1 else ways[::-1]

    def _weights(self, number: int) -> dict[int, float]:
        """Weight of the forward pass in a frame, for each object that both passes know."""
        one, other = self._forward.trust, self._backward.trust
        return {
            own: weight(one[own][number], other[own][number])
            for own in self._forward.ids
            if own in self._backward.ids
        }
