"""mavos-calibrate."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest

from mavos_deploy.calibration import calibrate as module
from mavos_deploy.runtime import Bundle

Ended = subprocess.CompletedProcess[str]
QUICK = ("--frames", "7", "--threads", "1", "--sequences", "clip-0,clip-1", "--max-drop", "0.1")


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times as on a machine where int8 is twice as fast."""
    monkeypatch.setattr(module, "seconds_saved", lambda *arguments: 0.001)
    monkeypatch.setattr(module, "frame_seconds", lambda *arguments: (0.02, 0.01))


@pytest.mark.usefixtures("steady")
def test_a_bundle_is_quantised_reported_and_made_again(
    call: Callable[..., Ended], tiny_bundle: Path, clips: Path, tmp_path: Path
) -> None:
    ended = call(
        *("mavos-calibrate", tiny_bundle, "--data", clips, *QUICK),
        *("--output", "int8", "--recordings", "kept"),
    )
    assert ended.returncode == 0, ended
    assert "saved: 20.0 to 10.0 ms per frame, 2.00 times as fast" in ended.stdout
    assert "cost: J&F" in ended.stdout
    assert "wrote int8" in ended.stdout
    assert "nothing was recorded of" in ended.stderr
    made = tmp_path / "int8"
    report = json.loads((made / "calibration.json").read_text())
    assert report["worth_it"] is True
    assert report["speed"] == 2
    rows = (made / "sensitivity.csv").read_text().splitlines()
    assert len(rows) == 1 + len(report["costs"])
    assert (made / "sensitivity.png").stat().st_size > 0
    manifest = Bundle.open(made).manifest
    assert manifest.arithmetic == "int8"
    assert manifest.memory_values == "int8"
    assert {row["group"] for row in report["costs"] if row["graph"] == "attention"} == {
        None,
        "memory",
        "self",
    }
    assert "int8: attention, 9 of 9 products with values" in ended.stdout
    again = call("mavos-calibrate", tiny_bundle, "--replay", made, "--output", "again", "--json")
    assert again.returncode == 0, again
    assert json.loads(again.stdout) == json.loads((tmp_path / "again/manifest.json").read_text())
    for graph in Bundle.open(made).manifest.graphs.values():
        assert (made / graph.file).read_bytes() == (tmp_path / "again" / graph.file).read_bytes()
    other = call(
        *("mavos-calibrate", tiny_bundle, "--data", clips, *QUICK, "--output", "other"),
        *("--recordings", "kept", "--seed", "1"),
    )
    assert other.returncode == 2, other
    assert "kept holds recordings that were chosen with --seed 0, not 1" in other.stderr


def test_what_is_not_faster_is_not_written(
    call: Callable[..., Ended],
    tiny_bundle: Path,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "seconds_saved", lambda *arguments: -0.001)
    ended = call("mavos-calibrate", tiny_bundle, "--data", clips, *QUICK, "--output", "int8")
    assert ended.returncode == 1, ended
    assert "NOT WORTH IT: nothing saves anything" in ended.stdout
    assert list(tmp_path.iterdir()) == []
    ended = call("mavos-calibrate", tiny_bundle, "--data", clips, *QUICK, "--quiet")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "NOT WORTH IT: nothing saves anything" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_saves_little_is_written_with_a_verdict(
    call: Callable[..., Ended], tiny_bundle: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "seconds_saved", lambda *arguments: 0.001)
    monkeypatch.setattr(module, "frame_seconds", lambda *arguments: (0.02, 0.019))
    ended = call("mavos-calibrate", tiny_bundle, "--data", clips, *QUICK, "--output", "int8")
    assert ended.returncode == 0, ended
    assert "HARDLY WORTH IT: it saves less than a tenth of a frame's time" in ended.stdout
    assert "wrote int8" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param((), "give either --data", id="no-data"),
        pytest.param(("--data", "nowhere"), "nowhere is not a folder", id="no-folder"),
        pytest.param(("--data", "DATA", "--type", "fp8"), "--for tensorrt with it", id="fp8-cpu"),
        pytest.param(
            ("--data", "DATA", "--for", "openvino", "--type", "fp8"),
            "--for tensorrt with it",
            id="fp8-openvino",
        ),
        pytest.param(
            ("--data", "DATA", "--for", "openvino", "--frames", "5"),
            "at most 5 frames of a clip are used",
            id="short-openvino",
        ),
        pytest.param(
            ("--data", "DATA", "--frames", "5"),
            "at most 5 frames of a clip are used, and the first that reads what MCA wrote is "
            "number 6 at a memory gap of 2; let more be used (--frames)",
            id="short",
        ),
        pytest.param(
            ("--data", "DATA", "--recordings", "DATA"), "holds no recordings.json", id="recordings"
        ),
        pytest.param(
            ("--data", "DATA", "--for", "tensorrt", "--float-attention"),
            "--float-attention has no effect with --for tensorrt",
            id="float-attention",
        ),
        pytest.param(("--replay", "BUNDLE"), "is not quantised", id="replay"),
        pytest.param(("--data", "DATA", "--replay", "BUNDLE"), "give either --data", id="both"),
        pytest.param(
            ("--replay", "BUNDLE", "--for", "cpu"), "--for is for choosing, and", id="replay-for"
        ),
        pytest.param(("--replay", "BUNDLE", "--seed", "1"), "--seed is for", id="replay-seed"),
        pytest.param(("--replay", "BUNDLE", "--split", "val"), "--split is", id="replay-split"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    arguments: tuple[str, ...],
    said: str,
    refused: Callable[..., str],
    tiny_bundle: Path,
    clips: Path,
) -> None:
    known = {"DATA": clips, "BUNDLE": tiny_bundle}
    given = [known.get(argument, argument) for argument in arguments]
    assert said in refused("mavos-calibrate", tiny_bundle, *given, "--output", "out")


def test_an_empty_data_set_and_other_precisions_are_refused(
    refused: Callable[..., str], tiny_bundle: Path, half_bundle: Path, clips: Path, tmp_path: Path
) -> None:
    empty: Path = copytree(clips, tmp_path / "empty")
    (empty / "ImageSets/2017/val.txt").write_text("")
    assert refused("mavos-calibrate", tiny_bundle, "--data", empty)
    said = refused("mavos-calibrate", half_bundle, "--data", clips)
    assert "is fp16; quantising starts from fp32" in said


def test_calibrating_needs_no_torch(tiny_bundle: Path, clips: Path, tmp_path: Path) -> None:
    script = """
import sys
sys.modules["torch"] = None
from mavos_deploy.cli.calibrate import main
main()
"""
    options = ["--data", str(clips), "--max-drop", "0", "--sequences", "clip-1", "--frames", "6"]
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tiny_bundle), *options, "--for", "tensorrt"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ended.returncode in (0, 1), ended.stderr
    assert "Traceback" not in ended.stderr
    assert "the same clips" in ended.stderr
