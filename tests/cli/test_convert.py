"""`mavos-convert` writes the format that was asked for, and says what it can't hold."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.runtime.masks.formats.store import MaskStore
from mavos_deploy.runtime.masks.png import write_mask

Call = Callable[..., subprocess.CompletedProcess[str]]
LABELS = np.zeros((12, 17), np.uint8)
LABELS[3:7, 4:9] = 2
LABELS[9:, :5] = 254


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    folder = tmp_path / "masks"
    folder.mkdir()
    for number in range(2):
        write_mask(folder / f"{number:05d}.png", np.roll(LABELS, number, 1))
    return folder


def test_the_ending_tells_the_format(call: Call, masks: Path, tmp_path: Path) -> None:
    ended = call("mavos-convert", "masks", "out.mavosmasks")
    assert ended.returncode == 0
    assert ended.stdout == "2 frames in out.mavosmasks as store; objects: 2, 254\n"
    assert ended.stderr == ""
    with MaskStore(tmp_path / "out.mavosmasks") as store:
        assert np.array_equal(store[1], np.roll(LABELS, 1, 1))
    assert call("mavos-convert", "out.mavosmasks", "back").returncode == 0
    for file in masks.iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes()


def test_the_json_document_says_what_was_lost(call: Call, masks: Path) -> None:
    write_mask(masks / "00002.png", np.zeros_like(LABELS))
    ended = call("mavos-convert", "masks", "out.txt", "--to", "mots:car", "--json")
    assert ended.returncode == 0
    lost = "mots holds no frames without an object: 1 are left out"
    assert json.loads(ended.stdout) == {
        "output": "out.txt",
        "kind": "mots",
        "frames": 3,
        "objects": [2, 254],
        "lost": [lost],
        "notes": [],
    }
    assert ended.stderr == f"warning: {lost}\n"


def test_an_object_that_another_one_covers_is_named(call: Call, tmp_path: Path) -> None:
    for number, inside in ((1, LABELS > 0), (2, LABELS == 2)):
        (tmp_path / f"in/{number}").mkdir(parents=True)
        write_mask(tmp_path / f"in/{number}/00000.png", np.where(inside, 1, 0).astype(np.uint8))
    ended = call("mavos-convert", "in", "out")
    assert ended.returncode == 0
    assert "warning: object 2 has no pixel left in frame 00000: object 1 lies over" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("out.json",), "several formats end in .json; give --to coco or", id="json"),
        pytest.param(("out.bmp",), "no format ends in .bmp; give --to palette or", id="unknown"),
        pytest.param(("o.mp4", "--to", "overlay"), "overlay: it shows pictures", id="video"),
        pytest.param(("out", "--to", "cocoa"), "--to cocoa: it is unknown; accepted", id="kind"),
        pytest.param(("a.txt", "--to", "mots:x"), "mots has no option 'x'; accepted", id="option"),
        pytest.param(
            ("x.json", "--to", "labelme"),
            "--to labelme=x.json: labelme is a folder of files, and x.json looks like a file; give "
            "the name of a folder, such as x",
            id="folder-named-as-a-file",
        ),
        pytest.param(("masks",), "masks is an input and would be replaced", id="onto-itself"),
    ],
)
def test_what_makes_no_sense_is_refused(
    refused: Callable[..., str], masks: Path, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused("mavos-convert", "masks", *arguments)


def test_earlier_results_are_replaced_only_if_that_is_wanted(
    call: Call, refused: Callable[..., str], masks: Path
) -> None:
    assert call("mavos-convert", "masks", "out.xml", "--to", "cvat-images").returncode == 0
    said = refused("mavos-convert", "masks", "out.xml", "--to", "cvat-video")
    assert said == "out.xml exists; pass --overwrite to replace it"
    again = call("mavos-convert", "masks", "out.xml", "--to", "cvat-video", "--overwrite")
    assert again.returncode == 0
