"""The PyTorch network and tracker against the recorded behaviour of the authors' code."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.tracker import Memory, Tracker
from mavos_deploy.models.variants import Variant
from tests import golden

GetNetwork = Callable[[str], Mavos]

INPUT = 2e-6  # absolute; constants in float32 or float64 differ by 5e-7
ACTIVATIONS = 6e-5  # absolute, of values up to 8: rounding gives 2e-5, the subtlest mistake 1e-4
LOGITS = 1e-4  # of their range
MERGED = 1.5e-4  # absolute, of logits up to 11.5
MERGED_FREE = 2e-2  # absolute; a near tie may have flipped a remembered pixel
UNUSED = -1e9
DIFFERING_PIXELS = 20  # of 622,544 in a clip

VARIANT_NAMES = golden.VARIANTS


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_state_dict_has_exactly_the_authors_keys_and_shapes(
    variant: str, network: GetNetwork
) -> None:
    listing = json.loads(
        (Path(__file__).parents[1] / f"data/state_dict_{variant}.json").read_text()
    )
    state = network(variant).state_dict()
    expected = {key: (shape, dtype) for key, (shape, dtype) in listing.items()}
    assert {key: (list(v.shape), str(v.dtype)) for key, v in state.items()} == expected


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_synthetic_weights_are_those_the_goldens_were_recorded_with(
    variant: str, network: GetNetwork
) -> None:
    expected = json.loads((golden.FOLDER / "fill_digests.json").read_text())[variant]
    state = network(variant).state_dict()
    digests = {key: f"{zlib.crc32(value.numpy().tobytes()):08x}" for key, value in state.items()}
    assert digests == expected


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_encoder_and_identity_embedding_equal_the_recorded_ones(
    variant: str, network: GetNetwork
) -> None:
    run = golden.load("base", variant)
    net = network(variant)
    for index in (0, 1):
        with torch.inference_mode():
            pixels = torch.from_numpy(golden.resized(index, run.size))[None]
            features = net.encode(pixels)
            assert _error(run.arrays[f"input_f{index:02d}"], net.normalise(pixels), 101) <= INPUT
        maps = (features.feature_4x, features.feature_8x, features.feature_16x, features.embedding)
        for name, encoded in zip(("s0", "s1", "s2", "s3"), maps, strict=True):
            key = f"enc_f{index:02d}_{name}"
            assert _error(run.arrays[key], encoded, 101) <= ACTIVATIONS, key
            values = encoded.double()
            stats = [values.mean(), values.std(correction=0), values.abs().max()]
            np.testing.assert_allclose(stats, run.arrays[f"{key}_stats"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_blocks_and_memories_equal_the_recorded_ones_over_memory_updates(
    variant: str, network: GetNetwork
) -> None:
    run = golden.load("base", variant)
    tracker = Tracker(network(variant), golden.SIZE, golden.MEMORY_GAP)
    recorded = {0: "mem_ref", 6: "mem_up2", 12: "mem_up4"}
    compared = 0
    for index in range(golden.FRAMES):
        _advance(tracker, run, index, forced=True)
        (group,) = tracker.groups
        if index in (0, 1):
            assert group.decoder_embedding is not None
            tokens = group.decoder_embedding.flatten(2).mT
            assert _error(run.arrays[f"blocks_f{index:02d}"], tokens, 37) <= ACTIVATIONS
        if index == 1:
            compared += _compare_memories(run, "short_f01", group.short_term)
        if index in recorded:
            compared += _compare_memories(run, recorded[index], group.long_term)
    assert compared == 4 * 6


@pytest.mark.parametrize("forced", [True, False], ids=["forced-labels", "own-labels"])
@pytest.mark.parametrize("case", list(golden.CASES))
@pytest.mark.parametrize("variant", VARIANT_NAMES)
def test_label_maps_and_logits_equal_the_recorded_ones(
    variant: str, case: str, forced: bool, network: GetNetwork
) -> None:
    run = golden.load(case, variant)
    tracker = Tracker(network(variant), golden.SIZE, golden.MEMORY_GAP)
    differing, compared = 0, 0
    for index in range(golden.FRAMES):
        labels = _advance(tracker, run, index, forced)
        differing += int(np.count_nonzero(labels != run.labels[index]))
        key = f"logits_f{index:02d}"
        if key in run.arrays:
            # In a frame where a group is new, only the groups before it have made a prediction.
            made = [group.logits for group in tracker.groups if group.logits is not None]
            logits = torch.cat(made).numpy()
            expected = run.arrays[key].reshape(-1, *logits.shape[1:])
            assert golden.relative_error(logits, expected) <= LOGITS, key
            compared += 1
        if f"merged_f{index:02d}" in run.arrays:
            assert tracker.merged is not None
            expected = run.arrays[f"merged_f{index:02d}"]
            used = expected > UNUSED  # of a single group; more groups bound theirs
            assert used.any()
            difference = tracker.merged[0].numpy().ravel()[::997][used] - expected[used]
            assert np.abs(difference).max() <= (MERGED if forced else MERGED_FREE)
        if index in run.annotations:
            for number, group in enumerate(tracker.groups):
                prefix = f"mem_f{index:02d}_g{number}"
                if f"{prefix}_b0_k" in run.arrays:
                    assert _compare_memories(run, prefix, group.long_term) == 6
    assert compared >= 1
    assert differing <= DIFFERING_PIXELS


def test_an_annotation_without_new_objects_keeps_the_count_of_visible_ones(
    network: GetNetwork,
) -> None:
    """Upstream counts the largest visible id, so a hidden last object is suppressed."""
    run = golden.load("base", "mobilenet")
    tracker = Tracker(network("mobilenet"), golden.SIZE, golden.MEMORY_GAP)
    _advance(tracker, run, 0, forced=True)
    predicted = tracker.predict(torch.from_numpy(golden.resized(1, run.size)))
    only_first = np.where(predicted == 1, predicted, 0)
    tracker.annotate(only_first, np.where(run.annotations[0] == 3, 3, 0).astype(np.uint8))
    assert tracker.groups[0].objects == 1
    assert tracker.predict(torch.from_numpy(golden.resized(2, run.size))).max() == 1


@pytest.mark.parametrize("tile", [(4, 5), (8, 18), (3, 40), None])
def test_tiles_of_the_short_term_attention_do_not_change_it(tile: tuple[int, int] | None) -> None:
    from mavos_deploy.models.propagation import ShortTermAttention

    variant = Variant("small", "-", "-", (1, 1, 1, 1), True, embedding=8, key=6, value=10)
    generator = torch.Generator().manual_seed(0)
    attention = ShortTermAttention(variant, tile).requires_grad_(False)
    for parameter in attention.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def maps(channels: int) -> torch.Tensor:
        return torch.randn(2, channels, 11, 23, generator=generator)

    query, key, value, gate = maps(6), maps(6), maps(20), maps(20)
    expected = _windowed_attention(attention, query, key, value)
    expected = attention.projection(attention.dw_conv(expected * gate))
    actual = attention(query, gate, key, value)
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=1e-4)


def _windowed_attention(
    attention: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """Token by token, as the formula of the window says."""
    relative = attention.get_submodule("relative_emb_k")(query)
    height, width = query.shape[-2:]
    out = torch.empty_like(value)
    for y in range(height):
        for x in range(width):
            rows = range(max(y - 7, 0), min(y + 8, height))
            columns = range(max(x - 7, 0), min(x + 8, width))
            near = [(row, column) for row in rows for column in columns]
            logits = torch.stack(
                [
                    (query[:, :, y, x] * key[:, :, row, column]).sum(1) * query.shape[1] ** -0.5
                    + relative[:, (row - y + 7) * 15 + column - x + 7, y, x]
                    for row, column in near
                ],
                1,
            )
            weights = logits.softmax(1)
            values = torch.stack([value[:, :, row, column] for row, column in near], 2)
            out[:, :, y, x] = (values * weights[:, None]).sum(2)
    return out


def _advance(tracker: Tracker, run: golden.Golden, index: int, forced: bool) -> NDArray[np.uint8]:
    """One frame of the recorded loop; returns its result in internal ids."""
    pixels = torch.from_numpy(golden.resized(index, run.size))
    if index == 0:
        return tracker.start(pixels, run.annotations[0])
    labels = tracker.predict(pixels)
    if index in run.annotations:
        return tracker.annotate(labels, run.annotations[index])
    tracker.remember(run.labels[index] if forced else labels)
    return labels


def _compare_memories(run: golden.Golden, prefix: str, memories: list[Memory]) -> int:
    """Compare blocks 0 and 2; returns how many arrays were compared."""
    compared = 0
    for block in (0, 2):
        visual, identity = memories[block].value.chunk(2, 1)
        parts = {"k": memories[block].key, "v": visual, "idv": identity}
        for name, tokens in parts.items():
            expected = run.arrays[f"{prefix}_b{block}_{name}"]
            assert _error(expected, tokens.mT, 37) <= ACTIVATIONS, f"{prefix}_b{block}_{name}"
            compared += 1
    return compared


def _error(expected: NDArray[np.float32], actual: torch.Tensor, sampling: int) -> float:
    sampled = actual[0].contiguous().flatten()[::sampling].numpy()
    assert sampled.shape == expected.shape
    return float(np.abs(sampled - expected).max())
