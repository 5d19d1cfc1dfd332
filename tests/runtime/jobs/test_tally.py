"""Frames are counted while sequences run, those of a failed try are taken back."""

from pathlib import Path

from mavos_deploy.runtime.datasets.prediction import Predicted
from mavos_deploy.runtime.datasets.results import Settings
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.jobs.tally import Tally

SETTINGS = Settings("bundle", "tiny", True, "onnxruntime-cpu", "fp32", False)


def sequence(name: str, frames: int) -> VideoSequence:
    images = {f"{index:05d}": Path(f"{index:05d}.jpg") for index in range(frames)}
    return VideoSequence(name, images, {}, tuple(images), None, False)


def test_a_tally_has_the_frames_and_what_came_of_each_sequence() -> None:
    a, b, c = sequence("a", 3), sequence("b", 2), sequence("c", 4)
    seen: list[int] = []
    tally = Tally(seen.append)
    tally.keep(b, Predicted("", ("00000", "00001"), (), (), ()))
    tally.count(a)
    tally.count(a)
    tally.count(c)
    tally.uncount(a)
    tally.give_up(a, "not segmented", "a worker that can finish it")
    tally.add(c, Predicted("", ("00000",), (), (), (), ("annotations are soft",)))
    assert seen == [2, 3, 4, 5, 3]
    outcome = tally.outcome([c, a, b], SETTINGS)
    assert list(outcome.predicted) == ["c", "a", "b"]
    assert (outcome.kept, outcome.failed, outcome.frames) == (("b",), ("a",), 3)
    assert outcome.notes == ("annotations are soft (c)",)
    assert [str(problem) for problem in outcome.problems] == [
        "a: not segmented; expected a worker that can finish it"
    ]
