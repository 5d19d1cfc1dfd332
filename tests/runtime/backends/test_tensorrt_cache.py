"""Kernels that TensorRT-RTX compiled are kept, and their cache never stops a run."""

from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.runtime import Segmenter
from tests.cuda_stand_in import Gpu0, install
from tests.engine_bundle import picture, squares
from tests.tensorrt_stand_in import GRAPH_OF


def test_a_user_without_a_home_runs_without_a_cache(
    engine_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    gpu = Gpu0()
    install(monkeypatch, gpu, "tensorrt_rtx")
    with Segmenter.open(engine_bundle, backend="tensorrt-rtx") as segmenter:
        segmenter.step(picture(1), segmenter.start(picture(0), squares()))
    assert not gpu.memory


def test_tensorrt_rtx_captures_by_itself_and_compiles_once(
    engine_bundle: Path, expected: Segmenter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gpu = Gpu0()
    install(monkeypatch, gpu, "tensorrt_rtx")
    with Segmenter.open(engine_bundle, backend="tensorrt-rtx") as segmenter:
        assert segmenter.backend.traits.name == "tensorrt-rtx"
        state, other = segmenter.start(picture(0), squares()), expected.start(picture(0), squares())
        for index in range(1, 9):
            labels, state = segmenter.step(picture(index), state)
            wanted, other = expected.step(picture(index), other)
            np.testing.assert_array_equal(labels, wanted)
    assert gpu.captures == gpu.recaptures == 0
    assert gpu.compiled == set(GRAPH_OF.values())
    [kept] = (path for path in tmp_path.rglob("*") if path.is_file())
    again = Gpu0()
    install(monkeypatch, again, "tensorrt_rtx")
    with Segmenter.open(engine_bundle, backend="tensorrt-rtx") as segmenter:
        segmenter.step(picture(1), segmenter.start(picture(0), squares()))
    assert not again.compiled
    kept.write_bytes(b"of another world")
    with Segmenter.open(engine_bundle, backend="tensorrt-rtx") as segmenter:
        segmenter.step(picture(1), segmenter.start(picture(0), squares()))
    assert again.compiled
