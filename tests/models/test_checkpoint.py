"""Every form in which a checkpoint may come loads."""

import os
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mavos_deploy.errors import CheckpointError
from mavos_deploy.models.checkpoint import load_network, read_state_dict
from mavos_deploy.models.variants import VARIANTS
from tests.checkpoints import StateDict, zeros

BIAS = "encoder.features.0.1.bias"


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda s: {"state_dict": s, "epoch": 3}, id="state_dict"),
        pytest.param(lambda s: {"model": s}, id="model"),
        pytest.param(lambda s: s, id="bare"),
        pytest.param(lambda s: {f"module.{k}": v for k, v in s.items()}, id="module-prefix"),
    ],
)
def test_every_form_of_a_checkpoint_loads(
    tmp_path: Path, form: Callable[[StateDict], object]
) -> None:
    state = {**zeros("mobilenet"), BIAS: torch.ones(32)}
    torch.save(form(state), tmp_path / "w.pth")
    network, weights = load_network(VARIANTS["mobilenet"], tmp_path / "w.pth")
    assert weights.trained
    assert network.state_dict()[BIAS].sum() == 32


def test_a_safetensors_file_loads(tmp_path: Path) -> None:
    state = {key: value.clone() for key, value in zeros("mobilenet").items()}
    save_file(state, tmp_path / "w.safetensors")
    _, weights = load_network(VARIANTS["mobilenet"], tmp_path / "w.safetensors")
    assert weights.trained


def test_a_dict_that_overrides_its_methods_is_read_by_those_of_dict(tmp_path: Path) -> None:
    state = OrderedDict(a=torch.ones(2))
    state.__dict__["values"] = state.__dict__["get"] = 5
    torch.save(state, tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth")["a"].sum() == 2


def test_another_mapping_is_no_state_dict(tmp_path: Path) -> None:
    torch.save({"state_dict": Counter(a=3)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth: holds no state dict"):
        read_state_dict(tmp_path / "w.pth")


def test_an_archive_that_unfolds_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"a": torch.zeros(2**18)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as plain,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(CheckpointError, match=r"b\.pth: its \d+ bytes unfold to \d+"):
        read_state_dict(tmp_path / "b.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_larger_than_any_checkpoint_is_refused_unread(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="no checkpoint has more than"):
        read_state_dict(tmp_path / name)


def test_a_pipe_is_no_checkpoint_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth: .*it is a pipe"):
        read_state_dict(tmp_path / "w.pth")
