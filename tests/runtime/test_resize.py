"""Resizing of frames and labels against PyTorch."""

import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from mavos_deploy.errors import InputError
from mavos_deploy.runtime import resize
from mavos_deploy.runtime.resize import bilinear_matrix, nearest_index, resize_frame, resize_labels

LENGTHS = [*range(1, 40), 161, 288, 289, 292, 480, 481, 848, 849, 854, 1040, 1041, 1080, 1920]


def test_nearest_positions_equal_torch() -> None:
    for source in LENGTHS:
        row = torch.arange(source, dtype=torch.float32)[None, None]
        for target in LENGTHS:
            expected = interpolate(row, size=target, mode="nearest")[0, 0].numpy()
            actual = nearest_index(source, target)
            assert actual.dtype == np.int32
            assert np.array_equal(actual, expected), (source, target)


def test_resized_labels_equal_torch() -> None:
    labels = np.random.default_rng(0).integers(0, 9, (164, 292), np.uint8)
    expected = interpolate(torch.from_numpy(labels)[None, None], size=(161, 288))[0, 0].numpy()
    actual = resize_labels(labels, 161, 288)
    assert actual.dtype == np.uint8
    assert np.array_equal(actual, expected)
    assert np.array_equal(resize_labels(labels, 164, 292), labels)


@pytest.mark.parametrize("align_corners", [True, False])
def test_bilinear_matrices_equal_torch(align_corners: bool) -> None:
    rng = np.random.default_rng(0)
    lengths = [1, 2, 3, 7, 16, 17, 31, 54, 121, 213, 481, 854]
    for source in lengths:
        values = rng.standard_normal(source).astype(np.float32)
        column = torch.from_numpy(values)[None, None, :, None]
        for target in lengths:
            expected = interpolate(
                column, size=(target, 1), mode="bilinear", align_corners=align_corners
            )[0, 0, :, 0].numpy()
            matrix = bilinear_matrix(source, target, align_corners)
            assert matrix.dtype == np.float32
            assert matrix.shape == (target, source)
            np.testing.assert_allclose(matrix @ values, expected, atol=1e-6)


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


SIZES = [
    pytest.param((480, 854), (481, 849), id="davis"),
    pytest.param((1080, 1920), (241, 433), id="full-hd"),
    pytest.param((164, 292), (161, 289), id="small"),
    pytest.param((48, 64), (97, 161), id="upscaling"),
    pytest.param((270, 480), (65, 97), id="strong-downscaling"),
    pytest.param((33, 64), (33, 65), id="one-axis"),
    pytest.param((1, 2), (17, 17), id="border-only"),
]


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_frames_are_resized_by_the_same_cubic_as_torch(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    """In float64, since positions in float32 are off by up to 0.05 grey levels at 1080p."""
    frame = _noise(*source)
    pixels = torch.from_numpy(frame).double().permute(2, 0, 1)[None]
    expected = interpolate(pixels, size=target, mode="bicubic")[0].permute(1, 2, 0).numpy()
    for given in (frame, frame.astype(np.float32)):
        actual = resize_frame(given, *target)
        assert actual.dtype == np.float32
        assert actual.flags.c_contiguous
        np.testing.assert_allclose(actual, expected, atol=1e-3)


def test_resized_frames_are_neither_clamped_nor_rounded() -> None:
    resized = resize_frame(_noise(48, 64), 49, 65)
    assert resized.max() > 255
    assert resized.min() < 0
    assert not np.array_equal(resized, np.round(resized))


def test_buffers_are_used_again_by_size_and_kept_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resize, "MOST_FREE", 5 * 4 * 48 * 64 * 3)
    buffers = resize._Buffers()
    small, large = ((48, 64, 3), (96, 128, 3))
    first, second = buffers.take(small), buffers.take(large)
    buffers.give(first)
    buffers.give(second)
    assert buffers.take(large) is second
    assert buffers.take(large) is not second
    assert buffers.take(small) is first
    buffers.give(first)
    buffers.give(second)
    buffers.give(np.empty(small, np.float32))  # the oldest makes room
    assert buffers.take(small) is not first
    assert buffers.take(large) is second
    buffers.give(np.empty((192, 256, 3), np.float32))  # above the limit alone
    assert not buffers._free


def test_frames_of_the_right_size_need_no_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert resize_frame(_noise(49, 65), 49, 65).shape == (49, 65, 3)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_frames_of_the_right_size_are_not_touched(dtype: str) -> None:
    frame = _noise(17, 33).astype(dtype)
    resized = resize_frame(frame, 17, 33)
    assert resized.dtype == np.float32
    assert np.array_equal(resized, frame)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(np.zeros((8, 8), np.uint8), id="grey"),
        pytest.param(np.zeros((8, 8, 4), np.uint8), id="alpha"),
        pytest.param(np.zeros((8, 8, 3), np.float64), id="float64"),
    ],
)
def test_arrays_that_are_no_frames_are_refused(frame: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected \(height, width, 3\)"):
        resize_frame(frame, 16, 16)
