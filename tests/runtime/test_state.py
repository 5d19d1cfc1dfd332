"""A state is a value that outlives its process, and loses the groups that nobody wants."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from mavos_deploy.errors import InputError
from mavos_deploy.runtime import Bundle, Segmenter
from mavos_deploy.runtime.contract import memory_specs
from mavos_deploy.runtime.objects import number_objects
from mavos_deploy.runtime.review.confidence import Review
from mavos_deploy.runtime.state import load_state
from tests import golden
from tests.bundles import hollow_bundle
from tests.runtime.test_segmenter import follow

GetSegmenter = Callable[[str], Segmenter]


@pytest.fixture
def chain(segmenter: GetSegmenter) -> Segmenter:
    return segmenter("mobilenet")


def test_a_saved_state_continues_exactly(chain: Segmenter, tmp_path: Path) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    _, middle = follow(chain, state, range(1, 8))
    middle = chain.remove(middle, {6})
    chain.save(middle, tmp_path / "state.safetensors")
    loaded = chain.load(tmp_path / "state.safetensors")
    assert not loaded.review.objects  # judgements are not saved
    none = Review()
    without = replace(middle, memory={}, review=none)
    assert replace(loaded, memory={}, review=none).__dict__ == without.__dict__
    np.testing.assert_array_equal(
        follow(chain, loaded, range(8, 12))[0], follow(chain, middle, range(8, 12))[0]
    )


def test_a_state_that_an_earlier_release_saved_continues_exactly(
    chain: Segmenter, tmp_path: Path
) -> None:
    """The metadata as it was written when its counters had no record of their own."""
    path = tmp_path / "state.safetensors"
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    _, state = follow(chain, state, range(1, 8))
    state = chain.remove(state, {6})
    chain.save(state, path)
    written = (
        f'{{"format_version": 1, "bundle": "{chain.bundle.manifest.identity}", '
        '"size": [164, 292], "input_size": [161, 289], "ids": [3, 6, 20], "visible": 3, '
        '"removed": [2], "frame": 7, "since_update": 1, "updated": [true]}'
    )
    with safe_open(path, framework="numpy") as file:
        counted = {**json.loads(written), "updated": [2], "writes": 2}  # numbers since then
        assert json.loads(file.metadata()["mavos_state"]) == counted
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"mavos_state": written})
    np.testing.assert_array_equal(
        follow(chain, chain.load(path), range(8, 12))[0], follow(chain, state, range(8, 12))[0]
    )


def test_a_state_of_another_bundle_is_refused(
    chain: Segmenter, segmenter: GetSegmenter, tmp_path: Path
) -> None:
    state = chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0])
    chain.save(state, tmp_path / "state.safetensors")
    with pytest.raises(InputError, match="state of another bundle"):
        segmenter("resnet50").load(tmp_path / "state.safetensors")
    with pytest.raises(InputError, match="belongs to another bundle"):
        segmenter("resnet50").step(golden.frame(1), state)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(b"", "is not a saved state, or is damaged", id="empty"),
        pytest.param(b"not a state", "is not a saved state, or is damaged", id="text"),
        pytest.param(b"\x08\0\0\0\0\0\0\0{}      ", "is not a state of this release", id="others"),
    ],
)
def test_a_damaged_state_is_refused(
    chain: Segmenter, tmp_path: Path, content: bytes, text: str
) -> None:
    (tmp_path / "state.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=text):
        chain.load(tmp_path / "state.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda tensors, meta: tensors.pop("short_key_0"), id="tensor-missing"),
        pytest.param(lambda tensors, meta: meta.pop("ids"), id="counter-missing"),
        pytest.param(lambda tensors, meta: meta.update(updated=3), id="counter-of-another-kind"),
        pytest.param(lambda tensors, meta: meta.update(updated=[True] * 2), id="other-groups"),
        pytest.param(lambda tensors, meta: meta.update(updated=[]), id="no-groups"),
        pytest.param(lambda tensors, meta: meta.update(visible=None), id="no-visible-number"),
        pytest.param(lambda tensors, meta: meta.update(visible=99), id="visible-beyond-the-ids"),
        pytest.param(lambda tensors, meta: meta.update(removed=[77]), id="unknown-removed"),
        pytest.param(lambda tensors, meta: meta.update(ids=[3, 6, 300]), id="id-of-nine-bits"),
        pytest.param(lambda tensors, meta: meta.update(ids=[3, 3, 6]), id="id-twice"),
        pytest.param(lambda tensors, meta: meta.update(size=None), id="no-size"),
        pytest.param(lambda tensors, meta: meta.update(since_update="x"), id="counter-of-letters"),
        pytest.param(
            lambda tensors, meta: tensors.update(
                short_key_0=tensors["short_key_0"].astype(np.float16)
            ),
            id="tensor-of-another-type",
        ),
        pytest.param(
            lambda tensors, meta: tensors.update(
                short_key_0=tensors["short_key_0"][..., :-1].copy()
            ),
            id="tensor-of-another-shape",
        ),
        pytest.param(
            lambda tensors, meta: tensors["dynamic_value_2"].fill(np.nan), id="memory-of-nan"
        ),
    ],
)
def test_a_state_that_is_not_whole_is_refused(
    chain: Segmenter, tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]
) -> None:
    path = tmp_path / "state.safetensors"
    chain.save(chain.start(golden.frame(0), golden.load("base", "mobilenet").annotations[0]), path)
    with safe_open(path, framework="numpy") as file:
        meta = json.loads(file.metadata()["mavos_state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors, meta)
    save_file(tensors, path, {"mavos_state": json.dumps(meta)})
    with pytest.raises(InputError, match="not a whole state"):
        chain.load(path)


@pytest.mark.parametrize("gone", [range(1, 11), range(11, 14)], ids=["first", "last"])
def test_a_group_that_is_removed_whole_leaves_the_memory_without_a_trace(
    chain: Segmenter, gone: range
) -> None:
    annotation = golden.load("many", "mobilenet").annotations[0]
    ids, _ = number_objects((), annotation)
    state = chain.start(golden.frame(0), annotation)
    _, state = follow(chain, state, range(1, 8))
    assert state.groups == 2
    leaving = {ids[i - 1] for i in gone}
    masked = replace(state, removed=frozenset(gone))
    dropped = chain.remove(state, leaving)
    assert dropped.groups == 1
    assert dropped.objects == masked.objects
    for index in range(8, 13):
        expected, masked = chain.step(golden.frame(index), masked)
        labels, dropped = chain.step(golden.frame(index), dropped)
        # Groups share no memory; only float rounding of the merge may flip a near tie.
        assert np.mean(labels == expected) >= 0.9999


class Memory:
    """A backend that only holds tensors."""

    def upload(self, array: np.ndarray) -> np.ndarray:
        return array


def _header(bundle: Bundle, **changed: object) -> bytes:
    """The head of a state's file for one object; its tensors follow without gaps."""
    specs = memory_specs(bundle.specs)
    counters = {"format_version": 1, "bundle": bundle.manifest.identity, "ids": [1], "frame": 0}
    counters |= {"size": [97, 97], "input_size": [97, 97], "visible": 1, "removed": []}
    counters |= {"since_update": 0, "updated": [False]}
    tensors: dict[str, Any] = {}
    end = 0
    for name, spec in specs.items():
        shape = spec.shape_at(groups=1)
        tensors[name] = {"dtype": "F16", "shape": shape, **changed.get(name, {})}  # type: ignore[dict-item]
        size = 2 * int(np.prod(tensors[name]["shape"]))
        tensors[name]["data_offsets"] = [end, end := end + size]
    head = {"__metadata__": {"mavos_state": json.dumps(counters)}, **tensors}
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + end.to_bytes(8, "little")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"dtype": "BF16"}, "short_key_0 is BF16", id="bfloat16"),
        pytest.param({"dtype": "I16"}, "short_key_0 is I16", id="integers"),
        pytest.param({"shape": [1 << 35]}, r"short_key_0 is float16 \[34359738368\]", id="64-gb"),
    ],
)
def test_a_state_is_refused_by_its_header_before_a_tensor_is_read(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    (tmp_path / "bundle").mkdir()
    bundle = Bundle.open(hollow_bundle(tmp_path / "bundle"))
    whole = _header(bundle, short_key_0=change)
    head, size = whole[:-8], int.from_bytes(whole[-8:], "little")
    with (tmp_path / "s").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)  # sparse
    with pytest.raises(InputError, match=said):
        load_state(tmp_path / "s", Memory(), bundle)  # type: ignore[arg-type]


def test_a_state_of_zeros_is_whole(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    bundle = Bundle.open(hollow_bundle(tmp_path / "bundle"))
    whole = _header(bundle)
    (tmp_path / "s").write_bytes(whole[:-8] + bytes(int.from_bytes(whole[-8:], "little")))
    state = load_state(tmp_path / "s", Memory(), bundle)  # type: ignore[arg-type]
    assert (state.ids, len(state.memory)) == ((1,), len(memory_specs(bundle.specs)))


def test_a_pipe_is_no_state_and_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    bundle = Bundle.open(hollow_bundle(tmp_path / "bundle"))
    os.mkfifo(tmp_path / "s")
    with pytest.raises(InputError, match="it is a pipe"):
        load_state(tmp_path / "s", Memory(), bundle)  # type: ignore[arg-type]
