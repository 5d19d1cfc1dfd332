"""`mavos-triton` writes and checks repositories, and refuses options without an effect."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("tritonclient.grpc")

Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]
Refused = Callable[..., str]

GRAPH_MODELS = ("--graphs", "onnxruntime")
# An option of every kind that means nothing where a repository is checked.
WRITING = [
    ("--output", "r"),
    ("--graphs", "tracker"),
    ("--plans", "X"),
    ("--gpus", "0"),
    ("--instances", "3"),
    ("--threads", "1"),
    ("--name", "mavos"),
    ("--max-streams", "16"),
    ("--max-objects", "40"),
    ("--max-pixels", "99"),
    ("--idle", "60"),
    ("--queue-limit", "64"),
    ("--queue-timeout", "10"),
    ("--priority", "1"),
]


@pytest.fixture(scope="module")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mavos_deploy.runtime.bundles.bundle import Bundle
    from mavos_deploy.runtime.triton.config import Options
    from mavos_deploy.runtime.triton.repository import write_repository

    folder: Path = tmp_path_factory.mktemp("repository")
    write_repository(Bundle.open(bundle), folder, Options())
    return folder


def test_a_bundle_becomes_a_repository_that_passes_its_check(
    call: Call, bundle: Path, tmp_path: Path
) -> None:
    ended = call("mavos-triton", bundle, "--output", "repo", "--max-streams", "3")
    assert ended.returncode == 0, ended.stderr
    first, second, third = ended.stdout.splitlines()
    assert first == "wrote repo: mavos"
    assert second.endswith("40 objects, 3 streams")
    assert third == f"start it with: tritonserver --model-repository={tmp_path / 'repo'}"
    assert ended.stderr.count("UNTRAINED WEIGHTS") == 1
    checked = call("mavos-triton", "--check", "repo")
    assert (checked.returncode, checked.stdout) == (0, "repo: no fault found\n")


def test_json_is_one_document(call: Call, bundle: Path) -> None:
    ended = call("mavos-triton", bundle, "--output", "repo", "--json")
    written = json.loads(ended.stdout)
    assert written["models"] == ["mavos"]
    assert written["state_bytes_at_most"] == written["state_bytes_per_ten_objects"] * 4 * 16
    checked = call("mavos-triton", "--check", "repo", "--json")
    assert json.loads(checked.stdout) == {"repository": "repo", "faults": []}


def test_faults_are_named_and_lead_to_exit_code_1(
    call: Call, repository: Path, tmp_path: Path
) -> None:
    config = tmp_path / "repo/mavos/config.pbtxt"
    config.parent.mkdir(parents=True)
    config.write_text("nonsense {")
    ended = call("mavos-triton", "--check", "repo")
    assert ended.returncode == 1
    *faults, last = ended.stdout.splitlines()
    assert last == f"{len(faults)} faults in repo"
    quiet = call("mavos-triton", "--check", "repo", "--quiet")
    assert (quiet.returncode, quiet.stdout) == (1, "")
    assert quiet.stderr.splitlines() == faults
    assert call("mavos-triton", "--check", repository, "--quiet").returncode == 0


@pytest.mark.parametrize(("option", "value"), WRITING)
def test_options_of_writing_are_refused_where_a_repository_is_checked(
    refused: Refused, repository: Path, option: str, value: str
) -> None:
    said = refused("mavos-triton", "--check", repository, option, value)
    assert said == f"{option} is for writing a repository; leave it out with --check"


def test_every_option_of_writing_is_in_the_table_above(call: Call) -> None:
    page = call("mavos-triton", "--help").stdout
    listed = {line.split()[0] for line in page.splitlines() if line.startswith("  --")}
    assert listed - {option for option, _ in WRITING} == {
        "--check",
        "--overwrite",
        "--json",
        "--version",
        "--help",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param((), "give a bundle's folder, or --check REPO", id="nothing"),
        pytest.param(("--check", "R", "--overwrite"), "--overwrite is for writing", id="check"),
        pytest.param(("B", "--check", "R"), "BUNDLE is for writing a repository", id="both"),
        pytest.param(("B", "--name", "a b"), "letters, digits and underscores only", id="name"),
        pytest.param(("B", "--gpus", "0"), "--gpus needs graph models; add --graphs", id="gpus"),
        pytest.param(("B", "--queue-limit", "64"), "--queue-limit needs graph models", id="queue"),
        pytest.param(("B", "--queue-timeout", "9"), "--queue-timeout needs graph", id="timeout"),
        pytest.param(("B", "--plans", "p"), "--plans needs graph models", id="plans"),
        pytest.param(
            ("B", *GRAPH_MODELS, "--plans", "p"), "--plans is for --graphs tensorrt", id="onnx"
        ),
        pytest.param(("B", *GRAPH_MODELS, "--gpus", "a"), "such as 0,1", id="no-number"),
        pytest.param(("B", "--graphs", "tensorrt"), "needs a GPU; add --gpus 0", id="no-gpu"),
        pytest.param(
            ("B", "--graphs", "tensorrt", "--gpus", "0"), "needs --plans, a folder", id="no-plans"
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    refused: Refused,
    bundle: Path,
    repository: Path,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    known = {"B": bundle, "R": repository}
    assert said in refused("mavos-triton", *(known.get(word, word) for word in arguments))
