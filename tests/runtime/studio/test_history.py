"""The journal holds every step, and what holds now follows from it."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio.history import History, Run, Step, Thing, ended

DOG = Thing(1, "dog", "#102030")


def opened(folder: Path, frames_of: dict[int, int] | None = None) -> History:
    return History(folder / "history.jsonl", 10, (frames_of or {}).get)


def run(frame: int, step: int, version: int, count: int) -> Run:
    return Run(frame, step, version, count, 1, True, "model", (1,), {"6": 3})


def test_steps_are_undone_and_done_again_after_a_restart(tmp_path: Path) -> None:
    history = opened(tmp_path)
    history.do(Step("a", masks={"2": 1}, keyframes={"2": 1}, objects=(DOG,)))
    history.do(Step("b", masks={"2": 2}, keyframes={"2": 0}, deleted=(1,)))
    assert (history.now.masks[2], history.now.keyframes, history.now.objects) == (2, {}, {})
    assert history.undo() == "b"
    history.close()
    history = opened(tmp_path)
    assert (history.now.masks[2], history.now.keyframes) == (1, {2: 1})
    assert history.now.objects == {1: DOG}
    assert (history.undoable, history.redoable, history.revision) == ("a", "b", 3)
    assert history.redo() == "b"
    assert history.now.masks[2] == 2


def test_a_new_step_forgets_those_that_were_undone(tmp_path: Path) -> None:
    history = opened(tmp_path)
    history.do(Step("a", masks={"0": 1}))
    history.undo()
    history.do(Step("b", masks={"1": 2}))
    assert history.redoable is None
    with pytest.raises(InputError, match="nothing can be done again"):
        history.redo()
    history.undo()
    assert not history.now.masks.any()


def test_a_pass_sets_its_frames_in_its_direction(tmp_path: Path) -> None:
    history = opened(tmp_path)
    history.do(Step("back", runs=(run(7, -1, 11, 3),)))
    assert history.now.masks.tolist() == [0, 0, 0, 0, 0, 13, 12, 11, 0, 0]


def test_a_pass_without_an_end_has_all_masks_that_were_made(tmp_path: Path) -> None:
    history = opened(tmp_path)
    history.begin(Step("back", runs=(run(7, -1, 11, 8),)))
    history.hide((1,))
    history.close()
    history = opened(tmp_path, {10: 0, 11: 7, 12: 6, 13: 5, 14: 9})
    (found,) = history.now.runs
    assert (found.count, found.corrections) == (3, {"6": 3})
    assert history.now.masks[5] == 13
    assert history.undoable == "back"
    assert history.hidden == (1,)


def test_both_passes_of_a_step_are_one(tmp_path: Path) -> None:
    history = opened(tmp_path)
    history.do(Step("before"))
    first = Step("both", runs=(run(5, 1, 1, 2),))
    history.begin(first)
    history.end(first)
    history.begin(Step("both", runs=(*first.runs, run(3, -1, 3, 3))))
    history.close()
    history = opened(tmp_path, {1: 5, 2: 6, 3: 3, 4: 2})
    assert history.now.masks.tolist() == [0, 0, 4, 3, 0, 1, 2, 0, 0, 0]
    assert history.undo() == "both"
    assert history.undoable == "before"


def test_a_pass_that_made_nothing_leaves_no_run() -> None:
    assert ended(Step("x", runs=(run(5, 1, 1, 2),)), 0) == Step("x")


def test_a_torn_line_is_cut_off_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = opened(tmp_path)
    history.do(Step("a", masks={"0": 1}))
    history.do(Step("b", masks={"0": 2}))
    history.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    history = opened(tmp_path)
    assert history.undoable == "a"
    history.do(Step("c"))
    history.close()
    assert opened(tmp_path).undoable == "c"
    path.write_bytes(whole.replace(b'"do"', b'"to"', 1))
    with pytest.raises(InputError, match=r"line 1 is damaged .*says nothing"):
        History(path, 10)


def test_ids_are_never_used_twice(tmp_path: Path) -> None:
    history = opened(tmp_path)
    history.do(Step("a", objects=(DOG,)))
    history.undo()
    assert history.now.used == {1}


def test_masks_of_now_are_numbers_of_frames(tmp_path: Path) -> None:
    assert opened(tmp_path).now.masks.dtype == np.int64


def test_the_end_of_a_pass_that_the_disk_had_no_room_for_is_kept_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = opened(tmp_path)
    step = Step("back", runs=(run(7, -1, 11, 3),))
    history.begin(step)

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="the disk is full"):
            history.end(step)
    history.do(Step("next", masks={"0": 20}))
    history.close()
    again = opened(tmp_path)
    assert again.now.masks.tolist() == [20, 0, 0, 0, 0, 13, 12, 11, 0, 0]
    assert again.undo() == "next"
    assert again.undo() == "back"
