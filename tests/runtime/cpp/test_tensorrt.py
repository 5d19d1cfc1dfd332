"""Engines in the C++ runtime: the CPU's labels, memory, threads, faults and refusals."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mavos_deploy.runtime.system.gpu import first_gpu
from tests.bundles import copy_to_change
from tests.cpp_library import CppError, CppLibrary
from tests.cpp_tensorrt import PROVIDER, SCENARIOS
from tests.cuda_driver import built
from tests.engine_bundle import add_engines
from tools.host_cuda import build_without_pycuda

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 600.0


@pytest.fixture(scope="session")
def stand_in(cpp: CppLibrary) -> Path:
    """The library that was built with the stand-in for TensorRT."""
    path = Path(os.environ["MAVOS_CPP"]).resolve() / "tests/tensorrt/libmavos.so"
    if not path.exists():
        pytest.skip("the tests of the C++ runtime were not built")
    return path


@pytest.fixture(scope="session")
def driver() -> Path:
    """The folder with a CUDA driver of host memory."""
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("for Linux with a C compiler")
    return built("host-cuda-driver", build_without_pycuda) / "lib"


@pytest.fixture(scope="session")
def engines(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with engines for the stand-in."""
    folder = copy_to_change(tiny_bundle, tmp_path_factory.mktemp("engines") / "bundle")
    add_engines(folder)
    return folder


def run(scenario: str, library: Path, bundle: Path, folder: Path, *libraries: Path) -> str:
    """Run a scenario in a process that finds libraries in some folders; returns its errors."""
    before = {name: os.environ.get(name, "") for name in ("LD_LIBRARY_PATH", "PYTHONPATH")}
    paths = {"LD_LIBRARY_PATH": map(str, libraries), "PYTHONPATH": [str(ROOT)]}
    environment = dict(os.environ)
    for name, folders in paths.items():
        environment[name] = os.pathsep.join(filter(None, [*folders, before[name]]))
    arguments = [scenario, *map(str, (library, bundle, folder))]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.cpp_tensorrt", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert (ran.returncode == 0) == ran.stdout.endswith("done\n"), ran.stderr
    return ran.stderr


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_engines(
    scenario: str, stand_in: Path, driver: Path, engines: Path, tmp_path: Path
) -> None:
    assert run(scenario, stand_in, engines, tmp_path, driver, stand_in.parent) == ""


def test_float16_engines_and_a_decoder_for_one_group(
    stand_in: Path, driver: Path, half_bundle: Path, tmp_path: Path
) -> None:
    folder = copy_to_change(half_bundle, tmp_path / "half")
    add_engines(folder)
    assert run("labels", stand_in, folder, tmp_path, driver, stand_in.parent) == ""


def test_a_machine_without_cuda_or_tensorrt_is_refused(
    stand_in: Path, driver: Path, engines: Path, tmp_path: Path
) -> None:
    if first_gpu() is not None:
        pytest.skip("there is a GPU")
    library = CppLibrary(stand_in)
    with pytest.raises(CppError, match=r"tensorrt-gpu: .* no NVIDIA GPU") as raised:
        library.open(engines, provider=PROVIDER)
    assert raised.value.status == "backend"
    said = run("labels", stand_in, engines, tmp_path, driver)
    assert "tensorrt-gpu: TensorRT can't be loaded (libnvinfer.so.10" in said


def test_a_build_without_tensorrt_says_how_to_get_it(cpp: CppLibrary, engines: Path) -> None:
    with pytest.raises(CppError, match="-DMAVOS_TENSORRT=ON") as raised:
        cpp.open(engines, provider=PROVIDER)
    assert raised.value.status == "backend"
