"""The exported chain on ONNX Runtime against the recorded behaviour of the authors' code."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mavos_deploy.runtime import Bundle, Segmenter, State
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundles.memory import MemoryRule
from mavos_deploy.runtime.objects import number_objects
from tests import golden
from tests.exports import Exports
from tests.placement import check_placement

GetSegmenter = Callable[[str], Segmenter]

LOGITS = 1e-4  # of their range, with the recorded labels remembered
AGREEMENT = 0.999  # of the pixels of every frame, with its own labels remembered
EVERY_DAY = ("newobj_deaot_t", "many_deaot_t", "newobj_deaot_l_lvos3_gap1")


@pytest.mark.parametrize("case", list(golden.CASES))
@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_exported_logits_equal_the_recorded_ones(
    variant: str, case: str, segmenter: GetSegmenter
) -> None:
    run, chain = golden.load(case, variant), segmenter(variant)
    state = chain.start(golden.frame(0), run.annotations[0])
    compared = 0
    for index in range(1, golden.FRAMES):
        seen = chain.observe(golden.frame(index), state)
        key = f"logits_f{index:02d}"
        if key in run.arrays:
            logits = seen.decoded["logits"]
            expected = run.arrays[key].reshape(logits.shape)
            assert golden.relative_error(logits, expected) <= LOGITS, key
            compared += 1
        if index in run.annotations:
            _, state = chain.step(golden.frame(index), state, run.annotations[index])
        else:
            state = chain.remember(seen, state, run.labels[index])
    assert compared >= 1


@pytest.mark.parametrize("case", list(golden.CASES))
@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_exported_label_maps_equal_the_recorded_ones(
    variant: str, case: str, segmenter: GetSegmenter
) -> None:
    run, chain = golden.load(case, variant), segmenter(variant)
    state = chain.start(golden.frame(0), run.annotations[0])
    for index in range(1, golden.FRAMES):
        annotation = run.annotations.get(index)
        labels, state = chain.step(golden.frame(index), state, annotation)
        _, internal = number_objects(state.ids, labels)
        assert np.mean(internal == run.labels[index]) >= AGREEMENT, f"frame {index}"


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_exported_memories_equal_the_recorded_ones_after_memory_updates(
    variant: str, segmenter: GetSegmenter
) -> None:
    run, chain = golden.load("base", variant), segmenter(variant)
    state = chain.start(golden.frame(0), run.annotations[0])
    recorded = {6: "mem_up2", 12: "mem_up4"}
    for index in range(1, 13):
        seen = chain.observe(golden.frame(index), state)
        state = chain.remember(seen, state, run.labels[index])
        if index in recorded:
            _compare_long_term(run, recorded[index], state)


def _compare_long_term(run: golden.Golden, prefix: str, state: State) -> None:
    for block in (0, 2):
        for name, part in (("k", "key"), ("v", "value"), ("idv", "value")):
            slots = []
            for slot in ("dynamic", "reference"):
                tensor = state.memory[f"{slot}_{part}_{block}"][0]
                if part == "value":
                    tensor = np.split(tensor, 2)[name == "idv"]
                slots.append(tensor.reshape(tensor.shape[0], -1).T)
            sampled = np.concatenate(slots).ravel()[::37]
            expected = run.arrays[f"{prefix}_b{block}_{name}"]
            assert np.abs(sampled - expected).max() <= 6e-5, f"{prefix} block {block} {name}"


@pytest.mark.parametrize("variant", golden.VARIANTS)
def test_on_cuda_only_arithmetic_on_shapes_is_left_to_the_cpu(
    variant: str, segmenter: GetSegmenter
) -> None:
    check_placement(segmenter(variant).bundle)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in EVERY_DAY else pytest.mark.slow)
        for name in golden.DEAOT_RUNS
    ],
)
def test_graphs_of_deaot_and_of_every_memory_rule_equal_the_recorded_runs(
    name: str, exported: Exports
) -> None:
    run = golden.load_deaot(name)
    rule = _rule_of(run)
    gap = golden.MEMORY_GAP if rule.at_gaps else None
    bundle = Bundle.open(exported(run.variant, run.size, gap, "cpu", memory=rule))
    if gap is not None:  # which the graphs don't depend on
        bundle = replace(bundle, manifest=replace(bundle.manifest, memory_gap=run.about["gap"]))
    with Segmenter(bundle, open_backend(bundle)) as chain:
        forced = free = chain.start(golden.frame(0), run.annotations[0])
        for index in range(1, golden.FRAMES):
            frame, annotation = golden.frame(index), run.annotations.get(index)
            seen = chain.observe(frame, forced)
            logits = np.asarray(seen.decoded["logits"]).ravel()[::37]
            expected = run.arrays[f"logits_s37_f{index:02d}"]
            assert golden.relative_error(logits[: expected.size], expected) <= LOGITS, index
            if annotation is None:
                forced = chain.remember(seen, forced, run.labels[index])
            else:
                _, forced = chain.step(frame, forced, annotation)
            labels, free = chain.step(frame, free, annotation)
            _, internal = number_objects(free.ids, labels)
            assert np.mean(internal == run.labels[index]) >= AGREEMENT, index


def _rule_of(run: golden.Golden) -> MemoryRule:
    """A rule with fixed slots that keeps what the run kept."""
    recorded = run.about["rule"]
    if recorded.startswith("lvos"):
        return MemoryRule.named(f"lvos:{recorded.removeprefix('lvos')}")
    if recorded == "latest":
        return MemoryRule.named(recorded)
    if run.about["gap"] > golden.FRAMES:
        return MemoryRule.named("annotations")
    return MemoryRule.named("lvos:4")  # which drops nothing in so short a clip
