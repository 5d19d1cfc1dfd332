"""Engines in the C++ runtime, over a CUDA driver made of host memory and a stand-in for TensorRT.

Each scenario runs in a process of its own, whose CUDA is the driver of tools/host_cuda.c, and whose
TensorRT is the library of runtime/cpp/tests/tensorrt:

    python -m tests.cpp_tensorrt SCENARIO LIBRARY BUNDLE FOLDER

The process fails if a scenario doesn't go as it should, or if anything stays taken from the driver
after it. FOLDER takes files.
"""

import ctypes
import gc
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from mavos_deploy.errors import BundleError, MavosError
from mavos_deploy.runtime import Bundle
from tests.cpp_library import CppError, CppLibrary, CppSegmenter, Handle, Labels
from tests.engine_bundle import MOST_GROUPS, picture, squares
from tests.tensorrt_stand_in import CAPABILITY, VERSION

DRIVER = "libcuda.so.1"
GPU = "Host memory"  # name of the driver's device
PROVIDER = "TensorRT-GPU"  # in any case of letters
FRAMES, LATE, REMOVE, CORRECT = 26, 6, 13, 18
SWAP = 3  # frames after which states change hands
GAP = 2  # of the bundle


class Stage:
    """What a scenario works with.

    Args:
        library: The C++ library with the stand-in for TensorRT.
        bundle: A bundle with engines for it.
        folder: For files.
    """

    def __init__(self, library: Path, bundle: Path, folder: Path) -> None:
        self.driver = ctypes.CDLL(DRIVER)
        self.driver.host_cuda_count.restype = ctypes.c_long
        self.driver.host_cuda_limit.argtypes = [ctypes.c_size_t]
        self.library = CppLibrary(library)
        self.bundle, self.folder = bundle, folder
        self.cpu = self.library.open(bundle)

    def open(self, bundle: Path | None = None) -> CppSegmenter:
        """The bundle on the GPU."""
        return self.library.open(bundle or self.bundle, provider=PROVIDER)

    def count(self, what: str) -> int:
        """One of the driver's counts."""
        number = int(self.driver.host_cuda_count(what.encode()))
        assert number >= 0, f"{what} is not counted"
        return number

    def held(self) -> dict[str, int]:
        """What is taken from the driver."""
        return {what: self.count(what) for what in ("blocks", "bytes", "pinned", "streams")}

    def check_all_given_back(self) -> None:
        gc.collect()
        kinds = (*self.held(), "depth", "retained", "bad calls")
        held = {kind: self.count(kind) for kind in kinds}
        assert not any(held.values()), held


def follow(segmenter: CppSegmenter, frames: int, seed: int = 0) -> tuple[list[Labels], Handle]:
    """Label maps and the last state of a video of two objects."""
    state = segmenter.start(picture(0, seed), squares())
    found = []
    for index in range(1, frames):
        labels, state = segmenter.step(picture(index, seed), state)
        found.append(labels)
    return found, state


def refusal(call: Callable[[], object], status: str = "backend") -> str:
    """The message of the refusal that a call must end in."""
    with pytest.raises(CppError) as raised:
        call()
    assert raised.value.status == status, str(raised.value)
    return str(raised.value)


def labels(stage: Stage) -> None:
    """Objects of two groups, some late, corrected or removed, get the CPU's labels."""
    gpu, cpu = stage.open(), stage.cpu
    assert gpu.about["provider"] == b"tensorrt-gpu"
    assert gpu.about["arithmetic"] == cpu.about["arithmetic"]
    states = [side.start(picture(0), squares(9)) for side in (gpu, cpu)]
    for index in range(1, FRAMES):
        late = squares(13) if index == LATE else None
        if index == CORRECT:
            late = np.where(squares(12) == 12, 12, 0).astype(np.uint8)
        found = []
        for side, segmenter in enumerate((gpu, cpu)):
            seen, states[side] = segmenter.step(picture(index), states[side], late)
            found.append(seen)
        np.testing.assert_array_equal(found[0], found[1], err_msg=f"frame {index}")
        if index in (REMOVE, REMOVE + 2):
            ids = [2, 11] if index == REMOVE else list(range(1, 11))
            ids = [own for own in ids if own in cpu.objects(states[1])]
            states = [s.remove(state, ids) for s, state in zip((gpu, cpu), states, strict=True)]
        assert gpu.objects(states[0]) == cpu.objects(states[1])
    files = [stage.folder / "gpu", stage.folder / "cpu"]
    for segmenter, state, file in zip((gpu, cpu), states, files, strict=True):
        segmenter.save(state, file)
    assert files[0].read_bytes() == files[1].read_bytes()


