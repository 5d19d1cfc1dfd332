"""Labels are read while the next frame is computed, and nothing else changes."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import BackendError, InputError, PoisonedError
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.media.frames import SourceFrame
from mavos_deploy.runtime.media.passes.follow import follow
from mavos_deploy.runtime.media.steps import Coming, Stepped, Steps
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import Enqueued, RgbFrame
from tests.made_clips import synthetic_clip
from tests.stand_in_segmenter import StandInSegmenter, StandInState, segment

FRAMES = 10
LATE = 6  # frame in which object 3 joins
Frame = Coming[int, RgbFrame, StandInState]


class Pending:
    """A frame whose labels are read later; the state's labels are there, as on a GPU."""

    def __init__(
        self, segmenter: "Ahead", number: int, labels: Labels, state: StandInState
    ) -> None:
        self._segmenter = segmenter
        self._number = number
        self._labels = labels
        self.state = state

    def result(self) -> tuple[Labels, StandInState]:
        self._segmenter.log.append(f"read {self._number}")
        if self._number == self._segmenter.poisoned:
            raise PoisonedError("NaN")
        return self._labels, self.state


class Ahead(StandInSegmenter):
    """The stand-in, with labels that are read later; it notes the order of all calls."""

    def __init__(self, runs_ahead: bool = True) -> None:
        super().__init__()
        self.runs_ahead = runs_ahead
        self.log: list[str] = []
        self.poisoned: int | None = None  # frame whose labels can't be used
        self.refused: int | None = None  # frame that can't be enqueued

    def step(
        self, frame: RgbFrame, state: StandInState, annotation: Labels | None = None
    ) -> tuple[Labels, StandInState]:
        self.log.append(f"step {state.frame + 1}")
        return super().step(frame, state, annotation)

    def enqueue(self, frame: RgbFrame, before: StandInState | Enqueued[StandInState]) -> Pending:
        state = before.state if isinstance(before, Enqueued) else before
        number = state.frame + 1
        self.log.append(f"enqueue {number}")
        if number == self.refused:
            raise BackendError("no memory")
        return Pending(self, number, *StandInSegmenter.step(self, frame, state))


CLIP = synthetic_clip(64, 96, FRAMES, objects=2, late_objects=1, late_frame=LATE, seed=5)


def coming(segmenter: Ahead, late: object = None, ends: int = FRAMES) -> Iterator[Frame]:
    """Frames of the clip behind the first, whose reading is noted."""
    for number in range(1, ends):
        segmenter.log.append(f"take {number}")
        known = late if number == LATE else None
        yield Coming(number, CLIP.frames[number], known)  # type: ignore[arg-type]


def run(
    segmenter: Ahead, live: bool = False, late: object = None
) -> list[Stepped[int, StandInState]]:
    state = segmenter.start(CLIP.frames[0], CLIP.labels[0])
    found = []
    for stepped in Steps(segmenter, coming(segmenter, late), state, live):
        segmenter.log.append(f"got {stepped.item}")
        found.append(stepped)
    return found


def plain(late: Labels | None = None) -> list[tuple[Labels, StandInState]]:
    segmenter = StandInSegmenter()
    state = segmenter.start(CLIP.frames[0], CLIP.labels[0])
    found = []
    for number in range(1, FRAMES):
        known = late if number == LATE else None
        labels, state = segmenter.step(CLIP.frames[number], state, known)
        found.append((labels, state))
    return found


def assert_same(
    found: list[Stepped[int, StandInState]], expected: list[tuple[Labels, StandInState]]
) -> None:
    assert [stepped.item for stepped in found] == list(range(1, len(expected) + 1))
    for stepped, (labels, state) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(stepped.labels, labels)
        assert (stepped.state.frame, stepped.state.seen) == (state.frame, state.seen)
        np.testing.assert_array_equal(stepped.state.labels, state.labels)


def test_a_frame_is_read_once_the_next_one_is_enqueued_and_the_last_one_at_the_end() -> None:
    segmenter = Ahead()
    assert_same(run(segmenter), plain())
    expected = ["take 1", "enqueue 1"]
    for number in range(2, FRAMES):
        expected += [f"take {number}", f"enqueue {number}"]
        expected += [f"read {number - 1}", f"got {number - 1}"]
    assert segmenter.log == [*expected, f"read {FRAMES - 1}", f"got {FRAMES - 1}"]


@pytest.mark.parametrize(
    ("segmenter", "live"),
    [(Ahead(), True), (Ahead(runs_ahead=False), False)],
    ids=["live", "nothing-to-gain"],
)
def test_where_latency_counts_or_nothing_is_gained_each_frame_comes_before_the_next(
    segmenter: Ahead, live: bool
) -> None:
    assert_same(run(segmenter, live), plain())
    expected = [[f"take {n}", f"step {n}", f"got {n}"] for n in range(1, FRAMES)]
    assert segmenter.log == [call for calls in expected for call in calls]


def test_a_frame_with_known_labels_waits_for_those_before_it_and_comes_at_once() -> None:
    segmenter, late = Ahead(), np.where(CLIP.labels[LATE] == 3, 3, 0).astype(np.uint8)

    def known(state: StandInState) -> Labels:
        assert segmenter.log[-1] == f"got {LATE - 1}"
        assert state.frame == LATE - 1
        return late

    for given in (late, known):
        segmenter.log.clear()
        found = run(segmenter, late=given)
        assert_same(found, plain(late))
        assert [stepped.annotation is late for stepped in found].index(True) == LATE - 1
        here = segmenter.log.index(f"take {LATE}")
        assert segmenter.log[here : here + 8] == [
            f"take {LATE}",
            f"read {LATE - 1}",
            f"got {LATE - 1}",
            f"step {LATE}",
            f"got {LATE}",
            f"take {LATE + 1}",
            f"enqueue {LATE + 1}",
            f"take {LATE + 2}",
        ]


