"""Bundles for frames of any size: one set of graphs, each video at the authors' size for it."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from mavos_deploy.errors import BundleError
from mavos_deploy.export.engine_shapes import ShapeLimits, profiles
from mavos_deploy.export.parity import LIMITS, Parity
from mavos_deploy.export.verify import compare_clip, verify
from mavos_deploy.export.verify_clips import shortest_clip
from mavos_deploy.hashing import file_sha256
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.runtime import Bundle, Segmenter
from mavos_deploy.runtime.bundles.manifest import write_manifest
from mavos_deploy.runtime.contract import GraphName
from mavos_deploy.runtime.geometry import network_size
from tests.made_clips import synthetic_clip
from tests.placement import check_placement

GetNetwork = Callable[[str], Mavos]
GAP = 2


@pytest.fixture(scope="module")
def segmenter(dynamic_bundle: Path) -> Iterator[Segmenter]:
    with Segmenter.open(dynamic_bundle) as segmenter:
        yield segmenter


def test_it_equals_pytorch_at_its_own_size_and_upright(
    segmenter: Segmenter, network: GetNetwork
) -> None:
    parity = verify(segmenter, network("tiny"), objects=2)
    assert parity.passed, parity.first_divergence
    assert [len(clip.agreement) for clip in parity.clips] == 3 * [
        shortest_clip(segmenter.bundle.manifest) - 1
    ]
    assert parity.clips[-1].video == "112x144"  # which has the attention in tiles


@pytest.mark.parametrize("size", [(64, 70), (150, 90), (100, 240)], ids="{0[0]}x{0[1]}".format)
def test_it_equals_pytorch_at_other_sizes(
    segmenter: Segmenter, network: GetNetwork, size: tuple[int, int]
) -> None:
    frames = shortest_clip(segmenter.bundle.manifest)
    clip = compare_clip(segmenter, network("tiny"), size, frames, objects=1)
    one = GraphName.DECODER_ONE in segmenter.bundle.specs
    parity = Parity(LIMITS["fp32"], "", frames, 2, (clip,), decoder_one=one)
    assert parity.passed, parity.first_divergence
    assert parity.memory_updates
    assert np.min(clip.scores) > 0.99


def test_the_step_in_tiles_serves_its_own_size_and_no_other(
    dynamic_bundle: Path, segmenter: Segmenter, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(dynamic_bundle, folder)
    described = segmenter.bundle.manifest.tiled["113x145"]
    file = folder / described.file
    model = onnx.load(file)
    (output,) = (v for v in model.graph.output if v.name == "decoder_embedding")
    maker = next(node for node in model.graph.node if output.name in node.output)
    maker.output[list(maker.output).index(output.name)] = "whole"
    model.graph.node.append(onnx.helper.make_node("Neg", ["whole"], [output.name]))
    onnx.save(model, file)
    tiled = {"113x145": replace(described, sha256=file_sha256(file))}
    write_manifest(folder, replace(segmenter.bundle.manifest, tiled=tiled))
    with Segmenter.open(folder) as altered:
        for size, same in (((113, 145), False), ((97, 145), True)):
            clip = synthetic_clip(*size, 2, objects=2)
            logits = []
            for one in (segmenter, altered):
                state = one.start(clip.frames[0], clip.labels[0])
                logits.append(one.observe(clip.frames[1], state).decoded["logits"])
            assert np.array_equal(*logits) == same


def test_a_file_of_tiles_that_was_altered_or_is_of_no_size_is_refused(
    dynamic_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(dynamic_bundle, folder)
    manifest = Bundle.open(folder).manifest
    write_manifest(folder, replace(manifest, tiled={"112x145": manifest.tiled["113x145"]}))
    with pytest.raises(BundleError, match=r"`tiled`: .*112x145"):
        Bundle.open(folder)
    write_manifest(folder, replace(manifest, tiled={"97x145": manifest.tiled["113x145"]}))
    with pytest.raises(BundleError, match=r"`elstt_step at 97x145` departs from the contract"):
        Bundle.open(folder)
    write_manifest(folder, manifest)
    (folder / manifest.tiled["113x145"].file).write_bytes(b"x")
    with pytest.raises(BundleError, match=r"elstt_step-113x145.onnx is not the file that was made"):
        Bundle.open(folder)


def test_videos_of_different_sizes_interleave_and_states_outlive_the_process(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    clips = {
        size: synthetic_clip(*size, 8, objects=2, seed=3)
        for size in ((96, 120), (120, 96), (200, 1200))
    }
    alone = {}
    for size, clip in clips.items():
        state = segmenter.start(clip.frames[0], clip.labels[0])
        assert state.input_size == network_size(*size, True)
        for frame in clip.frames[1:]:
            alone[size], state = segmenter.step(frame, state)
    states = {s: segmenter.start(clip.frames[0], clip.labels[0]) for s, clip in clips.items()}
    for index in range(1, 8):
        for size, clip in clips.items():
            labels, states[size] = segmenter.step(clip.frames[index], states[size])
            if index == 4:
                segmenter.save(states[size], tmp_path / "state")
                states[size] = segmenter.load(tmp_path / "state")
            if index == 7:
                np.testing.assert_array_equal(labels, alone[size])


def test_the_manifest_says_so_and_its_states_fit_no_other_bundle(dynamic_bundle: Path) -> None:
    manifest = Bundle.open(dynamic_bundle).manifest
    assert manifest.dynamic
    assert manifest.input_size((480, 854)) == (481, 849)
    graph = manifest.graphs["encoder"]
    assert graph.inputs[0].shape == (1, "height", "width", 3)
    assert graph.outputs[0].shape == (1, 64, "height_4", "width_4")


def test_engines_take_the_smallest_to_the_largest_video_of_any_shape(dynamic_bundle: Path) -> None:
    bundle = Bundle.open(dynamic_bundle)
    limits = ShapeLimits(max_groups=3, max_output=(480, 854))
    (encoder,) = profiles(bundle.specs["encoder"], bundle.manifest, limits)
    assert encoder == {"frame": ((1, 17, 17, 3), (1, 97, 129, 3), (1, 849, 849, 3))}
    (step,) = profiles(bundle.specs["elstt_step"], bundle.manifest, limits)
    assert step["short_key_0"] == ((1, 64, 2, 2), (1, 64, 7, 9), (3, 64, 54, 54))
    (decoder,) = profiles(bundle.specs["decoder"], bundle.manifest, limits)
    assert decoder["row_weights"] == ((8, 5), (97, 25), (854, 213))
    small = ShapeLimits(max_output=(64, 80))
    (encoder,) = profiles(bundle.specs["encoder"], bundle.manifest, small)
    assert encoder == {"frame": ((1, 17, 17, 3), (1, 81, 81, 3), (1, 81, 81, 3))}


def test_on_cuda_only_arithmetic_on_shapes_is_left_to_the_cpu(dynamic_bundle: Path) -> None:
    check_placement(Bundle.open(dynamic_bundle))
