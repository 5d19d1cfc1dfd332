"""Events of made-up labels: each happens once, at its frame, and nothing else is said."""

import json

import numpy as np

from mavos_deploy.runtime.review.events import FROZEN, Event, EventKind, Watch, summary_of

SIZE = (60, 80)
RED, BLUE = (220, 30, 30), (30, 30, 220)
Box = tuple[int, int, int, int]  # top, bottom, left, right


def labels(**boxes: Box) -> np.ndarray:
    """A label map of boxes; `o3=` is object 3."""
    made = np.zeros(SIZE, np.uint8)
    for name, (top, bottom, left, right) in boxes.items():
        made[top:bottom, left:right] = int(name[1:])
    return made


def watch(*frames: np.ndarray, pictures: list[np.ndarray] | None = None) -> list[Event]:
    looking = Watch()
    for index, frame in enumerate(frames):
        rgb = None if pictures is None else pictures[index]
        looking.look(index, f"{index:05d}", frame, rgb)
    return looking.events


def kinds(events: list[Event]) -> list[tuple[str, int, tuple[int, ...]]]:
    return [(str(event.kind), event.index, event.objects) for event in events]


def test_an_object_that_stays_is_no_event() -> None:
    assert watch(*(labels(o1=(10, 30, left, left + 20)) for left in range(5, 40))) == []


def test_lost_found_and_all_lost() -> None:
    there, other = labels(o1=(10, 30, 20, 40), o2=(40, 55, 5, 25)), labels(o2=(40, 55, 5, 25))
    nothing = labels()
    events = watch(there, other, other, there, nothing, *[nothing] * 100)
    assert kinds(events) == [
        ("lost", 1, (1,)),
        ("found", 3, (1,)),
        ("lost", 4, (1,)),
        ("lost", 4, (2,)),
        ("all-lost", 4, (1, 2)),
    ]


def test_an_object_at_the_border_left_the_picture() -> None:
    other = labels(o2=(40, 55, 5, 25))
    at_border = labels(o1=(10, 30, 70, 80), o2=(40, 55, 5, 25))
    assert kinds(watch(at_border, other)) == [("left", 1, (1,))]


def test_sudden_growth_is_told_once_and_slow_growth_never() -> None:
    small, large = labels(o1=(10, 20, 20, 30)), labels(o1=(5, 50, 5, 60))
    assert kinds(watch(small, small, large, large, large)) == [("large", 2, (1,))]
    slow = [labels(o1=(10, 20 + n // 2, 20, 30 + n // 2)) for n in range(60)]
    assert watch(*slow) == []


def test_a_second_piece_is_told_unless_the_object_began_in_pieces() -> None:
    whole = labels(o1=(10, 30, 10, 30))
    torn = whole.copy()
    torn[40:55, 60:75] = 1
    assert kinds(watch(whole, torn, torn)) == [("split", 1, (1,))]
    assert watch(torn, torn, whole) == []


def test_objects_that_change_places_may_have_swapped() -> None:
    before = labels(o1=(20, 40, 10, 30), o2=(20, 40, 50, 70))
    after = labels(o2=(20, 40, 10, 30), o1=(20, 40, 50, 70))
    assert kinds(watch(before, before, after)) == [("swap", 2, (1, 2))]


def test_objects_that_pass_each_other_have_not_swapped() -> None:
    passing = [
        labels(o1=(5, 25, 5 + 3 * n, 25 + 3 * n), o2=(30, 50, 55 - 3 * n, 75 - 3 * n))
        for n in range(17)
    ]
    assert watch(*passing) == []


def test_colours_tell_a_swap_behind_something_else() -> None:
    before = labels(o1=(20, 40, 10, 30), o2=(20, 40, 50, 70))
    close = labels(o1=(20, 40, 20, 40), o2=(20, 40, 40, 60))
    hidden = labels(o1=(20, 40, 30, 50))
    after = labels(o2=(20, 40, 10, 30), o1=(20, 40, 50, 70))
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:, :40], picture[:, 40:] = RED, BLUE
    pictures = [picture, picture, picture, picture]
    events = watch(before, close, hidden, after, pictures=pictures)
    assert ("swap", 3, (1, 2)) in kinds(events)
    assert "the other's colours" in events[-1].text


def test_black_and_frozen_stretches_are_told_once() -> None:
    draws = np.random.default_rng(0)
    noise = [draws.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(6)]
    black = np.zeros((*SIZE, 3), np.uint8)
    pictures = [noise[0], noise[1], black, black, noise[2], *[noise[3]] * 20, noise[4]]
    frames = [labels(o1=(10, 30, 20, 40))] * len(pictures)
    found = kinds(watch(*frames, pictures=pictures))
    assert found == [("black", 2, ()), ("frozen", 5 + FROZEN, ())]


def test_an_event_is_a_line_of_json() -> None:
    looking = Watch()
    looking.poisoned(7, "00007")
    (event,) = looking.events
    assert event.kind is EventKind.POISONED
    found = json.loads(event.as_json())
    assert (found["event"], found["frame"], found["name"]) == ("poisoned", 7, "00007")
    assert summary_of([event, event]) == "poisoned: 2"
