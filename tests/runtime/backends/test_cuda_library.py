"""A GPU that is taken, lost or faulty is one error, and leaves nothing behind."""

from pathlib import Path

import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Segmenter
from tests.cuda_stand_in import Gpu0
from tests.engine_bundle import picture, squares


def test_a_gpu_that_is_taken_is_refused_in_one_line(engine_bundle: Path, gpu: Gpu0) -> None:
    gpu.taken = True
    with pytest.raises(BackendError, match=r"tensorrt: the GPU can't be used .* nvidia-smi"):
        Segmenter.open(engine_bundle, backend="tensorrt")


def test_a_lost_gpu_is_one_error_and_closing_is_quiet(
    engine_bundle: Path, gpu: Gpu0, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter = Segmenter.open(engine_bundle, backend="tensorrt")
    state = segmenter.start(picture(0), squares())
    gpu.lost = True
    with pytest.raises(BackendError, match=r"tensorrt: CUDA reports: cuCtxPushCurrent failed"):
        segmenter.step(picture(1), state)
    segmenter.close()
    assert gpu.pushed == 0
    assert capsys.readouterr() == ("", "")


def test_a_faulty_gpu_is_given_up_when_it_is_closed(
    engine_bundle: Path, gpu: Gpu0, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter = Segmenter.open(engine_bundle, backend="tensorrt")
    state = segmenter.start(picture(0), squares())
    gpu.sick = True
    with pytest.raises(BackendError, match=r"tensorrt: CUDA reports: .* illegal memory access"):
        segmenter.step(picture(1), state)
    assert gpu.memory  # it goes with the context
    gpu.sick = False
    with Segmenter.open(engine_bundle, backend="tensorrt") as anew:
        segmenter.close()  # which must leave the new context alone
        anew.step(picture(1), anew.start(picture(0), squares()))
    assert gpu.pushed == 0
    assert capsys.readouterr() == ("", "")
