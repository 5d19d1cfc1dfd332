"""Plans, what cannot be exported, and bundles that two processes write."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mavos_deploy.errors import CheckpointError, InputError, MavosError
from mavos_deploy.export import exporter
from mavos_deploy.export.exporter import Plan, write_bundle
from mavos_deploy.models.checkpoint import load_network
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime.system.child import Child

if TYPE_CHECKING:
    from tests.exports import Exports


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="accepted are fp32 and fp16"):
        Plan(VARIANTS["mobilenet"], (97, 97), 3, "gpu", "fp8")


def test_windows_cut_for_one_size_are_refused() -> None:
    with pytest.raises(InputError, match=r"swin_base divides frames into windows .* --size HxW"):
        Plan(VARIANTS["swin_base"], (96, 96), 2, "gpu", dynamic=True)
    with pytest.raises(InputError, match=r"tiles of the attention .* --target gpu"):
        Plan(VARIANTS["tiny"], (97, 97), 2, "cpu", dynamic=True)
    with pytest.raises(InputError, match=r"--tiled-for .* with --size dynamic"):
        Plan(VARIANTS["tiny"], (97, 97), 2, "cpu", tiled=((97, 97),))


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_tiles_cover_the_grid_evenly(target: str) -> None:
    tile = Plan(VARIANTS["mobilenet"], (481, 849), 10, target).tile
    assert tile == ((8, 18) if target == "cpu" else None)


def quick_plan() -> Plan:
    return Plan(VARIANTS["tiny"], (97, 97), 2, "cpu")


def sent(monkeypatch: pytest.MonkeyPatch, write: Callable[..., None], sha256: str) -> object:
    """What the second process sends if this function writes its graphs."""
    monkeypatch.setattr(exporter, "export_graph", write)
    own, theirs = multiprocessing.Pipe()
    exporter._help(theirs, quick_plan(), None, sha256, Path(), ["memory_update"])
    return own.recv()


def shipped() -> str:
    return load_network(VARIANTS["tiny"], None)[1].sha256


def test_the_second_process_names_each_graph_that_it_wrote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sent(monkeypatch, lambda *given: None, shipped()) == "memory_update"


def test_weights_that_changed_meanwhile_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    error = sent(monkeypatch, lambda *given: None, "0" * 64)
    assert isinstance(error, CheckpointError)
    assert "was changed while it was exported" in str(error)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate: bad_alloc")]
)
def test_want_of_memory_in_the_second_process_comes_with_advice(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise error

    told = sent(monkeypatch, fail, shipped())
    assert isinstance(told, MavosError)
    assert "there is not enough memory; raise the limit" in str(told)


def test_other_errors_of_the_second_process_are_bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        sent(monkeypatch, fail, shipped())


def test_a_second_process_that_was_killed_is_told_with_the_way_out() -> None:
    with (
        Child(exporter.HELPER, die) as child,
        pytest.raises(MavosError, match=r"second process was ended by signal 9.*`taskset -c 0`"),
    ):
        exporter._told(child, ["memory_update"])


def die(connection: Connection) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.exports
def test_two_processes_write_the_same_bundle_as_one(
    exported: "Exports", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "usable_processors", lambda: 2)
    children: list[Child] = []

    def noted(name: str, function: Callable[..., None], *given: object) -> Child:
        children.append(Child(name, function, *given))
        return children[-1]

    monkeypatch.setattr(exporter, "Child", noted)
    alone = exported("tiny", (97, 97), 2, "cpu")
    told: list[str] = []
    write_bundle(quick_plan(), None, tmp_path, told.append, helped=True)
    assert len(children) == 1
    names = sorted(path.name for path in (alone / "graphs").iterdir())
    assert sorted(line.split(":")[0] + ".onnx" for line in told) == names
    for name in (*(f"graphs/{name}" for name in names), "manifest.json"):
        assert (tmp_path / name).read_bytes() == (alone / name).read_bytes(), name


def test_one_processor_writes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "usable_processors", lambda: 1)
    monkeypatch.setattr(exporter, "export_graph", lambda n, s, path, t: path.write_bytes(b""))
    monkeypatch.delattr(exporter, "Child")
    assert len(write_bundle(quick_plan(), None, tmp_path, print, helped=True).graphs) == 5
