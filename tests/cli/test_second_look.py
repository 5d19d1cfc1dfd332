"""`mavos-run` names what goes wrong with its masks, ends where it must, and keeps the good part."""

import csv
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.cli import run, second_look
from mavos_deploy.errors import PoisonedError
from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame
from tests.stand_in_segmenter import StandInSegmenter, StandInState

Ended = subprocess.CompletedProcess[str]
Run = Callable[..., Ended]
SIZE = (48, 64)


@dataclass(frozen=True, eq=False)
class State(StandInState):
    """A state whose confidence is chosen."""

    value: float = 0.9

    @property
    def confidence(self) -> dict[int, float]:
        return dict.fromkeys(self.ids, self.value)

    ids = (1,)
    objects = ids


@dataclass
class Script:
    """What the segmenter does, by the number of the frame."""

    poisoned_at: int = -1
    lost: range = range(0)
    unsure: range = range(0)


class Scripted(StandInSegmenter):
    """Keeps the first mask where it is, but for what the script says."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script

    def start(self, frame: RgbFrame, labels: Labels) -> State:
        return State(labels, SIZE, 0, 0, 1.0)

    def step(
        self, frame: RgbFrame, state: StandInState, annotation: Labels | None = None
    ) -> tuple[Labels, StandInState]:
        assert isinstance(state, State)
        number = state.frame + 1
        if number == self._script.poisoned_at:
            raise PoisonedError("the network's output holds NaN or infinite values")
        following = replace(
            state, frame=number, value=0.1 if number in self._script.unsure else 0.9
        )
        labels = np.zeros_like(state.labels) if number in self._script.lost else state.labels
        return labels, following


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def segment(
    call: Callable[..., Ended],
    hollow: Path,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Run:
    """Run `mavos-run` on 130 pictures that all differ, with a square as the first mask."""
    monkeypatch.setattr(run, "open_segmenter", lambda *_, **named: Scripted(script))
    labels = np.zeros(SIZE, np.uint8)
    labels[10:34, 20:44] = 1
    write_mask(tmp_path / "mask.png", labels)
    draws = np.random.default_rng(0)
    (tmp_path / "clip").mkdir()
    for number in range(130):
        noise = draws.integers(0, 256, (*SIZE, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"clip/{number:05d}.png", compress_level=0)

    def segmented(*options: str | Path) -> Ended:
        return call("mavos-run", hollow, "clip", "--masks", "mask.png", "--output", "o", *options)

    return segmented


def _kinds(path: Path) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(line["event"], line["frame"]) for line in lines]


@pytest.mark.parametrize(
    ("program", "given"),
    [
        ("/bin/mavos-run", ["run", "clip.mp4"]),
        ("/bin/mavos", ["run", "run", "clip.mp4"]),
    ],
)
def test_a_page_names_a_command_that_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch, program: str, given: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", [program, *given])
    assert second_look._call("mavos-run")["command"] == "mavos-run run clip.mp4"


def test_all_three_results_come_from_one_pass(segment: Run, script: Script, tmp_path: Path) -> None:
    script.unsure = range(20, 30)
    ended = segment(
        "--max-frames", "40", "--report", "r.html", "--write=confidence=c.csv",
        "--write=events=e.jsonl", "--json",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    with (tmp_path / "c.csv").open(newline="") as file:
        values = [float(row["confidence"]) for row in csv.DictReader(file)]
    assert values == [1.0, *[0.9] * 19, *[0.1] * 10, *[0.9] * 10]
    assert (tmp_path / "e.jsonl").read_text() == ""
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    for fact in ("--report r.html", "stand-in", "mask.png", "mavos-deploy"):
        assert fact in text
    document = json.loads(ended.stdout)
    assert (document["events"], document["stopped"]) == ([], "")


def test_a_poisoned_memory_ends_the_run_with_the_good_part_and_exit_code_1(
    segment: Run, script: Script, tmp_path: Path
) -> None:
    script.poisoned_at = 25
    ended = segment("--write=events=e.jsonl", "--write=store=s.mavosmasks", "--report", "r.html")
    assert ended.returncode == 1
    assert "the run ended early: no mask follows frame 00024: " in ended.stderr
    assert "NaN or infinite values" in ended.stderr
    masks = sorted((tmp_path / "o").glob("*.png"))
    assert [path.stem for path in masks] == [f"{number:05d}" for number in range(25)]
    assert _kinds(tmp_path / "e.jsonl") == [("poisoned", 24)]
    assert "poisoned" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert np.count_nonzero(read_mask(masks[-1]).labels) == 24 * 24


def test_a_memory_poisoned_on_the_way_back_is_named_by_its_frame(
    segment: Run, script: Script, tmp_path: Path
) -> None:
    script.poisoned_at = 25  # steps back from the last frame
    (tmp_path / "masks").mkdir()
    (tmp_path / "mask.png").rename(tmp_path / "masks/00129.png")
    ended = segment("--direction", "backward", "--masks", "masks")
    assert ended.returncode == 1
    assert f"frame {129 - 25:05d}: the network's output holds NaN" in ended.stderr
    assert not list((tmp_path / "o").glob("*.png"))


def test_a_loss_of_everything_for_a_hundred_frames_is_named(
    segment: Run, script: Script, tmp_path: Path
) -> None:
    script.lost = range(10, 110)
    ended = segment("--write=events=e.jsonl")
    assert ended.returncode == 0
    assert "00010: object 1 is lost" in ended.stderr
    assert _kinds(tmp_path / "e.jsonl") == [("lost", 10), ("all-lost", 10), ("found", 110)]


def test_black_and_frozen_stretches_are_named(segment: Run, tmp_path: Path) -> None:
    black = Image.new("RGB", SIZE[::-1])
    for number in range(20, 24):
        black.save(tmp_path / f"clip/{number:05d}.png")
    still = (tmp_path / "clip/00040.png").read_bytes()
    for number in range(41, 60):
        (tmp_path / f"clip/{number:05d}.png").write_bytes(still)
    ended = segment("--write=events=e.jsonl")
    assert ended.returncode == 0
    assert _kinds(tmp_path / "e.jsonl") == [("black", 20), ("frozen", 45)]
    assert "black: 1, frozen: 1" in ended.stderr


@pytest.mark.parametrize(
    ("options", "last"),
    [
        pytest.param(("--stop-below", "0.5"), 30, id="confidence"),
        pytest.param(("--on-loss", "stop"), 50, id="loss"),
        pytest.param(("--stop-below", "0.05"), 129, id="never"),
    ],
)
def test_a_rule_ends_the_run_at_its_frame(
    segment: Run, script: Script, tmp_path: Path, options: tuple[str, ...], last: int
) -> None:
    script.unsure, script.lost = range(30, 40), range(50, 60)
    ended = segment(*options)
    assert ended.returncode == (0 if last == 129 else 1)
    assert len(list((tmp_path / "o").glob("*.png"))) == last + 1
    assert (f"in frame {last:05d} ({options[0]}" in ended.stderr) == (last < 129)


def test_a_run_that_ends_before_its_first_frame_to_write_says_why(
    segment: Run, script: Script, tmp_path: Path
) -> None:
    script.unsure = range(30, 40)
    ended = segment("--stop-below", "0.5", "--write-from", "60")
    assert ended.returncode == 1, ended.stderr
    assert "the run ended early: the confidence of object 1 is 0.10 in frame 00030" in ended.stderr
    assert ended.stdout.strip() == "ended before the first frame that was to be written"
    assert not list((tmp_path / "o").glob("*.png"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(("--report", "r.html", "--resume"), "result report needs", id="report"),
        pytest.param(("--write=confidence", "--resume"), "result confidence needs", id="csv"),
        pytest.param(("--stop-below", "0.5", "--resume"), "--stop-below needs", id="rule"),
        pytest.param(
            ("--stop-below", "0.5", "--direction", "both"), "goes forward alone", id="passes"
        ),
        pytest.param(("--check", "5", "--resume"), "--check goes back over frames", id="resumed"),
        pytest.param(("--check", "5", "--fuse", "blend"), "--check is for a pass", id="fused"),
        pytest.param(
            ("--check", "5", "--direction", "backward"), "--check is for a pass", id="backward"
        ),
        pytest.param(("--report", "r.pdf"), "must end in .html", id="ending"),
    ],
)
def test_what_can_not_be_told_is_refused(
    segment: Run, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    ended = segment(*options)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "passes",
    [("--direction", "backward"), ("--direction", "both"), ("--fuse", "nearest")],
    ids=" ".join,
)
def test_passes_in_every_direction_say_how_sure_they_are(
    segment: Run, script: Script, tmp_path: Path, passes: tuple[str, ...]
) -> None:
    script.unsure = range(5, 9)  # steps from a mask
    (tmp_path / "masks").mkdir()
    mask = (tmp_path / "mask.png").read_bytes()
    for number in (30, 50):
        (tmp_path / f"masks/{number:05d}.png").write_bytes(mask)
    ended = segment(
        *passes, "--masks", "masks", "--max-frames", "60", "--write=confidence=c.csv",
        "--report", "r.html",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    with (tmp_path / "c.csv").open(newline="") as file:
        found = {int(row["frame"]): float(row["confidence"]) for row in csv.DictReader(file)}
    low = {
        "--direction backward": range(42, 46),  # the mask of frame 30 goes on with the same steps
        "--direction both": (*range(22, 26), *range(35, 39)),
        "--fuse nearest": (*range(22, 26), *range(35, 39), *range(42, 46)),
    }[" ".join(passes)]
    start, last = (50, 50) if "backward" in passes else (30, 59)
    assert found == {n: 0.1 if n in low else 0.9 for n in range(last + 1)} | {start: 1.0}
    assert "Frames to look at first" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_page_says_why_the_run_ended_early(segment: Run, script: Script, tmp_path: Path) -> None:
    script.unsure, script.lost = range(20, 130), range(10, 130)
    for name, rule, reason in (
        ("below", ("--stop-below", "0.5"), "the confidence of object 1 is 0.10 in frame 00020"),
        ("loss", ("--on-loss", "stop"), "object 1 is lost: it has no pixel in frame 00010"),
        ("whole", (), ""),
    ):
        segment(*rule, "--overwrite", "--max-frames", "30", "--report", f"{name}.html")
        text = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        assert reason in text
        assert ("The run ended early" in text) == bool(reason)
