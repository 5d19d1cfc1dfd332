"""`mavos-verify` names what differs, and says why it can't compare where it can't."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from mavos_deploy.models.mavos import Mavos  # noqa: E402
from mavos_deploy.models.synthetic import synthetic_state_dict  # noqa: E402
from mavos_deploy.models.variants import VARIANTS  # noqa: E402
from tests.checkpoints import zeros  # noqa: E402

Ended = subprocess.CompletedProcess[str]
Call = Callable[..., Ended]
Refused = Callable[..., str]


def _change(bundle: Path, **fields: object) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's own weights as a file, as if they were trained ones."""
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    state = synthetic_state_dict(Mavos(VARIANTS["mobilenet"]).state_dict())
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    return path


@pytest.fixture
def trained(own_bundle: Path, checkpoint: Path) -> Path:
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    _change(own_bundle, trained=True, weights_source="weights.pth", weights_sha256=digest)
    return own_bundle


@pytest.mark.parametrize("frames", [7, 0, -3])
def test_a_clip_that_is_too_short_is_refused(refused: Refused, bundle: Path, frames: int) -> None:
    reason = refused("mavos-verify", bundle, "--frames", str(frames))
    assert reason == (
        f"{frames} frames never read the second memory update; at a memory gap of 2 at least 8 "
        "are needed"
    )


def test_more_objects_than_fit_are_refused(refused: Refused, bundle: Path) -> None:
    reason = refused("mavos-verify", bundle, "--objects", "150")
    assert "151 objects in 64x102 pixels" in reason


def test_a_trained_bundle_passes_with_its_checkpoint(
    call: Call, trained: Path, checkpoint: Path
) -> None:
    ended = call("mavos-verify", trained, "--checkpoint", checkpoint, "--json")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["passed"] is True
    assert ended.stderr == ""
    quiet = call("mavos-verify", trained, "--checkpoint", checkpoint, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_a_trained_bundle_says_which_checkpoint_it_needs(refused: Refused, trained: Path) -> None:
    reason = refused("mavos-verify", trained)
    assert "a bundle holds no PyTorch weights; pass --checkpoint" in reason
    assert "weights.pth (SHA-256 " in reason


def test_a_checkpoint_of_other_weights_is_refused(
    refused: Refused, trained: Path, tmp_path: Path
) -> None:
    torch.save(zeros("mobilenet"), tmp_path / "other.pth")
    reason = refused("mavos-verify", trained, "--checkpoint", "other.pth")
    assert reason.startswith("other.pth has SHA-256 ")
    assert "but the bundle was exported from weights.pth with " in reason


def test_an_untrained_bundle_takes_no_checkpoint(
    refused: Refused, bundle: Path, checkpoint: Path
) -> None:
    reason = refused("mavos-verify", bundle, "--checkpoint", checkpoint)
    assert reason == "the bundle was exported without a checkpoint; leave --checkpoint out"


@pytest.mark.parametrize(
    ("field", "said"),
    [
        pytest.param("variant", "variant 'new' is unknown to this release", id="variant"),
        pytest.param("precision", "`precision`: 'new' is unknown to this release", id="precision"),
    ],
)
def test_what_a_newer_release_may_know_is_refused(
    refused: Refused, own_bundle: Path, field: str, said: str
) -> None:
    _change(own_bundle, **{field: "new"})
    assert said in refused("mavos-verify", own_bundle)


def test_a_changed_weight_fails_with_its_graph_tensor_and_frame(
    call: Call, own_bundle: Path
) -> None:
    path = own_bundle / "graphs/elstt_step.onnx"
    model = onnx.load(path)
    largest = max(model.graph.initializer, key=lambda i: np.prod(i.dims))
    values = onnx.numpy_helper.to_array(largest) * np.float32(1.5)
    largest.CopyFrom(onnx.numpy_helper.from_array(values, largest.name))
    path.unlink()
    onnx.save(model, path)
    graphs = json.loads((own_bundle / "manifest.json").read_text())["graphs"]
    graphs["elstt_step"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    _change(own_bundle, graphs=graphs)

    ended = call("mavos-verify", own_bundle)
    assert ended.returncode == 1
    said = " ".join(ended.stdout.split())
    assert re.search(r"FAILED: first \w+ of elstt_step at frame 0, \d", said)
    quiet = call("mavos-verify", own_bundle, "--quiet")
    assert (quiet.returncode, quiet.stdout) == (1, "")
    assert "FAILED: first" in quiet.stderr


@pytest.mark.parametrize("module", ["torch", "onnxruntime"])
def test_a_missing_library_names_its_extra(
    refused: Refused, bundle: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    reason = refused("mavos-verify", bundle)
    assert reason.startswith(f"{module} can't be found")
    assert "pip install 'mavos-deploy[export,cpu]'" in reason
