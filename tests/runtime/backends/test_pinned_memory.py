"""Copies through pinned memory: a host array may change at once, and memory stays bounded."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from mavos_deploy.runtime.backends.cuda_library import CudaContext, open_pycuda
from mavos_deploy.runtime.backends.pinned_memory import KEPT_SIZES, PinnedMemory
from tests.cuda_stand_in import Gpu0


def test_arrays_may_change_right_after_their_upload_and_come_back_as_they_were(gpu: Gpu0) -> None:
    cuda = open_pycuda()
    with CudaContext(cuda, "tensorrt").current():
        stream, pinned = cuda.Stream(1), PinnedMemory(cuda)
        array = np.zeros((2, 3), np.float32)
        places = [cuda.mem_alloc(array.nbytes) for _ in range(3)]
        for number, place in enumerate(places):
            array[:] = number
            pinned.upload(int(place), array, stream)
            assert gpu.waits == max(0, number - 1)  # two blocks take turns
        for number, place in enumerate(places):
            back = np.empty((2, 3), np.float32)
            pinned.download(int(place), back, stream)
            np.testing.assert_array_equal(back, np.full((2, 3), number))


@pytest.fixture
def cuda(gpu: Gpu0) -> Iterator[ModuleType]:
    """PyCUDA, with a context that is current."""
    del gpu
    cuda = open_pycuda()
    with CudaContext(cuda, "tensorrt").current():
        yield cuda


def test_what_is_fetched_waits_for_the_work_before_it_and_not_for_that_behind_it(
    cuda: ModuleType, gpu: Gpu0
) -> None:
    stream, beside, pinned = cuda.Stream(1), cuda.Stream(1), PinnedMemory(cuda)
    places = [int(cuda.mem_alloc(3)) for _ in range(2)]
    blocks = []
    for number, place in enumerate(places):
        pinned.upload(place, np.full(3, number, np.uint8), stream)
        blocks.append(pinned.fetch(place, 3, stream, beside))
    behind = int(cuda.mem_alloc(5))
    pinned.upload(behind, np.zeros(5, np.uint8), stream)
    assert not any(block.event.query() for block in blocks)
    for number, block in enumerate(blocks):
        block.event.synchronize()
        assert block.pinned.tolist() == [number] * 3
    assert len(gpu.queue) == 1, "the copy to `behind` was waited for"
    pinned.returned.append(blocks[0])
    assert pinned.fetch(places[1], 3, stream, beside) is blocks[0]
    for size in range(10, 11 + KEPT_SIZES):
        pinned.returned.append(pinned.fetch(int(cuda.mem_alloc(size)), size, stream, beside))
    in_use = [*blocks, pinned.fetch(places[1], 3, stream, beside)]
    assert list(pinned._unused) == list(range(11, 11 + KEPT_SIZES))
    assert len(pinned._fetched) == KEPT_SIZES + len(in_use)
    pinned.clear()
    assert not any(hasattr(block, "pinned") for block in in_use)


def test_the_stand_in_refuses_a_copy_that_does_not_wait(
    cuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda.Stream, "wait_for_event", lambda stream, event: None)
    stream, beside, pinned = cuda.Stream(1), cuda.Stream(1), PinnedMemory(cuda)
    place = int(cuda.mem_alloc(3))
    pinned.upload(place, np.ones(3, np.uint8), stream)
    block = pinned.fetch(place, 3, stream, beside)
    block.event.synchronize()  # the copy runs first, and the work that it should have waited for
    with pytest.raises(AssertionError, match="two streams use the same memory"):
        stream.synchronize()


def test_the_stand_in_refuses_work_on_memory_that_a_copy_may_still_read(cuda: ModuleType) -> None:
    stream, beside, pinned = cuda.Stream(1), cuda.Stream(1), PinnedMemory(cuda)
    place = int(cuda.mem_alloc(3))
    pinned.upload(place, np.ones(3, np.uint8), stream)
    block = pinned.fetch(place, 3, stream, beside)
    pinned.upload(place, np.zeros(3, np.uint8), stream)
    block.event.synchronize()  # it was in time by luck
    with pytest.raises(AssertionError, match="two streams use the same memory"):
        stream.synchronize()


def test_blocks_of_the_sizes_used_last_are_kept(gpu: Gpu0) -> None:
    del gpu
    cuda = open_pycuda()
    with CudaContext(cuda, "tensorrt").current():
        stream, pinned = cuda.Stream(1), PinnedMemory(cuda)
        for size in range(1, KEPT_SIZES + 4):
            array = np.ones(size, np.uint8)
            place = cuda.mem_alloc(size)
            pinned.upload(int(place), array, stream)
            pinned.upload(int(place), np.zeros(1, np.uint8), stream)
        assert len(pinned._blocks) == KEPT_SIZES
        assert 1 in pinned._blocks
        assert 2 not in pinned._blocks
