"""Objects are followed back from the frames that a pass reached, and the pass isn't touched."""

import csv
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError, MavosError, PoisonedError
from mavos_deploy.runtime.masks.formats.store import MaskStore
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.source import MaskSource
from mavos_deploy.runtime.media.frames import SourceFrame, open_frames
from mavos_deploy.runtime.media.outputs import Outputs, parse_wanted
from mavos_deploy.runtime.media.passes import clip as clip_module
from mavos_deploy.runtime.media.passes.backward_check import BackwardCheck
from mavos_deploy.runtime.media.passes.clip import Clip
from mavos_deploy.runtime.media.passes.fusion import overlap
from mavos_deploy.runtime.media.summary import Summary
from mavos_deploy.runtime.media.video import segment_video
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame
from tests.made_videos import HEIGHT, WIDTH, video
from tests.stand_in_segmenter import Counting, StandInSegmenter, StandInState

COUNT, EVERY = 16, 5
FIRST, SECOND = np.zeros((2, HEIGHT, WIDTH), np.uint8)
FIRST[6:30, 4:24] = 1
FIRST[20:40, 36:60] = 2
SECOND[10:30, 30:50] = 1


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_module, "MOST", 3)


@dataclass
class Ran:
    """What a run left."""

    labels: dict[int, Labels]
    checks: dict[tuple[int, int], float]
    summary: Summary
    segmenter: StandInSegmenter


def _run(
    source: Path,
    masks: dict[int, Labels],
    check: int | None,
    segmenter: StandInSegmenter | None = None,
) -> Ran:
    folder = source.parent / "given"
    folder.mkdir(exist_ok=True)
    for number, labels in masks.items():
        write_mask(folder / f"{number:05d}.png", labels)
    store, table = source.parent / "o.mavosmasks", source.parent / "o.csv"
    wanted = [parse_wanted(f"store={store}", "x"), parse_wanted(f"confidence={table}", "x")]
    segmenter = segmenter or StandInSegmenter()
    with open_frames(str(source)) as frames:
        summary = segment_video(
            segmenter,
            frames,
            MaskSource(folder, frames.size, frames.stems),
            Outputs(wanted, overwrite=True),
            check=check,
        )
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    checks = {
        (int(row["frame"]), int(row["object"])): float(row["check"])
        for row in rows
        if row.get("check")
    }
    with MaskStore(store) as held:
        return Ran(dict(held.items()), checks, summary, segmenter)


def _source(tmp_path: Path, kind: str) -> tuple[Path, list[RgbFrame]]:
    path = video(tmp_path / "clip.mp4", count=COUNT, coding={"g": "6", "bf": "2"})
    with open_frames(str(path)) as source:
        pictures = [frame.rgb for frame in source]
    if kind == "file":
        return path, pictures
    (tmp_path / "frames").mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"frames/{number:05d}.png")
    return tmp_path / "frames", pictures


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_every_stretch_is_checked_from_its_end_and_masks_are_the_same(
    tmp_path: Path, kind: str
) -> None:
    source, pictures = _source(tmp_path, kind)
    masks = {0: FIRST, 7: SECOND}
    without = _run(source, masks, None)
    found = _run(source, masks, EVERY, Counting())
    assert without.checks == {}
    assert found.labels.keys() == without.labels.keys()
    for number, labels in found.labels.items():
        np.testing.assert_array_equal(labels, without.labels[number])
    expected = {}
    for stretch in ((0, 5, 6), (7, 12, 15)):  # to a keyframe, and to the end of the video
        for to, begin in pairwise(stretch):
            plain = StandInSegmenter()
            state = plain.start(pictures[begin], found.labels[begin])
            for number in range(begin - 1, to - 1, -1):
                back, state = plain.step(pictures[number], state)
            for own in np.unique(found.labels[begin])[1:].tolist():
                value = overlap(back, found.labels[to], own)
                expected[begin, own] = pytest.approx(value, abs=1e-4)
    assert found.checks == expected
    assert isinstance(found.segmenter, Counting)
    assert found.segmenter.open == 0
    assert without.segmenter.steps == COUNT - 1
    assert found.segmenter.steps == 2 * (COUNT - 1) - 1  # all but from one keyframe to the next


class Jumping(StandInSegmenter):
    """Keeps objects where they are, but for object 1 in frame 6, whose picture is white."""

    def step(
        self, frame: RgbFrame, state: StandInState, annotation: Labels | None = None
    ) -> tuple[Labels, StandInState]:
        labels = state.labels.copy()
        if frame.min() == 255:
            labels[labels == 1] = 0
            labels[:24, 40:60] = 1
        return labels, replace(state, labels=labels, frame=state.frame + 1)


