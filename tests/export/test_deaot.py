"""Everything that works for MAVOS, for DeAOT of one block and of three, with two and four slots."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.calibration import calibrate as calibrating
from mavos_deploy.calibration.calibrate import CalibrationRequest, calibrate
from mavos_deploy.cli import batch
from mavos_deploy.errors import InputError
from mavos_deploy.export.verify import verify
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.runtime import Bundle, RemoteSegmenter, Segmenter, State
from mavos_deploy.runtime.backends.protocol import Backend, Tensor, WatchedBackend
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundles.memory import MemoryRule
from mavos_deploy.runtime.bundles.quantisation import GraphKind
from mavos_deploy.runtime.contract import GraphName
from mavos_deploy.runtime.datasets.opening import open_dataset
from tests import golden
from tests.exports import Exports
from tests.triton_server import TritonServer, server_python

GetNetwork = Callable[[str], Mavos]
SIZE = (161, 289)  # that of the golden runs, whose bundles these are
NEWS = 5  # frame of the golden case `newobj` in which an object joins


class Watched(WatchedBackend):
    """Notes the graphs that ran."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.ran: list[str] = []

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.ran.append(graph)
        return super().run(graph, inputs)


@pytest.fixture(scope="module", params=["deaot_t", "deaot_l"])
def chain(request: pytest.FixtureRequest, exported: Exports) -> Iterator[Segmenter]:
    rule = MemoryRule.named("annotations" if request.param == "deaot_t" else "lvos:3")
    gap = golden.MEMORY_GAP if rule.at_gaps else None
    with Segmenter.open(exported(request.param, SIZE, gap, "cpu", memory=rule), 1) as opened:
        yield opened


def _after(chain: Segmenter, frames: int) -> State:
    """The state after some frames of `newobj`."""
    run = golden.load("newobj", "mobilenet")
    state = chain.start(golden.frame(0), run.annotations[0])
    for index in range(1, frames):
        _, state = chain.step(golden.frame(index), state, run.annotations.get(index))
    return state


def test_the_graphs_equal_pytorch_with_a_group_that_joins(
    chain: Segmenter, network: GetNetwork
) -> None:
    parity = verify(chain, network(chain.bundle.manifest.variant))
    assert parity.passed, parity.first_divergence
    assert parity.groups == 2
    alone = {GraphName.STEP_ONE} if chain.bundle.manifest.variant == "deaot_t" else set()
    general = {GraphName.ENCODER, GraphName.STEP, GraphName.DECODER, GraphName.MEMORY_WRITE}
    assert parity.tensors.keys() == general | alone


def test_what_empty_slots_hold_changes_nothing(chain: Segmenter) -> None:
    rule = chain.bundle.manifest.memory
    state = _after(chain, 4)
    held = rule.is_held(state.updated[0], state.writes)
    assert not held.all()
    memory = dict(state.memory)
    if rule.has_bias:
        for name, one in zip(rule.names, held, strict=True):
            if not one:
                own = [tensor for tensor in memory if tensor.startswith(f"{name}_")]
                memory.update({tensor: np.full_like(memory[tensor], 7) for tensor in own})
    else:  # an empty slot is exact as a copy of the reference alone
        for name, tensor in state.memory.items():
            if name.startswith(f"{rule.names[1]}_"):
                kept = state.memory[name.replace(rule.names[1], rule.names[0])]
                np.testing.assert_array_equal(tensor, kept)
    plain = chain.observe(golden.frame(4), state)
    filled = chain.observe(golden.frame(4), replace(state, memory=memory))
    logits = [np.asarray(seen.decoded["logits"]) for seen in (plain, filled)]
    assert golden.relative_error(logits[1], logits[0]) <= 1e-6
    np.testing.assert_array_equal(filled.labels, plain.labels)


def test_a_saved_state_continues_exactly(chain: Segmenter, tmp_path: Path) -> None:
    state = _after(chain, NEWS + 2)
    chain.save(state, tmp_path / "state.safetensors")
    loaded = chain.load(tmp_path / "state.safetensors")
    assert (loaded.updated, loaded.writes) == (state.updated, state.writes)
    assert state.writes >= 1
    expected, _ = chain.step(golden.frame(NEWS + 2), state)
    labels, _ = chain.step(golden.frame(NEWS + 2), loaded)
    np.testing.assert_array_equal(labels, expected)


def test_a_state_of_another_memory_is_refused(chain: Segmenter, tmp_path: Path) -> None:
    chain.save(_after(chain, 1), tmp_path / "state.safetensors")
    manifest = replace(chain.bundle.manifest, memory=MemoryRule.named("latest"), memory_gap=3)
    other = Segmenter(replace(chain.bundle, manifest=manifest), chain.backend)
    with pytest.raises(InputError, match="state of another bundle"):
        other.load(tmp_path / "state.safetensors")


def test_openvino_gives_the_same_masks(chain: Segmenter) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed (extra `openvino`)")
    run = golden.load("newobj", "mobilenet")
    with Segmenter(chain.bundle, open_backend(chain.bundle, 1, "openvino-cpu-fp32")) as other:
        states = [s.start(golden.frame(0), run.annotations[0]) for s in (chain, other)]
        for index in range(1, NEWS + 2):
            labels = []
            for place, one in enumerate((chain, other)):
                annotation = run.annotations.get(index)
                own, states[place] = one.step(golden.frame(index), states[place], annotation)
                labels.append(own)
            assert np.mean(labels[0] == labels[1]) >= 0.9999


