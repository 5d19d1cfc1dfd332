"""Files of confidence and of events, as a run writes them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.runtime.masks.writing import Checked, LabelledFrame, Legend
from mavos_deploy.runtime.review.events import Watch
from mavos_deploy.runtime.review.writers import COLUMNS, ConfidenceWriter, EventsWriter

LABELS = np.zeros((4, 5), np.uint8)


def test_confidence_has_a_row_for_each_object_of_each_frame(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    with ConfidenceWriter(path, Legend()) as writer:
        writer.write(LabelledFrame(0, "a,b", LABELS, confidence={2: 1.0, 1: 0.25}))
        writer.write(LabelledFrame(7, "c", LABELS, confidence={1: None}))
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        [*COLUMNS],
        ["0", "a,b", "1", "0.2500"],
        ["0", "a,b", "2", "1.0000"],
        ["7", "c", "1", ""],
    ]


def test_what_backward_checks_found_is_one_more_column(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    checked = Checked("a", {2: 0.5})
    with ConfidenceWriter(path, Legend(), checked=True) as writer:
        writer.write(LabelledFrame(0, "a", LABELS, confidence={1: 0.25}))
        writer.write(LabelledFrame(7, "c", LABELS, confidence={1: None, 2: 0.1}, checked=checked))
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        [*COLUMNS, "check"],
        ["0", "a", "1", "0.2500", ""],
        ["7", "c", "1", "", ""],
        ["7", "c", "2", "0.1000", "0.5000"],
    ]


def test_events_are_those_that_the_run_added_meanwhile(tmp_path: Path) -> None:
    path, watch = tmp_path / "e.jsonl", Watch()
    with EventsWriter(path, Legend(), watch.events) as writer:
        writer.write(LabelledFrame(0, "00000", LABELS))
        watch.poisoned(3, "00003")
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["event"] == "poisoned"


@pytest.mark.parametrize("kind", ["confidence", "events"])
def test_an_error_leaves_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    writer = (
        ConfidenceWriter(path, Legend())
        if kind == "confidence"
        else EventsWriter(path, Legend(), [])
    )
    with pytest.raises(ValueError, match="of the run"), writer:
        raise ValueError("of the run")
    assert not path.exists()
