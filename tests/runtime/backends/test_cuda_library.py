"""A GPU that is taken, lost or faulty is one error, and leaves nothing behind."""

import sys
import threading
import weakref
from pathlib import Path

import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.backends.cuda_library import CudaContext
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
    with pytest.raises(
        BackendError, match=r"tensorrt: the GPU was lost \(cuCtx.*\); open the segmenter"
    ):
        segmenter.step(picture(1), state)
    segmenter.close()
    assert gpu.pushed == 0
    assert capsys.readouterr() == ("", "")


def test_a_gpu_that_stays_lost_is_one_error(engine_bundle: Path, gpu: Gpu0) -> None:
    segmenter = Segmenter.open(engine_bundle, backend="tensorrt")
    gpu.lost = True
    with pytest.raises(BackendError, match="CUDA reports"):
        segmenter.start(picture(0), squares())
    for _ in range(2):
        with pytest.raises(BackendError, match=r"tensorrt: the GPU stays lost .* program again"):
            Segmenter.open(engine_bundle, backend="tensorrt")
    gpu.lost = False
    Segmenter.open(engine_bundle, backend="tensorrt").close()


def test_a_fault_in_one_thread_is_left_by_the_others(gpu: Gpu0) -> None:
    context = CudaContext(sys.modules["pycuda.driver"], "tensorrt")

    def lose() -> None:
        gpu.sick = True
        with pytest.raises(BackendError, match="CUDA reports"), context.current():
            pass

    def lose_elsewhere() -> None:
        with context.current():
            thread = threading.Thread(target=lose)
            thread.start()
            thread.join()

    with pytest.raises(BackendError, match="the GPU was lost"):
        lose_elsewhere()
    assert not context.alive
    assert gpu.pushed == 0


def test_what_went_with_a_lost_device_is_not_touched(gpu: Gpu0) -> None:
    class Engine:
        pass

    context = CudaContext(sys.modules["pycuda.driver"], "tensorrt")
    engine, ended = Engine(), list[str]()
    dropped = weakref.ref(engine)
    context.end(ended.append, "graph")
    context.let_go(engine)
    del engine
    assert dropped() is None
    assert ended == ["graph"]
    gpu.sick = True
    with pytest.raises(BackendError, match="CUDA reports"), context.current():
        pass
    engine = Engine()
    kept = weakref.ref(engine)
    context.end(ended.append, "another graph")
    context.let_go(engine)
    del engine
    assert kept() is not None
    assert ended == ["graph"]


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
