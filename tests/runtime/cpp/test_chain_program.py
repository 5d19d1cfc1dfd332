"""`mavos_chain`, a program on the C++ library: in long runs, and on Arm in an emulator."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.evaluation.scenes.clip import Clip
from mavos_deploy.export.parity import LIMITS
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.objects import Labels
from tests.made_clips import synthetic_clip

ARM = "MAVOS_CPP_ARM64"
EMULATOR = "qemu-aarch64-static"
SIZE = (97, 97)
FRAMES, JOIN, LEAVE = 24, 3, 9
LONG = 10_000
SETTLED = 2  # reports, a tenth of the run each, before memory must be flat
GROWTH = 1.02  # of resident memory from there on


def made() -> tuple[Clip, Labels]:
    """A clip, and the labels of the objects that join later."""
    clip = synthetic_clip(*SIZE, FRAMES, objects=3, late_objects=2, late_frame=JOIN, seed=3)
    known = np.isin(clip.labels[JOIN], np.unique(clip.labels[0]))
    return clip, np.where(known, 0, clip.labels[JOIN]).astype(np.uint8)


def write_clip(folder: Path) -> None:
    """Write the clip as raw pictures and labels for the program."""
    clip, late = made()
    folder.mkdir()
    for index, frame in enumerate(clip.frames):
        (folder / f"frame-{index}.rgb").write_bytes(frame.tobytes())
    (folder / "labels-0.raw").write_bytes(clip.labels[0].tobytes())
    (folder / f"labels-{JOIN}.raw").write_bytes(late.tobytes())
    (folder / f"remove-{LEAVE}").write_bytes(bytes([2]))


def by_python(bundle: Path) -> list[Labels]:
    """The same run by Python's segmenter."""
    clip, late = made()
    segmenter = Segmenter.open(bundle, threads=1)
    state = segmenter.start(clip.frames[0], clip.labels[0])
    labels = [clip.labels[0]]
    for index in range(1, FRAMES):
        annotation = late if index == JOIN else None
        found, state = segmenter.step(clip.frames[index], state, annotation)
        labels.append(found)
        if index == LEAVE:
            state = segmenter.remove(state, {2})
    return labels


def run(program: Sequence[str], bundle: Path, folder: Path, frames: int, results: Path) -> str:
    """Run the program; returns what it printed."""
    results.mkdir()
    command = [*program, bundle, folder, *SIZE, frames, results]
    ran = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


def agreement(results: Path, expected: list[Labels]) -> float:
    """Share of pixels that are equal, in the frame where it is least."""
    return min(
        float((np.fromfile(results / f"labels-{i}.raw", np.uint8) == labels.ravel()).mean())
        for i, labels in enumerate(expected)
    )


@pytest.fixture
def native() -> list[str]:
    """The program in the build folder that MAVOS_CPP names."""
    if not (given := os.environ.get("MAVOS_CPP")):
        pytest.skip("MAVOS_CPP names no folder with a built libmavos (docs/cpp.md)")
    return [str(Path(given) / "tests/mavos_chain")]


def test_states_through_files_change_nothing(
    native: list[str], tiny_bundle: Path, tmp_path: Path
) -> None:
    write_clip(tmp_path / "clip")
    run(native, tiny_bundle, tmp_path / "clip", FRAMES, tmp_path / "results")
    assert agreement(tmp_path / "results", by_python(tiny_bundle)) == 1


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_frames(
    native: list[str], tiny_bundle: Path, tmp_path: Path
) -> None:
    write_clip(tmp_path / "clip")
    said = run(native, tiny_bundle, tmp_path / "clip", LONG, tmp_path / "results")
    resident = [int(kilobytes) for kilobytes in re.findall(r"frame \d+: (\d+) kB", said)]
    assert len(resident) == 10
    assert max(resident[SETTLED:]) <= GROWTH * resident[SETTLED], said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_arm_makes_the_masks_of_this_processor(
    kind: str, tiny_bundle: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if not (given := os.environ.get(ARM)):
        pytest.skip(f"{ARM} names no folder with a libmavos built for 64-bit Arm (docs/cpp.md)")
    int8 = kind == "int8"
    bundle: Path = request.getfixturevalue("attention_bundle") if int8 else tiny_bundle
    write_clip(tmp_path / "clip")
    program = [EMULATOR, "-L", f"{given}/root", f"{given}/tests/mavos_chain"]
    run(program, bundle, tmp_path / "clip", FRAMES, tmp_path / "results")
    limit = LIMITS["int8" if int8 else "fp32"].agreement
    assert agreement(tmp_path / "results", by_python(bundle)) >= limit
