"""Tables, plots and the JSON document of an evaluation."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from mavos_deploy.evaluation import tables as reports
from mavos_deploy.evaluation.evaluate import Evaluation, evaluate
from mavos_deploy.runtime.datasets.opening import open_dataset
from tests import made_sequences
from tests.made_sequences import Made, write_davis

TOOLKIT: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data/davis_toolkit.json").read_text()
)
SHORT = {name: made_sequences.SEQUENCES[name]() for name in ("lost", "three")}


def scored(root: Path, sequences: dict[str, Made], baseline: bool = False) -> Evaluation:
    data, results = write_davis(root, sequences)
    return evaluate(open_dataset(data), results, with_baseline=baseline)


def test_tables_have_the_official_names_and_columns(tmp_path: Path) -> None:
    reports.write_tables(scored(tmp_path, SHORT), tmp_path)
    with (tmp_path / "global_results-val.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert list(row) == list(reports.GLOBAL_COLUMNS)
    expected = {key: f"{value:.3f}" for key, value in TOOLKIT["global_without_long"].items()}
    assert row == expected
    lines = (tmp_path / "per-sequence_results-val.csv").read_text().splitlines()
    assert lines[0] == "Sequence,J-Mean,F-Mean"
    assert [line.split(",")[0] for line in lines[1:]] == [
        "lost_1",
        "lost_2",
        "three_1",
        "three_2",
        "three_3",
    ]


def test_results_json_holds_every_value_and_problem(tmp_path: Path) -> None:
    evaluation = scored(tmp_path, {"lost": SHORT["lost"]}, baseline=True)
    summary = json.loads(json.dumps(reports.summary(evaluation, tmp_path / "results", None)))
    assert summary["layout"] == "davis"
    assert summary["split"] == "val"
    assert summary["problems"] == []
    assert set(summary["global"]) == set(reports.GLOBAL_COLUMNS)
    assert set(summary["baseline"]) == {"first-mask"}
    (sequence,) = summary["sequences"]
    assert sequence["objects"][0]["id"] == 1
    assert sequence["objects"][0]["frames"] == ["00001", "00002", "00003", "00004"]
    assert len(sequence["objects"][0]["J"]) == 4


def test_tables_of_another_selection_are_not_replaced_in_silence(tmp_path: Path) -> None:
    root = tmp_path / "set"
    both, one = scored(root, SHORT), scored(tmp_path / "one", {"lost": SHORT["lost"]}, True)
    first, second = (reports.summary(made, root, None) for made in (both, one))
    assert reports.replaced(tmp_path, first) is None
    reports.write_results(json.dumps(first), tmp_path)
    assert reports.replaced(tmp_path, first) is None
    line = reports.replaced(tmp_path, second)
    assert line is not None
    assert "sequences (lost, three), baseline (none) and are replaced" in line
    (tmp_path / reports.RESULTS).write_text("{")
    assert reports.replaced(tmp_path, second) is None


def test_plots_are_drawn_from_any_name(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made = SHORT["lost"]
    evaluation = scored(tmp_path, {"a$b": made, "_$c$": made}, baseline=True)
    files = reports.draw_plots(evaluation, tmp_path)
    assert [file.name for file in files] == ["jf-per-sequence.png", "jf-over-time.png"]
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG")
