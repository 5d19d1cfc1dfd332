"""`mavos-eval` refuses bad usage in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import made_sequences
from tests.made_sequences import write_davis

Refused = Callable[..., str]

SHORT = {"lost": made_sequences.SEQUENCES["lost"]()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("DAVIS",), "got 1 paths; give a bundle and a data set", id="no-bundle"),
        pytest.param(
            ("a", "DAVIS", "--results", "results"), "got 2 paths; give a bundle", id="both"
        ),
        pytest.param(("DAVIS", "--results", "nowhere"), "nowhere is not a folder", id="results"),
        pytest.param(("nowhere", "--results", "results"), "nowhere is not a folder", id="data"),
        pytest.param(
            ("DAVIS", "--results", "results", "--sequences", "x"), "no sequence x", id="sequence"
        ),
        pytest.param(
            ("DAVIS", "--results", "results", "--split", "train"), "the splits", id="split"
        ),
        pytest.param(
            ("DAVIS", "--results", "results", "--layout", "lvos"), "no meta.json", id="layout"
        ),
        pytest.param(
            ("a", "DAVIS", "--shard", "1/2", "--baseline", "first-mask"),
            "--baseline is for scoring; leave it out with --shard",
            id="baseline-of-a-shard",
        ),
        pytest.param(("results", "--results", "results"), "none of the known layouts", id="none"),
    ],
)
def test_bad_usage_is_refused_in_one_line(
    refused: Refused, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    write_davis(tmp_path, SHORT)
    assert said in refused("mavos-eval", *arguments)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--overwrite", None),
        ("--workers", "2"),
        ("--shard", "1/2"),
        ("--ray", "local"),
        ("--threads", "3"),
        ("--fit", "stretch"),
        ("--fit", "refuse"),
        ("--backend", "onnxruntime-cpu"),
    ],
)
def test_options_of_segmenting_are_refused_where_masks_are_scored(
    refused: Refused, tmp_path: Path, option: str, value: str | None
) -> None:
    write_davis(tmp_path, SHORT)
    given = [option] if value is None else [option, value]
    said = refused("mavos-eval", "DAVIS", "--results", "results", *given)
    assert said == f"{option} is for segmenting with a bundle; leave it out with --results"
