"""Device memory is used again, stays constant, and makes room when a GPU is full."""

import numpy as np
import pytest

from mavos_deploy.errors import BackendError
from mavos_deploy.runtime import Segmenter, State
from mavos_deploy.runtime.backends.tensorrt_gpu import TensorRtGpu
from tests.cuda_stand_in import Gpu0
from tests.engine_bundle import picture, squares


def test_short_slots_take_turns_and_memory_stays_constant(on_gpu: Segmenter, gpu: Gpu0) -> None:
    backend = on_gpu.backend
    assert isinstance(backend, TensorRtGpu)
    state = on_gpu.start(picture(0), squares())
    places, used, contexts = [], [], []
    for index in range(1, 41):
        _, state = on_gpu.step(picture(index), state)
        places.append(state.memory["short_value_0"].address)
        used.append(backend.device_bytes)
        contexts.append(gpu.contexts)
    assert len(set(places[8:])) <= 3
    assert places[20] != places[21]
    assert len(set(used[8:])) == 1
    assert contexts[20] == contexts[-1]
    assert sum(map(len, gpu.memory.values())) == backend.device_bytes


def test_more_scratch_memory_drops_what_was_captured(
    on_gpu: Segmenter, expected: Segmenter, gpu: Gpu0
) -> None:
    state, other = on_gpu.start(picture(0), squares()), expected.start(picture(0), squares())
    for index in range(1, 10):
        _, state = on_gpu.step(picture(index), state)
        _, other = expected.step(picture(index), other)
    assert gpu.launched
    many = on_gpu.start(picture(0), squares(25))  # three groups need three times as much
    _, many = on_gpu.step(picture(1), many)
    for index in range(10, 18):
        labels, state = on_gpu.step(picture(index), state)
        wanted, other = expected.step(picture(index), other)
        np.testing.assert_array_equal(labels, wanted)


def test_a_full_gpu_is_said_and_videos_go_on_when_others_end(on_gpu: Segmenter, gpu: Gpu0) -> None:
    state = on_gpu.start(picture(0), squares())
    for index in range(1, 6):
        _, state = on_gpu.step(picture(index), state)
    gpu.capacity = sum(map(len, gpu.memory.values())) + 3_000_000
    others: list[State] = []

    def start_many() -> None:
        for seed in range(50):
            others.append(on_gpu.start(picture(0, seed), squares()))

    with pytest.raises(BackendError, match=r"no \d+ MB left; .* hold \d+ MB. Follow fewer"):
        start_many()
    assert others
    others.clear()
    for index in range(6, 12):
        _, state = on_gpu.step(picture(index), state)
    on_gpu.start(picture(0), squares())
