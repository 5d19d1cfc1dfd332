"""Labels of a single group made where borders run are those of upsampled logits everywhere."""

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime
import pytest
from onnx_ir.passes.common import NameFixPass

from mavos_deploy.export.label_cells import AT_ONCE, along, in_cells, with_borders
from mavos_deploy.export.label_nodes import Nodes
from mavos_deploy.runtime.resize import interpolation

CERTAIN = 1e-4  # a lead of the largest logit beyond what rounding may change


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("background", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    "video",
    [(1080, 1920), (83, 131), (15, 17501), (11, 7), (1, 1)],
    ids=["in turns", "at once", "long", "fewer than cells", "one"],
)
def test_labels_in_cells_are_those_of_the_largest_logits(
    video: tuple[int, int], background: float, align_corners: bool
) -> None:
    size = 161, 225
    given = interpolation(video, size, align_corners)
    rows, columns = given["row_weights"].astype("f4"), given["column_weights"].astype("f4")
    drawn = np.random.default_rng(0).standard_normal((4, rows.shape[1], columns.shape[1]))
    logits = drawn.astype(np.float32)
    lead = logits[0] - logits[1:].max(0)
    logits[0] += {0.0: -9.0, 0.5: 0.0, 1.0: 9.0}[background] - np.quantile(lead, 0.5)
    found = _in_cells(logits, rows, columns)
    full = rows @ (logits @ columns.T)
    lead = np.diff(np.sort(full, 0)[-2:], axis=0)[0]
    assert not ((found != full.argmax(0)) & (lead > CERTAIN)).any()
    largest = logits.argmax(0)
    borders = (largest[1:, 1:] != largest[:-1, :-1]).sum()
    if video == (1080, 1920) and background < 1:
        assert borders * 27 * 34 > 2 * AT_ONCE, "so it takes several turns"


def test_a_cell_that_is_said_to_have_no_border_is_copied() -> None:
    given = interpolation((83, 131), (33, 49), align_corners=True)
    rows, columns = given["row_weights"].astype("f4"), given["column_weights"].astype("f4")
    logits = np.random.default_rng(0).standard_normal((3, rows.shape[1], columns.shape[1]))
    found = _in_cells(logits.astype(np.float32), rows, columns, borders=False)
    row, column = (
        np.minimum((weights > 0).argmax(1), weights.shape[1] - 2) for weights in (rows, columns)
    )
    np.testing.assert_array_equal(found, logits.argmax(0)[row][:, column])


def _in_cells(
    logits: npt.NDArray[np.float32],
    rows: npt.NDArray[np.float32],
    columns: npt.NDArray[np.float32],
    borders: bool = True,
) -> npt.NDArray[np.uint8]:
    """Labels by `in_cells` alone, however many cells have borders; none if so said."""
    given = {"logits": logits, "rows": rows, "columns": columns}
    inputs = [
        ir.Value(
            name=name, shape=ir.Shape([None] * array.ndim), type=ir.TensorType(ir.DataType.FLOAT)
        )
        for name, array in given.items()
    ]
    build = Nodes()
    largest = build.ArgMax(inputs[0], axis=0, keepdims=0)
    found = with_borders(build, largest)
    if not borders:
        found = build.And(found, build.Constant(value=ir.tensor(False)))
    axes = (along(build, weights) for weights in inputs[1:])
    made = in_cells(build, inputs[0], largest, found, *axes)
    made.name, made.type = "labels", ir.TensorType(ir.DataType.UINT8)
    graph = ir.Graph(inputs, [made], nodes=build.tape.nodes, opset_imports={"": 18}, name="cells")
    model = ir.Model(graph, ir_version=10)
    NameFixPass()(model)
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (labelled,) = session.run(None, given)
    return np.asarray(labelled)
