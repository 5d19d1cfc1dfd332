"""C++ and Python make the same label maps, byte for byte, and go on with each other's states."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mavos_deploy.hashing import file_sha256
from mavos_deploy.runtime import Bundle, Segmenter
from mavos_deploy.runtime.bundles.manifest import write_manifest
from mavos_deploy.runtime.bundles.memory import MemoryRule
from mavos_deploy.runtime.contract import GraphName
from tests import golden
from tests.bundles import copy_to_change
from tests.cpp_library import CppError, CppLibrary
from tests.made_clips import synthetic_clip

if TYPE_CHECKING:
    from tests.exports import Exports

FRAMES = 9
# Frames with new objects and with a correction, after which one leaves, and states change hands.
JOIN, CORRECT, LEAVE, SWAP = 3, 4, 5, 7


def annotation(labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The objects of a label map that aren't known yet."""
    return np.where(np.isin(labels, np.unique(known)), 0, labels).astype(np.uint8)


def assert_same_chain(cpp: CppLibrary, bundle: Path, size: tuple[int, int], folder: Path) -> None:
    """Compare along objects that join and leave, and let each go on with the other's state."""
    clip = synthetic_clip(*size, FRAMES, objects=3, late_objects=2, late_frame=JOIN, seed=3)
    own, python = cpp.open(bundle), Segmenter.open(bundle, threads=1)
    assert own.about["identity"].decode() == python.bundle.manifest.identity
    first = clip.labels[0]
    ours, theirs = own.start(clip.frames[0], first), python.start(clip.frames[0], first)
    exact = python.input_size(size) == size
    for index in range(1, FRAMES):
        late = annotation(clip.labels[index], first) if index == JOIN else None
        if index == CORRECT:
            late = np.where(clip.labels[index] == 1, 1, 0).astype(np.uint8)
        labels, ours = own.step(clip.frames[index], ours, late)
        expected, theirs = python.step(clip.frames[index], theirs, late)
        np.testing.assert_array_equal(labels, expected)
        if index == LEAVE:
            ours, theirs = own.remove(ours, [2]), python.remove(theirs, {2})
        assert own.objects(ours) == theirs.objects
        if index == SWAP:
            files = folder / "ours.safetensors", folder / "theirs.safetensors"
            own.save(ours, files[0])
            python.save(theirs, files[1])
            if exact:
                assert files[0].read_bytes() == files[1].read_bytes()
            ours, theirs = own.load(files[1]), python.load(files[0])


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((97, 97), id="the-network's-size"),
        pytest.param((96, 100), id="resized"),
    ],
)
def test_float_bundle(
    cpp: CppLibrary, tiny_bundle: Path, size: tuple[int, int], tmp_path: Path
) -> None:
    assert_same_chain(cpp, tiny_bundle, size, tmp_path)


def test_bundle_with_int8_attention(
    cpp: CppLibrary, attention_bundle: Path, tmp_path: Path
) -> None:
    assert_same_chain(cpp, attention_bundle, (97, 97), tmp_path)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((97, 129), id="its-own-size"),
        pytest.param((113, 145), id="tiled"),
        pytest.param((81, 97), id="another"),
    ],
)
def test_bundle_for_any_size(
    cpp: CppLibrary, dynamic_bundle: Path, size: tuple[int, int], tmp_path: Path
) -> None:
    assert_same_chain(cpp, dynamic_bundle, size, tmp_path)


def with_another(graph: GraphName, bundle: Path, folder: Path) -> Path:
    """Make a missing folder a copy in which one graph has other weights."""

    def change(model: onnx.ModelProto) -> None:
        for weights in model.graph.initializer:
            if weights.data_type == onnx.TensorProto.FLOAT and len(weights.dims) > 1:
                turned = numpy_helper.from_array(-numpy_helper.to_array(weights), weights.name)
                weights.CopyFrom(turned)

    return changed(graph, bundle, folder, change)


def changed(
    graph: GraphName, bundle: Path, folder: Path, change: Callable[[onnx.ModelProto], None]
) -> Path:
    """Make a missing folder a copy in which one graph is changed."""
    copy = Bundle.open(copy_to_change(bundle, folder))
    own = copy.manifest.graphs[graph]
    model = onnx.load(folder / own.file)
    change(model)
    (folder / own.file).unlink()
    onnx.save(model, folder / own.file)
    graphs = dict(copy.manifest.graphs)
    graphs[graph] = replace(own, sha256=file_sha256(folder / own.file))
    write_manifest(folder, replace(copy.manifest, graphs=graphs))
    return folder


