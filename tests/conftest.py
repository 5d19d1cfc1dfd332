"""Lanes and order of the tests, and bundles that several test files share."""

import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.processors import usable_processors
from tests import golden
from tests.made_sequences import write_staged_clips

if TYPE_CHECKING:
    from mavos_deploy.models.mavos import Mavos
    from tests.exports import Exports

TORCH = find_spec("torch") is not None
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
TINY_SIZE = (161, 289)
MARKS = {"exported": "exports", "network": "network", "server": "server", "cluster": "ray"}
LONG = ("exports", "network")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their fixtures, and put files with long tests first.

    The first such file of each folder comes before all second ones: files of one folder tend to
    share a bundle, and workers that start with different bundles do not wait for each other.
    """
    rounds: dict[Path, int] = {}
    earlier: Counter[Path] = Counter()
    for item in items:
        for fixture, mark in MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
        if item.path not in rounds and any(map(item.get_closest_marker, LONG)):
            rounds[item.path] = earlier[item.path.parent]
            earlier[item.path.parent] += 1
    last = len(rounds)
    items.sort(key=lambda item: rounds.get(item.path, last))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keep exports out of tests without the mark, and PyTorch to one thread.

    Recorded logits hold for the order in which one thread adds; threads beyond the processors
    wait for each other.
    """

    def refuse(*arguments: object, **options: object) -> None:
        pytest.fail("a test that exports takes bundles from the fixture `exported`, or is marked")

    with pytest.MonkeyPatch.context() as patched:
        if TORCH:
            import torch

            torch.set_num_threads(1)
            if item.get_closest_marker("exports") is None:
                patched.setattr(torch.onnx, "export", refuse)
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def own_processors() -> Iterator[None]:
    """Give ONNX Runtime this worker's share of the processors: its threads spin when they wait."""
    share = max(1, usable_processors() // WORKERS)
    with pytest.MonkeyPatch.context() as patched:
        module = "mavos_deploy.runtime.backends.onnxruntime_cpu"
        patched.setattr(f"{module}.usable_processors", lambda: share)
        yield


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Exports"]:
    """Bundles by plan, each of them exported once for all workers."""
    for module in ("torch", "onnxruntime"):
        pytest.importorskip(module)
    from tests.exports import Exports

    base = tmp_path_factory.getbasetemp()
    exports = Exports((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "bundles")
    yield exports
    assert not exports.changed(), "tests have changed bundles that others use, too"


@pytest.fixture(scope="session")
def network() -> Callable[[str], "Mavos"]:
    """Networks by variant, with shipped weights or else synthetic ones."""
    pytest.importorskip("torch")
    from mavos_deploy.models.checkpoint import load_network
    from mavos_deploy.models.variants import VARIANTS

    made: dict[str, Mavos] = {}

    def get(variant: str) -> "Mavos":
        if variant not in made:
            made[variant] = load_network(VARIANTS[variant], None)[0]
        return made[variant]

    return get


@pytest.fixture(scope="session")
def half_bundle(exported: "Exports") -> Path:
    """A bundle in float16 and in the form for GPUs, small and with a memory gap of 3."""
    return exported("mobilenet", (97, 97), 3, "gpu", "fp16")


@pytest.fixture(scope="session")
def dynamic_bundle(exported: "Exports") -> Path:
    """`tiny` for frames of any size, with a memory gap of 2."""
    return exported("tiny", (97, 129), 2, "gpu", dynamic=True, tiled=((113, 145),))


@pytest.fixture(scope="session")
def tiny_bundle(exported: "Exports") -> Path:
    """A trained bundle in float32, small and with a memory gap of 2."""
    return exported("tiny", (97, 97), 2, "cpu")


@pytest.fixture(scope="session")
def segmenter(exported: "Exports") -> Callable[[str], Segmenter]:
    """Segmenters at the golden data's size and memory gap by variant."""
    made: dict[str, Segmenter] = {}

    def get(variant: str) -> Segmenter:
        if variant not in made:
            size = golden.load("base", variant).size if variant in golden.VARIANTS else TINY_SIZE
            made[variant] = Segmenter.open(exported(variant, size, golden.MEMORY_GAP, "cpu"))
        return made[variant]

    return get


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three clips that pass every stage of the memory; the last has five objects."""
    root: Path = tmp_path_factory.mktemp("clips") / "DAVIS"
    write_staged_clips(root, 96, 96)
    return root


@pytest.fixture(scope="session")
def wide_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in the shape of the golden runs."""
    root: Path = tmp_path_factory.mktemp("wide-clips") / "DAVIS"
    write_staged_clips(root, 82, 146)
    return root
