"""A run that ended anywhere goes on, and its results are those of one run, byte for byte."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.errors import InputError, PoisonedError
from mavos_deploy.runtime.masks.formats.store import MaskStore
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.writing import Legend
from mavos_deploy.runtime.media.resume import Resume
from tests import stand_in_segmenter
from tests.made_clips import synthetic_clip
from tests.stand_in_segmenter import StandInSegmenter, StandInState, dump, load, segment

ROOT = Path(__file__).resolve().parents[3]
FRAMES = 14
LATE = 8  # frame in which object 3 joins


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with frames and masks, and what one undisturbed run writes in `whole`."""
    folder: Path = tmp_path_factory.mktemp("clip")
    clip = synthetic_clip(64, 96, FRAMES, objects=2, late_objects=1, late_frame=LATE, seed=5)
    (folder / "frames").mkdir()
    for number, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(folder / f"frames/{number:05d}.png")
    (folder / "masks").mkdir()
    for number in (0, LATE):
        write_mask(folder / f"masks/{number:05d}.png", clip.labels[number])
    segment(folder, folder / "whole", resumable=False)
    return folder


@pytest.fixture
def own(clip: Path, tmp_path: Path) -> Path:
    """A folder with the same frames and masks, to write to and to spoil."""
    for name in ("frames", "masks"):
        (tmp_path / name).mkdir()
        for file in (clip / name).iterdir():
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    return tmp_path


