"""Generated repositories are clean, Triton's protobuf reads them, and planted faults are found."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mavos_deploy.errors import BundleError
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.bundles.manifest import MANIFEST
from mavos_deploy.runtime.contract import state_bytes

pytest.importorskip("tritonclient.grpc")
from mavos_deploy.runtime.triton.config import (
    Graphs,
    Options,
    from_text,
    to_text,
)
from mavos_deploy.runtime.triton.lint import check_repository
from mavos_deploy.runtime.triton.repository import write_repository

GRAPHS = ("encoder", "elstt_step", "decoder", "memory_write", "memory_update")


@pytest.fixture(scope="module")
def plans(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with the start of a plan of TensorRT 10.5."""
    folder = tmp_path_factory.mktemp("plans")
    for graph in bundle.specs:
        (folder / f"{graph}.plan").write_bytes(b"ftrt" + bytes(20) + bytes((10, 5, 0, 18)))
    return folder


@pytest.fixture(scope="module")
def written(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("written")
    write_repository(bundle, folder, Options(graphs=Graphs.ONNXRUNTIME))
    return folder


@pytest.fixture
def repository(written: Path, tmp_path: Path) -> Path:
    """All six models; graphs are links to one copy, to be replaced and never written to."""

    def copy(source: str, target: str) -> None:
        (os.link if source.endswith(".onnx") else shutil.copyfile)(source, target)

    folder: Path = shutil.copytree(written, tmp_path / "repository", copy_function=copy)
    return folder


def put(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def edit(config: Path, change: Callable[..., object]) -> None:
    message = from_text(config.read_text())
    change(message)
    config.write_text(to_text(message))


@pytest.mark.parametrize("graphs", [Graphs.ONNXRUNTIME, Graphs.TRACKER])
@pytest.mark.parametrize("file", ["graphs/decoder.onnx", "manifest.json"])
def test_what_was_replaced_after_the_bundle_was_opened_is_not_copied(
    bundle: Bundle, tmp_path: Path, graphs: Graphs, file: str
) -> None:
    opened = Bundle.open(shutil.copytree(bundle.path, tmp_path / "bundle"))
    replaced = opened.path / file
    content = json.loads(replaced.read_text()) if file == MANIFEST else None
    replaced.write_text("x" if content is None else json.dumps({**content, "memory_gap": 11}))
    (tmp_path / "repository").mkdir()
    with pytest.raises(BundleError, match=r"is not the file that was made|changed while it was"):
        write_repository(opened, tmp_path / "repository", Options(graphs=graphs))


@pytest.mark.parametrize("graphs", list(Graphs))
def test_a_generated_repository_parses_and_has_no_fault(
    bundle: Bundle, plans: Path, tmp_path: Path, graphs: Graphs
) -> None:
    gpus = (0, 1) if graphs is Graphs.TENSORRT else ()
    write_repository(bundle, tmp_path, Options(graphs=graphs, gpus=gpus), plans)
    models = sorted(path.name for path in tmp_path.iterdir())
    expected = ["mavos", *(f"mavos_{graph}" for graph in GRAPHS if graphs is not Graphs.TRACKER)]
    assert models == sorted(expected)
    for model in models:
        text = (tmp_path / model / "config.pbtxt").read_text()
        assert to_text(from_text(text)) == text
    assert check_repository(tmp_path) == []


def test_state_memory_is_what_a_state_takes(bundle: Bundle) -> None:
    from mavos_deploy.runtime import Segmenter
    from mavos_deploy.runtime.backends.table import open_backend

    size = bundle.manifest.size
    with Segmenter(bundle, open_backend(bundle, 1)) as segmenter:
        state = segmenter.start(np.zeros((*size, 3), np.uint8), np.ones(size, np.uint8))
    assert sum(tensor.nbytes for tensor in state.memory.values()) == state_bytes(bundle.specs)


def rename_output(message: Any) -> None:  # noqa: ANN401
    message.output[0].name = "something"


def put_on_gpu(message: Any) -> None:  # noqa: ANN401
    message.instance_group[0].kind = 1
    message.parameters.pop("graph_models")


FAULTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no-config": ("mavos_decoder", lambda p: (p / "config.pbtxt").unlink(), "no config.pbtxt"),
    "unknown-field": (
        "mavos",
        lambda p: (p / "config.pbtxt").write_text('name: "mavos"\nbatch: 3\n'),
        "can't be parsed (2:",
    ),
    "no-version": ("mavos_encoder", lambda p: shutil.rmtree(p / "1"), "no folder 1"),
    "no-graph": (
        "mavos_encoder",
        lambda p: (p / "1" / "model.onnx").unlink(),
        "no 1/model.onnx",
    ),
    "no-tracker-code": ("mavos", lambda p: (p / "1" / "model.py").unlink(), "no 1/model.py"),
    "another-graph": (
        "mavos_encoder",
        lambda p: (p.parent / "mavos_decoder/1/model.onnx").replace(p / "1/model.onnx"),
        "is not the bundle's encoder",
    ),
    "damaged-graph": (
        "mavos_encoder",
        lambda p: put(p / "1" / "model.onnx", b"no graph at all"),
        "is not the bundle's encoder",
    ),
    "no-model": (
        "mavos_memory_update",
        shutil.rmtree,
        "no model mavos_memory_update, which it calls",
    ),
    "damaged-bundle": (
        "mavos",
        lambda p: put(p / "1/bundle/graphs/encoder.onnx", b"x"),
        "the bundle can't be opened",
    ),
}
EDITS: dict[str, tuple[str, Callable[[Any], object], str]] = {
    "name": ("mavos_encoder", lambda m: setattr(m, "name", "other"), "name: 'other'"),
    "backend": ("mavos_encoder", lambda m: setattr(m, "backend", "onnx"), "backend: 'onnx'"),
    "batch-axis": ("mavos_elstt_step", lambda m: setattr(m, "max_batch_size", 4), "batch_size: 4"),
    "input-name": (
        "mavos_encoder",
        lambda m: setattr(m.input[0], "name", "image"),
        "input image; expected one of frame",
    ),
    "output-name": ("mavos_decoder", rename_output, "no output logits"),
    "type": (
        "mavos_memory_write",
        lambda m: setattr(m.input[0], "data_type", 11),
        "input input_labels of FP32; expected UINT8",
    ),
    "shape": (
        "mavos_encoder",
        lambda m: m.input[0].dims.__setitem__(1, 64),
        "input frame with dims [1, 64, 49, 3]; expected [1, 33, 49, 3]",
    ),
    "groups-fixed": (
        "mavos_decoder",
        lambda m: m.output[0].dims.__setitem__(0, 1),
        "output logits with dims [1, 11",
    ),
    "direct": (
        "mavos",
        lambda m: m.sequence_batching.direct.SetInParent(),
        "sequence_batching without `oldest`",
    ),
    "no-sequences": (
        "mavos",
        lambda m: m.ClearField("sequence_batching"),
        "no sequence_batching",
    ),
    "no-end": (
        "mavos",
        lambda m: m.sequence_batching.control_input.pop(1),
        "no control input END",
    ),
    "half-a-flag": (
        "mavos",
        lambda m: m.sequence_batching.control_input[0].control[0].int32_false_true.pop(),
        "START with int32_false_true [0]",
    ),
    "stream-type": (
        "mavos",
        lambda m: setattr(m.sequence_batching.control_input[2].control[0], "data_type", 8),
        "CORRID of TYPE_INT32",
    ),
    "idle": (
        "mavos",
        lambda m: setattr(m.sequence_batching, "max_sequence_idle_microseconds", 1000),
        "max_sequence_idle_microseconds 1000",
    ),
    "candidates": (
        "mavos",
        lambda m: setattr(m.sequence_batching.oldest, "max_candidate_sequences", 2),
        "max_candidate_sequences 2",
    ),
    "required": (
        "mavos",
        lambda m: setattr(m.input[0], "optional", False),
        "input frame is required",
    ),
    "limit": (
        "mavos",
        lambda m: setattr(m.parameters["max_streams"], "string_value", "lots"),
        "parameter max_streams is 'lots'",
    ),
    "identity": (
        "mavos",
        lambda m: setattr(m.parameters["identity"], "string_value", "0"),
        "parameter identity '0'",
    ),
    "tracker-on-gpu": (
        "mavos",
        put_on_gpu,
        "KIND_GPU in a tracker",
    ),
    "state-in-python": (
        "mavos",
        lambda m: m.sequence_batching.state.add(input_name="a", output_name="b"),
        "under the Python backend, which never stores it",
    ),
    "state-order": (
        "mavos_memory_update",
        lambda m: (
            m.ClearField("dynamic_batching"),
            m.sequence_batching.state.add(input_name="dynamic_a", output_name="updated_2"),
            m.sequence_batching.state.add(input_name="dynamic_b", output_name="updated_1"),
        ),
        "sort differently",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_in_the_files_is_found(repository: Path, fault: str) -> None:
    model, plant, told = FAULTS[fault]
    plant(repository / model)
    assert any(told in str(found) for found in check_repository(repository)), fault


@pytest.mark.parametrize("fault", EDITS)
def test_a_planted_fault_in_a_configuration_is_found(repository: Path, fault: str) -> None:
    model, change, told = EDITS[fault]
    edit(repository / model / "config.pbtxt", change)
    assert any(told in str(found) for found in check_repository(repository)), fault


@pytest.mark.parametrize(
    ("header", "told"),
    [
        pytest.param(b"ftrt" + bytes(20), "no TensorRT plan", id="cut-off"),
        pytest.param(b"vtrt" + bytes(20) + bytes((1, 7, 1, 116)), "TensorRT-RTX", id="rtx"),
        pytest.param(b"no plan", "no TensorRT plan", id="other"),
    ],
)
def test_a_plan_that_triton_cannot_load_is_found(
    bundle: Bundle, plans: Path, tmp_path: Path, header: bytes, told: str
) -> None:
    write_repository(bundle, tmp_path, Options(graphs=Graphs.TENSORRT, gpus=(0,)), plans)
    (tmp_path / "mavos_encoder/1/model.plan").write_bytes(header)
    found = check_repository(tmp_path)
    assert len(found) == 1
    assert told in str(found[0])


def test_the_manifest_inside_is_the_bundles(repository: Path, bundle: Bundle) -> None:
    inside = json.loads((repository / "mavos/1/bundle/manifest.json").read_text())
    assert inside == json.loads((bundle.path / "manifest.json").read_text())