def failing_with_bright_frames(bundle: Path, folder: Path) -> Path:
    """Make a missing folder a copy whose encoder fails if a frame isn't black."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        output = graph.node[-1].output[0]
        graph.node[-1].output[0] = "before"
        graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "one-zero"))
        graph.node.extend(
            [
                helper.make_node("ReduceMax", ["frame"], ["brightest"], keepdims=0),
                helper.make_node("Cast", ["brightest"], ["index"], to=onnx.TensorProto.INT64),
                helper.make_node("Gather", ["one-zero", "index"], ["zero"]),
                helper.make_node("Add", ["before", "zero"], [output]),
            ]
        )

    return changed(GraphName.ENCODER, bundle, folder, change)


@pytest.mark.filterwarnings("ignore:.*replaces the latest late one")
@pytest.mark.parametrize(
    ("variant", "rule", "gap"),
    [
        pytest.param("deaot_t", "annotations", None, id="of-one-block-with-a-step-for-one-slot"),
        pytest.param("deaot_l", "lvos:3", golden.MEMORY_GAP, id="of-three-blocks-with-four-slots"),
    ],
)
def test_deaot(
    cpp: CppLibrary,
    exported: "Exports",
    variant: str,
    rule: str,
    gap: int | None,
    tmp_path: Path,
) -> None:
    size = golden.load_deaot(f"newobj_{variant}").size  # its bundles are there
    bundle = exported(variant, size, gap, "cpu", memory=MemoryRule.named(rule))
    assert_same_chain(cpp, bundle, size, tmp_path)
    if gap is None:
        # The step for one slot gives other results than the general one.
        other = with_another(GraphName.STEP_ONE, bundle, tmp_path / "other")
        assert_same_chain(cpp, other, size, tmp_path)


def test_float16_bundle(cpp: CppLibrary, half_bundle: Path, tmp_path: Path) -> None:
    assert_same_chain(cpp, half_bundle, (97, 97), tmp_path)


def test_published_variant(cpp: CppLibrary, exported: "Exports", tmp_path: Path) -> None:
    bundle = exported("mobilenet", (97, 97), 3, "cpu")
    assert_same_chain(cpp, bundle, (97, 97), tmp_path)


def test_more_than_ten_objects_and_groups_that_leave(cpp: CppLibrary, tiny_bundle: Path) -> None:
    own, python = cpp.open(tiny_bundle), Segmenter.open(tiny_bundle, threads=1)
    clip = synthetic_clip(97, 97, 7, objects=3, seed=1)
    labels = np.zeros((97, 97), np.uint8)
    for number in range(25):
        row, column = divmod(number, 5)
        labels[row * 19 : row * 19 + 12, column * 19 : column * 19 + 12] = 250 - 3 * number
    ours, theirs = own.start(clip.frames[0], labels), python.start(clip.frames[0], labels)
    gone = sorted(250 - 3 * number for number in range(25))[:10]
    for index in range(1, 7):
        got, ours = own.step(clip.frames[index], ours)
        expected, theirs = python.step(clip.frames[index], theirs)
        np.testing.assert_array_equal(got, expected)
        if index == 3:
            ours, theirs = own.remove(ours, gone), python.remove(theirs, gone)
            assert theirs.groups == 2
        assert own.objects(ours) == theirs.objects


def test_a_state_is_a_value(cpp: CppLibrary, tiny_bundle: Path, tmp_path: Path) -> None:
    own = cpp.open(tiny_bundle)
    clip = synthetic_clip(97, 97, 4, objects=2, seed=1)
    start = own.start(clip.frames[0], clip.labels[0])
    copy = own.copy(start)
    own.save(start, tmp_path / "before")
    first, state = own.step(clip.frames[1], start)
    own.step(clip.frames[2], state)
    again, _ = own.step(clip.frames[1], copy)
    np.testing.assert_array_equal(first, again)
    own.save(start, tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()


def test_a_frame_that_is_prepared_beside_the_steps_gives_the_same(
    cpp: CppLibrary, tiny_bundle: Path
) -> None:
    own, python = cpp.open(tiny_bundle), Segmenter.open(tiny_bundle, threads=1)
    clip = synthetic_clip(97, 97, FRAMES, objects=3, seed=1)
    theirs, expected = python.start(clip.frames[0], clip.labels[0]), []
    for frame in clip.frames[1:]:
        labels, theirs = python.step(frame, theirs)
        expected.append(labels)
    state = own.start(clip.frames[0], clip.labels[0])
    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(own.prepare, clip.frames[1])
        for index in range(1, FRAMES):
            ready = coming.result()
            coming = beside.submit(own.prepare, clip.frames[(index + 1) % FRAMES])
            labels, state = own.step(ready, state)
            np.testing.assert_array_equal(labels, expected[index - 1])


def test_the_encoder_runs_when_a_frame_is_prepared(
    cpp: CppLibrary, tiny_bundle: Path, tmp_path: Path
) -> None:
    own = cpp.open(failing_with_bright_frames(tiny_bundle, tmp_path / "failing"))
    frame = np.zeros((97, 97, 3), np.uint8)
    own.prepare(frame)
    frame[5, 5] = 9
    with pytest.raises(CppError, match="onnxruntime failed in encoder") as raised:
        own.prepare(frame)
    assert raised.value.status == "backend"


def test_a_frame_may_be_used_again_and_by_another_segmenter(
    cpp: CppLibrary, tiny_bundle: Path, tmp_path: Path
) -> None:
    clip = synthetic_clip(97, 97, 2, objects=2, seed=1)
    other = with_another(GraphName.ENCODER, tiny_bundle, tmp_path / "other")
    own, twin, stranger = (cpp.open(path) for path in (tiny_bundle, tiny_bundle, other))
    state = own.start(clip.frames[0], clip.labels[0])
    expected, _ = own.step(clip.frames[1], state)
    frame = own.prepare(clip.frames[1])
    for segmenter in (twin, own, own):
        labels, _ = segmenter.step(frame, state)
        np.testing.assert_array_equal(labels, expected)
    theirs = stranger.start(clip.frames[0], clip.labels[0])
    others, _ = stranger.step(clip.frames[1], theirs)
    labels, _ = stranger.step(own.prepare(clip.frames[1]), theirs)
    np.testing.assert_array_equal(labels, others)
    assert not np.array_equal(others, expected)  # the two encoders differ


def test_a_frame_outlives_its_segmenter_and_serves_several_threads(
    cpp: CppLibrary, tiny_bundle: Path
) -> None:
    clip = synthetic_clip(97, 97, 2, objects=2, seed=1)
    first = cpp.open(tiny_bundle)
    state = first.start(clip.frames[0], clip.labels[0])
    expected, _ = first.step(clip.frames[1], state)
    frame = first.prepare(clip.frames[1])
    with ThreadPoolExecutor(4) as beside:
        steps = [beside.submit(first.step, frame, state) for _ in range(8)]
    for step in steps:
        np.testing.assert_array_equal(step.result()[0], expected)
    frame = first.prepare(clip.frames[1])
    del first
    labels, _ = cpp.open(tiny_bundle).step(frame, state)
    np.testing.assert_array_equal(labels, expected)


def test_a_picture_comes_in_every_form(cpp: CppLibrary, tiny_bundle: Path) -> None:
    own = cpp.open(tiny_bundle)
    clip = synthetic_clip(100, 96, 3, objects=2, seed=1)
    state = own.start(clip.frames[0], clip.labels[0])
    expected, _ = own.step(clip.frames[1], state)
    as_float, _ = own.step(clip.frames[1].astype(np.float32), state)
    np.testing.assert_array_equal(as_float, expected)
    wide = np.zeros((100, 128, 3), np.uint8)
    wide[:, :96] = clip.frames[1]
    with_gaps, _ = own.step(wide[:, :96], state)
    np.testing.assert_array_equal(with_gaps, expected)


def test_refusals_of_a_call_name_what_was_got(cpp: CppLibrary, tiny_bundle: Path) -> None:
    own = cpp.open(tiny_bundle)
    clip = synthetic_clip(97, 97, 2, objects=2, seed=1)
    state = own.start(clip.frames[0], clip.labels[0])
    refusals: dict[str, Callable[[], object]] = {
        "hold no object": lambda: own.start(clip.frames[0], np.zeros((97, 97), np.uint8)),
        "pixels of the labels are 255": lambda: own.start(
            clip.frames[0], np.full((97, 97), 255, np.uint8)
        ),
        "frame of 96x97 in a video of 97x97": lambda: own.step(clip.frames[1][:96], state),
        "no object 9 to remove; the video has [1, 2]": lambda: own.remove(state, [9]),
        "values that aren't finite": lambda: own.prepare(np.full((97, 97, 3), np.nan, np.float32)),
        "no provider 'CUDA'; it has": lambda: cpp.open(tiny_bundle, provider="CUDA"),
        "cannot write /dev/null/x": lambda: own.save(state, Path("/dev/null/x")),
    }
    for said, function in refusals.items():
        with pytest.raises(CppError) as raised:
            function()
        assert said in str(raised.value)
        assert raised.value.status == ("backend" if "provider" in said else "input")
