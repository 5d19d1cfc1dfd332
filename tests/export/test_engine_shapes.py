"""Limits of the shapes that engines take; test_dynamic.py has the shapes themselves."""

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.export.engine_shapes import ShapeLimits


def test_engines_for_videos_too_small_to_segment_are_refused() -> None:
    with pytest.raises(InputError, match="a side is shorter than 8 pixels"):
        ShapeLimits(max_output=(7, 100))


def test_engines_tuned_for_more_groups_than_they_take_are_refused() -> None:
    with pytest.raises(InputError, match="it must be 1 to 2, the most they take"):
        ShapeLimits(max_groups=2, best_groups=3)
