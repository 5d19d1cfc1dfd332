"""Frames between two keyframes, out of a pass from each of them to the other."""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

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
from mavos_deploy.runtime.media.passes.spill import Spill
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import StateT


@dataclass
class _Pass:
    """What one pass over the frames between two keyframes leaves.

    Attributes:
        spill: Labels of its frames, or with `BLEND` the shares of its objects.
        ids: Ids of its objects.
        risks: Risk of each object in each frame, in the order of the pass, by id.
        trust: Trust in each object in each frame, by its id and the frame's number.
    """

    spill: Spill
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
            _Pass(self._open.enter_context(Spill(folder))) for _ in range(2)
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
        ways = self._forward, self._backward
        if self._soft is None:
            place = bisect_left(self._numbers, number)
            near, far = ways if 2 * place <= len(self._numbers) - 1 else ways[::-1]
            only_far = [other for other in far.ids if other not in near.ids]
            return nearest(near.spill[number], far.spill[number], only_far)
        assert enlarger is not None
        one, other = (by_object(way.spill[number], way.ids) for way in ways)
        shared = [each for each in one if each in other]
        weights = {
            each: weight(ways[0].trust[each][number], ways[1].trust[each][number])
            for each in shared
        }
        return enlarger.labels(blend(one, other, weights))