def _grey(tmp_path: Path, count: int = COUNT) -> Path:
    (tmp_path / "frames").mkdir()
    for number in range(count):
        value = 255 if number == 6 else 10 * number
        picture = np.full((HEIGHT, WIDTH, 3), value, np.uint8)
        Image.fromarray(picture).save(tmp_path / f"frames/{number:05d}.png")
    return tmp_path / "frames"


def test_an_object_that_ends_up_elsewhere_is_an_event_of_the_frame_it_was_followed_from(
    tmp_path: Path,
) -> None:
    labels = np.where(FIRST == 2, 0, FIRST)
    labels[40:47, 2:20] = 2
    ran = _run(_grey(tmp_path), {0: labels}, 4, Jumping())
    assert ran.checks == {
        **{(at, own): 1.0 for at in (4, 12, 15) for own in (1, 2)},
        (8, 1): 0.0,
        (8, 2): 1.0,
    }
    events = [event for event in ran.summary.events if event.kind == "disagrees"]
    assert [(event.index, event.objects) for event in events] == [(8, (1,))]
    assert "followed back from here, overlaps by 0.00 with what it was in frame 00004" in (
        events[0].text
    )


def test_frames_before_one_that_is_refused_are_kept_as_without_a_check(tmp_path: Path) -> None:
    source = _grey(tmp_path, 10)
    Image.new("RGB", (WIDTH + 2, HEIGHT)).save(source / "00007.png")
    for check in (None, 3):
        with pytest.raises(InputError, match=r"frame 00007 is .*; 7 masks are whole and kept"):
            _run(source, {0: FIRST}, check)


def test_a_frame_without_an_object_has_nothing_to_follow_back(tmp_path: Path) -> None:
    class Losing(StandInSegmenter):
        def step(
            self, frame: RgbFrame, state: StandInState, annotation: Labels | None = None
        ) -> tuple[Labels, StandInState]:
            labels = np.zeros_like(state.labels)
            return labels, replace(state, labels=labels)

    ran = _run(_grey(tmp_path, 8), {0: FIRST}, 3, Losing())
    assert ran.checks == {}
    assert len(ran.labels) == 8


class Poisoning(Counting):
    """Has NaN in the memory of every stream but the first."""

    def start(self, frame: RgbFrame, labels: Labels) -> StandInState:
        state = super().start(frame, labels)
        return replace(state, seen=-1) if self.open > 1 else state

    def step(
        self, frame: RgbFrame, state: StandInState, annotation: Labels | None = None
    ) -> tuple[Labels, StandInState]:
        if state.seen == -1:
            raise PoisonedError("the memory holds NaN")
        return super().step(frame, state, annotation)


def test_a_check_that_fails_loses_no_frame_and_says_nothing_of_the_run(tmp_path: Path) -> None:
    source = _grey(tmp_path, 8)
    with pytest.raises(MavosError) as failed:
        _run(source, {0: FIRST}, 4, Poisoning())
    assert not isinstance(failed.value, PoisonedError)
    said = "the check backward from frame 00004: frame 00003: the memory holds NaN; 5 masks are"
    assert said in str(failed.value)


def test_an_object_that_was_not_there_is_not_compared(tmp_path: Path) -> None:
    class Hiding(StandInSegmenter):
        """Hides object 2 where a picture is not darker than 40."""

        def step(
            self, frame: RgbFrame, state: StandInState, annotation: Labels | None = None
        ) -> tuple[Labels, StandInState]:
            hidden = np.where(FIRST == 2, 0, FIRST) if frame.min() < 40 else FIRST
            return hidden, replace(state, labels=FIRST, frame=state.frame + 1)

    ran = _run(_grey(tmp_path, 7), {0: FIRST}, 3, Hiding())
    assert ran.checks == {(3, 1): 1.0, (6, 1): 1.0}


def test_a_check_that_is_stopped_says_nothing(tmp_path: Path) -> None:
    with open_frames(str(_grey(tmp_path, 5))) as source:
        clip = Clip(source)
        frames: list[SourceFrame] = list(clip.read())
        segmenter = Counting()
        check = BackwardCheck(segmenter, clip, 4)
        check.begin(frames[0], FIRST)
        check.stop()
        assert [check.look(frame, FIRST, ends=False) for frame in frames[1:]] == [None] * 4
    assert (segmenter.open, segmenter.steps) == (0, 0)