def _contents(folder: Path) -> dict[str, bytes]:
    """Files by path, without those that the run is saved in."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and ".resume" not in file.name
    }


@pytest.mark.parametrize("kill_at", [1, 2, 6, 11])
def test_a_killed_run_goes_on_to_the_same_bytes(clip: Path, own: Path, kill_at: int) -> None:
    command = [sys.executable, "-m", "tests.stand_in_segmenter", str(own), str(kill_at)]
    killed = subprocess.run(command, cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert _contents(own / "out") != _contents(clip / "whole")
    segmenter = StandInSegmenter()
    summary = segment(own, own / "out", resumable=True, segmenter=segmenter)
    assert _contents(own / "out") == _contents(clip / "whole")
    # Of the frames before the kill, those behind the last saved state are found anew.
    assert summary.frames == FRAMES
    assert summary.resumed <= kill_at + 3
    assert segmenter.steps == FRAMES - max(1, summary.resumed)
    assert kill_at < 6 or summary.resumed >= 3
    assert summary.added == {3: f"{LATE:05d}"}


def test_a_run_with_resume_writes_what_one_without_writes(clip: Path, own: Path) -> None:
    segment(own, own / "out", resumable=True)
    assert _contents(own / "out") == _contents(clip / "whole")


def test_a_run_that_a_frame_of_another_size_ended_goes_on_behind_the_last_whole_one(
    clip: Path, own: Path
) -> None:
    frame = own / "frames/00010.png"
    whole = frame.read_bytes()
    Image.new("RGB", (8, 8)).save(frame)
    with pytest.raises(InputError, match="10 masks are whole and kept"):
        segment(own, own / "out", resumable=True)
    frame.write_bytes(whole)
    segmenter = StandInSegmenter()
    summary = segment(own, own / "out", resumable=True, segmenter=segmenter)
    assert (summary.resumed, segmenter.steps) == (10, FRAMES - 10)
    assert _contents(own / "out") == _contents(clip / "whole")


def test_a_finished_run_can_be_made_longer_and_have_more_results(clip: Path, own: Path) -> None:
    segment(own, own / "out", resumable=True, max_frames=5, written=("palette",))
    segmenter = StandInSegmenter()
    segment(own, own / "out", resumable=True, segmenter=segmenter)
    assert segmenter.steps == FRAMES - 5
    assert _contents(own / "out") == _contents(clip / "whole")


def test_a_run_that_is_complete_needs_no_step(clip: Path, own: Path) -> None:
    segment(own, own / "out", resumable=True)
    (own / "out/r-palette/00003.png").unlink()
    segmenter = StandInSegmenter()
    segment(own, own / "out", resumable=True, segmenter=segmenter)
    assert segmenter.steps == 0
    assert _contents(own / "out") == _contents(clip / "whole")


def test_links_in_place_of_a_saved_run_are_replaced_and_not_followed(own: Path) -> None:
    (own / "out").mkdir()
    (own / "victim").write_text("mine")
    links = [own / "out" / f"r-palette.resume{ending}" for ending in (".mavosmasks", "")]
    links[0].symlink_to(own / "victim")
    segment(own, own / "out", resumable=True, max_frames=4, written=("palette",))
    links[1].rename(own / "saved")
    links[1].symlink_to(own / "saved")
    saved = (own / "saved").read_bytes()
    segment(own, own / "out", resumable=True, written=("palette",))
    assert (own / "victim").read_text() == "mine"
    assert (own / "saved").read_bytes() == saved
    assert not any(link.is_symlink() for link in links)


def _spoil_frame(folder: Path) -> None:
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(folder / "frames/00002.png")


def _spoil_mask(folder: Path) -> None:
    labels = np.zeros((64, 96), np.uint8)
    labels[:20] = 1
    write_mask(folder / "masks/00000.png", labels)


def _spoil_state(folder: Path) -> None:
    state = folder / "out/r-palette.resume"
    state.write_bytes(state.read_bytes()[:100])


def _pipe(folder: Path) -> None:
    (folder / "out/r-palette.resume").unlink()
    os.mkfifo(folder / "out/r-palette.resume")


def _spoil_store(folder: Path) -> None:
    (folder / "out/r-palette.resume.mavosmasks").write_bytes(b"nothing")


def _cut_store(folder: Path) -> None:
    store = folder / "out/r-palette.resume.mavosmasks"
    store.write_bytes(store.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(_spoil_frame, "frame 00002 or its mask is not what it was", id="frame"),
        pytest.param(_spoil_mask, "frame 00000 or its mask is not what it was", id="mask"),
        pytest.param(_spoil_state, "is no saved run, or is damaged", id="state"),
        pytest.param(_pipe, "it is a pipe, not a regular file", id="pipe"),
        pytest.param(_spoil_store, r"is no run-length store.*; begin anew", id="store"),
        pytest.param(_cut_store, "frames, and 6 were expected.*; begin anew", id="store-cut"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    own: Path, spoil: Callable[[Path], None], said: str
) -> None:
    segment(own, own / "out", resumable=True, max_frames=6, written=("palette",))
    spoil(own)
    with pytest.raises(InputError, match=said):
        segment(own, own / "out", resumable=True, written=("palette",))


def test_another_backend_is_refused(own: Path) -> None:
    segment(own, own / "out", resumable=True, max_frames=2, written=("palette",))
    with pytest.raises(InputError, match="was saved by stand-in and this is other"):
        Resume(own / "out/r-palette", "other", dump, load)


def test_a_run_that_begins_anew_leaves_the_earlier_one_aside(own: Path) -> None:
    segment(own, own / "out", resumable=True, max_frames=4, written=("palette",))
    _spoil_state(own)
    fresh = Resume(own / "out/r-palette", "other", dump, load, fresh=True)
    assert fresh.earlier is None
    with fresh:
        assert fresh.open(Legend()) is None
    assert not fresh.path.exists()
    with MaskStore(own / "out/r-palette.resume.mavosmasks") as store:
        assert len(store) == 0


def test_the_store_beside_the_state_is_readable(own: Path) -> None:
    segment(own, own / "out", resumable=True, max_frames=5, written=("palette",))
    with MaskStore(own / "out/r-palette.resume.mavosmasks") as store:
        assert store.numbers == tuple(range(5))


POISONED = 8  # frame after which the memory holds NaN; its state is due to be saved


class Poisoned(StandInSegmenter):
    """Finds NaN in the frame after the poisoned one."""

    def step(
        self, frame: np.ndarray, state: StandInState, annotation: np.ndarray | None = None
    ) -> tuple[np.ndarray, StandInState]:
        if state.frame == POISONED:
            raise PoisonedError("NaN")
        return super().step(frame, state, annotation)


def test_a_poisoned_state_is_not_saved_and_the_run_goes_on_from_the_one_before(
    clip: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sound(state: StandInState, notes: Mapping[str, str]) -> bytes:
        if state.frame == POISONED:
            raise PoisonedError("NaN")
        return dump(state, notes)

    with monkeypatch.context() as patch:
        patch.setattr(stand_in_segmenter, "dump", sound)
        summary = segment(own, own / "out", resumable=True, segmenter=Poisoned())
    assert summary.stopped == f"no mask follows frame {POISONED:05d}: NaN"
    assert summary.frames == POISONED + 1
    summary = segment(own, own / "out", resumable=True)
    assert (summary.resumed, summary.stopped) == (POISONED, "")
    assert _contents(own / "out") == _contents(clip / "whole")
