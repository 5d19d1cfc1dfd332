"""Made-up promptable segmenters: pairs of ONNX files with the interface of SAM's and SAM 2's.

The object of such a model is what has the colour of the first point: a pixel belongs to it where
the encoder's features, which are the picture itself, differ by less than a limit.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDES = (48, 64)
FLOAT = TensorProto.FLOAT


def write_prompt_model(folder: Path, padded: bool = False) -> Path:
    """Write encoder.onnx and decoder.onnx; returns the folder.

    Args:
        folder: Where to.
        padded: True for an interface like SAM's, with `orig_im_size`; False for SAM 2's.
    """
    save(folder / "encoder.onnx", *encoder())
    save(folder / "decoder.onnx", *decoder(padded))
    return folder


def value(name: str, *shape: int | str, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


Parts = tuple[list[onnx.NodeProto], list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]


def encoder(channels: int = 3) -> Parts:
    nodes = [helper.make_node("Identity", ["image"], ["image_embed"])]
    sides = (1, channels, *SIDES)
    return nodes, [value("image", *sides)], [value("image_embed", *sides)]


def decoder(padded: bool) -> Parts:
    """Masks: first all background, then what has the first point's colour, which scores higher."""
    numbers = {
        "first": [0, 0],
        "axes": [1],
        "turned": [1, 0],
        "limit": np.float32(1.0),
        "worst": np.float32(-1.0),
        "one": [1],
        "channel": [1],
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(number)))
        for name, number in numbers.items()
    ]
    nodes += [
        helper.make_node(
            "Constant",
            [],
            ["scores"],
            value=numpy_helper.from_array(np.array([[0.1, 0.9]], np.float32)),
        ),
        helper.make_node(
            "Constant", [], ["zero"], value=numpy_helper.from_array(np.array(0, np.int64))
        ),
        helper.make_node("Gather", ["point_coords", "zero"], ["points"], axis=0),  # [n, 2]
        helper.make_node("Gather", ["points", "zero"], ["point"], axis=0),  # x, y
        helper.make_node("Cast", ["point"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["place", "turned"], ["at"], axis=0),  # y, x
        helper.make_node("Transpose", ["image_embed"], ["picture"], perm=[0, 2, 3, 1]),
        helper.make_node("Gather", ["picture", "zero"], ["plain"], axis=0),  # [h, w, 3]
        helper.make_node("GatherND", ["plain", "at"], ["colour"]),  # [3]
        helper.make_node("Sub", ["plain", "colour"], ["change"]),
        helper.make_node("ReduceL2", ["change", "last"], ["distance"], keepdims=0),  # [h, w]
        helper.make_node("Sub", ["limit", "distance"], ["logits"]),
        helper.make_node("Unsqueeze", ["logits", "lead"], ["mask"]),  # [1, 1, h, w]
        helper.make_node("Mul", ["mask", "nil"], ["flat"]),
        helper.make_node("Add", ["flat", "worst"], ["nothing"]),
        helper.make_node("Concat", ["nothing", "mask"], ["masks"], axis=1),
        helper.make_node("Identity", ["scores"], ["iou_predictions"]),
    ]
    more = {"last": [2], "lead": [0, 1], "nil": np.float32(0)}
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(number)))
        for name, number in more.items()
    ] + nodes
    inputs = [
        value("image_embed", 1, 3, *SIDES),
        value("point_coords", 1, "n", 2),
        value("point_labels", 1, "n"),
        value("mask_input", 1, 1, 12, 16),
        value("has_mask_input", 1),
    ]
    if padded:
        inputs.append(value("orig_im_size", 2))
    return nodes, inputs, [value("masks", 1, 2, *SIDES), value("iou_predictions", 1, 2)]


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> None:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