def test_a_triton_repository_has_a_model_of_every_graph(chain: Segmenter, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc")
    from mavos_deploy.runtime.triton.config import Graphs, Options
    from mavos_deploy.runtime.triton.lint import check_repository
    from mavos_deploy.runtime.triton.repository import write_repository

    write_repository(chain.bundle, tmp_path, Options(graphs=Graphs.ONNXRUNTIME))
    assert check_repository(tmp_path) == []
    models = sorted(path.name for path in tmp_path.iterdir())
    assert all(any(model.endswith(graph) for model in models) for graph in chain.bundle.specs)
    assert len(models) == len(chain.bundle.specs) + 1


@pytest.mark.server
def test_a_triton_server_gives_the_same_masks(chain: Segmenter, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc")
    server_python()
    from mavos_deploy.runtime.triton.config import Options
    from mavos_deploy.runtime.triton.repository import write_repository

    run = golden.load("newobj", "mobilenet")
    write_repository(chain.bundle, tmp_path / "repository", Options(threads=1))
    with (
        TritonServer(tmp_path / "repository", tmp_path) as running,
        RemoteSegmenter(running.address) as remote,
    ):
        state = chain.start(golden.frame(0), run.annotations[0])
        stream = remote.start(golden.frame(0), run.annotations[0])
        for index in range(1, NEWS + 2):  # an object joins, and a slot is read that was empty
            frame, annotation = golden.frame(index), run.annotations.get(index)
            expected, state = chain.step(frame, state, annotation)
            labels, stream = remote.step(frame, stream, annotation)
            np.testing.assert_array_equal(labels, expected)
        remote.end(stream)


def test_one_annotation_pays_for_one_slot(exported: Exports) -> None:
    bundle = Bundle.open(
        exported("deaot_t", SIZE, None, "cpu", memory=MemoryRule.named("annotations"))
    )
    backend = Watched(open_backend(bundle, 1))
    with Segmenter(bundle, backend) as chain:
        _after(chain, NEWS)
        assert {name for name in backend.ran if "step" in name} == {GraphName.STEP_ONE}
        backend.ran.clear()
        _after(chain, NEWS + 2)
        assert backend.ran.count(GraphName.STEP) == 1


def test_annotations_beyond_the_slots_replace_the_latest_late_one_and_that_is_said(
    exported: Exports,
) -> None:
    bundle = exported("deaot_t", SIZE, None, "cpu", memory=MemoryRule.named("annotations"))
    with Segmenter.open(bundle, 1) as chain:
        state = _after(chain, NEWS + 1)
        first = state.memory["reference_key_0"]
        late = golden.load("newobj", "mobilenet").annotations[NEWS]
        with pytest.warns(UserWarning, match=r"replaces the latest late one.*--slots 3"):
            _, state = chain.step(golden.frame(NEWS + 1), state, late)
        assert state.memory["reference_key_0"] is first
        assert state.memory["dynamic_key_0"] is state.memory["short_key_0"]


def test_a_memory_of_one_slot_refuses_later_annotations(exported: Exports) -> None:
    """One slot has no graph of its own here: the rule alone is what refuses."""
    bundle = Bundle.open(
        exported("deaot_t", SIZE, None, "cpu", memory=MemoryRule.named("annotations"))
    )
    manifest = replace(bundle.manifest, memory=MemoryRule.named("annotations", 1))
    with Segmenter(replace(bundle, manifest=manifest), open_backend(bundle, 1)) as chain:
        run = golden.load("newobj", "mobilenet")
        state = State(manifest.identity, golden.SIZE, SIZE, (1,), updated=(0,))
        with pytest.raises(InputError, match=r"the first annotated frame alone.*--slots 2"):
            chain.step(golden.frame(NEWS), state, run.annotations[NEWS])


def test_a_batch_segments_a_data_set(
    chain: Segmenter, wide_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [str(chain.bundle.path), str(wide_clips), "--output", str(tmp_path / "masks")]
    arguments += ["--sequences", "clip-0", "--threads", "1", "--quiet"]
    monkeypatch.setattr(sys, "argv", ["mavos-batch", *arguments])
    with pytest.raises(SystemExit) as ended:
        batch.main()
    assert ended.value.code == 0
    assert len(list((tmp_path / "masks").rglob("*.png"))) == 12


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["deaot_t", "deaot_l"])
def test_float16_equals_pytorch(variant: str, exported: Exports, network: GetNetwork) -> None:
    rule = MemoryRule.named("annotations" if variant == "deaot_t" else "lvos:3")
    bundle = exported(
        variant, (97, 97), golden.MEMORY_GAP if rule.at_gaps else None, "gpu", "fp16", memory=rule
    )
    with Segmenter.open(bundle, 1) as half:
        parity = verify(half, network(variant))
    assert parity.passed, parity.first_divergence


@pytest.mark.slow
def test_it_is_quantised_with_its_attention_and_timed_against_all_graphs(
    chain: Segmenter, wide_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[set[str]] = []

    def seconds(both: tuple[Segmenter, Segmenter], *_: object) -> tuple[float, float]:
        timed.append(set(both[0].bundle.specs))
        return 2.0, 1.0

    monkeypatch.setattr(calibrating, "frame_seconds", seconds)
    request = CalibrationRequest(GraphKind.CPU, max_drop=1.0, most_frames=12, threads=1)
    sequences = list(open_dataset(wide_clips).sequences)
    kept = tmp_path / "recordings"
    folder = tmp_path / "quantised"
    folder.mkdir()
    report = calibrate(
        chain.bundle, sequences, request, folder, kept, lambda what, total: lambda: None
    )
    assert report.missing == []
    assert GraphName.STEP in report.chosen
    assert timed == [set(chain.bundle.specs)]
    with Segmenter.open(folder, 1) as quantised:
        assert quantised.about.arithmetic == "int8"
        assert _after(quantised, NEWS + 2).writes == _after(chain, NEWS + 2).writes
