"""Effects change their part of a frame and leave the other."""

import numpy as np
import pytest

from mavos_deploy.runtime.media import drawings

RANDOM = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
SQUARE = np.zeros((48, 64), np.uint8)
SQUARE[8:40, 16:48] = 3
INSIDE = SQUARE > 0

EFFECTS = {
    "colour": lambda background: drawings.filled("0a141e", background),
    "blur": drawings.blurred,
    "pixelate": drawings.pixelated,
}


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("background", [False, True], ids=["objects", "background"])
def test_an_effect_changes_its_side_and_leaves_the_other(effect: str, background: bool) -> None:
    before = RANDOM.copy()
    drawn = EFFECTS[effect](background)(RANDOM, SQUARE)
    assert np.array_equal(RANDOM, before)
    assert drawn.dtype == np.uint8
    changed = ~INSIDE if background else INSIDE
    assert np.array_equal(drawn[~changed], RANDOM[~changed])
    if effect == "colour":
        assert (drawn[changed] == [10, 20, 30]).all()
    else:  # the noise is gone
        rough = np.abs(np.diff(drawn.astype(int), axis=1)).mean(2)
        both = changed[:, 1:] & changed[:, :-1]
        assert rough[both].mean() < 0.6 * np.abs(np.diff(RANDOM.astype(int), axis=1)).mean()


def test_blocks_cover_frames_whose_sides_they_do_not_divide() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (241, 433, 3), np.uint8)
    drawn = drawings.pixelated(False)(rgb, np.ones((241, 433), np.uint8))
    assert drawn.shape == rgb.shape
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) < 25 * 45
