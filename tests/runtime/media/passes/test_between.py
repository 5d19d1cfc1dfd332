"""Two made-up passes become one: by distance, by uncertainty, and by what each of them knows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.media.frames import SourceFrame
from mavos_deploy.runtime.media.passes.between import Between
from mavos_deploy.runtime.media.passes.directions import Fuse
from mavos_deploy.runtime.media.passes.follow import Followed
from mavos_deploy.runtime.media.passes.fusion import FULL, Enlarger, Shares
from mavos_deploy.runtime.objects import Labels

SIDE = 33  # pixels of a frame, and of the network's
GRID = 9
NUMBERS = [11, 12, 13, 14, 15]  # of the frames between keyframes 10 and 16
PICTURE = np.zeros((SIDE, SIDE, 3), np.uint8)
ROWS = {4: slice(0, 4), 6: slice(5, 9)}  # where the truth has objects 4 and 6, on the grid


@dataclass(frozen=True)
class FakeState:
    """A state with the ids that a pass follows."""

    objects: tuple[int, ...]
    size: Size = (SIDE, SIDE)
    frame: int = 0
    value: float = 0.5

    @property
    def ids(self) -> tuple[int, ...]:
        return self.objects

    @property
    def confidence(self) -> dict[int, float]:
        return {own: self.value for own in self.objects if self.value >= 0}


class FakeSoft:
    """Stands for the segmenter of passes that were made up."""

    def __init__(self) -> None:
        self.ids: tuple[int, ...] = ()
        self.shares: Shares = np.zeros((1, GRID, GRID), np.uint8)
        self.predicted: Labels = np.zeros((SIDE, SIDE), np.uint8)

    def passed(
        self, numbers: list[int], ids: tuple[int, ...], sure: dict[int, int], value: float = 0.5
    ) -> Iterator[Followed[FakeState]]:
        """A pass over frames, in each of which the truth has so large a share."""
        for number in numbers:
            share = sure.get(number, FULL)
            self.ids = ids
            self.shares = np.zeros((1 + len(ids), GRID, GRID), np.uint8)
            for place, own in enumerate(ids, 1):
                self.shares[place, ROWS[own]] = share
            self.shares[0] = FULL - self.shares[1:].sum(0)
            self.predicted = _labels(ids if share > FULL // 2 else ())
            frame = SourceFrame(number, f"{number:05d}", PICTURE)
            yield Followed(frame, self.predicted, FakeState(ids, value=value))


def _labels(ids: tuple[int, ...]) -> Labels:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for own in ids:
        rows = ROWS[own]
        labels[4 * rows.start : 4 * rows.stop] = own
    return labels


def _fused(
    tmp_path: Path,
    fuse: Fuse,
    forward: tuple[tuple[int, ...], dict[int, int]],
    backward: tuple[tuple[int, ...], dict[int, int]],
) -> dict[int, set[int]]:
    """Ids in each frame between."""
    soft, enlarger = FakeSoft(), Enlarger((SIDE, SIDE), (SIDE, SIDE), True)
    with Between(fuse, tmp_path, soft) as between:  # type: ignore[arg-type]
        back = soft.passed([*NUMBERS[::-1], 10], *backward)
        assert between.take_backward(back, NUMBERS, _labels(forward[0])) is not None
        forth = soft.passed([*NUMBERS, 16], *forward)
        last = between.take_forward(forth, NUMBERS, _labels(backward[0]))
        assert last is not None
        assert last.frame.index == 16
        return {n: set(np.unique(between.labels(n, enlarger)).tolist()) for n in NUMBERS}


@pytest.mark.parametrize("fuse", list(Fuse))
def test_objects_of_one_keyframe_are_kept_in_all_frames(tmp_path: Path, fuse: Fuse) -> None:
    found = _fused(tmp_path, fuse, ((4,), {}), ((6,), {}))
    assert found == {key: {0, 4, 6} for key in NUMBERS}


def test_by_distance_alone_the_nearer_pass_counts_though_it_is_lost(tmp_path: Path) -> None:
    lost = dict.fromkeys((12, 13, 14, 15, 16), 0)
    found = _fused(tmp_path, Fuse.NEAREST, ((4,), lost), ((4,), {}))
    assert found == {11: {0, 4}, 12: {0}, 13: {0}, 14: {0, 4}, 15: {0, 4}}


def test_the_pass_that_became_uncertain_and_was_lost_counts_no_more(tmp_path: Path) -> None:
    lost = {11: 150, **dict.fromkeys((12, 13, 14, 15, 16), 0)}
    found = _fused(tmp_path, Fuse.BLEND, ((4,), lost), ((4,), {}))
    assert found == {key: {0, 4} for key in NUMBERS}


@pytest.mark.parametrize("fuse", list(Fuse))
def test_a_pass_that_ends_early_gives_no_keyframe(tmp_path: Path, fuse: Fuse) -> None:
    soft = FakeSoft()
    with Between(fuse, tmp_path, soft) as between:  # type: ignore[arg-type]
        cut = soft.passed(NUMBERS, (4,), {})
        assert between.take_forward(cut, NUMBERS, _labels((4,))) is None


@pytest.mark.parametrize("fuse", list(Fuse))
@pytest.mark.parametrize("sides", [(0.9, 0.2), (-1, 0.2)], ids=["known", "unknown"])
def test_confidence_is_that_of_the_pass_that_counts(
    tmp_path: Path, fuse: Fuse, sides: tuple[float, float]
) -> None:
    def half(ids: tuple[int, ...]) -> Labels:
        """Masks in which a pass at its end is half right."""
        labels = _labels(ids)
        labels[:, SIDE // 2 :] = 0
        return labels

    soft = FakeSoft()
    with Between(fuse, tmp_path, soft) as between:  # type: ignore[arg-type]
        back = soft.passed([*NUMBERS[::-1], 10], (4, 6), {}, sides[1])
        between.take_backward(back, NUMBERS, half((4,)))
        forth = soft.passed([*NUMBERS, 16], (4,), {}, sides[0])
        between.take_forward(forth, NUMBERS, half((4, 6)))
        found = {number: between.confidence(number) for number in NUMBERS}
    assert [told[6] for told in found.values()] == [0.2] * 5  # only the later keyframe knows it
    shared = [told[4] for told in found.values()]
    one = None if sides[0] < 0 else sides[0]
    if fuse is Fuse.NEAREST:
        assert shared == [one, one, one, 0.2, 0.2]
    elif one is None:
        assert shared == [None] * 5
    else:  # as sure as each other in the middle
        assert shared[2] == pytest.approx((0.9 + 0.2) / 2)
        assert shared == sorted(shared, reverse=True)  # type: ignore[type-var]
        assert 0.9 > shared[0] > 0.7  # type: ignore[operator]
