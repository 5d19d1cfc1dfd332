"""Copies through pinned memory: a host array may change at once, and memory stays bounded."""

import numpy as np

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
