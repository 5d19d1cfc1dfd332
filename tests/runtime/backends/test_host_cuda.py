"""The device layer on the real PyCUDA and CUDA bindings, over a driver made of host memory.

What a GPU would compute is TensorRT's part, for which its stand-in computes; everything else that
happens between this project and CUDA's driver is real. Slow, because PyCUDA is compiled once, into
build/host-cuda:

    python -m pytest -m slow tests/runtime/backends/test_host_cuda.py
"""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mavos_deploy.runtime.bundles.engines import Library
from tests.cuda_driver import built
from tests.host_cuda import SCENARIOS
from tools.host_cuda import build

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ("cc", "c++", "nm")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or None in map(shutil.which, PROGRAMS),
        reason="for Linux with a C++ compiler and binutils",
    ),
    pytest.mark.skipif(find_spec("cuda") is None, reason="needs cuda-bindings"),
]
SECONDS = 600.0
WITH_BOTH = ("labels", "threads", "fault", "fault_beside_others", "fault_left_open")
CASES = [
    *((scenario, Library.TENSORRT) for scenario in SCENARIOS),
    *((scenario, Library.TENSORRT_RTX) for scenario in WITH_BOTH),
]


@pytest.fixture(scope="module")
def host_cuda() -> Path:
    """The driver, and PyCUDA built against it."""
    return built("host-cuda", build)


def run(arguments: list[str], host_cuda: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run a module in a process with the driver."""
    paths = [str(ROOT), str(host_cuda / "python"), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(host_cuda / "lib"),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "XDG_CACHE_HOME": str(cache),
    }
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize(
    ("scenario", "library"), [case for case in CASES if case[0] != "wrong_calls"]
)
def test_the_device_goes_through_it_without_a_word(
    scenario: str, library: Library, host_cuda: Path, engine_bundle: Path, tmp_path: Path
) -> None:
    ran = run(["tests.host_cuda", scenario, str(engine_bundle), library], host_cuda, tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", ""), SCENARIOS[
        scenario
    ].__doc__


def test_a_wrong_call_is_found(host_cuda: Path, engine_bundle: Path, tmp_path: Path) -> None:
    ran = run(
        ["tests.host_cuda", "wrong_calls", str(engine_bundle), Library.TENSORRT],
        host_cuda,
        tmp_path,
    )
    assert (ran.returncode, ran.stdout) == (0, "done\n"), ran.stderr
    said = [line for line in ran.stderr.splitlines() if line.startswith("host_cuda: ")]
    assert len(said) == 5


def test_a_day_on_a_gpu_can_be_rehearsed(host_cuda: Path, tmp_path: Path) -> None:
    output = tmp_path / "day.json"
    paths = ["--folder", str(tmp_path / "bundles"), "--output", str(output)]
    ran = run(["benchmarks.gpu_day", "--device", "cpu", *paths], host_cuda, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    steps = json.loads(output.read_text())["steps"]
    assert [name for name in steps if name.startswith("bundle")] == ["bundle half", "bundle full"]
    assert steps["float32"]["figures"]["passed"] is True
    device = steps["device"]["figures"]
    assert device["labels"]["frames_that_differ"] == []
    assert device["labels"]["objects"] == 13
    assert all(step["figures"] for name, step in steps.items() if not name.startswith("bundle"))
