"""Photographs that give scenes their textures."""

import numpy as np
import pytest

from mavos_deploy.errors import MavosError
from mavos_deploy.evaluation.scenes import textures


def test_training_and_held_out_photographs_differ_and_are_read() -> None:
    pytest.importorskip("skimage", reason="the photographs come with scikit-image")
    assert not set(textures.TRAINING_PHOTOS) & set(textures.HELD_OUT_PHOTOS)
    photos = textures.load_photos(textures.HELD_OUT_PHOTOS)
    assert len({photo.pixels.tobytes() for photo in photos}) == len(textures.HELD_OUT_PHOTOS)
    assert max(max(photo.pixels.shape) for photo in photos) <= textures.LONGEST_SIDE
    cut_outs = [photo.cut_out for photo in photos if photo.cut_out is not None]
    assert len(cut_outs) == 1
    assert set(np.unique(cut_outs[0][..., 3])) == {0, 255}


def test_missing_photographs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textures, "find_spec", lambda name: None)
    with pytest.raises(MavosError, match=r"mavos-deploy\[photos\]"):
        textures.load_photos(("chelsea.png",))