def states_change_hands(stage: Stage) -> None:
    """States go on in other segmenters, through files and without, on both kinds of device."""
    wanted, _ = follow(stage.cpu, FRAMES)
    sides = [stage.cpu, stage.open(), stage.open()]
    for through_files in (False, True):
        state = sides[0].start(picture(0), squares())
        for index in range(1, FRAMES):
            side = sides[index // SWAP % len(sides)]
            before = sides[(index - 1) // SWAP % len(sides)]
            if through_files and side is not before:
                before.save(state, stage.folder / "state")
                state = side.load(stage.folder / "state")
            seen, state = side.step(picture(index), state)
            np.testing.assert_array_equal(seen, wanted[index - 1])


def memory(stage: Stage) -> None:
    """Memory and copies stay the same from frame to frame; matrices go up once."""
    segmenter = stage.open()
    state = segmenter.start(picture(0), squares())
    seen, copies, back = [], [], []
    for index in range(1, 60):
        before = stage.count("copies up"), stage.count("copies down")
        _, state = segmenter.step(picture(index), state)
        copies.append(stage.count("copies up") - before[0])
        back.append(stage.count("copies down") - before[1])
        seen.append(stage.held())
    assert all(held == seen[10] for held in seen[10:]), seen
    # The frame and the mask of objects, with the flags of a frame that enters the long-term memory.
    assert copies[0] == 2 + 4  # with the matrices that make the video's pixels
    assert sorted(set(copies[1:])) == [2, 3], copies
    assert copies[10 : 10 + 8 * GAP].count(3) == 8, copies
    assert set(back) == {1}  # the labels
    # A file's tensors go up once as well, and a copy of them comes down only once.
    segmenter.save(state, stage.folder / "state")
    down = stage.count("copies down")
    segmenter.save(state, stage.folder / "again")
    assert stage.count("copies down") == down
    loaded, up = segmenter.load(stage.folder / "state"), stage.count("copies up")
    segmenter.step(picture(60), loaded)
    once = stage.count("copies up") - up
    segmenter.step(picture(60), loaded)
    assert once > 10
    assert stage.count("copies up") - up - once in (2, 3)


def outlived(stage: Stage) -> None:
    """A state may be saved after its segmenter is gone, and then all is given back."""
    state, other = follow(stage.open(), 6)[1], follow(stage.cpu, 6)[1]
    gc.collect()
    assert stage.count("blocks") > 0
    stage.cpu.save(state, stage.folder / "gpu")
    stage.cpu.save(other, stage.folder / "cpu")
    assert (stage.folder / "gpu").read_bytes() == (stage.folder / "cpu").read_bytes()


def threads(stage: Stage) -> None:
    """Several threads share a segmenter, each with its video."""
    segmenter = stage.open()
    wanted = [follow(stage.cpu, 12, seed)[0] for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: follow(segmenter, 12, seed)[0], range(4)))
    np.testing.assert_array_equal(found, wanted)


def full(stage: Stage) -> None:
    """Memory that runs out is one error, and what was there before goes on."""
    fill(stage)
    stage.check_all_given_back()
    stage.driver.host_cuda_limit(1_000_000)
    said = refusal(lambda: follow(stage.open(), 2))
    assert "MB left for the engines to work in" in said, said


def fill(stage: Stage) -> None:
    segmenter, wanted = stage.open(), follow(stage.cpu, 5)[0]
    follow(segmenter, 5)
    stage.driver.host_cuda_limit(stage.count("bytes") + 20_000_000)
    held: list[Handle] = []

    def start_again_and_again() -> None:
        while True:
            held.append(segmenter.start(picture(0), squares()))

    assert "MB left" in refusal(start_again_and_again)
    assert len(held) > 1
    held.clear()
    np.testing.assert_array_equal(follow(segmenter, 5)[0], wanted)


def fault(stage: Stage) -> None:
    """A lost GPU is an error and never a crash; once all is closed, it can be opened again."""
    wanted = follow(stage.cpu, 6)[0]
    for kernels in (1, 2, 4):
        lose(stage, kernels)
        stage.check_all_given_back()
        np.testing.assert_array_equal(follow(stage.open(), 6)[0], wanted)
    held = follow(stage.open(), 6)
    stage.driver.host_cuda_fault_in(0)  # unseen until the end
    del held


def fault_told_late(stage: Stage) -> None:
    """The same where the driver pushes and pops a dead context without an error."""
    stage.driver.host_cuda_quiet_stack(1)
    fault(stage)


def lose(stage: Stage, kernels: int) -> None:
    """Let a kernel fail in the middle of a frame."""
    segmenter = stage.open()
    state = follow(segmenter, 6)[1]
    stage.driver.host_cuda_fault_in(kernels)
    said = refusal(lambda: segmenter.step(picture(6), state))
    assert "CUDA_ERROR_LAUNCH_FAILED" in said, said
    later: tuple[Callable[[], object], ...] = (
        lambda: segmenter.step(picture(6), state),
        lambda: segmenter.start(picture(0), squares()),
        lambda: segmenter.save(state, stage.folder / "lost"),
    )
    for call in later:
        assert "the GPU was lost (CUDA_ERROR_LAUNCH_FAILED)" in refusal(call)


def shapes(stage: Stage) -> None:
    """What the engines weren't built for is refused, with the command that builds for more."""
    segmenter = stage.open()
    many = np.zeros((97, 97), np.uint8)
    for number in range(10 * MOST_GROUPS + 1):
        many[
            3 * (number // 8) : 3 * (number // 8) + 3, 12 * (number % 8) : 12 * (number % 8) + 9
        ] = number + 1
    said = refusal(lambda: segmenter.start(picture(0), many))
    assert f"not {MOST_GROUPS + 1}x" in said, said
    assert f"with mavos-build {stage.bundle} --max-groups or --max-output" in said
    large = np.zeros((201, 201, 3), np.uint8)
    marked = np.zeros((201, 201), np.uint8)
    marked[50:90, 50:90] = 1
    state = segmenter.start(large, marked)
    said = refusal(lambda: segmenter.step(large, state))
    assert "takes column_weights from 1x25 to 200x25, not 201x25" in said, said
    np.testing.assert_array_equal(follow(segmenter, 5)[0], follow(stage.cpu, 5)[0])


Entry = dict[str, Any]  # of an engine in the manifest
UNFIT: tuple[Callable[[Entry], object], ...] = (
    lambda e: e.update(graph="another"),
    lambda e: e.update(capability="8.7"),
    lambda e: e.update(
        capability="12.0", flags={"hardware_compatible": "ampere-plus"}, version="1"
    ),
    lambda e: e.update(version="10.98.0"),
    lambda e: e.update(version="10.99.1", flags={"version_compatible": True}),
    lambda e: e.update(graph_sha256="0" * 64),
    lambda e: e.update(gpu="NVIDIA Orin"),
    lambda e: e.update(sha256="0" * 64),
    lambda e: e.update(file="../decoder.plan"),
    lambda e: e.update(file="/etc/hostname"),
    lambda e: e.update(file="engines/none.plan"),
)
FIT: tuple[Callable[[Entry], object], ...] = (
    lambda e: e.update(version="10.1.0", flags={"version_compatible": True}),
    lambda e: e.update(version="10.99.0.7"),
    lambda e: e.update(gpu=GPU),
    lambda e: e.update(capability="8.0", flags={"hardware_compatible": "ampere-plus"}),
    lambda e: e.update(gpu="another", flags={"hardware_compatible": "same-capability"}),
)
PLAN = "engines/tensorrt-decoder.plan"


def changed(stage: Stage, change: Callable[[Entry], object]) -> Path:
    """A copy of the bundle in which the manifest says something else of the decoder's engine."""
    folder = stage.folder / str(len(list(stage.folder.iterdir())))
    copytree(stage.bundle, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for engine in manifest["engines"]:
        if (engine["graph"], engine["library"]) == ("decoder", "tensorrt"):
            change(engine)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def with_plan(stage: Stage, content: bytes, **entry: object) -> Path:
    """A copy of the bundle with another plan of the decoder, which the manifest knows."""
    folder = changed(stage, lambda e: e.update(sha256=sha256(content).hexdigest(), **entry))
    (folder / PLAN).write_bytes(content)
    return folder


def load_in_python(folder: Path) -> None:
    bundle = Bundle.open(folder)
    for graph in bundle.specs:
        bundle.plan(bundle.engine(graph, "tensorrt", VERSION, CAPABILITY, GPU))


def refusals(stage: Stage) -> None:
    """Engines that don't fit are refused in Python's words."""
    bad = [changed(stage, change) for change in UNFIT]
    bad.append(changed(stage, lambda _: None))
    outside = stage.folder / "outside.plan"
    (bad[-1] / PLAN).rename(outside)
    (bad[-1] / PLAN).symlink_to(outside)
    for folder in bad:
        with pytest.raises(MavosError) as python:
            load_in_python(folder)
        status = "bundle" if isinstance(python.value, BundleError) else "backend"
        said = refusal(lambda: stage.open(folder), status)  # noqa: B023
        assert said == str(python.value)


def fitting(stage: Stage) -> None:
    """Engines of a compatible release, capability or GPU are taken."""
    for change in FIT:
        stage.open(changed(stage, change))
    assert stage.open().about["arithmetic"] == b"fp32"
    rounded = stage.open(changed(stage, lambda e: e.update(flags={"tf32": True})))
    assert rounded.about["arithmetic"] == b"tf32"


def plans(stage: Stage) -> None:
    """Plans that TensorRT or the contract refuses; code of their own runs where it is announced."""
    said = refusal(lambda: stage.open(with_plan(stage, b"no plan")))
    assert "tensorrt 10.99.0 refuses" in said, said
    code = b"HOSTCODE" + (stage.bundle / PLAN).read_bytes()
    assert "code of its own" in refusal(lambda: stage.open(with_plan(stage, code)))
    stage.open(with_plan(stage, code, flags={"version_compatible": True}))
    encoder = (stage.bundle / PLAN.replace("decoder", "encoder")).read_bytes()
    said = refusal(lambda: stage.open(with_plan(stage, encoder)), "bundle")
    assert "which the manifest promises; export the bundle again" in said, said


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        *(labels, states_change_hands, memory, outlived, threads, full, fault),
        *(fault_told_late, shapes, refusals, fitting, plans),
    )
}


def main(scenario: str, library: str, bundle: str, folder: str) -> None:
    """Run a scenario."""
    stage = Stage(Path(library), Path(bundle), Path(folder))
    SCENARIOS[scenario](stage)
    stage.check_all_given_back()
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
