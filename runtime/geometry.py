"""Every rule about sizes: network sizes, token grids, and the resizing of frames and labels."""

import re
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Literal

import numpy as np
import numpy.typing as npt

from mavos_deploy.errors import InputError

STRIDE = 16  # pixels per token along each side
LONGEST_SIDE = 1040  # pixels; longer frames are scaled down to this before the size is aligned
LARGEST_SIDE = 8192  # pixels of a video that is served or built for; matrices grow with it
MAX_PIXELS = 2**26  # of one picture or mask; 8192 x 8192
ASPECT_LIMIT = 0.05  # relative difference of width / height up to which frames are stretched

# Cubic resize is OpenCV's, with this coefficient. Pillow's -0.5 and its antialiasing differ from
# what the published weights were run with by up to 172 grey levels.
CUBIC_COEFFICIENT = -0.75

Size = tuple[int, int]  # height, width in pixels
FloatImage = npt.NDArray[np.float32]


def snap_size(height: int, width: int, align_corners: bool) -> Size:
    """Move both sides to the nearest size that a network takes.

    Args:
        height: Pixels.
        width: Pixels.
        align_corners: True: sides are 16k + 1. False: sides are 16k.

    Returns:
        Height and width. Halves go to the even k, as the authors' rounding does.

    Raises:
        InputError: A side is so short that no token would be left.
    """
    offset = 1 if align_corners else 0
    # Python's round is half to even, and these quotients are exact.
    snapped = [round((side - offset) / STRIDE) * STRIDE + offset for side in (height, width)]
    if min(snapped) < STRIDE:
        raise InputError(
            f"size {height}x{width} is too small: both sides need at least {STRIDE + offset} pixels"
        )
    return snapped[0], snapped[1]


def check_size(height: int, width: int, align_corners: bool) -> Size:
    """Refuse a size that the network does not take.

    Args:
        height: Pixels.
        width: Pixels.
        align_corners: True: sides are 16k + 1. False: sides are 16k.

    Returns:
        The same height and width.

    Raises:
        InputError: A side is off the rule, where the message gives the nearest size; or the
            picture has more than MAX_PIXELS.
    """
    if max(height, width) > MAX_PIXELS or height * width > MAX_PIXELS:
        raise InputError(f"size {height}x{width}: the limit is {MAX_PIXELS} pixels in all")
    near = snap_size(height, width, align_corners)
    if near != (height, width):
        rule = "16k + 1" if align_corners else "16k"
        raise InputError(
            f"size {height}x{width}: both sides need to be {rule}; "
            f"the nearest size is {near[0]}x{near[1]}"
        )
    return near


def network_size(height: int, width: int, align_corners: bool) -> Size:
    """The size at which the authors run a frame of this size.

    Args:
        height: Pixels of the frame.
        width: Pixels of the frame.
        align_corners: True: sides are 16k + 1. False: sides are 16k.

    Returns:
        Height and width. The longer side may be one step above 1040; the shorter has no limit.

    Raises:
        InputError: The frame is so small or so narrow that no token would be left.

    Source: AOT, MultiRestrictSize in dataloaders/video_transforms.py.
    """
    longest = max(height, width)
    scale = LONGEST_SIDE / longest if longest > LONGEST_SIDE else 1.0
    scaled = int(scale * height), int(scale * width)
    if min(scaled) < STRIDE // 2:
        raise InputError(
            f"frame size {height}x{width}: a side is shorter than {STRIDE // 2} pixels"
            + (f" once the longer one is scaled to {LONGEST_SIDE}" if scale < 1 else "")
        )
    return snap_size(*scaled, align_corners)


def parse_size(text: str, order: Literal["HxW", "WxH"] = "HxW", called: str = "size") -> Size:
    """Read a size such as 480x854.

    Args:
        text: Two numbers of pixels with an x between them.
        order: Which of them is the height: `HxW` for tensors, `WxH` for videos.
        called: What an error calls it, such as the option that it came from.

    Returns:
        Height and width, whatever the order.

    Raises:
        InputError: The text is something else, or a side is zero.
    """
    match = re.fullmatch(r"\s*0*([1-9][0-9]{0,4})\s*[xX×]\s*0*([1-9][0-9]{0,4})\s*", text)
    if match is None:
        expected = (
            "height x width in pixels, for example 480x854, each up to 99999"
            if order == "HxW"
            else "width x height in pixels, for example 1920x1080, each up to 99999"
        )
        raise InputError(f"{called} {text!r}: expected {expected}")
    first, second = int(match[1]), int(match[2])
    return (first, second) if order == "HxW" else (second, first)


