"""The command mavos-track beside mavos-run."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.masks.png import write_mask
from tests.cpp_library import CppLibrary
from tests.made_clips import synthetic_clip
from tests.runtime.cpp.conftest import VARIABLE

FRAMES = 6
LATE = 3


@pytest.fixture
def program(cpp: CppLibrary) -> Path:
    path = Path(os.environ[VARIABLE]) / "mavos-track"
    if not path.exists():
        pytest.skip("mavos-track was not built, which needs libopencv-dev and libpng-dev")
    return path


def test_a_folder_of_frames_gives_the_masks_of_python(
    program: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    clip = synthetic_clip(97, 97, FRAMES, objects=2, late_objects=1, late_frame=LATE, seed=3)
    (tmp_path / "frames").mkdir()
    (tmp_path / "masks").mkdir()
    first = clip.labels[0]
    late = np.where(np.isin(clip.labels[LATE], np.unique(first)), 0, clip.labels[LATE])
    known = {0: first, LATE: late.astype(np.uint8)}
    for index, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(tmp_path / f"frames/{index:05d}.png")
        if index in known:
            write_mask(tmp_path / f"masks/{index:05d}.png", known[index])
    command: list[str | Path] = [
        program,
        tiny_bundle,
        "frames",
        "--masks",
        "masks",
        "--output",
        "out",
    ]
    command += ["--overlay", "overlay.avi", "--threads", "1", "--save-state", "state"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert (report["frames"], report["objects"]) == (FRAMES, 3)
    assert (tmp_path / "overlay.avi").stat().st_size > 0
    python = Segmenter.open(tiny_bundle, threads=1)
    state = python.start(clip.frames[0], first)
    for index in range(FRAMES):
        expected = first
        if index:
            expected, state = python.step(clip.frames[index], state, known.get(index))
        picture = Image.open(tmp_path / f"out/{index:05d}.png")
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), expected)
    assert python.load(tmp_path / "state").frame == FRAMES - 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["nothing", "video"], "--masks is missing", id="no-masks"),
        pytest.param(["one", "--masks", "m"], "expected a bundle and a video", id="no-video"),
        pytest.param(["b", "v", "--masks"], "--masks needs a value", id="no-value"),
        pytest.param(["b", "v", "--mask", "m"], "no option --mask", id="unknown-option"),
        pytest.param(["b", "v", "--threads", "x"], "expected a number from 1", id="no-number"),
        pytest.param(
            ["b", "v", "--masks", "m"], "b does not exist; give a bundle's", id="no-bundle"
        ),
    ],
)
def test_a_refusal_is_one_line(program: Path, tmp_path: Path, words: list[str], said: str) -> None:
    ran = subprocess.run(
        [program, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
