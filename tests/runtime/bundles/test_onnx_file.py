"""Weights that lie in another file are found wherever a graph may hold tensors."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from mavos_deploy.errors import BundleError
from mavos_deploy.runtime.bundles.onnx_file import refuse_external_data


def _tensor(name: str = "w") -> TensorProto:
    return onnx.numpy_helper.from_array(np.ones(3, np.float32), name)


def _node(**attributes: object) -> NodeProto:
    return onnx.helper.make_node("Constant", [], ["y"], **attributes)  # type: ignore[arg-type]


def _graph(*nodes: NodeProto, **parts: object) -> GraphProto:
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [3])
    graph: GraphProto = onnx.helper.make_graph(list(nodes), "g", [], [output], **parts)  # type: ignore[arg-type]
    return graph


def _sparse() -> SparseTensorProto:
    indices = onnx.numpy_helper.from_array(np.arange(3), "i")
    return onnx.helper.make_sparse_tensor(_tensor(), indices, [5])


PLACES = [
    pytest.param(lambda: _graph(_node(), initializer=[_tensor()]), id="initializer"),
    pytest.param(lambda: _graph(_node(value=_tensor())), id="attribute"),
    pytest.param(lambda: _graph(_node(tensors=[_tensor()])), id="list-of-tensors"),
    pytest.param(
        lambda: _graph(_node(body=_graph(_node(), initializer=[_tensor()]))), id="inner-graph"
    ),
    pytest.param(lambda: _graph(_node(bodies=[_graph(_node(value=_tensor()))])), id="graphs"),
    pytest.param(lambda: _graph(_node(), sparse_initializer=[_sparse()]), id="sparse"),
]


def _outside(model: ModelProto) -> bytes:
    """The model with its first tensor of numbers in another file."""
    whole = model.SerializeToString()
    inside = _tensor().SerializeToString()
    tensor = _tensor()
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../passwd"
    assert inside in whole

    def replace(message: object) -> bool:
        for field, value in message.ListFields():  # type: ignore[attr-defined]
            if field.message_type is None:
                continue
            for part in value if hasattr(value, "__len__") else [value]:
                if isinstance(part, onnx.TensorProto) and part.name == "w":
                    part.CopyFrom(tensor)
                    return True
                if hasattr(part, "ListFields") and replace(part):
                    return True
        return False

    assert replace(model)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("make", PLACES)
def test_weights_elsewhere_are_refused_wherever_they_are(
    make: Callable[[], GraphProto],
) -> None:
    model = onnx.helper.make_model(make())
    refuse_external_data(model.SerializeToString(), "a.onnx")
    with pytest.raises(BundleError, match=r"a\.onnx has weights in another file"):
        refuse_external_data(_outside(model), "a.onnx")


def test_weights_of_a_function_are_refused_too() -> None:
    opset = [onnx.helper.make_opsetid("", 20)]
    function = onnx.helper.make_function("d", "f", [], ["y"], [_node(value=_tensor())], opset)
    model = onnx.helper.make_model(_graph(_node()), functions=[function])
    with pytest.raises(BundleError, match="weights in another file"):
        refuse_external_data(_outside(model), "a.onnx")


@pytest.mark.parametrize("seed", range(200))
def test_damaged_files_are_refused_or_pass_and_raise_nothing_else(seed: int) -> None:
    whole = bytearray(onnx.helper.make_model(_graph(_node(value=_tensor()))).SerializeToString())
    random = np.random.default_rng(seed)
    for place in random.integers(0, len(whole), 4):
        whole[place] = random.integers(0, 256)
    with suppress(BundleError):
        refuse_external_data(bytes(whole[: random.integers(1, len(whole))]), "a.onnx")


@pytest.mark.parametrize(
    "content",
    [b"\x08\x07" + b"A" * 1000, b"\xff" * 20, b"\x3a\x7f", b"\x0b" * 200, b"\x0c", b"decoder"],
)
def test_what_is_no_onnx_file_is_left_to_the_library(content: bytes) -> None:
    refuse_external_data(content, "a.onnx")


@pytest.mark.parametrize(
    "location",
    [
        pytest.param(b"\x70\x01", id="plain"),
        pytest.param(b"\x70\x81\x80\x80\x80\x10", id="above-32-bits"),
        pytest.param(b"\x7b\x08\x01\x7c\x70\x01", id="after-a-group"),
    ],
)
def test_odd_encodings_are_read_as_libraries_read_them(location: bytes) -> None:
    """TensorProto.data_location, in an initializer of the graph, in ways that parsers accept."""
    tensor = onnx.TensorProto.FromString(location)
    assert tensor.data_location == onnx.TensorProto.EXTERNAL
    graph = b"\x2a" + bytes([len(location)]) + location
    with pytest.raises(BundleError, match="weights in another file"):
        refuse_external_data(b"\x3a" + bytes([len(graph)]) + graph, "a.onnx")
