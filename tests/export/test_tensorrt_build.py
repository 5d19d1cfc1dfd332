"""One engine: what TensorRT is told, and what is said when it fails."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.export.tensorrt_build import build_plan, check_request
from mavos_deploy.runtime.bundles.engines import Flags, Hardware, Library
from tests.tensorrt_recorder import Recorder, task_of


def test_tensorrt_gets_the_flags_shapes_and_timings(
    fake: Callable[..., Recorder], tmp_path: Path
) -> None:
    trt = fake(create_timing_cache=lambda self, blob: blob)
    cache = tmp_path / "cache/a.timing"
    cache.parent.mkdir()
    cache.write_bytes(b"old")
    flags = Flags(version_compatible=True, hardware_compatible=Hardware.AMPERE_PLUS, memory_limit=3)
    shapes = {"x": ((1,), (2,), (4,))}
    build_plan(task_of(tmp_path, flags=flags, profiles=(shapes,), timing_cache=cache))
    assert ("create_network", 2) in trt.calls
    assert ("clear_flag", "TF32") in trt.calls
    assert ("set_flag", "VERSION_COMPATIBLE") in trt.calls
    assert ("set_preview_feature", 2, True) in trt.calls
    assert ("set_memory_pool_limit", "WORKSPACE", 3 << 20) in trt.calls
    assert ("set_shape", "x", (1,), (2,), (4,)) in trt.calls
    assert ("set_timing_cache", b"old", False) in trt.calls
    assert trt.hardware_compatibility_level == 1
    assert trt.max_aux_streams == 0
    assert not [call for call in trt.calls if call[0] == "set_compute_capability"]
    assert (tmp_path / "a.plan").read_bytes() == b"plan"
    assert cache.read_bytes() == b"timings"


def test_a_release_without_scratch_memory_by_shape_builds_as_well(
    fake: Callable[..., Recorder], tmp_path: Path
) -> None:
    trt = fake()
    trt.PreviewFeature = SimpleNamespace(__members__={})
    build_plan(task_of(tmp_path))
    assert not [call for call in trt.calls if call[0] == "set_preview_feature"]
    assert (tmp_path / "a.plan").read_bytes() == b"plan"


def test_timings_of_another_gpu_are_dropped(fake: Callable[..., Recorder], tmp_path: Path) -> None:
    trt = fake(
        create_timing_cache=lambda self, blob: blob,
        set_timing_cache=lambda self, blob, ignore_mismatch: blob == b"",
    )
    (tmp_path / "a.timing").write_bytes(b"of another")
    build_plan(task_of(tmp_path, timing_cache=tmp_path / "a.timing"))
    assert [call[1] for call in trt.calls if call[0] == "set_timing_cache"] == [b"of another", b""]


def test_tf32_stays_on_where_it_is_asked_for(fake: Callable[..., Recorder], tmp_path: Path) -> None:
    trt = fake()
    build_plan(task_of(tmp_path, flags=Flags(tf32=True)))
    assert not [call for call in trt.calls if call[0] == "clear_flag"]


def test_a_graph_that_was_replaced_is_not_built(
    fake: Callable[..., Recorder], tmp_path: Path
) -> None:
    trt = fake()
    with pytest.raises(BackendError, match=r"a\.onnx was changed since the bundle was opened"):
        build_plan(task_of(tmp_path, graph_sha256="0" * 64))
    assert not [call for call in trt.calls if call[0] == "build_serialized_network"]
    assert not (tmp_path / "a.plan").exists()


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
        build_plan(task_of(tmp_path))
    assert str(caught.value).endswith("for 8.6: no tactic fits")
    assert not (tmp_path / "a.plan").exists()


def test_a_failure_without_a_word_is_still_an_error(
    fake: Callable[..., Recorder], tmp_path: Path
) -> None:
    fake(build_serialized_network=lambda *arguments: None)
    with pytest.raises(BackendError, match="it gave no reason"):
        build_plan(task_of(tmp_path))


def test_an_old_release_without_a_compatibility_is_refused(fake: Callable[..., Recorder]) -> None:
    with pytest.raises(BackendError, match=r"tensorrt 10\.3\.0 has no hardware compatibility"):
        check_request(
            fake(),  # type: ignore[arg-type]
            Library.TENSORRT,
            Flags(hardware_compatible=Hardware.SAME_CAPABILITY),
            ["8.6"],
        )
