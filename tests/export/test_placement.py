"""The rule of `tests.placement` finds what it is there to find."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.placement import left_to_cpu


def test_a_map_that_is_scaled_by_its_shape_is_left_to_the_cpu(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["map"], ["shape"], start=0, end=1),
        helper.make_node("Cast", ["shape"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["map", "count"], ["scaled"]),
        helper.make_node("Exp", ["map"], ["other"]),
    ]
    inputs = [helper.make_tensor_value_info("map", TensorProto.FLOAT, ["n", 4])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4])
        for name in ("scaled", "other")
    ]
    graph = helper.make_graph(nodes, "made", inputs, outputs)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
        tmp_path / "made.onnx",
    )
    assert left_to_cpu(tmp_path / "made.onnx") == {"Cast": {"FLOAT"}, "Mul": {"FLOAT"}}