def downsampled(side: int, stride: int) -> int:
    """Length of a side after the encoder's strided layers, which round up."""
    return -(-side // stride)


def grid(size: Size) -> Size:
    """Token grid (height, width) of a frame of this size in pixels."""
    return downsampled(size[0], STRIDE), downsampled(size[1], STRIDE)


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


def resize_frame(rgb: npt.NDArray[np.uint8] | FloatImage, height: int, width: int) -> FloatImage:
    """Resize a frame as the authors do: OpenCV's cubic on float32, not rounded, not clamped.

    Half-pixel centres, coefficient -0.75, border replicated, no antialiasing. OpenCV does it if
    it is installed; otherwise numpy does, equal to 1e-3.

    Args:
        rgb: uint8 or float32, shape (H, W, 3), values 0..255.
        height: Pixels of the result.
        width: Pixels of the result.

    Returns:
        float32, shape (height, width, 3); values may pass 0 and 255 a little.

    Raises:
        InputError: The frame has another shape or type.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype not in (np.uint8, np.float32):
        raise InputError(
            f"frame of shape {rgb.shape} and type {rgb.dtype}: expected (height, width, 3) in RGB "
            "order, uint8 or float32, values 0 to 255"
        )
    frame = rgb.astype(np.float32, copy=False)
    if frame.shape[:2] == (height, width):
        return frame
    opencv = _opencv()
    if opencv is None:
        return _resize_cubic(frame, height, width)
    resized = opencv.resize(frame, (width, height), interpolation=opencv.INTER_CUBIC)
    return np.asarray(resized, np.float32)


@cache
def _opencv() -> ModuleType | None:
    try:
        return import_module("cv2")
    except ImportError:  # not installed, or installed without the system libraries it needs
        return None


def _resize_cubic(frame: FloatImage, height: int, width: int) -> FloatImage:
    # One axis at a time, each as the leading one: gathering whole rows is 3 times faster than
    # gathering pixels within rows.
    tall = _resize_rows(frame, height)
    return np.ascontiguousarray(_resize_rows(tall.transpose(1, 0, 2), width).transpose(1, 0, 2))


def _resize_rows(frame: FloatImage, target: int) -> FloatImage:
    source, across, channels = frame.shape
    rows = np.ascontiguousarray(frame).reshape(source, -1)
    # In float64, as OpenCV computes positions; float32 would be off by up to 0.02 grey levels.
    position = (np.arange(target) + 0.5) * (source / target) - 0.5
    low = np.floor(position)
    distance = position - low
    result = np.zeros((target, rows.shape[1]), np.float32)
    for tap in (-1, 0, 1, 2):
        index = np.clip(low.astype(np.int64) + tap, 0, source - 1)
        weight = _cubic(np.abs(distance - tap)).astype(np.float32)
        result += weight[:, None] * rows[index]
    return result.reshape(target, across, channels)


def _cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic kernel at distances 0..2 from the sample, in pixels."""
    a = CUBIC_COEFFICIENT
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far)


def check_aspect(frame_size: Size, bundle_size: Size, limit: float = ASPECT_LIMIT) -> None:
    """Refuse frames that the bundle's size would distort.

    A bundle exported for just this frame size always passes: aligning small sizes to the token
    grid can change their aspect by more than the limit, and that is what the authors run.

    Args:
        frame_size: Height and width of the video in pixels.
        bundle_size: Height and width of the bundle in pixels.
        limit: Accepted relative difference of width / height.

    Raises:
        InputError: The aspects differ by more than the limit.
    """
    (height, width), (bundle_height, bundle_width) = frame_size, bundle_size
    if bundle_size in (network_size(height, width, True), network_size(height, width, False)):
        return
    ratio = (width / height) / (bundle_width / bundle_height)
    ratio = max(ratio, 1 / ratio)
    if ratio > 1 + limit:
        raise InputError(
            f"frames are {height}x{width} but the bundle is {bundle_height}x{bundle_width}: their "
            f"aspect differs by {ratio - 1:.0%}, the limit is {limit:.0%}; export a bundle with "
            f"mavos-export --size-for {width}x{height}, or accept the distortion with --fit stretch"
        )
