"""A promptable segmenter as two ONNX files of the SAM kind: clicks and a box become a mask."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import BackendError, InputError, one_line
from mavos_deploy.runtime.backends.onnxruntime_library import CPU, open_library, session_options
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.studio.drawing import Box, Mask, Stroke
from mavos_deploy.runtime.system.processors import usable_processors

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
PROMPTS = ("point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size")
NEEDED = ("point_coords", "point_labels")
SCORES = "iou_predictions"
MEAN = np.array(
    [123.675, 116.28, 103.53], np.float32
)  # of ImageNet's colours, 0..255; SAM and SAM 2 were trained so
DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)
BACKGROUND, FOREGROUND, LEFT_TOP, RIGHT_BOTTOM, NO_POINT = 0, 1, 2, 3, -1  # point labels
POINTS = 8  # of a stroke at most: the models were trained with single clicks
KEPT = 3  # frames whose features are kept
MASK_SIDE = 256  # of mask_input, where the file doesn't say

HOW = (
    "it takes a folder with encoder.onnx and decoder.onnx of SAM or SAM 2; docs/studio.md says how "
    "to get them"
)
Tensors = dict[str, NDArray[Any]]


class PromptModel:
    """An encoder that runs once for each frame, and a decoder that runs for each prompt.

    The encoder takes one picture, float32 (1, 3, height, width), in ImageNet's normalisation. The
    decoder takes what the encoder gives, and `point_coords`, `point_labels` and, if it wants them,
    `mask_input`, `has_mask_input` and `orig_im_size`; its first output is `masks`. A decoder with
    `orig_im_size` is SAM's: pictures keep their aspect, and the rest of the input is zero. Others
    are SAM 2's: pictures are stretched.

    Args:
        folder: Folder with both files.

    Raises:
        InputError: The folder holds no such pair.
        BackendError: ONNX Runtime is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._encoder, self._decoder = (_open(folder, name) for name in (ENCODER, DECODER))
        (picture, *more), self._wanted = self._encoder.get_inputs(), self._decoder.get_inputs()
        sides = picture.shape[2:] if len(picture.shape) == 4 else []
        if (
            more
            or picture.type != "tensor(float)"
            or picture.shape[1:2] != [3]
            or not _fixed(sides)
        ):
            got = ", ".join(f"{i.name} {i.type} {i.shape}" for i in (picture, *more))
            raise InputError(
                f"{folder / ENCODER} takes {got}; it must take one picture, float32 [1, 3, height, "
                f"width] with fixed sides; {HOW}"
            )
        self._picture = picture.name
        self._side: Size = sides[0], sides[1]
        names = [tensor.name for tensor in self._wanted]
        self._padded = "orig_im_size" in names
        self._features = self._pair(folder, names)
        self._known: OrderedDict[int, Tensors] = OrderedDict()

    def _pair(self, folder: Path, names: list[str]) -> dict[str, str]:
        """The encoder's output for each input of the decoder that is no prompt."""
        given = [tensor.name for tensor in self._encoder.get_outputs()]
        features = [name for name in names if name not in PROMPTS]
        pairs = {name: name for name in features if name in given}
        if not pairs and len(features) == len(given) == 1:
            pairs = {features[0]: given[0]}
        missing = [name for name in NEEDED if name not in names]
        missing += [name for name in features if name not in pairs]
        if missing or not pairs:
            raise InputError(
                f"{folder / DECODER} takes {', '.join(names)}, and {ENCODER} gives "
                f"{', '.join(given)}; {', '.join(missing) or 'its features'}: no match; {HOW}"
            )
        return pairs

    def segment(
        self, key: int, rgb: NDArray[np.uint8], box: Box | None, strokes: Sequence[Stroke]
    ) -> Mask:
        """The mask of what a box and clicks mean.

        Args:
            key: A number for the frame, by which its features are found again.
            rgb: The frame, uint8, shape (H, W, 3).
            box: Box around the object, in pixels of the frame.
            strokes: Clicks and strokes on the object and beside it.

        Raises:
            InputError: Nothing says where the object is, or nothing is found, or the model fails.
        """
        if box is None and not any(stroke.foreground for stroke in strokes):
            raise InputError(
                "nothing says where the object is; draw a box, or a stroke or a click on it"
            )
        size: Size = rgb.shape[0], rgb.shape[1]
        features = self._features_of(key, rgb)
        points, labels = self._points(box, strokes, size)
        inputs = {name: features[given] for name, given in self._features.items()}
        inputs |= self._prompt(points, labels, size)
        outputs = _run(self._decoder, inputs, DECODER)
        names = [tensor.name for tensor in self._decoder.get_outputs()]
        masks = np.asarray(outputs["masks" if "masks" in names else names[0]], np.float32)
        masks = masks.reshape(-1, *masks.shape[-2:])
        best = 0
        if SCORES in outputs and outputs[SCORES].size == len(masks):
            best = int(np.argmax(outputs[SCORES]))
        mask = self._in_frame(masks[best], size)
        if not mask.any():
            raise InputError("the prompt model finds nothing there; move the click, or draw a box")
        return mask

    def _features_of(self, key: int, rgb: NDArray[np.uint8]) -> Tensors:
        if key not in self._known:
            self._known[key] = _run(self._encoder, {self._picture: self._input(rgb)}, ENCODER)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _input(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        across, down = self._scale((rgb.shape[0], rgb.shape[1]))
        size = max(1, round(rgb.shape[1] * across)), max(1, round(rgb.shape[0] * down))
        shrinks = size[0] < rgb.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        picture = np.asarray(cv2.resize(rgb, size, interpolation=how), np.float32)
        picture = (picture - MEAN) / DEVIATION
        canvas = np.zeros((1, 3, *self._side), np.float32)
        canvas[0, :, : picture.shape[0], : picture.shape[1]] = picture.transpose(2, 0, 1)
        return canvas

    def _scale(self, size: Size) -> tuple[float, float]:
        """Pixels of the input for one of the frame, across and down."""
        across, down = self._side[1] / size[1], self._side[0] / size[0]
        return (min(across, down),) * 2 if self._padded else (across, down)

    def _points(
        self, box: Box | None, strokes: Sequence[Stroke], size: Size
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        points: list[tuple[float, float]] = []
        labels: list[int] = []
        if box is not None:
            x, y = sorted(box[::2]), sorted(box[1::2])
            points += [(x[0], y[0]), (x[1], y[1])]
            labels += [LEFT_TOP, RIGHT_BOTTOM]
        for stroke in strokes:
            which = np.linspace(0, len(stroke.points) - 1, min(POINTS, len(stroke.points)))
            points += [stroke.points[round(i)] for i in which]
            labels += [FOREGROUND if stroke.foreground else BACKGROUND] * len(which)
        if self._padded and box is None:
            points.append((0.0, 0.0))
            labels.append(NO_POINT)
        scaled = np.asarray([points], np.float32) * np.asarray(self._scale(size), np.float32)
        return scaled.astype(np.float32), np.asarray([labels], np.float32)

    def _prompt(
        self, points: NDArray[np.float32], labels: NDArray[np.float32], size: Size
    ) -> Tensors:
        inputs: Tensors = {}
        for tensor in self._wanted:
            if tensor.name == "point_coords":
                inputs[tensor.name] = points
            elif tensor.name == "point_labels":
                whole = tensor.type in ("tensor(int32)", "tensor(int64)")
                kind = np.dtype(tensor.type[7:-1]) if whole else np.dtype(np.float32)
                inputs[tensor.name] = labels.astype(kind)
            elif tensor.name == "mask_input":
                sides = tensor.shape[2:] if _fixed(tensor.shape[2:]) else (MASK_SIDE, MASK_SIDE)
                inputs[tensor.name] = np.zeros((1, 1, *sides), np.float32)
            elif tensor.name == "has_mask_input":
                inputs[tensor.name] = np.zeros(1, np.float32)
            elif tensor.name == "orig_im_size":
                inputs[tensor.name] = np.asarray(size, np.float32)
        return inputs

    def _in_frame(self, mask: NDArray[np.float32], size: Size) -> Mask:
        """Logits of a mask as the mask of a frame."""
        if self._padded and mask.shape != size:
            # Some exports leave out the last step: the mask is one of the padded input.
            across, down = self._scale(size)
            rows = max(1, round(size[0] * down * mask.shape[0] / self._side[0]))
            columns = max(1, round(size[1] * across * mask.shape[1] / self._side[1]))
            mask = mask[:rows, :columns]
        resized: Mask = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_LINEAR) > 0
        return resized


def _fixed(sides: Sequence[Any]) -> bool:
    return len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides)


def _open(folder: Path, name: str) -> Any:  # noqa: ANN401  # the library is untyped
    ort = open_library()
    path = folder / name
    if not path.is_file():
        raise InputError(f"there is no {path}; {HOW}")
    options = session_options(ort, usable_processors())
    try:
        return ort.InferenceSession(str(path), options, providers=[CPU])
    except Exception as error:  # the library's errors share no other base
        raise InputError(f"onnxruntime refuses {path}: {one_line(error)}; {HOW}") from error


def _run(session: Any, inputs: Tensors, name: str) -> Tensors:  # noqa: ANN401  # as above
    names = [tensor.name for tensor in session.get_outputs()]
    try:
        outputs = session.run(names, inputs)
    except Exception as error:  # as above
        raise BackendError(f"the prompt model's {name} failed: {one_line(error)}") from error
    return dict(zip(names, outputs, strict=True))
