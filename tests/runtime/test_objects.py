"""Object numbers and the groups of ten that hold them."""

import numpy as np

from mavos_deploy.runtime.objects import only_objects


def test_only_these_objects_are_left() -> None:
    labels = np.array([[0, 1, 2], [255, 2, 9]], np.uint8)
    kept = only_objects(labels, (2, 9))
    assert kept.dtype == np.uint8
    assert kept.tolist() == [[0, 0, 2], [0, 2, 9]]
    assert labels[0, 1] == 1
