"""The decoder's form for CPUs gives the labels that its logits say, at every place."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from mavos_deploy.export.label_nodes import Nodes
from mavos_deploy.export.labels import SMALL, _needed, labels
from mavos_deploy.export.soft_aggregation import soft_aggregation
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.contract import BANDS_NOTE, GraphName, extents
from mavos_deploy.runtime.resize import interpolation

CERTAIN = 1e-4  # a lead of the largest logit beyond what rounding may change


@pytest.fixture
def decoder(tiny_bundle: Path) -> OnnxRuntimeCpu:
    return OnnxRuntimeCpu(Bundle.open(tiny_bundle), 1)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("background", [0.0, 0.5, 0.9, 0.98, 1.0])  # its share of the logits
@pytest.mark.parametrize("channels", [2, 4, 11])
@pytest.mark.parametrize(
    "video",
    [(83, 131), (521, 509), (15, 17501)],
    ids=["in one piece", "large", "few rows"],
)
def test_labels_are_those_of_the_largest_logits(
    tiny_bundle: Path,
    decoder: OnnxRuntimeCpu,
    video: tuple[int, int],
    channels: int,
    background: float,
    align_corners: bool,
) -> None:
    bundle = Bundle.open(tiny_bundle)
    draw = np.random.default_rng(channels)
    assert (video[0] * video[1] > SMALL) == (max(video) > 131)
    size = bundle.manifest.size
    inputs = {
        tensor.name: draw.standard_normal(tensor.shape_at(**extents(1, video, channels))).astype(
            tensor.dtype
        )
        for tensor in bundle.specs[GraphName.DECODER].inputs
    }
    given = interpolation(video, size, align_corners)
    mask = np.zeros((1, channels), np.float32)
    raw = decoder.run(GraphName.DECODER, {**inputs, "object_mask": mask, **given})["logits"][0]
    mask[0, 1:] = np.quantile(raw[0] - raw[1:channels].max(0), 1 - background)
    mask[0, 1:] += {0.0: 1.0, 1.0: -1.0}.get(background, 0.0)  # without a tie
    outputs = decoder.run(GraphName.DECODER, {**inputs, "object_mask": mask, **given})
    logits = outputs["logits"][0, :channels].astype(np.float32) + mask[0, :, None, None]
    rows, columns = (given[f"{side}_weights"].astype(np.float32) for side in ("row", "column"))
    full = rows @ (logits @ columns.T)
    found = outputs["labels"][0]
    lead = np.diff(np.sort(full, 0)[-2:], axis=0)[0]
    wrong = (found != full.argmax(0)) & (lead > CERTAIN)
    assert not wrong.any()
    assert (found > 0).any() == (background < 1)
    assert (found == 0).any() == (background > 0)
    nearest = found[given["row_index"][:, None], given["column_index"][None]]
    np.testing.assert_array_equal(outputs["input_labels"][0], nearest)


@pytest.mark.parametrize(
    ("groups", "background"), [(1, 0.0), (1, 0.98), (1, 1.0), (2, 0.0)]
)  # with nearly all of it background, labels are made where borders run
@pytest.mark.parametrize("video", [(521, 509), (15, 17501)])
def test_openvino_makes_the_same_labels(
    tiny_bundle: Path,
    decoder: OnnxRuntimeCpu,
    video: tuple[int, int],
    groups: int,
    background: float,
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed (extra `openvino`)")
    bundle = Bundle.open(tiny_bundle)
    draw = np.random.default_rng(groups)
    inputs = {
        tensor.name: draw.standard_normal(tensor.shape_at(**extents(groups, video))).astype(
            tensor.dtype
        )
        for tensor in bundle.specs[GraphName.DECODER].inputs
    }
    inputs["object_mask"] = np.zeros((groups, 11), np.float32)
    inputs |= interpolation(video, bundle.manifest.size, bundle.manifest.align_corners)
    if background:
        raw = decoder.run(GraphName.DECODER, inputs)["logits"][0]
        lead = np.quantile(raw[0] - raw[1:].max(0), 1 - background)
        inputs["object_mask"][0, 1:] = lead - (background == 1)  # without a tie
    expected = decoder.run(GraphName.DECODER, inputs)["labels"]
    other = open_backend(bundle, 1, "openvino-cpu-fp32")
    made = other.run(GraphName.DECODER, {k: other.upload(v) for k, v in inputs.items()})
    assert (other.download(made["labels"]) != expected).mean() < 1e-3  # but for rounding
    assert (len(np.unique(expected)) > 2) == (background < 1)


def test_a_band_takes_the_rows_of_logits_around_it() -> None:
    matrices = interpolation((1080, 1920), (241, 433), align_corners=True)
    weights = np.pad(matrices["row_weights"], ((0, 8), (0, 0))).reshape(16, 68, 61)
    bands = ir.Value(
        name="bands", shape=ir.Shape([16, 68, 61]), type=ir.TensorType(ir.DataType.FLOAT)
    )
    build = Nodes()
    outputs = _needed(build, bands)
    for name, value in zip(("starts", "depth"), outputs, strict=True):
        value.name, value.type = name, ir.TensorType(ir.DataType.INT64)
    graph = ir.Graph(
        [bands], outputs, nodes=build.tape.nodes, opset_imports={"": 18}, name="needed"
    )
    model = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    starts, (depth,) = session.run(None, {"bands": weights})
    assert depth == 6  # 68 rows lie between 5 of the 61, or 6
    for band, start in zip(weights, starts, strict=True):
        reached = np.flatnonzero(band.any(0))
        assert start <= reached[0]
        assert reached[-1] < start + depth


@pytest.mark.parametrize("groups", [2, 5])
@pytest.mark.parametrize(
    "video",
    [(83, 131), (1080, 1920), (15, 17501), (1, 40)],
    ids=["small", "large", "fewer rows than bands", "one row"],
)
def test_labels_of_several_groups_are_those_of_soft_aggregation(
    tiny_bundle: Path, decoder: OnnxRuntimeCpu, video: tuple[int, int], groups: int
) -> None:
    bundle = Bundle.open(tiny_bundle)
    draw = np.random.default_rng(groups)
    inputs = {
        tensor.name: draw.standard_normal(tensor.shape_at(**extents(groups, video, 11))).astype(
            tensor.dtype
        )
        for tensor in bundle.specs[GraphName.DECODER].inputs
    }
    given = interpolation(video, bundle.manifest.size, bundle.manifest.align_corners)
    mask = np.zeros((groups, 11), np.float32)
    raw = decoder.run(GraphName.DECODER, {**inputs, "object_mask": mask, **given})["logits"]
    mask[:, 1:] = np.quantile(raw[:, 0] - raw[:, 1:].max(1), 0.8)  # objects in many places
    mask[-1, 4:] = -1e4  # the last group has three objects
    outputs = decoder.run(GraphName.DECODER, {**inputs, "object_mask": mask, **given})
    logits = torch.from_numpy(outputs["logits"]) + torch.from_numpy(mask)[:, :, None, None]
    rows, columns = (torch.from_numpy(given[f"{side}_weights"]) for side in ("row", "column"))
    full = rows @ (logits @ columns.T)
    expected = soft_aggregation(full).numpy()
    assert (outputs["labels"][0] != expected).mean() < 1e-5  # but for ties
    assert set(np.unique(expected)) <= set(range(10 * (groups - 1) + 4))
    assert len(np.unique(expected)) > 3


def test_soft_aggregation_is_in_the_other_branch_alone(tiny_bundle: Path) -> None:
    model = onnx.load(str(Bundle.open(tiny_bundle).graph_path(GraphName.DECODER)))
    (branch,) = [node for node in model.graph.node if node.op_type == "If"]
    one, several = (
        kinds(a.g)
        for name in ("then_branch", "else_branch")
        for a in branch.attribute
        if a.name == name
    )
    assert "Exp" in several
    assert "Exp" not in one
    assert "If" in one, "small labels are made in a branch of their own"
    assert not {"Exp", "ArgMax"} & {node.op_type for node in model.graph.node}


def kinds(graph: onnx.GraphProto) -> set[str]:
    """Kinds of a graph's nodes, and of those in its branches."""
    return {node.op_type for node in graph.node}.union(
        *(kinds(a.g) for node in graph.node for a in node.attribute if a.HasField("g"))
    )


def test_the_operator_keeps_to_the_rules_of_pytorch() -> None:
    matrices = interpolation((9, 14), (17, 33), align_corners=True)
    weights = (torch.from_numpy(matrices[f"{axis}_weights"]) for axis in ("row", "column"))
    logits = torch.randn(1, 4, 5, 9, generator=torch.Generator().manual_seed(0))
    torch.library.opcheck(labels, (logits, *weights))


def test_the_file_says_that_memory_does_not_grow_with_objects(tiny_bundle: Path) -> None:
    model = onnx.load(str(Bundle.open(tiny_bundle).graph_path(GraphName.DECODER)))
    assert {entry.key: entry.value for entry in model.metadata_props} == {BANDS_NOTE: "0"}
