"""`mavos-bench` prints one document, and refuses what it can't measure before it measures."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mavos_deploy.runtime.system.machine import Load, LoadMeter

Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]
Refused = Callable[..., str]


def test_a_bench_is_one_json_document(
    call: Call, bundle: Path, video: SimpleNamespace, tmp_path: Path
) -> None:
    ended = call(
        "mavos-bench",
        bundle,
        "--frames",
        "6",
        "--objects",
        "2",
        "--threads",
        "1",
        "--pytorch",
        "eager",
        "--video",
        video.clip,
        "--output",
        "o",
        "--json",
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert json.loads((tmp_path / "o/bench.json").read_text()) == report
    assert report["baseline"] == "pytorch-eager"
    names = ["pytorch-eager", "onnxruntime-cpu"]
    assert list(report["tensor_only"]) == list(report["peak_memory_mb"]) == names
    assert list(report["end_to_end"]) == ["onnxruntime-cpu"]
    assert report["threads"] == 1
    assert {len(series["milliseconds"]) for series in report["per_frame"].values()} == {5}
    assert report["machine"]["processor"]


def test_a_busy_machine_is_reported(
    call: Call, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadMeter, "read", lambda meter: Load(0.31, 0.04))
    arguments = ("mavos-bench", bundle, "--frames", "5", "--threads", "1", "--video", "none")
    ended = call(*arguments)
    assert ended.returncode == 0, ended.stderr
    assert "took 31% of its processors' time and its host 4%" in ended.stderr
    assert "end to end" not in ended.stdout
    assert "onnxruntime-cpu" in ended.stdout
    assert "…" not in ended.stdout
    quiet = call(*arguments, "--quiet")
    assert (quiet.returncode, quiet.stdout) == (0, "")
    assert "took 31% of its processors' time" in quiet.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--frames", "4"], "at a memory gap of 2 at least 5 are", id="too-short"),
        pytest.param(["--pytorch", "fast"], "accepted are eager, compiled, tuned", id="pytorch"),
        pytest.param(["--backend", "gpu"], "accepted are onnxruntime-cpu, ", id="backend"),
        pytest.param(["--video", "no.mp4"], "no.mp4 is no file", id="video"),
        pytest.param(["--pytorch", "eager,eager"], "pytorch-eager is given twice", id="twice"),
        pytest.param(["--checkpoint", "x.pth"], "--checkpoint is for PyTorch; add", id="alone"),
        pytest.param(
            ["--pytorch", "eager", "--checkpoint", "x.pth"],
            "exported without a checkpoint; leave --checkpoint out",
            id="checkpoint",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(
    refused: Refused, bundle: Path, arguments: list[str], said: str
) -> None:
    assert said in refused("mavos-bench", bundle, *arguments)


def test_without_pytorch_the_extra_is_named(
    refused: Refused, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    reason = refused("mavos-bench", bundle, "--pytorch", "eager")
    assert "pip install 'mavos-deploy[export]'" in reason
