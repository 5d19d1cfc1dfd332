"""Training clips: the same for the same seed, with labels that the reference shows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mavos_deploy.evaluation.scenes.clip import Clip
from mavos_deploy.evaluation.scenes.draws import Draws

pytest.importorskip("skimage", reason="training scenes need the photographs of scikit-image")

from examples.training.clips import augment, lost_objects, render_clip
from examples.training.recipes import RECIPES, Stage
from examples.training.stills import cast, load_pictures
from tests.examples.training.made_pictures import write_pictures


def test_relabelling_drops_what_the_reference_does_not_show() -> None:
    labels = np.zeros((2, 20, 20), np.uint8)
    labels[:, :10, :10] = 1
    labels[0, 15, 15] = labels[1, 15, 15] = 2  # too small in the first frame
    frames = np.zeros((2, 20, 20, 3), np.uint8)
    for index in range(20):
        augmented = augment(Clip(frames, labels), RECIPES["tiny"], Draws(index))
        ids, counts = np.unique(augmented.labels[0], return_counts=True)
        assert ids[0] == 0
        assert len(ids) == 2
        assert 1 <= ids[1] <= 10
        assert counts[1] == 100


@pytest.mark.parametrize("scenes", [0.0, 1.0])
def test_a_seed_fixes_every_pixel(scenes: float, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures.npz")
    stage = Stage(1.0, (65, 81), 1, 4, 1, 0.0)
    once, again, other = (render_clip(s, stage, scenes, pictures) for s in (8, 8, 9))
    assert once.frames.shape == (4, 65, 81, 3)
    assert np.array_equal(once.frames, again.frames)
    assert np.array_equal(once.labels, again.labels)
    assert not np.array_equal(once.frames, other.frames)


def test_things_of_stills_move_with_their_labels(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures.npz")
    stage = Stage(1.0, (97, 129), 1, 6, 1, 0.0)
    clips = [render_clip(seed, stage, 0.0, pictures) for seed in range(12)]
    assert {clip.labels.max() for clip in clips} > {1}
    assert all(clip.labels.max() <= 10 for clip in clips)
    assert any((clip.labels[0] != clip.labels[-1]).any() for clip in clips)


def test_more_things_slip_away_and_come_back_where_that_is_asked_for(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures.npz")

    def returns(absences: float) -> int:
        """Objects that are out of sight between two frames in which they are seen."""
        stage = Stage(1.0, (97, 129), 1, 12, 1, 0.0, absences=absences)
        count = 0
        for seed in range(6):
            labels = render_clip(seed, stage, 0.0, pictures).labels
            for label in range(1, int(labels.max()) + 1):
                seen = np.flatnonzero((labels == label).any((1, 2)))
                count += len(seen) > 0 and len(seen) < seen[-1] - seen[0] + 1
        return count

    assert returns(1.0) > returns(0.0)


def test_things_of_one_kind_pass_close_by_where_that_is_asked_for(tmp_path: Path) -> None:
    pictures = load_pictures(write_pictures(tmp_path / "pictures.npz"))
    size, length = (97, 129), 12

    def closest(meetings: float, seed: int) -> float:
        """The shortest distance of two things in a clip, in pixels."""
        rng = np.random.default_rng(seed)
        things = [thing for _, thing in cast(rng, pictures, size, 1.0, length, 0.0, meetings)]
        ways = np.array([[t.place(time, size) for time in range(length)] for t in things])
        gaps = np.linalg.norm(ways[:, None] - ways[None], axis=-1).min(-1)
        return float(gaps[np.triu_indices(len(ways), 1)].min(initial=np.inf))

    changed = [(closest(1.0, s), closest(0.0, s)) for s in range(60)]
    changed = [(near, far) for near, far in changed if near != far]  # clips of one kind
    assert 10 < len(changed) < 50
    near, far = np.median(changed, axis=0)
    assert near < 0.6 * far


def test_a_clip_loses_objects_that_it_shows_at_first() -> None:
    labels = torch.zeros(50, 2, 8, 8, dtype=torch.uint8)
    labels[:, 0, :4], labels[1:, 0, 4:], labels[:, 1, :2] = 3, 7, 5
    lost = lost_objects(labels, 0.5, Draws(1))
    assert lost.shape == (50, 2)
    assert set(lost[:, 0].tolist()) == {0, 3}  # 7 is not there at first
    assert set(lost[:, 1].tolist()) == {0, 5}
    assert torch.equal(lost, lost_objects(labels, 0.5, Draws(1)))
    assert not lost_objects(labels, 0.0, Draws(1)).any()
    assert not lost_objects(torch.zeros_like(labels), 1.0, Draws(1)).any()
