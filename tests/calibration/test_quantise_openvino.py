"""Attention in int8 for OpenVINO: what the graphs compute, and that integers are multiplied."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper

from mavos_deploy.calibration import quantise_openvino
from mavos_deploy.calibration.observe import observe, observe_values
from mavos_deploy.calibration.quantise import FloatGraph
from mavos_deploy.calibration.quantise_products import find_products, memory_block
from mavos_deploy.calibration.quantised_bundle import write_quantised
from mavos_deploy.calibration.recorder import Recordings, record
from mavos_deploy.errors import BackendError, BundleError, InputError
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.backends.onnxruntime_library import open_library
from mavos_deploy.runtime.backends.openvino_cpu import OpenVinoCpu, best_arithmetic
from mavos_deploy.runtime.backends.protocol import Array
from mavos_deploy.runtime.backends.table import made_for, open_backend
from mavos_deploy.runtime.bundles.quantisation import (
    SCORES,
    GraphKind,
    Levels,
    NumberType,
    Quantisation,
    RangeMethod,
)
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.triton.config import Graphs, Options
from mavos_deploy.runtime.triton.repository import write_repository

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def recordings(
    tiny_bundle: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory
) -> Recordings:
    bundle = Bundle.open(tiny_bundle)
    folder = tmp_path_factory.mktemp("kept") / "recordings"
    plain, sequences = OnnxRuntimeCpu(bundle, 1), list(open_dataset(clips).sequences)
    return record(bundle, plain, sequences, folder, seed=0, most_frames=12)


@pytest.fixture(scope="module")
def quantised(
    tiny_bundle: Path, recordings: Recordings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """`tiny_bundle` with everything in int8 for OpenVINO that can be."""
    bundle, folder = Bundle.open(tiny_bundle), tmp_path_factory.mktemp("openvino")
    names = ("encoder", "elstt_step", "decoder", "memory_write", "memory_update")
    graphs = {name: FloatGraph(name, bundle.graph(name)) for name in names}
    entry = Quantisation(
        kind=GraphKind.OPENVINO,
        number=NumberType.INT8,
        method=RangeMethod.MINMAX,
        groups={name: graph.groups for name, graph in graphs.items()},
        ranges={n: observe(g, recordings, GraphKind.OPENVINO, 1) for n, g in graphs.items()},
        sources={name: recordings.graphs[name] for name in names},
        data=recordings.digest,
        seed=0,
        attention={**observe_values(graphs, recordings, 1), SCORES: ()},
    )
    write_quantised(bundle, entry, folder)
    return folder


@pytest.fixture(scope="module")
def in_parts(quantised: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`quantised` with queries attended in parts, as with large frames."""
    folder = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantise_openvino, "MOST_SCORES", 100)
        write_quantised(Bundle.open(tiny_bundle), _entry(quantised), folder)
    return folder


def _entry(folder: Path) -> Quantisation:
    entry = Bundle.open(folder).manifest.quantisation
    assert entry is not None
    return entry


def _sample(recordings: Recordings, graph: str, levels: tuple[Levels, ...]) -> dict[str, Array]:
    """The last recorded inputs of a graph, its values as levels."""
    *_, sample = recordings.samples(graph)
    blocks = {name: memory_block(name) for name in sample}
    return {
        name: array
        if (block := blocks[name]) is None
        else levels[block].rounded(array.astype(np.float32))
        for name, array in sample.items()
    }


