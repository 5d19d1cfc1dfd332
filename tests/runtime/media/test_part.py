"""Parts of a video are told by frame number or time, and frames keep their numbers."""

from collections.abc import Iterator
from fractions import Fraction

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.part import Chosen, Part, Place, parse_place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("0", 0),
        ("00120", 120),
        ("12.5s", Fraction(25, 2)),
        (".5s", Fraction(1, 2)),
        ("0s", Fraction(0)),
        ("90s", Fraction(90)),
        ("00:01:02.5", Fraction(125, 2)),
        ("1:02", Fraction(62)),
        ("75:00", Fraction(4500)),
        ("100:00:00", Fraction(360000)),
    ],
)
def test_places_are_numbers_or_times(text: str, place: Place) -> None:
    found = parse_place(text)
    assert found == place
    assert type(found) is type(place)


@pytest.mark.parametrize(
    "text", ["", "-1", "1.5", "s", "1:2:3:4", "1:75", "1:60:00", "12,5s", "x", "1e3s", "٣"]
)
def test_other_texts_are_refused_with_both_forms(text: str) -> None:
    with pytest.raises(InputError, match=r"--start .*for example 120, or a time .* 00:01:02\.5"):
        parse_place(text, "--start")


@pytest.mark.parametrize("text", ["0.25", ".5", "12."])
def test_seconds_without_their_unit_are_refused_with_it(text: str) -> None:
    with pytest.raises(InputError, match=rf"a time in seconds ends in s, as {text}s; expected"):
        parse_place(text, "--start")
    assert parse_place(f"{text}s") == Fraction(text)


def _frames(asked: list[int], count: int = 20) -> Iterator[tuple[int, float]]:
    for index in range(count):
        asked.append(index)
        yield index, index / 10


@pytest.mark.parametrize(
    ("part", "taken", "asked"),
    [
        pytest.param(Part(), list(range(20)), 20, id="all"),
        pytest.param(Part(5, 8), [5, 6, 7, 8], 9, id="numbers"),
        pytest.param(Part(5, 5), [5], 6, id="one"),
        pytest.param(Part(Fraction(1, 2), Fraction(4, 5)), [5, 6, 7, 8], 10, id="times"),
        pytest.param(Part(Fraction(101, 200), Fraction(17, 20)), [6, 7, 8], 10, id="between"),
        pytest.param(Part(5, Fraction(4, 5), every=2), [5, 7], 10, id="every"),
        pytest.param(Part(3, every=4, max_frames=3), [3, 7, 11], 12, id="at-most"),
        pytest.param(Part(18, 99), [18, 19], 20, id="beyond-the-end"),
    ],
)
def test_frames_are_chosen_and_none_is_asked_for_in_vain(
    part: Part, taken: list[int], asked: int
) -> None:
    seen: list[int] = []
    chosen = Chosen(part, "a.mp4")
    found = [
        index for index, _ in chosen.of(_frames(seen), lambda time: Fraction(round(time * 10), 10))
    ]
    assert found == taken
    assert len(seen) == asked
    assert chosen.first == taken[0]
    assert chosen.stopped == (asked < 20)
    if not part.timed:
        assert part.length(20) == len(taken)


@pytest.mark.parametrize(
    "part", [Part(20), Part(Fraction(2)), Part(5, Fraction(1, 10))], ids=["number", "time", "none"]
)
def test_a_part_without_a_frame_is_refused_with_the_number_of_frames(part: Part) -> None:
    with pytest.raises(
        InputError, match=r"a\.mp4: nothing lies in the part .* there are \d+ frames"
    ):
        list(Chosen(part, "a.mp4").of(_frames([]), lambda time: Fraction(round(time * 10), 10)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"every": 0}, "every is 0 and max_frames None: both need to be at least 1"),
        ({"max_frames": 0}, "both need to be at least 1"),
        ({"start": -1}, "videos start at 0"),
        ({"start": 5, "end": 4}, "ends at frame 4, before it starts at frame 5"),
        ({"start": Fraction(5), "end": Fraction(1, 2)}, r"ends at 0\.5s, before it starts at 5s"),
    ],
)
def test_a_part_that_makes_no_sense_is_refused(fields: dict[str, Place], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Part(**fields)  # type: ignore[arg-type]


def test_times_are_refused_where_frames_have_none() -> None:
    with pytest.raises(InputError, match="1s: these frames have no times; give the number"):
        list(Chosen(Part(Fraction(1)), "a").of([(0, 0)], lambda _: None))
    with pytest.raises(InputError, match="images have no times"):
        Part(Fraction(1)).places(10, "frames")
