"""Layer norms over channels without turning the map: the same numbers, and what is left alone."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from mavos_deploy.calibration.quantise_norms import TO_LAST, TO_SECOND, norm_channels_in_place
from mavos_deploy.runtime.backends.onnxruntime_library import open_library

CHANNELS = 24


def _graph(
    back: list[int] = TO_SECOND,
    before: list[int] = TO_LAST,
    outputs: tuple[str, ...] = ("normed",),
    weights: tuple[str, ...] = ("weight", "bias"),
    **attributes: Any,  # noqa: ANN401
) -> ModelProto:
    """A graph that turns a map, norms its last axis and turns it again."""
    generator = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(generator.normal(size=CHANNELS).astype(np.float32), name)
        for name in ("weight", "bias")
    ]
    nodes = [
        helper.make_node("Transpose", ["map"], ["turned"], "norm/there", perm=before),
        helper.make_node(
            "LayerNormalization", ["turned", *weights], ["layer"], "norm/node", **attributes
        ),
        helper.make_node("Transpose", ["layer"], ["normed"], "norm/back", perm=back),
    ]
    given = helper.make_tensor_value_info("map", TensorProto.FLOAT, [None] * 4)
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs]
    graph = helper.make_graph(nodes, "norms", [given], made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _kinds(model: ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def _run(model: ModelProto, given: NDArray[np.float32]) -> NDArray[np.float32]:
    session = open_library().InferenceSession(model.SerializeToString())
    (out,) = session.run(["normed"], {"map": given})
    return np.asarray(out, np.float32)


@pytest.mark.parametrize("attributes", [{}, {"epsilon": 0.1}, {"axis": 3}])
def test_the_norm_is_the_same(attributes: dict[str, Any]) -> None:
    model = _graph(**attributes)
    given = np.random.default_rng(1).normal(3, 5, (2, CHANNELS, 5, 7)).astype(np.float32)
    expected = _run(model, given)
    norm_channels_in_place(model)
    onnx.checker.check_model(model, full_check=True)
    assert not _kinds(model) & {"Transpose", "LayerNormalization"}
    np.testing.assert_allclose(_run(model, given), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(_graph(back=[0, 3, 2, 1]), id="another turn behind it"),
        pytest.param(_graph(before=[0, 3, 2, 1]), id="another turn before it"),
        pytest.param(_graph(outputs=("turned", "normed")), id="the turned map is an output"),
        pytest.param(_graph(outputs=("layer", "normed")), id="the norm is an output"),
        pytest.param(_graph(weights=("weight",)), id="no bias"),
        pytest.param(_graph(weights=("map", "bias")), id="a scale that is no constant"),
        pytest.param(_graph(axis=2), id="over rows as well"),
    ],
)
def test_other_norms_stay(model: ModelProto) -> None:
    before = model.SerializeToString()
    norm_channels_in_place(model)
    assert model.SerializeToString() == before
