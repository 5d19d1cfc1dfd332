"""Every rule about sizes: sizes that networks take, token grids, and aspect ratios."""

import re
from typing import Literal

import numpy as np
import numpy.typing as npt

from mavos_deploy.errors import InputError

STRIDE = 16  # pixels per token along each side
LONGEST_SIDE = 1040  # pixels; longer frames are scaled down to this before the size is aligned
LARGEST_SIDE = 8192  # pixels; longest side of videos on a server, and of those engines take
MAX_PIXELS = 2**26  # most pixels of one picture or mask; 8192 x 8192
ASPECT_LIMIT = 0.05  # relative difference of width / height up to which frames are stretched


Size = tuple[int, int]  # height, width in pixels
FloatImage = npt.NDArray[np.float32]


def snap_size(height: int, width: int, align_corners: bool) -> Size:
    """Move both sides to the nearest size that a network takes.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        align_corners: True: sides are 16k + 1. False: sides are 16k.

    Returns:
        Height and width in pixels. Halves go to the even k, as the authors' rounding does.

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
        height: Height in pixels.
        width: Width in pixels.
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
        height: Height of the frame in pixels.
        width: Width of the frame in pixels.
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


def parse_size(
    text: str,
    order: Literal["HxW", "WxH"] = "HxW",
    called: str = "size",
    example: Size = (480, 854),
) -> Size:
    """Read a size such as 480x854.

    Args:
        text: Two numbers of pixels with an x between them.
        order: Order of the two sides: `HxW` for tensors, `WxH` for videos.
        called: Name of the text in errors, such as the option that it came from.
        example: Height and width that an error shows, for `HxW`.

    Returns:
        Height and width in pixels, whatever the order.

    Raises:
        InputError: The text is something else, or a side is zero.
    """
    match = re.fullmatch(r"\s*0*([1-9][0-9]{0,4})\s*[xX×]\s*0*([1-9][0-9]{0,4})\s*", text)
    if match is None:
        expected = (
            f"height x width in pixels, for example {example[0]}x{example[1]}, each up to 99999"
            if order == "HxW"
            else "width x height in pixels, for example 1920x1080, each up to 99999"
        )
        raise InputError(f"{called} {text!r}: expected {expected}")
    first, second = int(match[1]), int(match[2])
    return (first, second) if order == "HxW" else (second, first)


def downsampled(side: int, stride: int) -> int:
    """Length of a side after the encoder's strided layers, which round up.

    Args:
        side: Length in pixels.
        stride: Pixels of a step, such as 4, 8 or 16.
    """
    return -(-side // stride)


def grid(size: Size) -> Size:
    """Token grid (height, width) of a frame of this size in pixels."""
    return downsampled(size[0], STRIDE), downsampled(size[1], STRIDE)


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
