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
from tests import golden
from tests.checkpoints import StateDict, zeros

BIAS = "encoder.features.0.1.bias"
NORM = "LSTT.layers.0.norm1.weight"  # in all variants


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


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("variant", golden.DEAOT_VARIANTS)
def test_a_released_file_of_the_deaot_family_loads_with_its_optimizer(
    tmp_path: Path, variant: str, prefix: str
) -> None:
    state = {f"{prefix}{key}": value for key, value in zeros(variant).items()}
    state[f"{prefix}{NORM}"] = torch.ones(256)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))]).state_dict()
    torch.save({"state_dict": state, "optimizer": optimizer}, tmp_path / "PRE_YTB_DAV.pth")
    network, weights = load_network(VARIANTS[variant], tmp_path / "PRE_YTB_DAV.pth")
    assert weights.trained
    assert network.state_dict()[NORM].sum() == 256
    assert len(network.blocks) == {"deaot_t": 1, "deaot_s": 2}.get(variant, 3)


@pytest.mark.parametrize(
    ("file", "given", "wanted", "advice"),
    [
        ("w.pth", "mobilenet", "deaot_l", "of mobilenet (mavos), .* --variant mobilenet"),
        ("w.pth", "resnet50", "r50_deaot_l", "of resnet50 (r50_mavos), .* --variant resnet50"),
        ("w.pth", "swin_base", "swinb_deaot_l", "of swin_base (swinb_mavos), .* swin_base$"),
        ("w.pth", "r50_deaot_l", "resnet50", "of r50_deaot_l (r50_deaotl), .* r50_deaot_l$"),
        (
            "w.pth",
            "swinb_deaot_l",
            "swin_base",
            "of swinb_deaot_l .* swinb_deaot_l$",
        ),
        ("w.pth", "deaot_t", "mobilenet", "of deaot_t (deaott), .* --variant deaot_t$"),
        ("w.pth", "deaot_s", "deaot_t", "of deaot_s (deaots), .* --variant deaot_s$"),
        ("w.pth", "deaot_l", "mobilenet", "of deaot_b .* or deaot_l .* deaot_b or deaot_l$"),
        ("DeAOTL_PRE.pth", "deaot_l", "mobilenet", "of deaot_l (deaotl), .* deaot_l$"),
        ("DeAOTB_PRE_YTB_DAV.pth", "deaot_b", "deaot_s", "of deaot_b (deaotb), .* deaot_b$"),
    ],
)
def test_a_file_of_another_network_is_refused_with_the_right_name(
    tmp_path: Path, file: str, given: str, wanted: str, advice: str
) -> None:
    torch.save({"state_dict": zeros(given)}, tmp_path / file)
    words = f"^{file} is a checkpoint {advice}".replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(CheckpointError, match=words):
        load_network(VARIANTS[wanted], tmp_path / file)
