"""Limits of a tracker, as parameters in its model's configuration."""

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.triton.wire import StreamLimits


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "nan", "1e99"])
def test_limits_that_are_no_numbers_are_refused(text: str) -> None:
    given = StreamLimits().parameters() | {"idle_seconds": text}
    with pytest.raises(InputError, match="parameter idle_seconds"):
        StreamLimits.from_parameters(given)


def test_limits_come_back_from_their_parameters() -> None:
    limits = StreamLimits(3, 4, 5, 0.5)
    assert StreamLimits.from_parameters(limits.parameters()) == limits
