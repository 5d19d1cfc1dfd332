"""Objects that the network's size would lose are named, with a size that keeps them."""

import re

import numpy as np
import pytest

from mavos_deploy.runtime.masks.small_objects import SMALLEST, small_objects
from mavos_deploy.runtime.resize import resize_labels


@pytest.mark.parametrize(
    ("frame", "network"),
    [((240, 432), (241, 433)), ((1080, 1920), (481, 849)), ((480, 854), (480, 848))],
)
@pytest.mark.parametrize("pixels", [(1, 3), (2, 2), (1, 1)])
def test_the_size_that_is_named_keeps_the_object(
    frame: tuple[int, int], network: tuple[int, int], pixels: tuple[int, int]
) -> None:
    labels = np.zeros(frame, np.uint8)
    labels[50:90, 50:100] = 1
    labels[101 : 101 + pixels[0], 203 : 203 + pixels[1]] = 7
    (number, text), *others = small_objects(labels, network).items()
    assert number == 7
    assert not others
    assert text.startswith(f"object 7 has {pixels[0] * pixels[1]} pixels, of which")
    named = re.search(r"--size (\d+)x(\d+) \(height x width\) its mask is (\d+)", text)
    if named is None:
        assert "enlarge the part of the video" in text
        return
    size = int(named[1]), int(named[2])
    assert size[0] % 16 == network[0] % 16
    kept = np.count_nonzero(resize_labels(labels, *size) == 7)
    assert kept == int(named[3]) >= SMALLEST


def test_objects_of_a_logit_or_more_are_not_named() -> None:
    labels = np.zeros((241, 433), np.uint8)
    labels[100:104, 200:204] = 3
    assert small_objects(labels, (241, 433)) == {}
    assert list(small_objects(labels, (129, 225))) == [3]
