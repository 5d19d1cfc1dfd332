"""Pieces of work are shared with a second process, each is done once, and failures come through."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.export import sharing
from mavos_deploy.export.sharing import share

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="shares on Linux only")


def writes(folder: Path) -> Callable[[int], None]:
    def work(number: int) -> None:
        with (folder / str(number)).open("x") as file:  # a piece done twice fails
            file.write(str(os.getpid()))

    return work


@pytest.mark.parametrize(("processors", "forks"), [(1, True), (2, True), (2, False)])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_piece_is_done_once_and_told(
    count: int, processors: int, forks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "usable_processors", lambda: processors)
    told: list[int] = []
    share(writes(tmp_path), count, told.append, forks)
    assert sorted(told) == list(range(count))
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(count))


@on_linux
def test_a_second_process_does_the_second_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "usable_processors", lambda: 2)
    share(writes(tmp_path), 5, lambda number: None, forks=True)
    by = [int((tmp_path / str(number)).read_text()) for number in range(5)]
    assert by[:3] == [os.getpid()] * 3
    assert by[3] == by[4] != os.getpid()


@on_linux
@pytest.mark.parametrize("failing", [0, 3])
def test_a_refusal_of_either_process_is_raised(
    failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "usable_processors", lambda: 2)

    def work(number: int) -> None:
        if number == failing:
            raise InputError(f"piece {number} can't be done")

    with pytest.raises(InputError, match=f"piece {failing} can't be done"):
        share(work, 4, lambda number: None, forks=True)


@on_linux
def test_a_second_process_that_is_killed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "usable_processors", lambda: 2)

    def work(number: int) -> None:
        if number == 1:
            os.kill(os.getpid(), 9)

    with pytest.raises(MavosError, match=r"the export's second process .* memory was short"):
        share(work, 2, lambda number: None, forks=True)
