"""Engines: which library builds them, what it is told, and what is said when it fails."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mavos_deploy.errors import BackendError, BundleError
from mavos_deploy.export import build_engines as engines
from mavos_deploy.export.build_engines import BuildRequest, BuiltEngine, build_engines, run_tasks
from mavos_deploy.export.tensorrt_build import Task
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.bundles.engines import Library
from mavos_deploy.runtime.bundles.manifest import write_manifest
from mavos_deploy.runtime.system.gpu import Gpu
from tests.bundles import hollow_bundle
from tests.tensorrt_recorder import Recorder, task_of

GPU = Gpu("NVIDIA RTX A4000", "8.6", "580.65.06")


@pytest.fixture
def hollow(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    return hollow_bundle(tmp_path / "bundle")


def _silent(result: BuiltEngine) -> None:
    del result


def test_a_crash_of_the_library_is_an_error_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crashing.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match=r"ended the process that built .*\(exit code -11\)"):
        run_tasks([task_of(tmp_path, library="crashing")], 1, lambda task, seconds: None)


@pytest.mark.parametrize(
    ("installed", "gpu", "given", "chosen"),
    [
        pytest.param(("tensorrt", "tensorrt_rtx"), GPU, (), "tensorrt", id="both-own-gpu"),
        pytest.param(("tensorrt", "tensorrt_rtx"), GPU, ("8.6",), "tensorrt", id="both-named"),
        pytest.param(("tensorrt", "tensorrt_rtx"), GPU, ("8.9",), "tensorrt_rtx", id="other-gpu"),
        pytest.param(("tensorrt", "tensorrt_rtx"), None, ("8.6",), "tensorrt_rtx", id="no-gpu"),
        pytest.param(("tensorrt",), None, ("8.6",), "tensorrt", id="only-tensorrt"),
        pytest.param(("tensorrt_rtx",), GPU, (), "tensorrt_rtx", id="only-rtx"),
    ],
)
def test_the_library_that_fits_the_machine_is_chosen(
    installed: tuple[str, ...],
    gpu: Gpu | None,
    given: tuple[str, ...],
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: name if name in installed else None)
    assert engines.choose_library(BuildRequest(capabilities=given), gpu) == chosen


def test_a_machine_without_either_library_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"mavos-deploy\[tensorrt-rtx\]"):
        engines.choose_library(BuildRequest(), None)


@pytest.mark.parametrize(
    ("gpu", "given", "said"),
    [
        pytest.param(None, (), "tensorrt builds on the GPU that runs the engine", id="no-gpu"),
        pytest.param(GPU, ("8.9",), "capability is 8.6, not 8.9; use --library", id="other-gpu"),
    ],
)
def test_tensorrt_builds_for_this_machines_gpu_only(
    gpu: Gpu | None,
    given: tuple[str, ...],
    said: str,
    fake: Callable[..., Recorder],
    hollow: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake()
    monkeypatch.setattr(engines, "first_gpu", lambda: gpu)
    with pytest.raises(BackendError, match=said):
        build_engines(Bundle.open(hollow), BuildRequest(Library.TENSORRT, given), _silent)


def test_tensorrt_engines_carry_gpu_driver_and_timings(
    fake: Callable[..., Recorder], hollow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    monkeypatch.setattr(engines, "first_gpu", lambda: GPU)
    seen: list[tuple[Task, int]] = []

    def run(tasks: list[Task], jobs: int, done: Callable[[Task, float], None]) -> None:
        for task in tasks:
            seen.append((task, jobs))
            task.plan.write_bytes(task.engine.graph.encode())
            done(task, 1.0)

    monkeypatch.setattr(engines, "run_tasks", run)
    request = BuildRequest(Library.TENSORRT, timing_cache=tmp_path / "timings")
    assert len(build_engines(Bundle.open(hollow), request, _silent)) == 5
    name = "tensorrt-10.3.0-NVIDIA_RTX_A4000-580.65.06.timing"
    assert {task.timing_cache for task, _ in seen} == {tmp_path / "timings" / name}
    assert {jobs for _, jobs in seen} == {1}  # builds that time kernels would disturb each other
    (entry, *_) = Bundle.open(hollow).manifest.engines
    assert (entry.gpu, entry.driver, entry.capability) == (GPU.name, GPU.driver, "8.6")
    assert not any(o.built for o in build_engines(Bundle.open(hollow), request, _silent))
    # Another GPU of the same capability gets its own, a new driver does not.
    monkeypatch.setattr(engines, "first_gpu", lambda: replace(GPU, driver="600.1"))
    assert not any(o.built for o in build_engines(Bundle.open(hollow), request, _silent))
    monkeypatch.setattr(engines, "first_gpu", lambda: replace(GPU, name="NVIDIA RTX A2000"))
    assert all(o.built for o in build_engines(Bundle.open(hollow), request, _silent))


def _built_by_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(tasks: list[Task], jobs: int, done: Callable[[Task, float], None]) -> None:
        for task in tasks:
            task.plan.write_bytes(b"plan of " + task.engine.graph.encode())
            done(task, 1.0)

    monkeypatch.setattr(engines, "first_gpu", lambda: GPU)
    monkeypatch.setattr(engines, "run_tasks", run)


@pytest.mark.parametrize("file", ["../kept.plan", "graphs/encoder.onnx", "engines/a.txt"])
def test_replacing_an_entry_deletes_nothing_but_plans_of_the_bundle(
    fake: Callable[..., Recorder],
    hollow: Path,
    file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake()
    _built_by_a_stand_in(monkeypatch)
    build_engines(Bundle.open(hollow), BuildRequest(Library.TENSORRT), _silent)
    target = hollow / file
    if not target.exists():
        target.write_bytes(b"kept")
    manifest = Bundle.open(hollow).manifest
    spoilt = tuple(replace(engine, file=file) for engine in manifest.engines)
    write_manifest(hollow, replace(manifest, engines=spoilt))
    build_engines(Bundle.open(hollow), BuildRequest(Library.TENSORRT), _silent)
    assert target.is_file()
    assert all(e.file.startswith("engines/tensorrt-") for e in Bundle.open(hollow).manifest.engines)


def test_nothing_is_written_through_a_link_out_of_the_bundle(
    fake: Callable[..., Recorder], hollow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake()
    _built_by_a_stand_in(monkeypatch)
    (tmp_path / "elsewhere").mkdir()
    (hollow / "engines").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="leads out of the bundle"):
        build_engines(Bundle.open(hollow), BuildRequest(Library.TENSORRT), _silent)
    assert not list((tmp_path / "elsewhere").iterdir())
