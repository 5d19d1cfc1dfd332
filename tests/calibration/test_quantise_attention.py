"""Attention in int8: what the graphs compute, the memory they keep, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mavos_deploy.calibration.float_memory import FloatMemory
from mavos_deploy.calibration.observe import observe_values
from mavos_deploy.calibration.quantise import FloatGraph
from mavos_deploy.calibration.quantise_attention import WEIGHT_ZERO, levels_between
from mavos_deploy.calibration.quantise_products import CHANGED
from mavos_deploy.calibration.quantised_bundle import write_quantised
from mavos_deploy.calibration.recorder import record
from mavos_deploy.errors import BackendError, BundleError, InputError
from mavos_deploy.export.verify import verify
from mavos_deploy.models.checkpoint import load_network
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime import Bundle, Segmenter
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.backends.onnxruntime_library import open_library
from mavos_deploy.runtime.backends.protocol import Array
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundles.manifest import MANIFEST
from mavos_deploy.runtime.bundles.quantisation import (
    HIGHEST_LEVEL,
    GraphKind,
    Levels,
    NumberType,
    Quantisation,
    RangeMethod,
)
from mavos_deploy.runtime.contract import GraphSpec, state_bytes
from mavos_deploy.runtime.datasets.opening import open_dataset
from tests.made_clips import synthetic_clip
from tests.without_vnni import run_graph

GROUPS = 2


@pytest.fixture(scope="session")
def attention_bundle(
    tiny_bundle: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """`tiny_bundle` with all of its attention in int8, and nothing else."""
    folder: Path = tmp_path_factory.mktemp("attention")
    bundle = Bundle.open(tiny_bundle)
    recordings = record(
        bundle,
        OnnxRuntimeCpu(bundle, 1),
        list(open_dataset(clips).sequences),
        tmp_path_factory.mktemp("kept") / "recordings",
        seed=0,
        most_frames=12,
    )
    graphs = {str(name): FloatGraph(name, bundle.graph(name)) for name in CHANGED["memory"]}
    entry = Quantisation(
        kind=GraphKind.CPU,
        number=NumberType.INT8,
        method=RangeMethod.MINMAX,
        groups={},
        ranges={},
        sources={name: recordings.graphs[name] for name in graphs},
        data=recordings.digest,
        seed=0,
        attention=observe_values(graphs, recordings, 1),
    )
    write_quantised(bundle, entry, folder)
    return folder


def _inputs(spec: GraphSpec, seed: int = 0) -> dict[str, Array]:
    """Two groups' inputs: levels all over their range, everything else between -2 and 2."""
    draws = np.random.default_rng(seed)

    def values(name: str, dtype: str, shape: list[int]) -> Array:
        if name == "input_labels":
            return draws.integers(0, 11, shape, np.uint8)
        if dtype == "uint8":
            return draws.integers(0, HIGHEST_LEVEL + 1, shape, np.uint8)
        return draws.uniform(-2, 2, shape).astype(dtype)

    shapes = {t.name: [GROUPS if isinstance(d, str) else d for d in t.shape] for t in spec.inputs}
    return {t.name: values(t.name, t.dtype, shapes[t.name]) for t in spec.inputs}


def _levels(folder: Path) -> dict[str, tuple[Levels, ...]]:
    entry = Bundle.open(folder).manifest.quantisation
    assert entry is not None
    return entry.attention


