"""The weights that ship are the mean of those in the repository."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from examples.training.average import average

ROOT = Path(__file__).parents[3]


def test_lites_weights_are_the_mean_of_both_trainings(tmp_path: Path) -> None:
    made = tmp_path / "mean.safetensors"
    trained = ROOT / "examples" / "training"
    average(trained / "lite_close.safetensors", trained / "lite_long.safetensors", made)
    assert made.read_bytes() == (ROOT / "models" / "weights" / "lite.safetensors").read_bytes()


def test_weights_of_different_networks_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for file, width in zip(files, (2, 3), strict=True):
        save_file({"weight": torch.zeros(width)}, file)
    with pytest.raises(SystemExit, match="of different networks"):
        average(files[0], files[1], tmp_path / "mean.safetensors")
    assert not (tmp_path / "mean.safetensors").exists()
