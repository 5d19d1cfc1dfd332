"""Who segments a data set, and how problems are listed; test_batch.py runs it."""

from pathlib import Path

import pytest

from mavos_deploy.cli.console import Console
from mavos_deploy.cli.segment_dataset import (
    DOUBTS_SHOWN,
    PROBLEMS_SHOWN,
    Distribution,
    report_problems,
    show_doubts,
)
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.sequences import Problem
from mavos_deploy.runtime.review.ranking import Doubt
from mavos_deploy.words import counted
from tests.made_sequences import write_clips


def test_a_shard_has_its_sequences_and_their_problems(tmp_path: Path) -> None:
    dataset = open_dataset(write_clips(tmp_path / "DAVIS", ["c", "a", "b"], (64, 96), 2))
    whole = Distribution.parse(None, None, None, overwrite=False)
    assert whole.part_of(dataset) is dataset
    problems = tuple(Problem(name, None, "x", "y") for name in ("a", "b", None))
    dataset = type(dataset)(**{**vars(dataset), "problems": problems})
    part = Distribution.parse(None, "1/2", None, overwrite=False).part_of(dataset)
    assert [sequence.name for sequence in part.sequences] == ["c", "a"]
    assert [problem.sequence for problem in part.problems] == ["a", None]


@pytest.mark.parametrize("count", [0, 1, PROBLEMS_SHOWN, PROBLEMS_SHOWN + 2])
def test_many_problems_are_listed_and_then_counted(
    capsys: pytest.CaptureFixture[str], count: int
) -> None:
    report_problems([Problem(f"s{i}", "00000", "a\nb", "c") for i in range(count)], "so what")
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert (
        lines[:2]
        == [f"{counted(count, 'problem')}; so what:", "  s0 00000: a b; expected c"][: 2 * count]
    )
    assert len(lines) == min(count, PROBLEMS_SHOWN) + (count > 0) + (count > PROBLEMS_SHOWN)
    if count > PROBLEMS_SHOWN:
        assert lines[-1] == "  and 2 more"


def test_sequences_with_doubtful_masks_are_a_table_and_the_rest_a_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    doubts = [Doubt(f"seq{n:02d}", 3, "00007", 0.25, 0.5) for n in range(DOUBTS_SHOWN + 2)]
    show_doubts(Console(), [*doubts, Doubt("fine", 1, "00001", 0.9, 0.0)])
    said = capsys.readouterr().out
    assert said.count("seq") == DOUBTS_SHOWN + 1  # and the column's name
    assert "50%" in said
    assert "00007" in said
    assert "0.25" in said
    assert "and 2 more" in said
    assert "fine" not in said
    show_doubts(Console(), doubts[:0])
    assert capsys.readouterr().out == ""
