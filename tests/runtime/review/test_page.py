"""The page's strips and tables, as text; test_report.py opens it in a browser."""

import re

import pytest

from mavos_deploy.runtime.review.events import Event, EventKind
from mavos_deploy.runtime.review.page import (
    GONE,
    STRIP,
    UNKNOWN,
    Section,
    Strip,
    colour_of,
    page,
)


def bars(text: str) -> list[tuple[float, float, str]]:
    """Left edge, width and colour of each bar."""
    found = re.findall(
        r'<rect x="([\d.]+)" y="9" width="([\d.]+)" height="17" fill="(\S+)"/>', text
    )
    return [(float(x), float(width), colour) for x, width, colour in found]


def one(values: list[float | None], events: tuple[Event, ...] = ()) -> str:
    strip = Strip(1, "dog", "#800000", values)
    section = Section("clip", range(len(values)), [strip], events, [])
    return page("clip", {}, [section])


def test_a_strip_has_a_bar_for_each_stretch_of_one_colour() -> None:
    text = one([1.0, 1.0, 0.0, None, -1.0])
    fifth = STRIP / 5
    assert bars(text) == [
        (0, 2 * fifth, colour_of(1)),
        (2 * fifth, fifth, colour_of(0)),
        (3 * fifth, fifth, UNKNOWN),
        (4 * fifth, fifth, GONE),
    ]


def test_of_many_frames_the_worst_shows() -> None:
    values: list[float | None] = [1.0] * (3 * STRIP)
    values[1500] = 0.0
    assert (500.0, 1.0, colour_of(0)) in bars(one(values))


@pytest.mark.parametrize("value", [-0.5, 0.0, 0.04])
def test_colours_end_at_zero(value: float) -> None:
    assert colour_of(value) == "#b22234"


def test_names_from_outside_are_text_and_not_markup() -> None:
    script = "<script>alert(1)</script>"
    event = Event(EventKind.LOST, 0, script, (1,), script)
    strip = Strip(1, script, "#800000", [0.5])
    text = page(script, {script: script}, [Section(script, [0], [strip], [event], [])])
    assert script not in text
    assert "&lt;script&gt;" in text


def test_an_event_is_marked_at_its_frame_and_has_a_row() -> None:
    text = one([1.0] * 10, (Event(EventKind.LOST, 4, "00004", (1,), "object 1 is lost"),))
    assert 'd="M445.0 0h10l-5 9z"><title>00004: object 1 is lost</title>' in text
    assert "<td>00004</td><td>lost</td><td>object 1 is lost</td>" in text


def test_an_event_of_another_object_is_not_marked() -> None:
    text = one([1.0] * 10, (Event(EventKind.LOST, 4, "00004", (2,), "object 2 is lost"),))
    assert "<title>00004" not in text


def test_nothing_comes_from_elsewhere() -> None:
    assert not re.search(r"(src|href)=(?!\"data:)|url\(|@import|<script", one([0.5]))
