"""Pictures have their numbers in the whole video, whatever damage took."""

import pytest

from mavos_deploy.runtime.media.numbering import Numbering, named

# Packets as they are decoded: a frame that others refer to comes before those shown earlier.
ORDER = [0, 4, 2, 1, 3, 8, 6, 5, 7]


def _fed(order: list[int], silent: bool = False) -> Numbering:
    numbering = Numbering(silent)
    for place, time in enumerate(order):
        numbering.packet(time, key=place == 0)
    return numbering


def test_pictures_of_a_whole_video_are_counted() -> None:
    numbering = _fed(ORDER)
    assert [numbering.picture(time) for time in range(9)] == list(range(9))
    numbering.end()
    assert numbering.lost == []


@pytest.mark.parametrize("silent", [False, True], ids=["an-error-said-so", "in-silence"])
@pytest.mark.parametrize(
    "missing",
    [[3], [3, 4, 5], [8], [7, 8], [1, 3, 5, 7]],
    ids=["one", "a-run", "the-last", "the-end", "many"],
)
def test_missing_pictures_keep_their_numbers(missing: list[int], silent: bool) -> None:
    numbering = _fed(ORDER, silent)
    if not silent:
        numbering.error()
    there = [time for time in range(9) if time not in missing]
    assert [numbering.picture(time) for time in there] == there
    numbering.end()
    assert numbering.lost == missing


def test_the_first_pictures_may_be_missing_after_an_error() -> None:
    numbering = _fed(ORDER)
    numbering.error()
    assert numbering.picture(2) == 2
    assert numbering.lost == [0, 1]


def test_nothing_is_missing_where_packets_show_nothing_and_no_error_came() -> None:
    numbering = _fed([0, 1, 2, 3, 4, 5])
    assert [numbering.picture(time) for time in (0, 2, 3, 5)] == [0, 1, 2, 3]
    numbering.end()
    assert numbering.lost == []


def test_two_packets_of_an_interlaced_picture_are_one() -> None:
    numbering = _fed([0, 1, 2, 3, 4, 5], silent=True)
    assert [numbering.picture(time, fields=True) for time in (0, 2, 4)] == [0, 1, 2]
    assert numbering.lost == []


def test_pictures_before_the_first_key_frame_have_no_number() -> None:
    numbering = Numbering(silent=True)
    for time, key in ((0, False), (1, False), (5, True), (3, False), (6, False)):
        numbering.packet(time, key)
    assert [numbering.picture(time) for time in (5, 6)] == [0, 1]
    assert numbering.lost == []


@pytest.mark.parametrize("times", [[0, 2, 1, 3], [None, None, None, None]], ids=["mixed", "none"])
def test_without_times_in_order_each_error_is_one_picture(times: list[int | None]) -> None:
    numbering = Numbering(silent=False)
    for place in range(6):
        numbering.packet(place if times[0] is not None else None, key=place == 0)
    assert [numbering.picture(time) for time in times[:3]] == [0, 1, 2]
    numbering.error()
    assert numbering.picture(times[3]) == 4
    numbering.end()
    assert numbering.lost == [3]


def test_a_picture_that_comes_late_after_damage_is_not_given() -> None:
    numbering = _fed(ORDER)
    numbering.error()
    assert numbering.picture(0) == 0
    assert numbering.picture(3) == 3
    assert numbering.picture(2) is None
    assert numbering.lost == [1, 2]


def test_numbers_go_on_from_the_middle() -> None:
    numbering = Numbering(silent=True)
    numbering.resume(100, first=50)
    for time, key in ((50, True), (48, False), (49, False), (51, False)):
        numbering.packet(time, key)
    assert numbering.picture(49) is None
    assert [numbering.picture(time) for time in (50, 51)] == [100, 101]
    numbering.end()
    assert numbering.lost == []


def test_runs_of_numbers_are_named_by_their_ends() -> None:
    assert named([3, 7, 8, 9, 20, 21]) == "00003, 00007 to 00009, 00020 to 00021"


def _holed(times: list[int], step: float | None) -> list[int | None]:
    """Numbers of pictures, of which the container lost some in front of the third."""
    numbering = Numbering(silent=True, step=step)
    numbers = []
    for place, time in enumerate(times):
        if place == len(times) - 2:
            numbering.hole()
        numbering.packet(time, key=place == 0)
        numbers.append(numbering.picture(time))
    return numbers


@pytest.mark.parametrize(
    ("times", "step", "numbers"),
    [
        pytest.param([0, 33, 67, 100, 133, 167, 333, 367], None, [10, 11], id="cfr"),
        pytest.param([0, 33, 333, 367], 33.3, [10, 11], id="the-stated-rate"),
        pytest.param([0, 33, 333, 367], None, [2, 3], id="no-rate"),
        pytest.param([0, 10, 90, 100, 250, 400, 900, 910], 100.0, [6, 7], id="variable"),
        pytest.param([0, 33, 67, 100, 133, 167, 200, 233], None, [6, 7], id="nothing-lost"),
        pytest.param([0, 33, 67, 100, 133, 167, 10**7, 10**7 + 33], None, [6, 7], id="new-clock"),
    ],
)
def test_a_hole_in_the_container_is_measured_by_time_at_a_constant_rate(
    times: list[int], step: float | None, numbers: list[int]
) -> None:
    assert _holed(times, step)[-2:] == numbers