@pytest.mark.slow
def test_a_processor_without_vnni_computes_the_same(attention_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(attention_bundle)
    inputs = _inputs(bundle.specs["elstt_step"])
    want = OnnxRuntimeCpu(bundle, 1).run("elstt_step", inputs)
    got = run_graph(attention_bundle, "onnxruntime-cpu", "elstt_step", inputs, tmp_path)
    for name, expected in want.items():
        spread = max(float(np.ptp(expected.astype(np.float64))), 1.0)
        far = np.abs(got[name].astype(np.float64) - expected.astype(np.float64)) > 0.02 * spread
        assert far.mean() < 0.01, name


def test_products_are_numpys_with_the_same_rounding(attention_bundle: Path) -> None:
    bundle = Bundle.open(attention_bundle)
    model = onnx.load(bundle.graph_path("elstt_step"))
    totals = [n for n in model.graph.node if n.op_type == "MatMulInteger" and "_total" in n.name]
    assert len(totals) == 9  # long-term, short-term in one tile, self, in three blocks
    names = []
    for total in totals:
        stem = total.output[0].removesuffix("_total")
        (rows,) = (n for n in model.graph.node if n.output[0] == f"{stem}_rows")
        names.append((rows.input[0], total.input[0], total.input[1], stem))
    wanted = sorted({name for group in names for name in group})
    model.graph.output.extend(map(helper.make_empty_tensor_value_info, wanted))
    session = open_library().InferenceSession(model.SerializeToString())
    found = session.run(wanted, _inputs(bundle.specs["elstt_step"]))
    tensors = dict(zip(wanted, found, strict=True))
    levels = _levels(attention_bundle)
    for index, (softmax, values, weights, product) in enumerate(names):
        own = levels["self" if index % 3 == 2 else "memory"][index // 3]
        expected_weights, expected = _attended(tensors[softmax], tensors[values], own)
        assert np.array_equal(tensors[weights].astype(int) - WEIGHT_ZERO, expected_weights)
        assert tensors[product].shape[0] == GROUPS
        assert np.abs(tensors[product] - expected).max() <= 1e-5 * np.ptp(expected)


def _attended(
    softmax: NDArray[np.float32], values: NDArray[np.uint8], levels: Levels
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rounded weights [B, M, N] and what they make of the values [B, C, M]: [B, C, N]."""
    step = softmax.max(-1, keepdims=True) * np.float32(1 / 255)
    weights = np.rint(softmax / step).astype(int).swapaxes(1, 2)
    assert weights.max() == 255
    mean = (values.astype(int) @ weights) / weights.sum(1, keepdims=True)
    scale, zero = (np.array(part)[:, None] for part in (levels.scale, levels.zero_point))
    return weights, scale * (mean - zero)


def test_values_are_rounded_when_they_are_written(
    tiny_bundle: Path, attention_bundle: Path
) -> None:
    plain, rounded = Bundle.open(tiny_bundle), Bundle.open(attention_bundle)
    levels = _levels(attention_bundle)["memory"]
    inputs = _inputs(plain.specs["memory_write"])
    wanted = OnnxRuntimeCpu(plain, 1).run("memory_write", inputs)
    got = OnnxRuntimeCpu(rounded, 1).run("memory_write", inputs)
    for block in range(3):
        value = got[f"value_{block}"]
        assert value.dtype == np.uint8
        assert np.array_equal(
            value, levels[block].rounded(wanted[f"value_{block}"].astype(np.float32))
        )
        assert value.max() == HIGHEST_LEVEL  # random values go beyond the range, and are cut off


def test_the_update_reads_and_writes_levels(tiny_bundle: Path, attention_bundle: Path) -> None:
    plain, rounded = Bundle.open(tiny_bundle), Bundle.open(attention_bundle)
    levels = _levels(attention_bundle)["memory"]
    inputs = {**_inputs(rounded.specs["memory_update"]), "first_update": np.array([1, 0], np.int32)}
    real = {
        name: levels[int(name[-1])].restored(array.astype(np.uint8))
        if array.dtype == np.uint8
        else array
        for name, array in inputs.items()
    }
    wanted = OnnxRuntimeCpu(plain, 1).run("memory_update", real)
    got = OnnxRuntimeCpu(rounded, 1).run("memory_update", inputs)
    for block in range(3):
        value = got[f"updated_value_{block}"]
        # At its first update a group's values pass through, and rounding them again is exact.
        assert np.array_equal(value[0], inputs[f"value_{block}"][0])
        expected = levels[block].rounded(wanted[f"updated_value_{block}"].astype(np.float32))
        # Float sums of another order may round to the next level.
        assert np.abs(value[1].astype(int) - expected[1].astype(int)).max() <= 1


def test_a_chain_past_two_updates_stays_near_fp32(
    tiny_bundle: Path, attention_bundle: Path
) -> None:
    clip = synthetic_clip(96, 96, 8, objects=10, late_objects=1, late_frame=3, seed=5)
    late = np.where(clip.labels[3] > 10, clip.labels[3], 0).astype(np.uint8)
    agreements, states = [], {}
    with Segmenter.open(tiny_bundle, 1) as plain, Segmenter.open(attention_bundle, 1) as int8:
        for each in (plain, int8):
            states[each] = each.start(clip.frames[0], clip.labels[0])
        for index in range(1, 8):
            given = late if index == 3 else None
            masks = []
            for each in (plain, int8):
                labels, states[each] = each.step(clip.frames[index], states[each], given)
                masks.append(labels)
            agreements.append(np.mean(masks[0] == masks[1]))
        assert states[plain].groups == GROUPS
        memories = states[plain].memory, states[int8].memory
    levels = _levels(attention_bundle)["memory"]
    # 7 bits of a channel's range leave errors of 3 to 5% of what its values differ by, and 0.5% of
    # the pixels flip, at the borders of eleven objects of a few pixels each.
    assert min(agreements) >= 0.98
    for block in range(3):
        name = f"short_value_{block}"
        value = levels[block].restored(memories[1][name])
        error = np.sqrt(np.mean((value - memories[0][name]) ** 2)) / memories[0][name].std()
        assert 0.001 < error < 0.15, name


def test_its_comparison_with_pytorch_is_in_float(attention_bundle: Path) -> None:
    with Segmenter.open(attention_bundle, 1) as segmenter:
        parity = verify(segmenter, load_network(VARIANTS["tiny"], None)[0])
    assert parity.passed, parity.first_divergence
    assert len(parity.memory_updates) >= 2
    assert 1e-4 < parity.worst("elstt_step").relative < 0.2
    assert parity.worst("decoder").relative < 1e-4  # it has no attention


def test_values_take_a_quarter_of_the_memory(tiny_bundle: Path, attention_bundle: Path) -> None:
    plain, rounded = Bundle.open(tiny_bundle), Bundle.open(attention_bundle)
    d = plain.manifest.dimensions
    share = (d.key + 2 * d.value / 4) / (d.key + 2 * d.value)
    assert state_bytes(rounded.specs) == share * state_bytes(plain.specs)


def test_states_keep_levels_and_fit_bundles_with_the_same_scales_only(
    tiny_bundle: Path, attention_bundle: Path, tmp_path: Path
) -> None:
    clip = synthetic_clip(96, 96, 2, objects=2)
    other = _with_other_scales(attention_bundle, tmp_path / "other")
    paths = {}
    for name, folder in (("float", tiny_bundle), ("int8", attention_bundle)):
        with Segmenter.open(folder, 1) as segmenter:
            started = segmenter.start(clip.frames[0], clip.labels[0])
            paths[name] = tmp_path / f"{name}.safetensors"
            segmenter.save(started, paths[name])
            labels, _ = segmenter.step(clip.frames[1], started)
            loaded = segmenter.load(paths[name])
            assert np.array_equal(segmenter.step(clip.frames[1], loaded)[0], labels)
    assert paths["int8"].stat().st_size < 0.6 * paths["float"].stat().st_size
    for folder, state, said in (
        (attention_bundle, "float", "holds float values, and the memory of .* has int8 values"),
        (tiny_bundle, "int8", "holds int8 values, and the memory of .* has float values"),
        (other, "int8", "the scales of int8 values must agree"),
    ):
        with (
            Segmenter.open(folder, 1) as segmenter,
            pytest.raises(InputError, match=said),
        ):
            segmenter.load(paths[state])


def _with_other_scales(source: Path, folder: Path, channels: int | None = None) -> Path:
    shutil.copytree(source, folder)
    data = json.loads((folder / MANIFEST).read_text())
    for levels in data["quantisation"]["attention"]["memory"]:
        for name in ("scale", "zero_point"):
            levels[name] = [2 * number for number in levels[name]][:channels]
        levels["zero_point"] = [0 for _ in levels["zero_point"]]
    (folder / MANIFEST).write_text(json.dumps(data))
    return folder


def test_scales_of_another_network_are_refused(attention_bundle: Path, tmp_path: Path) -> None:
    wrong = _with_other_scales(attention_bundle, tmp_path / "wrong", channels=7)
    with pytest.raises(BundleError, match=r"scales of \[7, 7, 7\] channels for memory attention"):
        Bundle.open(wrong)


def test_another_release_reads_no_levels_as_float(attention_bundle: Path, tmp_path: Path) -> None:
    """One that knows nothing of them sees a memory of another type than it expects."""
    old: Path = shutil.copytree(attention_bundle, tmp_path / "old")
    data = json.loads((old / MANIFEST).read_text())
    del data["quantisation"]["attention"]
    (old / MANIFEST).write_text(json.dumps(data))
    with pytest.raises(BundleError, match="departs from the contract at"):
        Bundle.open(old)


def test_openvino_refuses_it_with_the_reason(attention_bundle: Path) -> None:
    with pytest.raises(BackendError, match=r"is quantised, .* take --backend onnxruntime-cpu"):
        open_backend(Bundle.open(attention_bundle), 1, "openvino-cpu-fp32")


def test_an_attention_in_another_form_is_refused(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    graph = FloatGraph("elstt_step", bundle.graph("elstt_step"))
    levels = (levels_between(np.zeros(192, np.float32), np.ones(192, np.float32)),) * 3
    entry = Quantisation(
        GraphKind.CPU, NumberType.INT8, RangeMethod.MINMAX, {}, {}, {}, "", 0, {"memory": levels}
    )
    (first, *_) = (n for n in graph.model.graph.node if n.op_type == "Softmax")
    first.name = "elsewhere/softmax"
    with pytest.raises(BundleError, match="the attention at elsewhere/softmax is not in the form"):
        graph.quantised(entry)


def test_a_float_memory_changes_nothing_where_nothing_is_rounded(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    backend = OnnxRuntimeCpu(bundle, 1)
    inputs = _inputs(bundle.specs["memory_write"])
    got = FloatMemory(backend, bundle).run("memory_write", inputs)
    for name, want in backend.run("memory_write", inputs).items():
        assert np.array_equal(got[name], want)


def test_self_attention_alone_leaves_the_memory_in_float(
    tiny_bundle: Path, attention_bundle: Path
) -> None:
    plain = Bundle.open(tiny_bundle)
    manifest = Bundle.open(attention_bundle).manifest
    assert manifest.quantisation is not None
    levels = _levels(attention_bundle)["self"]
    entry = msgspec.structs.replace(manifest.quantisation, attention={"self": levels})
    own = replace(plain.manifest, quantisation=entry)
    assert own.memory_values == "float"
    assert own.identity == plain.manifest.identity != manifest.identity
    graph = FloatGraph("elstt_step", plain.graph("elstt_step"))
    model = onnx.load_from_string(graph.quantised(entry))
    types = {value.type.tensor_type.elem_type for value in model.graph.input}
    assert types == {TensorProto.FLOAT}
    assert sum(n.op_type == "MatMulInteger" for n in model.graph.node) == 2 * 3
