"""`mavos-batch`: all videos of a data set, alone, in processes, and in shards."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.made_sequences import write_clips

Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]
Refused = Callable[..., str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three videos of three frames."""
    return write_clips(tmp_path / "DAVIS", ["c", "a", "b"], (64, 96), 3)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.*")}


def test_one_process_several_and_shards_write_the_same_files(
    call: Call, bundle: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ("mavos-batch", bundle, data, "--threads", "1", "--output")
    ended = call(*arguments, "one")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "9 masks of 3 sequences, in one\n"
    ended = call(*arguments, "many", "--workers", "2", "--shard", "1/2", "--json")
    assert ended.returncode == 0, ended.stderr
    summary = json.loads(ended.stdout)
    assert summary.pop("seconds") > 0
    assert {doubt["video"] for doubt in summary.pop("look_first")} == {"c", "a"}
    assert summary == {
        "output": "many",
        "shard": "1/2",
        "sequences": ["c", "a"],  # of the sorted names the first and the third, as listed
        "kept": [],
        "failed": [],
        "frames": 6,
        "problems": [],
        "notes": [],
        "backend": "onnxruntime-cpu",
        "trained": False,
    }
    assert ended.stderr.count("UNTRAINED WEIGHTS") == 1
    assert call(*arguments, "many", "--shard", "2/2", "--quiet").stdout == ""
    found = files(tmp_path / "one")
    assert len(found) == 3 * (3 + 1)
    assert files(tmp_path / "many") == found
    assert json.loads(call(*arguments, "many", "--json").stdout)["kept"] == ["c", "a", "b"]
    # The masks are those that mavos-eval scores, which finds them finished.
    before = (tmp_path / "many/a").stat().st_mtime_ns
    assert call("mavos-eval", bundle, data, "--output", "many").returncode == 0
    assert (tmp_path / "many/a").stat().st_mtime_ns == before


def test_a_video_that_cannot_be_segmented_is_reported_and_the_rest_is_finished(
    call: Call, bundle: Path, data: Path, tmp_path: Path
) -> None:
    for picture in (data / "JPEGImages/480p/a").iterdir():
        picture.write_bytes(picture.read_bytes()[:200])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b").write_text("in the way")
    ended = call("mavos-batch", bundle, data, "--output", "out", "--json")
    assert ended.returncode == 1
    summary = json.loads(ended.stdout)
    assert summary["failed"] == ["b"]
    assert summary["frames"] == 3
    found = {problem["sequence"]: problem["found"] for problem in summary["problems"]}
    assert found["b"] == "not segmented: out/b exists and is not a folder; choose another name"
    assert "frame left out" in found["a"]
    (tmp_path / "out/b").unlink()
    ended = call("mavos-batch", bundle, data, "--output", "out")
    assert ended.returncode == 1
    assert "1 problem; the rest is segmented:" in ended.stderr
    assert "6 masks of 3 sequences, 1 of them finished earlier, in out" in ended.stdout


def test_quiet_lists_problems_alone(call: Call, bundle: Path, data: Path, tmp_path: Path) -> None:
    (data / "JPEGImages/480p/a/00001.jpg").write_bytes(b"")
    ended = call("mavos-batch", bundle, data, "--sequences", "a", "--quiet")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "1 problem; the rest is segmented:" in ended.stderr
    assert len(list((tmp_path / "DAVIS-masks/a").glob("*.png"))) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("--workers", "0"), "--workers 0: expected 1 or", id="workers"),
        pytest.param(("--shard", "3/2"), "I from 1 to N", id="shard"),
        pytest.param(("--shard", "0/2"), "I from 1 to N", id="shard-from-0"),
        pytest.param(("--shard", "1/2", "--overwrite"), "exclude each other", id="overwrite"),
        pytest.param(("--ray", "auto", "--workers", "2"), "exclude each other", id="ray"),
        pytest.param(("--ray", "nowhere"), "expected local, auto", id="address"),
        pytest.param(("--ray", "auto", "--backend", "auto"), "name the backend", id="ray-auto"),
        pytest.param(("--layout", "lvos"), "no meta.json", id="layout"),
        pytest.param(("--sequences", "x"), "no sequence x", id="sequence"),
        pytest.param(("--backend", "none"), "is unknown", id="backend"),
        pytest.param(("--output", "DAVIS/Annotations/480p"), "holds no run.json", id="output"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    refused: Refused, bundle: Path, data: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused("mavos-batch", bundle, data, *arguments)


@pytest.mark.parametrize("option", ["--masks", "--server", "--overlay", "--max-frames", "--every"])
def test_options_of_a_single_video_are_unknown(
    call: Call, bundle: Path, data: Path, option: str
) -> None:
    ended = call("mavos-batch", bundle, data, option, "1")
    assert ended.returncode == 2
    assert f"No such option: {option}" in ended.stderr
