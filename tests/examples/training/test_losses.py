"""The losses."""

import pytest
import torch

from examples.training.losses import frame_loss


def test_loss_falls_with_the_right_answer() -> None:
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, :4] = 3
    used = torch.zeros(1, 11)
    used[:, [0, 3]] = 1
    right = torch.full((1, 11, 8, 8), -20.0)
    right[:, 0, 4:] = right[:, 3, :4] = 20
    wrong = right.flip(2)
    loss, overlap = frame_loss(right, labels, used, 0.5)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert overlap.item() == pytest.approx(1, abs=1e-6)
    loss, overlap = frame_loss(wrong, labels, used, 0.5)
    # Cross-entropy 40, and 1/65 of an overlap.
    assert loss.item() == pytest.approx(0.5 * 40 + 0.5 * (1 - 1 / 65), abs=1e-4)
    assert overlap.item() == pytest.approx(1 / 65, abs=1e-6)