def test_products_are_numpys_with_the_same_rounding(
    quantised: Path, recordings: Recordings
) -> None:
    model = onnx.load(Bundle.open(quantised).graph_path("elstt_step"))
    levels = _entry(quantised).attention
    totals = [node for node in model.graph.node if node.name.endswith("_total")]
    assert len(totals) == 9  # long-term, short-term in one tile, self, in three blocks
    names = []
    for total in totals:
        stem = total.output[0].removesuffix("_total")
        (below,) = (n for n in model.graph.node if n.output[0] == f"{stem}_below")
        (cast,) = (n for n in model.graph.node if n.output[0] == f"{stem}_levels")
        names.append((below.output[0], cast.input[0], stem))
    wanted = sorted({name for group in names for name in group})
    there = {value.name for value in model.graph.output}
    model.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in wanted if name not in there
    )
    session = open_library().InferenceSession(model.SerializeToString())
    found = session.run(wanted, _sample(recordings, "elstt_step", levels["memory"]))
    tensors = dict(zip(wanted, found, strict=True))
    for index, (below, values, stem) in enumerate(names):
        if index % 3 == 2:  # self: its values are rounded on the way, so the test would repeat it
            continue
        own = levels["memory"][index // 3]
        weights = np.rint(np.exp(tensors[below].astype(np.float64)) * 255)
        assert weights.max() == 255
        mean = weights @ tensors[values].swapaxes(1, 2).astype(int) / weights.sum(-1, keepdims=True)
        expected = (mean - np.array(own.zero_point)) * np.array(own.scale)
        shape = tensors[stem].shape
        got = tensors[stem].reshape(shape[0], shape[1], -1).swapaxes(1, 2)
        assert np.abs(got - expected).max() <= 2e-3 * np.ptp(expected)


def test_openvino_computes_what_the_graphs_say(quantised: Path, recordings: Recordings) -> None:
    bundle = Bundle.open(quantised)
    reference, openvino = OnnxRuntimeCpu(bundle, 1), OpenVinoCpu(bundle, 1, "fp32")
    levels = _entry(quantised).attention["memory"]
    for graph in bundle.specs:
        if graph not in _entry(quantised).sources:
            continue
        inputs = _sample(recordings, graph, levels)
        want, got = reference.run(graph, inputs), openvino.run(graph, inputs)
        for name, expected in want.items():
            spread = max(float(np.ptp(expected.astype(np.float64))), 1.0)
            far = np.abs(got[name].astype(np.float64) - expected.astype(np.float64)) > 0.05 * spread
            assert far.mean() < 0.01, (graph, name)


def _products(folder: Path) -> dict[str, list[str]]:
    """Kernels that OpenVINO takes for the step, by the layer's kind."""
    openvino = OpenVinoCpu(Bundle.open(folder), 1, "fp32")
    (request,) = openvino._requests["elstt_step"].values()
    kinds: dict[str, list[str]] = {}
    for node in request.get_compiled_model().get_runtime_model().get_ops():
        info = {key: value.value for key, value in node.get_rt_info().items()}
        kinds.setdefault(info["layerType"], []).append(info["primitiveType"].lower())
    return kinds


def test_openvino_multiplies_integers(quantised: Path) -> None:
    kinds = _products(quantised)
    for layer, least in (("Convolution", 35), ("MatMul", 18)):  # 9 scores and 9 with values
        assert sum(kind.endswith("i8") for kind in kinds[layer]) >= least, kinds[layer]


def test_queries_in_parts_give_the_same(
    quantised: Path, in_parts: Path, recordings: Recordings
) -> None:
    levels = _entry(quantised).attention["memory"]
    inputs = _sample(recordings, "elstt_step", levels)
    want, got = (
        OnnxRuntimeCpu(Bundle.open(folder), 1).run("elstt_step", inputs)
        for folder in (quantised, in_parts)
    )
    for name, expected in want.items():
        np.testing.assert_array_equal(got[name], expected, err_msg=name)


def test_openvino_multiplies_integers_in_parts(quantised: Path, in_parts: Path) -> None:
    whole, parts = _products(quantised)["MatMul"], _products(in_parts)["MatMul"]
    # Scores and sums of long-term attention and self-attention in three blocks.
    assert len(parts) - len(whole) >= 12
    assert sum(not kind.endswith("i8") for kind in parts) == sum(
        not kind.endswith("i8") for kind in whole
    )


def test_norms_over_channels_turn_no_map(quantised: Path, tiny_bundle: Path) -> None:
    for graph in ("elstt_step", "memory_write", "memory_update"):
        kinds = [
            [node.op_type for node in onnx.load(Bundle.open(folder).graph_path(graph)).graph.node]
            for folder in (tiny_bundle, quantised)
        ]
        assert "LayerNormalization" in kinds[0], graph
        assert "LayerNormalization" not in kinds[1], graph


def test_scores_in_float_are_cut_as_well(
    quantised: Path,
    tiny_bundle: Path,
    recordings: Recordings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = _entry(quantised)
    attention = {part: levels for part, levels in entry.attention.items() if part != SCORES}
    entry = msgspec.structs.replace(entry, attention=attention)
    inputs = _sample(recordings, "elstt_step", attention["memory"])
    outputs = []
    for most in (1_000_000, 100):
        monkeypatch.setattr(quantise_openvino, "MOST_SCORES", most)
        folder = tmp_path / str(most)
        folder.mkdir()
        write_quantised(Bundle.open(tiny_bundle), entry, folder)
        outputs.append(OnnxRuntimeCpu(Bundle.open(folder), 1).run("elstt_step", inputs))
    for name, expected in outputs[0].items():
        far = np.abs(outputs[1][name].astype(np.float32) - expected.astype(np.float32))
        assert far.max() <= 1e-5, name


def test_other_libraries_graphs_are_refused_with_advice(quantised: Path) -> None:
    bundle = Bundle.open(quantised)
    entry = msgspec.structs.replace(
        _entry(quantised), kind=GraphKind.CPU, attention={}, number=NumberType.INT8
    )
    other = replace(bundle, manifest=replace(bundle.manifest, quantisation=entry))
    with pytest.raises(BackendError, match="mavos-calibrate --for openvino"):
        OpenVinoCpu(other, 1, "fp32")


def test_another_backend_runs_it_as_a_reference_and_says_so(quantised: Path) -> None:
    bundle = Bundle.open(quantised)
    assert made_for(bundle) == f"openvino-cpu-{best_arithmetic()}"
    with pytest.warns(UserWarning, match="was quantised for OpenVINO; .* take --backend openvino"):
        assert open_backend(bundle, 1).traits.arithmetic == "int8"
    assert open_backend(bundle, 1, made_for(bundle)).traits.arithmetic == "int8"


def test_tritons_graph_models_are_refused(quantised: Path, tmp_path: Path) -> None:
    options = Options(graphs=Graphs.ONNXRUNTIME, gpus=(0,))
    with pytest.raises(InputError, match="take --graphs tracker"):
        write_repository(Bundle.open(quantised), tmp_path, options)
    assert not list(tmp_path.iterdir())


def test_ranges_of_factors_must_be_there(
    quantised: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    entry = _entry(quantised)
    bundle = Bundle.open(tiny_bundle)
    graph = FloatGraph("elstt_step", bundle.graph("elstt_step"))
    (name, *_) = graph.factors(GraphKind.OPENVINO)
    ranges = {n: r for n, r in entry.ranges["elstt_step"].items() if n != name}
    wrong = msgspec.structs.replace(entry, ranges={**entry.ranges, "elstt_step": ranges})
    with pytest.raises(BundleError, match=f"doesn't fit elstt_step .at {name}"):
        write_quantised(bundle, wrong, tmp_path)


def test_attention_of_another_form_is_refused(tiny_bundle: Path) -> None:
    graph = FloatGraph("elstt_step", Bundle.open(tiny_bundle).graph("elstt_step"))
    products = find_products(graph.model)
    for node in graph.model.graph.node:
        if node.name == products[0].softmax.name:
            node.input[0] = graph.model.graph.input[0].name
    with pytest.raises(BundleError, match="not in the form"):
        graph.factors(GraphKind.OPENVINO)