def failing(segmenter: Ahead) -> Iterator[Frame]:
    yield from coming(segmenter, ends=4)
    raise InputError("frame 4 is damaged")


def refusing(segmenter: Ahead) -> Iterator[Frame]:
    segmenter.refused = 4
    return coming(segmenter)


def poisoning(segmenter: Ahead) -> Iterator[Frame]:
    segmenter.poisoned = 4
    return coming(segmenter)


@pytest.mark.parametrize(
    ("spoil", "error", "tried"),
    [
        (failing, "frame 4 is damaged", 3),
        (refusing, "no memory", 4),
        (poisoning, "NaN", 5),
    ],
)
def test_an_error_comes_behind_the_frames_before_it(
    spoil: Callable[[Ahead], Iterator[Frame]], error: str, tried: int
) -> None:
    segmenter = Ahead()
    state = segmenter.start(CLIP.frames[0], CLIP.labels[0])
    steps = Steps(segmenter, spoil(segmenter), state)
    found: list[Stepped[int, StandInState]] = []
    with pytest.raises((InputError, BackendError, PoisonedError), match=error):
        take(steps, found)
    assert_same(found, plain()[:3])
    assert steps.item == (3 if spoil is failing else 4)
    assert f"enqueue {tried + 1}" not in segmenter.log


def take(
    steps: Steps[int, RgbFrame, StandInState], found: list[Stepped[int, StandInState]]
) -> None:
    """Put the frames in a list, which keeps them when an error comes."""
    for stepped in steps:
        found.append(stepped)


def test_the_earlier_of_two_errors_is_raised() -> None:
    segmenter = Ahead()
    segmenter.poisoned, segmenter.refused = 3, 4
    state = segmenter.start(CLIP.frames[0], CLIP.labels[0])
    with pytest.raises(PoisonedError):
        list(Steps(segmenter, coming(segmenter), state))


def test_who_stops_taking_frames_ends_the_work() -> None:
    segmenter = Ahead()
    state = segmenter.start(CLIP.frames[0], CLIP.labels[0])
    steps = iter(Steps(segmenter, coming(segmenter), state))
    assert next(steps).item == 1
    steps.close()  # type: ignore[attr-defined]
    assert segmenter.log[-2:] == ["enqueue 2", "read 1"]


def test_a_pass_names_the_frame_whose_labels_cannot_be_used() -> None:
    segmenter = Ahead()
    segmenter.poisoned = 4
    state = segmenter.start(CLIP.frames[0], CLIP.labels[0])
    frames = (SourceFrame(n, f"{n:05d}", CLIP.frames[n]) for n in range(1, FRAMES))
    found = follow(segmenter, frames, state)
    assert [next(found).frame.index for _ in range(3)] == [1, 2, 3]
    with pytest.raises(PoisonedError, match="frame 00004: NaN"):
        next(found)


class Interrupting(Ahead):
    """Gets an interrupt when it has enqueued a frame."""

    def enqueue(self, frame: RgbFrame, before: StandInState | Enqueued[StandInState]) -> Pending:
        pending = super().enqueue(frame, before)
        if pending.state.frame == 5:
            signal.raise_signal(signal.SIGINT)
        return pending


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A folder with the clip's frames, and masks of its first frame and of the late one."""
    for name in ("frames", "masks"):
        (tmp_path / name).mkdir()
    for number, frame in enumerate(CLIP.frames):
        Image.fromarray(frame).save(tmp_path / f"frames/{number:05d}.png")
    for number in (0, LATE):
        write_mask(tmp_path / f"masks/{number:05d}.png", CLIP.labels[number])
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


WRITTEN = ("palette", "store", "events", "confidence")


def test_a_run_writes_the_same_bytes_and_the_same_saved_state(clip: Path) -> None:
    for name, segmenter in (("ahead", Ahead()), ("plain", StandInSegmenter())):
        for resumable, written in ((False, WRITTEN), (True, WRITTEN[:-1])):
            folder = clip / f"{name}-{resumable}"
            summary = segment(clip, folder, resumable, segmenter=segmenter, written=written)
            assert summary.frames == FRAMES
            assert summary.added == {3: f"{LATE:05d}"}
    for resumable in (False, True):
        assert contents(clip / f"ahead-{resumable}") == contents(clip / f"plain-{resumable}")


def test_an_interrupted_run_has_whole_results_and_goes_on_to_the_same_bytes(clip: Path) -> None:
    written = WRITTEN[:-1]
    segment(clip, clip / "whole", resumable=True, written=written)
    stopped = segment(clip, clip / "out", resumable=True, written=written, segmenter=Interrupting())
    assert stopped.interrupted
    assert stopped.frames == 6, "the frame that was enqueued is written, and none behind it"
    segmenter = Ahead()
    summary = segment(clip, clip / "out", resumable=True, written=written, segmenter=segmenter)
    assert summary.resumed == 6
    assert segmenter.steps == FRAMES - 6
    assert contents(clip / "out") == contents(clip / "whole")


def test_a_run_that_an_error_ends_has_all_frames_before_it(clip: Path) -> None:
    segmenter = Ahead()
    segmenter.refused = 5
    with pytest.raises(BackendError, match="no memory; 5 masks are whole and kept"):
        segment(clip, clip / "out", resumable=True, segmenter=segmenter, written=WRITTEN[:1])
    segment(clip, clip / "out", resumable=True, segmenter=Ahead(), written=WRITTEN[:1])
    segment(clip, clip / "whole", resumable=True, written=WRITTEN[:1])
    assert contents(clip / "out") == contents(clip / "whole")
