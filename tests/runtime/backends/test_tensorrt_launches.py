"""Launches that repeat run from captured graphs, and plainly where they can't."""

import sys
import warnings

import numpy as np
import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.backends import tensorrt_launches
from mavos_deploy.runtime.backends.tensorrt_gpu import TensorRtGpu
from mavos_deploy.runtime.backends.tensorrt_launches import KEPT
from tests.cuda_stand_in import Gpu0
from tests.engine_bundle import picture, squares


def test_more_videos_than_captured_graphs_do_not_push_each_other_out(
    on_gpu: Segmenter, gpu: Gpu0
) -> None:
    states = [on_gpu.start(picture(0, n), squares()) for n in range(KEPT)]
    made = []
    for index in range(1, 7):
        for n, state in enumerate(states):
            _, states[n] = on_gpu.step(picture(index, n), state)
        made.append(gpu.contexts)
    assert made[-1] == made[-2], "contexts are made again and again"


def test_videos_that_have_ended_make_room(
    on_gpu: Segmenter, gpu: Gpu0, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_launches, "KEPT", 4)
    monkeypatch.setattr(tensorrt_launches, "STALE", 12)
    held = []  # keeps its blocks, so that the next video gets other addresses
    for video in range(4):
        state = on_gpu.start(picture(0, video), squares())
        held.append(state)
        launched = gpu.launched
        for index in range(1, 20):
            _, state = on_gpu.step(picture(index, video), state)
        assert gpu.launched - launched > 20, f"video {video} runs without captured graphs"
    backend = on_gpu.backend
    assert isinstance(backend, TensorRtGpu)
    assert all(len(graph._kept) <= 4 for graph in backend._graphs.values())


@pytest.mark.filterwarnings("ignore:.*can't be captured")
@pytest.mark.parametrize("graph", ["encoder", "elstt_step", "decoder", "memory_write"])
def test_a_failed_launch_is_named_and_the_state_is_still_good(
    on_gpu: Segmenter, expected: Segmenter, gpu: Gpu0, graph: str
) -> None:
    state, other = on_gpu.start(picture(0), squares()), expected.start(picture(0), squares())
    failed = 0
    for index in range(1, 10):
        # A plain launch, a context's first, one that is captured; later ones can't be planted in.
        gpu.fail = graph
        try:
            on_gpu.step(picture(index), state)
        except BackendError as error:
            failed += 1
            said = str(error)
            assert said == f"tensorrt failed in {graph}: planted fault"
        gpu.fail = None
        labels, state = on_gpu.step(picture(index), state)
        wanted, other = expected.step(picture(index), other)
        np.testing.assert_array_equal(labels, wanted)
    assert failed >= 2
    assert gpu.launched


def test_an_engine_that_cannot_be_captured_is_launched_plainly_and_said_once(
    on_gpu: Segmenter, expected: Segmenter, gpu: Gpu0
) -> None:
    gpu.uncapturable = "decoder"
    start = on_gpu.start(picture(0), squares()), expected.start(picture(0), squares())

    def follow() -> None:
        state, other = start
        for index in range(1, 12):
            labels, state = on_gpu.step(picture(index), state)
            wanted, other = expected.step(picture(index), other)
            np.testing.assert_array_equal(labels, wanted)

    with pytest.warns(RuntimeWarning, match=r"decoder can't be captured .* by kernel") as said:
        follow()
    assert len(said) == 1
    assert gpu.launched  # the others are


def test_an_empty_recording_is_never_launched(
    on_gpu: Segmenter, expected: Segmenter, gpu: Gpu0, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = sys.modules["cuda.bindings"].driver
    end = driver.cuStreamEndCapture
    monkeypatch.setattr(driver, "cuStreamEndCapture", lambda handle: (end(handle)[0], []))
    state, other = on_gpu.start(picture(0), squares()), expected.start(picture(0), squares())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for index in range(1, 9):
            labels, state = on_gpu.step(picture(index), state)
            wanted, other = expected.step(picture(index), other)
            np.testing.assert_array_equal(labels, wanted)
    assert all("nothing was recorded" in str(warning.message) for warning in caught)
    assert caught
    assert gpu.launched == 0
