"""The training recipe: the same data for the same seed, and a restart that changes nothing."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mavos_deploy.evaluation.scenes.clip import Clip
from mavos_deploy.evaluation.scenes.draws import Draws
from mavos_deploy.models.checkpoint import load_network
from mavos_deploy.models.variants import VARIANTS

pytest.importorskip("skimage", reason="training scenes need the photographs of scikit-image")

from examples import train_tiny
from examples.train_tiny import Stage


def _arguments(folder: Path, iterations: int) -> argparse.Namespace:
    folder.mkdir(exist_ok=True)
    return argparse.Namespace(
        output=folder,
        weights=None,
        first=0,
        iterations=iterations,
        learning_rate=1e-3,
        seed=5,
        device="cpu",
        threads=1,
        workers=1,
        bfloat16=False,
        log_every=1,
        save_every=1,
    )


def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = (
        Stage(0.5, (65, 81), 2, 4, 1, 0.0, frozen_norm=False),
        Stage(1.0, (81, 97), 1, 5, 1, 1.0, frozen_norm=True),
    )
    monkeypatch.setattr(train_tiny, "STAGES", stages)
    monkeypatch.setattr(train_tiny, "POOL", 1)
    train_tiny.train(_arguments(tmp_path / "whole", 4))

    batches = train_tiny.batches
    monkeypatch.setattr(
        train_tiny, "batches", lambda *a: (x for x, _ in zip(batches(*a), range(3), strict=False))
    )
    train_tiny.train(_arguments(tmp_path / "parts", 4))
    monkeypatch.setattr(train_tiny, "batches", batches)
    train_tiny.train(_arguments(tmp_path / "parts", 4))
    states = []
    for name in ("whole", "parts"):
        train_tiny.export(tmp_path / name, tmp_path / f"{name}.safetensors")
        states.append(load_file(tmp_path / f"{name}.safetensors"))
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    _, weights = load_network(VARIANTS["tiny"], tmp_path / "whole.safetensors")
    assert weights.trained

    with pytest.raises(SystemExit, match="of 4 iterations with seed 5"):
        train_tiny.train(_arguments(tmp_path / "parts", 6))


def test_relabelling_drops_what_the_reference_does_not_show() -> None:
    labels = np.zeros((2, 20, 20), np.uint8)
    labels[:, :10, :10] = 1
    labels[0, 15, 15] = labels[1, 15, 15] = 2  # too small in the first frame
    frames = np.zeros((2, 20, 20, 3), np.uint8)
    for index in range(20):
        augmented = train_tiny.augment(Clip(frames, labels), Draws(index))
        ids, counts = np.unique(augmented.labels[0], return_counts=True)
        assert ids[0] == 0
        assert len(ids) == 2
        assert 1 <= ids[1] <= 10
        assert counts[1] == 100


def test_loss_falls_with_the_right_answer() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, :4] = 3
    used = torch.zeros(1, 11)
    used[:, [0, 3]] = 1
    right = torch.full((1, 11, 8, 8), -20.0)
    right[:, 0, 4:] = right[:, 3, :4] = 20
    wrong = right.flip(2)
    loss, overlap = train_tiny.frame_loss(right, labels, used, 0.5)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert overlap.item() == pytest.approx(1, abs=1e-6)
    loss, overlap = train_tiny.frame_loss(wrong, labels, used, 0.5)
    # Cross-entropy 40, and 1/65 of an overlap.
    assert loss.item() == pytest.approx(0.5 * 40 + 0.5 * (1 - 1 / 65), abs=1e-4)
    assert overlap.item() == pytest.approx(1 / 65, abs=1e-6)
