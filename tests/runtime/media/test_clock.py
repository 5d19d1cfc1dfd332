"""Clocks that jump go on by the usual step, and those of whole recordings are left alone."""

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from mavos_deploy.runtime.media.clock import TS_DISCONT, Clock

SECOND = 90_000


def _moved(
    times: list[int],
    holed: bool | int = False,
    flags: int = TS_DISCONT,
    lags: list[int] | None = None,
) -> list[int]:
    """Times of decoding, as moved, with holes before all packets, none, or the one of a place."""
    container: Any = SimpleNamespace(format=SimpleNamespace(flags=flags))
    clock = Clock(container, 3600.0)
    found = []
    for place, (time, lag) in enumerate(zip(times, lags or [7200] * len(times), strict=True)):
        packet: Any = SimpleNamespace(
            dts=time, pts=time + lag, duration=3600, time_base=Fraction(1, SECOND)
        )
        clock.move(packet, holed if isinstance(holed, bool) else place == holed)
        assert packet.pts == packet.dts + lag
        found.append(packet.dts)
    return found


@pytest.mark.parametrize(
    ("last", "times", "holed"),
    [
        pytest.param(0, [0, 3600], False, id="back"),
        pytest.param(50 * SECOND, [0, 3600, 7200], True, id="far-back"),
        pytest.param(0, [50 * SECOND, 50 * SECOND + 3600], True, id="ahead"),
    ],
)
def test_a_clock_that_jumps_goes_on(last: int, times: list[int], holed: bool) -> None:
    before = [last + 3600 * place for place in range(8)]
    after = [before[-1] + 3600 * (place + 1) for place in range(len(times))]
    assert _moved(before + times, holed) == before + after


@pytest.mark.parametrize(
    ("ahead", "holed"),
    [
        pytest.param(-5000, False, id="jitter"),
        pytest.param(3600, False, id="step"),
        pytest.param(60 * SECOND, False, id="shown-for-long"),
        pytest.param(30 * SECOND, True, id="countable-hole"),
    ],
)
def test_other_steps_stay(ahead: int, holed: bool) -> None:
    times = [0, 3600, 7200, 7200 + ahead]
    assert _moved(times, holed) == times


def test_containers_that_cannot_be_joined_are_left_alone() -> None:
    assert _moved([50 * SECOND, 0, 90 * SECOND], flags=0) == [50 * SECOND, 0, 90 * SECOND]


def test_a_hole_far_before_a_picture_that_was_shown_for_long_is_no_joint() -> None:
    times = [0, 3600, 10800, 14400, 800 * SECOND, 800 * SECOND + 3600]
    assert _moved(times, holed=2) == times
    assert _moved(times, holed=4)[4:] == [18000, 21600]


def test_a_jump_does_not_change_the_usual_step() -> None:
    last = 10 * SECOND + 3600
    moved = _moved([last - 3600, last, 0, -10 * SECOND], lags=[7200, 7200, 0, 0])
    assert moved[2:] == [last + 7200 + 3600, last + 7200 + 7200]  # behind the last that is shown
