"""Engines that don't fit the machine or the video are refused in words that help."""

import sys
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Bundle, Segmenter
from mavos_deploy.runtime.bundles.manifest import write_manifest
from tests.cuda_stand_in import Gpu0, install
from tests.engine_bundle import MOST_GROUPS, SIZE, picture, squares
from tests.triton_server import masks


def test_engines_of_another_model_of_gpu_are_refused(
    engine_bundle: Path, tmp_path: Path, gpu: Gpu0
) -> None:
    del gpu
    folder = copytree(engine_bundle, tmp_path / "bundle")
    manifest = Bundle.open(folder).manifest
    engines = tuple(replace(engine, gpu="Other") for engine in manifest.engines)
    write_manifest(folder, replace(manifest, engines=engines))
    with pytest.raises(BackendError, match=r"built on Other, .* and this is Stand-in"):
        Segmenter.open(folder, backend="tensorrt")


def test_a_release_that_cannot_run_engines_is_refused(
    engine_bundle: Path, gpu: Gpu0, monkeypatch: pytest.MonkeyPatch
) -> None:
    del gpu
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", "10.0.1")
    with pytest.raises(BackendError, match=r"tensorrt 10\.0\.1 is too old .* 10\.1 or later"):
        Segmenter.open(engine_bundle, backend="tensorrt")


def test_what_engines_do_not_take_is_said_before_any_work(
    on_gpu: Segmenter, engine_bundle: Path
) -> None:
    many = np.zeros((SIZE, SIZE), np.uint8)
    many.ravel()[: 10 * MOST_GROUPS + 1] = np.arange(1, 10 * MOST_GROUPS + 2)
    with pytest.raises(BackendError, match=r"to 3x\d.*, not 4x.*mavos-build .* --max-groups"):
        on_gpu.start(picture(0), many)
    large = picture(0, size=256)
    with pytest.raises(BackendError, match=r"takes row_weights from .* --max-output"):
        on_gpu.step(large, on_gpu.start(large, squares(size=256)))


def test_an_unknown_need_of_memory_is_an_error(on_gpu: Segmenter, gpu: Gpu0) -> None:
    gpu.unknown_scratch = "elstt_step"
    expected = "can't tell the memory that elstt_step needs: a shape is missing"
    with pytest.raises(BackendError, match=expected):
        on_gpu.start(picture(0), squares())


def test_tensorrt_rtx_is_asked_once_whether_a_graph_can_be_captured(
    engine_bundle: Path, gpu: Gpu0, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, gpu, "tensorrt_rtx")
    gpu.uncapturable = "decoder"
    frames = np.stack([picture(index) for index in range(12)])
    expected = "decoder can't be captured as a CUDA graph"
    with (
        Segmenter.open(engine_bundle, backend="tensorrt-rtx") as segmenter,
        pytest.warns(RuntimeWarning, match=expected) as said,
    ):
        masks(segmenter, frames, squares())
    assert len(said) == 1
    assert len(gpu.asked) == len(set(gpu.asked)) > 2


def test_a_refused_plan_is_said_in_the_librarys_words(
    engine_bundle: Path, gpu: Gpu0, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bundle, "plan", lambda self, engine: b"broken")
    with pytest.raises(BackendError, match=r"refuses .*encoder\.plan: magic tag does not match"):
        Segmenter.open(engine_bundle, backend="tensorrt")
    assert gpu.pushed == 0


def test_a_machine_without_a_gpu_is_refused(
    engine_bundle: Path, gpu: Gpu0, monkeypatch: pytest.MonkeyPatch
) -> None:
    del gpu
    monkeypatch.setattr("mavos_deploy.runtime.system.gpu.first_gpu", lambda: None)
    with pytest.raises(BackendError, match="tensorrt: the driver shows no NVIDIA GPU"):
        Segmenter.open(engine_bundle, backend="tensorrt")
