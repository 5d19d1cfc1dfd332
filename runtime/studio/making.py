"""Masks from what a person draws: the one door for boxes, strokes, clicks and polygons."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.studio.cutting import Hints, cut
from mavos_deploy.runtime.studio.drawing import (
    Box,
    Mask,
    Point,
    Stroke,
    draw_polygon,
    draw_strokes,
)
from mavos_deploy.runtime.studio.prompt_model import PromptModel

GRABCUT, SAM = "grabcut", "sam"


@dataclass(frozen=True)
class Prompt:
    """What a person drew for an object in a frame, all of it.

    Coordinates are pixels of the frame; (0, 0) is the left top corner of the left top pixel.

    Attributes:
        object: The object's id.
        engine: A name of `MaskMaker.engines`.
        box: Left, top, right and bottom of a box around the object.
        strokes: Strokes and clicks on the object and beside it, the oldest first.
        polygon: Corners of the object's outline; no engine is asked then.
    """

    object: int
    engine: str
    box: Box | None = None
    strokes: tuple[Stroke, ...] = ()
    polygon: tuple[Point, ...] | None = None


class MaskMaker:
    """Turns prompts into masks.

    Args:
        prompt_model: Folder of a promptable segmenter; None for GrabCut alone.

    Attributes:
        engines: What prompts may ask for, the best first.

    Raises:
        InputError: The folder holds no such model.
        BackendError: ONNX Runtime is missing.
    """

    def __init__(self, prompt_model: Path | None = None) -> None:
        self._model = None if prompt_model is None else PromptModel(prompt_model)
        self.engines = (GRABCUT,) if self._model is None else (SAM, GRABCUT)

    def make(self, frame_key: int, rgb: NDArray[np.uint8], prompt: Prompt, labels: Labels) -> Mask:
        """Make an object's mask.

        Args:
            frame_key: A number for the frame; the same number means the same pixels.
            rgb: The frame, uint8, shape (H, W, 3).
            prompt: What the person drew.
            labels: The frame's masks so far, uint8, shape (H, W): without a box, strokes mend the
                object's.

        Returns:
            The object's mask, shape (H, W).

        Raises:
            InputError: The prompt says too little, or nothing is found, or there is no such engine.
        """
        size: Size = rgb.shape[0], rgb.shape[1]
        _check(prompt)
        if prompt.polygon is not None:
            return _polygon(prompt, size)
        if prompt.engine == SAM and self._model is not None:
            return self._model.segment(frame_key, rgb, prompt.box, prompt.strokes)
        if prompt.engine != GRABCUT:
            raise InputError(
                f"there is no engine {prompt.engine!r} here, but {', '.join(self.engines)}; "
                "mavos-studio --prompt-model DIR adds sam"
            )
        before = labels == prompt.object
        others = (labels != 0) & ~before
        return cut(rgb, Hints(prompt.box, prompt.strokes, before, others))


def _polygon(prompt: Prompt, size: Size) -> Mask:
    corners = prompt.polygon or ()
    if len(corners) < 3:
        raise InputError(f"a polygon has 3 corners or more, and this one has {len(corners)}")
    mask = draw_polygon(corners, size)
    for stroke in prompt.strokes:
        drawn = draw_strokes([stroke], size)
        mask = mask | drawn if stroke.foreground else mask & ~drawn
    if not mask.any():
        raise InputError("the polygon holds no pixel's centre; draw it larger")
    return mask


def _check(prompt: Prompt) -> None:
    """Refuse numbers that are none, and strokes without points or breadth."""
    numbers = [*(prompt.box or ()), *(n for point in prompt.polygon or () for n in point)]
    for stroke in prompt.strokes:
        if not stroke.points:
            raise InputError("a stroke has one point or more, and this one has none")
        numbers += [stroke.radius, *(n for point in stroke.points for n in point)]
        if not stroke.radius >= 0:
            raise InputError(f"radius {stroke.radius}: a brush has 0 pixels or more")
    if not np.isfinite(numbers).all():
        raise InputError("coordinates must be finite numbers of pixels")
