"""The losses."""

import pytest
import torch
from torch import Tensor

from examples.training.losses import frame_loss, sequence_loss
from mavos_deploy.models.checkpoint import load_network
from mavos_deploy.models.mavos import Features
from mavos_deploy.models.tracker import GroupEngine
from mavos_deploy.models.variants import VARIANTS


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


@pytest.mark.parametrize("own_masks", [False, True])
def test_a_lost_object_is_left_out_of_what_is_remembered(
    own_masks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = load_network(VARIANTS["tiny"], None)
    frames = torch.rand(4, 2, 65, 81, 3) * 255
    labels = torch.zeros(4, 2, 65, 81, dtype=torch.long)
    labels[:, :, :30], labels[:, :, 30:, :40] = 1, 2
    remembered: list[Tensor] = []
    write = GroupEngine.memory_write

    def noted(engine: GroupEngine, features: Features, known: Tensor) -> None:
        remembered.append(known)
        write(engine, features, known)

    monkeypatch.setattr(GroupEngine, "memory_write", noted)
    lost = torch.zeros(4, 2, dtype=torch.long)
    lost[1, 0], lost[2, 1] = 1, 2
    with torch.no_grad():
        sequence_loss(network, frames, labels, 2, 1.0, own_masks, lost=lost)
    assert len(remembered) == 2  # not of the first and the last frame
    for step, known in enumerate(remembered, 1):
        for clip in range(2):
            ids = set(known[clip].unique().tolist())
            assert lost[step, clip].item() in (0, *({1, 2} - ids))
            if not own_masks:
                assert ids == {0, 1, 2} - {lost[step, clip].item()} | {0}
