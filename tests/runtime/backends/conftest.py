"""The same bundle on a stand-in for a GPU, and on the CPU."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest

from mavos_deploy.runtime import Segmenter
from tests.cuda_stand_in import Gpu0, install
from tests.engine_bundle import add_engines


@pytest.fixture(scope="session")
def engine_bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_bundle` with engines."""
    folder: Path = copytree(tiny_bundle, tmp_path_factory.mktemp("engines") / "bundle")
    add_engines(folder)
    return folder


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu0:
    """The GPU that TensorRT, PyCUDA and CUDA's bindings show."""
    gpu = Gpu0()
    install(monkeypatch, gpu)
    return gpu


@pytest.fixture
def on_gpu(engine_bundle: Path, gpu: Gpu0) -> Iterator[Segmenter]:
    """The bundle on TensorRT."""
    del gpu
    with Segmenter.open(engine_bundle, backend="tensorrt") as segmenter:
        yield segmenter


@pytest.fixture(scope="session")
def expected(engine_bundle: Path) -> Iterator[Segmenter]:
    """The bundle on the CPU."""
    with Segmenter.open(engine_bundle, threads=1) as segmenter:
        yield segmenter
