"""Engines: which library builds them, what it is told, and what is said when it fails."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mavos_deploy.errors import BackendError, BundleError
from mavos_deploy.export import build_engines as engines
from mavos_deploy.export.build_engines import BuildRequest, BuiltEngine, build_engines, run_tasks
from mavos_deploy.export.tensorrt_build import Task, build_plan, check_request
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.backends.tensorrt_library import open_library
from mavos_deploy.runtime.engines import Engine, Flags, Hardware, Library
from mavos_deploy.runtime.manifest import write_manifest
from mavos_deploy.runtime.system.gpu import Gpu
from tests.bundles import hollow_bundle

GPU = Gpu("NVIDIA RTX A4000", "8.6", "580.65.06")


@pytest.fixture
def hollow(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    return hollow_bundle(tmp_path / "bundle")


def _silent(result: BuiltEngine) -> None:
    del result


def _task(folder: Path, timing_cache: Path | None = None, **changes: Any) -> Task:  # noqa: ANN401
    engine = Engine(
        graph="a",
        file="",
        sha256="",
        graph_sha256="",
        library=Library.TENSORRT,
        version="10.3.0",
        capability="8.6",
        gpu=None,
        driver=None,
        flags=Flags(),
        profiles=(),
    )
    return Task(replace(engine, **changes), folder / "a.onnx", timing_cache, folder / "a.plan")


def test_a_crash_of_the_library_is_an_error_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crashing.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match=r"ended the process that built .*\(exit code -11\)"):
        run_tasks([_task(tmp_path, library="crashing")], 1, lambda task, seconds: None)


def test_a_library_that_does_not_load_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text("raise RuntimeError('libcudart.so\\nis missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt_rtx", raising=False)
    with pytest.raises(BackendError) as caught:
        open_library("tensorrt_rtx")
    assert str(caught.value) == (
        "tensorrt_rtx can't be imported (libcudart.so is missing); install it with "
        "pip install 'mavos-deploy[tensorrt-rtx]'"
    )


class Recorder:
    """Stands for TensorRT: notes what is called, in order, and answers as told."""

    def __init__(self, **answers: Any) -> None:  # noqa: ANN401
        self.calls: list[tuple[Any, ...]] = []
        self.answers = answers
        severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)
        self.ILogger = type("ILogger", (), {"Severity": severity, "__init__": lambda self: None})
        self.BuilderFlag = SimpleNamespace(TF32="TF32", VERSION_COMPATIBLE="VERSION_COMPATIBLE")
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        levels = {"NONE": 0, "AMPERE_PLUS": 1}
        features = {"RUNTIME_ACTIVATION_RESIZE_10_10": 2}
        self.PreviewFeature = SimpleNamespace(__members__=features)
        self.HardwareCompatibilityLevel = SimpleNamespace(__members__=levels)
        self.__version__ = "10.3.0"

    def Builder(self, logger: Any) -> "Recorder":  # noqa: ANN401
        self.logger = logger
        return self

    def OnnxParser(self, network: object, logger: object) -> "Recorder":
        return self

    def create_network(self, flags: int) -> "Recorder":
        self.calls.append(("create_network", flags))
        return self

    def create_builder_config(self) -> "Recorder":
        return self

    def create_optimization_profile(self) -> "Recorder":
        return self

    def get_timing_cache(self) -> "Recorder":
        return self

    def serialize(self) -> bytes:
        return b"timings"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        def call(*arguments: Any) -> Any:  # noqa: ANN401
            self.calls.append((name, *arguments))
            if name in self.answers:
                return self.answers[name](self, *arguments)
            plain = {"parse": True, "add_optimization_profile": 0, "set_timing_cache": True}
            return b"plan" if name == "build_serialized_network" else plain.get(name)

        return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Recorder]:
    (tmp_path / "a.onnx").write_bytes(b"graph")

    def install(**answers: Any) -> Recorder:  # noqa: ANN401
        recorder = Recorder(**answers)
        monkeypatch.setitem(sys.modules, "tensorrt", recorder)
        return recorder

    return install


def test_tensorrt_gets_the_flags_shapes_and_timings(
    fake: Callable[..., Recorder], tmp_path: Path
) -> None:
    trt = fake(create_timing_cache=lambda self, blob: blob)
    cache = tmp_path / "cache/a.timing"
    cache.parent.mkdir()
    cache.write_bytes(b"old")
    flags = Flags(version_compatible=True, hardware_compatible=Hardware.AMPERE_PLUS, memory_limit=3)
    shapes = {"x": ((1,), (2,), (4,))}
    build_plan(_task(tmp_path, flags=flags, profiles=(shapes,), timing_cache=cache))
    assert ("create_network", 2) in trt.calls
    assert ("clear_flag", "TF32") in trt.calls
    assert ("set_flag", "VERSION_COMPATIBLE") in trt.calls
    assert ("set_preview_feature", 2, True) in trt.calls
    assert ("set_memory_pool_limit", "WORKSPACE", 3 << 20) in trt.calls
    assert ("set_shape", "x", (1,), (2,), (4,)) in trt.calls
    assert ("set_timing_cache", b"old", False) in trt.calls
    assert trt.hardware_compatibility_level == 1
    assert not [call for call in trt.calls if call[0] == "set_compute_capability"]
    assert (tmp_path / "a.plan").read_bytes() == b"plan"
    assert cache.read_bytes() == b"timings"


def test_a_release_without_scratch_memory_by_shape_builds_as_well(
    fake: Callable[..., Recorder], tmp_path: Path
) -> None:
    trt = fake()
    trt.PreviewFeature = SimpleNamespace(__members__={})
    build_plan(_task(tmp_path))
    assert not [call for call in trt.calls if call[0] == "set_preview_feature"]
    assert (tmp_path / "a.plan").read_bytes() == b"plan"


def test_timings_of_another_gpu_are_dropped(fake: Callable[..., Recorder], tmp_path: Path) -> None:
    trt = fake(
        create_timing_cache=lambda self, blob: blob,
        set_timing_cache=lambda self, blob, ignore_mismatch: blob == b"",
    )
    (tmp_path / "a.timing").write_bytes(b"of another")
    build_plan(_task(tmp_path, timing_cache=tmp_path / "a.timing"))
    assert [call[1] for call in trt.calls if call[0] == "set_timing_cache"] == [b"of another", b""]


def test_tf32_stays_on_where_it_is_asked_for(fake: Callable[..., Recorder], tmp_path: Path) -> None:
    trt = fake()
    build_plan(_task(tmp_path, flags=Flags(tf32=True)))
    assert not [call for call in trt.calls if call[0] == "clear_flag"]


def test_errors_are_collected_and_what_a_missing_driver_adds_is_left_out(
    fake: Callable[..., Recorder], tmp_path: Path
) -> None:
    def fail(trt: Recorder, *arguments: object) -> None:
        trt.logger.log(2, "a warning")
        trt.logger.log(1, "Cuda Runtime (cudaError 35: ...)")
        trt.logger.log(1, "no tactic\nfits")
        trt.logger.log(0, "no tactic\nfits")

    fake(build_serialized_network=fail)
    with pytest.raises(BackendError) as caught:
        build_plan(_task(tmp_path))
    assert str(caught.value).endswith("for 8.6: no tactic fits")
    assert not (tmp_path / "a.plan").exists()


def test_a_failure_without_a_word_is_still_an_error(
    fake: Callable[..., Recorder], tmp_path: Path
) -> None:
    fake(build_serialized_network=lambda *arguments: None)
    with pytest.raises(BackendError, match="it gave no reason"):
        build_plan(_task(tmp_path))


def test_an_old_release_without_a_compatibility_is_refused(fake: Callable[..., Recorder]) -> None:
    with pytest.raises(BackendError, match=r"tensorrt 10\.3\.0 has no hardware compatibility"):
        check_request(
            fake(),  # type: ignore[arg-type]
            "tensorrt",
            Flags(hardware_compatible=Hardware.SAME_CAPABILITY),
            ["8.6"],
        )


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
        build_engines(Bundle.open(hollow), BuildRequest("tensorrt", given), _silent)


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
    request = BuildRequest("tensorrt", timing_cache=tmp_path / "timings")
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
    build_engines(Bundle.open(hollow), BuildRequest("tensorrt"), _silent)
    target = hollow / file
    if not target.exists():
        target.write_bytes(b"kept")
    manifest = Bundle.open(hollow).manifest
    spoilt = tuple(replace(engine, file=file) for engine in manifest.engines)
    write_manifest(hollow, replace(manifest, engines=spoilt))
    build_engines(Bundle.open(hollow), BuildRequest("tensorrt"), _silent)
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
        build_engines(Bundle.open(hollow), BuildRequest("tensorrt"), _silent)
    assert not list((tmp_path / "elsewhere").iterdir())
