"""A folder belongs to one run while it lasts, and no file is led elsewhere or lost unsaid."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.source import MaskSource
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.outputs import Outputs, parse_wanted
from mavos_deploy.runtime.media.video import segment_video
from mavos_deploy.runtime.system.files import new_file, replacing
from mavos_deploy.runtime.system.folders import LOCK, FolderGoneError, HeldFolder, check_free

LABELS = np.ones((12, 16), np.uint8)


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path: Path) -> None:
    with HeldFolder(tmp_path / "deep/out"):
        for refused in (HeldFolder, check_free):
            with pytest.raises(InputError, match=r"out is being written to by process \d+ on "):
                refused(tmp_path / "deep/out")
    check_free(tmp_path / "deep/out")
    assert not list((tmp_path / "deep/out").iterdir())


def test_the_folder_may_be_a_link_that_the_user_typed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with HeldFolder(tmp_path / "link"), pytest.raises(InputError, match="is being written to"):
        HeldFolder(tmp_path / "real")


def test_left_overs_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".00003.0123abcd.part.png").touch()
    (tmp_path / LOCK).write_text("4194309 here")
    (tmp_path / "notes").touch()
    with HeldFolder(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, "notes"]


def test_what_another_run_writes_in_the_folder_stays(tmp_path: Path) -> None:
    with replacing(tmp_path / "overlay.mp4") as temporary:
        with HeldFolder(tmp_path):
            pass
        temporary.write_text("whole")
    assert (tmp_path / "overlay.mp4").read_text() == "whole"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)


def _replace(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.mkdir()


@pytest.mark.parametrize("change", [_remove, _replace])
def test_a_folder_that_is_gone_is_noticed(tmp_path: Path, change: Callable[[Path], None]) -> None:
    with HeldFolder(tmp_path / "out") as held:
        held.check()
        change(tmp_path / "out")
        with pytest.raises(FolderGoneError, match="was removed or replaced during the run"):
            held.check()


def test_files_that_are_gone_are_counted(tmp_path: Path) -> None:
    with HeldFolder(tmp_path) as held:
        (tmp_path / "0.png").touch()
        held.check_files(".png", 1)
        with pytest.raises(FolderGoneError, match=r"1 of 2 files in .* were removed"):
            held.check_files(".png", 2)


def test_a_link_in_a_folder_of_ours_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "0.png").symlink_to("victim")
    with new_file(tmp_path / "0.png") as file:
        file.write(b"a mask")
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "0.png").read_bytes() == b"a mask"
    assert not (tmp_path / "0.png").is_symlink()


def test_a_folder_is_not_made_anew_for_a_file(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"cannot write .*0\.png: its folder does not exist"),
        new_file(tmp_path / "gone/0.png") as file,
    ):
        file.write(b"")
    assert not list(tmp_path.iterdir())


class Standing:
    """A segmenter whose objects never move, and that does something at a frame."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self._at, self._act = at, act
        self.ids = self.objects = (1,)
        self.size = LABELS.shape
        self.confidence: dict[int, float] = {}

    def input_size(self, video: tuple[int, int]) -> tuple[int, int]:
        return video

    def start(self, frame: object, labels: object) -> "Standing":
        return self

    def prepare(self, frame: object) -> object:
        return frame

    def step(self, frame: object, state: object, added: object) -> tuple[Any, "Standing"]:
        self._at -= 1
        if self._at == 0:
            self._act()
        return LABELS, self

    def end(self, state: object) -> None:
        pass


def _run(tmp_path: Path, act: Callable[[], None]) -> None:
    """Segment 30 frames into `out`, and do something at the tenth."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(30):
        Image.new("RGB", (16, 12)).save(frames / f"{index:05d}.png")
    Image.fromarray(LABELS).save(tmp_path / "first.png")
    outputs = _outputs(tmp_path)
    with open_frames(str(frames)) as source:
        segmenter: Any = Standing(10, act)
        segment_video(segmenter, source, MaskSource(tmp_path / "first.png"), outputs)


def _outputs(tmp_path: Path, overwrite: bool = False) -> Outputs:
    return Outputs([parse_wanted(f"palette={tmp_path / 'out'}", "v")], overwrite)


def test_a_run_ends_when_its_folder_is_removed(tmp_path: Path) -> None:
    def remove() -> None:
        (tmp_path / "out").rename(tmp_path / "gone")  # whole, while another thread writes into it
        shutil.rmtree(tmp_path / "gone", ignore_errors=True)

    with pytest.raises(FolderGoneError, match=r"removed or replaced.*; \d+ masks had been written"):
        _run(tmp_path, remove)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_goes_while_a_file_is_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = HeldFolder.check

    def check_and_lose(held: HeldFolder) -> None:
        check(held)
        if (tmp_path / "out/00007.png").exists():
            shutil.rmtree(tmp_path / "out")

    monkeypatch.setattr(HeldFolder, "check", check_and_lose)
    with pytest.raises(FolderGoneError, match=r"out was removed or replaced.*; 8 masks had been"):
        _run(tmp_path, lambda: None)


def test_a_run_says_that_masks_were_removed_under_it(tmp_path: Path) -> None:
    with pytest.raises(FolderGoneError, match=r"1 of 30 files in .*out were removed"):
        _run(tmp_path, (tmp_path / "out/00000.png").unlink)


def test_a_link_that_is_planted_during_a_run_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    _run(tmp_path, lambda: (tmp_path / "out/00025.png").symlink_to("../victim"))
    assert (tmp_path / "victim").read_text() == "mine"
    assert len(list((tmp_path / "out").glob("*.png"))) == 30
    assert not (tmp_path / "out/00025.png").is_symlink()
    assert not (tmp_path / "out" / LOCK).exists()


def test_a_second_run_into_the_folder_is_refused(tmp_path: Path) -> None:
    refused: list[str] = []

    def again() -> None:
        with pytest.raises(InputError) as raised:
            _outputs(tmp_path, overwrite=True)
        refused.append(str(raised.value))

    _run(tmp_path, again)
    assert "wait until it has ended, or choose another folder" in refused[0]


def test_a_folder_that_another_run_filled_meanwhile_is_not_mixed_with(tmp_path: Path) -> None:
    outputs = _outputs(tmp_path)
    _run(tmp_path, lambda: None)
    with pytest.raises(InputError, match="was changed by something else since this run began"):
        outputs.make()
    assert len(list((tmp_path / "out").iterdir())) == 30


def test_what_a_killed_run_left_is_no_reason_to_refuse_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".00003.0123abcd.part.png").touch()
    (out / LOCK).touch()
    _run(tmp_path, lambda: None)
    assert len(list(out.iterdir())) == 30
