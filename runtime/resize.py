"""Resizing of frames, labels and logits, as the authors do it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import FloatImage, Size, downsampled
from mavos_deploy.runtime.system.opencv import opencv

MOST_FREE = 128 << 20  # bytes of frames in float32 that are kept: five of 1080p, one of 4K


@dataclass(eq=False)
class PreparedFrame:
    """A checked frame at the network's size, perhaps encoded; `Segmenter.prepare` makes it.

    Attributes:
        size: Height and width of the frame that it was made from, in pixels.
        resized: Shape (H, W, 3) at the network's size, float32, values 0..255 and a little beyond;
            the frame itself, perhaps uint8, where it has that size.
        features: The encoder's outputs by name, until a step takes them; None for none.
        encoder: The backend that made them. Another one makes its own.
    """

    size: Size
    resized: npt.NDArray[np.uint8] | FloatImage
    features: dict[str, Any] | None = None
    encoder: object = None


def nearest_index(source: int, target: int) -> npt.NDArray[np.int32]:
    """The source position of every target position, as torch's "nearest" picks it.

    Args:
        source: Length of the source side in pixels.
        target: Length of the target side in pixels.

    Returns:
        int32, shape (target,).

    Source: nearest_neighbor_compute_source_index in ATen/native/UpSample.h, which works in
    float32. Exact integer arithmetic differs in one column for 854 -> 848 and 292 -> 288.
    """
    scale = np.float32(source) / np.float32(target)
    position = (np.arange(target, dtype=np.float32) * scale).astype(np.int32)  # rounds down
    return np.minimum(position, source - 1, dtype=np.int32)


def resize_labels(labels: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Resize a label map to the nearest labels, as torch does.

    Args:
        labels: uint8, shape (H, W).
        height: Pixels of the result.
        width: Pixels of the result.

    Returns:
        uint8, shape (height, width); the argument itself if it has that size.
    """
    if labels.shape == (height, width):
        return labels
    rows = nearest_index(labels.shape[0], height)
    columns = nearest_index(labels.shape[1], width)
    return labels[rows[:, None], columns[None, :]]


def bilinear_matrix(source: int, target: int, align_corners: bool) -> FloatImage:
    """A matrix that resizes one axis as torch's bilinear interpolation does.

    Args:
        source: Length of the source side.
        target: Length of the target side.
        align_corners: True: the outer samples keep their places. False: half-pixel centres.

    Returns:
        float32, shape (target, source); each row sums to 1 and has at most two entries.

    Source: area_pixel_compute_source_index in ATen/native/UpSample.h, in float32.
    """
    steps = np.arange(target, dtype=np.float32)
    if align_corners:
        scale = np.float32(source - 1) / np.float32(target - 1) if target > 1 else np.float32(0)
        position = steps * scale
    else:
        # torch's multiply and subtract are one fused instruction, rounded once. Rounding twice
        # moves positions by enough to change results by 8e-5; in float64 this is exact.
        ratio = np.float64(np.float32(source) / np.float32(target))
        position = np.maximum(ratio * (steps + 0.5) - 0.5, 0).astype(np.float32)
    low = np.minimum(position.astype(np.int32), source - 1)
    high = np.minimum(low + 1, source - 1)
    weight = np.clip(position - low.astype(np.float32), 0, 1)
    matrix = np.zeros((target, source), np.float32)
    rows = np.arange(target)
    matrix[rows, low] = 1 - weight
    matrix[rows, high] += weight
    return matrix


def interpolation(
    size: Size, input_size: Size, align_corners: bool
) -> dict[str, npt.NDArray[np.generic]]:
    """The decoder's inputs that take logits to label maps of a size, and those back.

    Args:
        size: Height and width of the video's frames, in pixels.
        input_size: Height and width of frames in the network, in pixels.
        align_corners: True: the outer samples keep their places. False: half-pixel centres.

    Returns:
        `row_weights` and `column_weights` as `bilinear_matrix` gives them, from a fourth of the
        input size; `row_index` and `column_index` as `nearest_index` gives them.
    """
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for axis, inside, outside in zip(("row", "column"), input_size, size, strict=True):
        arrays[f"{axis}_weights"] = bilinear_matrix(downsampled(inside, 4), outside, align_corners)
        arrays[f"{axis}_index"] = nearest_index(outside, inside)
    return arrays


def resize_frame(rgb: npt.NDArray[np.uint8] | FloatImage, height: int, width: int) -> FloatImage:
    """Resize a frame as the authors do: OpenCV's cubic on float32, not rounded, not clamped.

    Half-pixel centres, coefficient -0.75, border replicated, no antialiasing. Pillow's cubic, with
    -0.5 and antialiasing, differs from it by up to 172 grey levels.

    Args:
        rgb: uint8 or float32, shape (H, W, 3), values 0..255.
        height: Pixels of the result.
        width: Pixels of the result.

    Returns:
        float32, shape (height, width, 3); values may pass 0 and 255 a little.

    Raises:
        InputError: The frame has another shape or type.
        BackendError: OpenCV can't be imported.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype not in (np.uint8, np.float32):
        raise InputError(
            f"frame of shape {rgb.shape} and type {rgb.dtype}: expected (height, width, 3) in RGB "
            "order, uint8 or float32, values 0 to 255"
        )
    if rgb.shape[:2] == (height, width):
        return rgb.astype(np.float32, copy=False)
    cv2, size = opencv(), (width, height)
    if rgb.dtype == np.float32:
        resized = cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC)
        return np.asarray(resized, np.float32)
    with _as_float(rgb) as frame:
        resized = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, np.float32)


def forget_buffers() -> None:
    """Give memory back in which frames were resized; the next frame takes new one."""
    _buffers.forget()


@contextmanager
def _as_float(rgb: npt.NDArray[np.uint8] | FloatImage) -> Iterator[FloatImage]:
    """A frame in float32 that is used again for the next one, whichever thread brings that."""
    held = _buffers.take(rgb.shape)
    np.copyto(held, rgb)
    yield held
    _buffers.give(held)


class _Buffers:
    """Arrays that no thread uses just now, kept for the next one.

    New memory for every frame would come from the system page by page, which takes longer than the
    resizing, and memory of each thread would stay as long as the thread.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._free: list[FloatImage] = []  # the one used last is at the end

    def take(self, shape: tuple[int, ...]) -> FloatImage:
        with self._lock:
            for index, held in enumerate(self._free):
                if held.shape == shape:
                    return self._free.pop(index)
        return np.empty(shape, np.float32)

    def give(self, held: FloatImage) -> None:
        with self._lock:
            self._free.append(held)
            while sum(kept.nbytes for kept in self._free) > MOST_FREE:
                self._free.pop(0)

    def forget(self) -> None:
        with self._lock:
            self._free.clear()


_buffers = _Buffers()
