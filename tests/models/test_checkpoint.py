"""Every form in which a checkpoint may come loads."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mavos_deploy.models.checkpoint import load_network
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
