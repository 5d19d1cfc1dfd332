"""The shipped weights segment, and the exported graphs segment as well as PyTorch does."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from mavos_deploy.evaluation.metrics import score_labels
from mavos_deploy.evaluation.scenes.scene import iter_scene
from mavos_deploy.models.checkpoint import load_network, read_state_dict, shipped_weights
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.tracker import Tracker
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.bundles.manifest import MANIFEST
from mavos_deploy.runtime.resize import resize_frame
from tests.bundles import copy_to_change
from tests.exports import Exports
from tests.made_clips import synthetic_clip

SIZE = (160, 288)
FRAMES = 34  # past two runs of MCA at the usual memory gap
SEEDS = (2001, 2002, 2003)
LARGEST_FILE = 6_000_000  # bytes
MOST_NUMBERS = 3_000_000


def test_shipped_weights_are_small_and_in_half_precision() -> None:
    file = shipped_weights(VARIANTS["tiny"])
    assert file is not None
    assert file.stat().st_size <= LARGEST_FILE
    state = read_state_dict(file)
    assert sum(value.numel() for value in state.values()) <= MOST_NUMBERS
    assert {value.dtype for value in state.values()} == {torch.float16}
    network, weights = load_network(VARIANTS["tiny"], None)
    assert weights.trained
    assert weights.source == "tiny.safetensors"
    assert next(network.parameters()).dtype == torch.float32


def test_other_variants_ship_no_weights() -> None:
    assert [name for name, v in VARIANTS.items() if shipped_weights(v)] == ["tiny", "lite"]


@pytest.fixture(scope="module")
def half(segmenter: Callable[[str], Segmenter], exported: Exports) -> Iterator[Segmenter]:
    """`tiny` in float16 and in the form for GPUs, on the CPU."""
    manifest = segmenter("tiny").bundle.manifest
    bundle = exported("tiny", manifest.size, manifest.memory_gap, "gpu", "fp16")
    with Segmenter.open(bundle) as opened:
        yield opened


def test_tiny_segments_made_up_scenes_and_the_exported_chains_as_well(
    network: Callable[[str], Mavos], segmenter: Callable[[str], Segmenter], half: Segmenter
) -> None:
    chain = segmenter("tiny")
    scores = []
    for number, seed in enumerate(SEEDS):
        rendered = list(iter_scene(*SIZE, FRAMES, number + 1, seed))
        frames = [frame for frame, _ in rendered]
        truth = np.stack([labels for _, labels in rendered])
        tracker = Tracker(network("tiny"), SIZE, chain.bundle.manifest.memory_gap)
        masks = [
            np.stack([truth[0], *_from_pytorch(tracker, frames, truth[0], chain)]),
            np.stack([truth[0], *_from_chain(chain, frames, truth[0])]),
            np.stack([truth[0], *_from_chain(half, frames, truth[0])]),
            np.repeat(truth[:1], FRAMES, 0),
        ]
        ids = range(1, number + 2)
        for object_id in ids:
            scores.append([score_labels(truth, m, [object_id])[object_id].mean for m in masks])
    pytorch, exported, in_half, repeated = np.mean(scores, 0)
    assert exported >= 0.75
    assert exported - repeated >= 0.3
    assert abs(exported - pytorch) <= 0.001
    assert abs(in_half - exported) <= 0.005


def test_a_bundle_and_a_state_of_a_release_before_deaot_are_used_as_they_were(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    """Neither said a rule of the memory, a number of blocks or a number of writes."""
    old = copy_to_change(tiny_bundle, tmp_path / "old")
    manifest = json.loads((old / MANIFEST).read_text())
    del manifest["memory"], manifest["dimensions"]["blocks"]
    (old / MANIFEST).write_text(json.dumps(manifest))
    clip = synthetic_clip(96, 96, 8, objects=14, seed=5)
    first, late = (np.where(clip.labels[0] <= 8, clip.labels[0], 0), clip.labels[3])
    saved = tmp_path / "state.safetensors"
    with Segmenter.open(old, 1) as before, Segmenter.open(tiny_bundle, 1) as now:
        state = now.start(clip.frames[0], first.astype(np.uint8))
        for index in range(1, 6):  # two groups, the second of which joins late
            _, state = now.step(clip.frames[index], state, late if index == 3 else None)
        now.save(state, saved)
        with safe_open(saved, framework="numpy") as file:
            counters = json.loads(file.metadata()["mavos_state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        del counters["writes"]
        counters["updated"] = [count > 0 for count in counters["updated"]]
        save_file(tensors, saved, {"mavos_state": json.dumps(counters)})
        loaded = before.load(saved)
        assert loaded.groups == 2
        for index in range(6, 8):
            expected, state = now.step(clip.frames[index], state)
            labels, loaded = before.step(clip.frames[index], loaded)
            np.testing.assert_array_equal(labels, expected)


def _from_pytorch(
    tracker: Tracker, frames: list[NDArray[np.uint8]], labels: NDArray[np.uint8], chain: Segmenter
) -> list[NDArray[np.uint8]]:
    masks: list[NDArray[np.uint8]] = []
    for index, frame in enumerate(frames):
        resized = torch.from_numpy(resize_frame(frame, *chain.bundle.manifest.size)).float()
        if index == 0:
            tracker.start(resized, labels)
            continue
        masks.append(tracker.predict(resized))
        tracker.remember(masks[-1])
    return masks


def _from_chain(
    chain: Segmenter, frames: list[NDArray[np.uint8]], labels: NDArray[np.uint8]
) -> list[NDArray[np.uint8]]:
    masks = []
    state = chain.start(frames[0], labels)
    for frame in frames[1:]:
        predicted, state = chain.step(frame, state)
        masks.append(predicted)
    return masks
