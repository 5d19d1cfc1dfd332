"""Damaged bundles and states get the same answer from C++ as from Python: a text, never a crash."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mavos_deploy.errors import MavosError
from mavos_deploy.runtime import Bundle, Segmenter
from tests.bundles import copy_to_change
from tests.cpp_library import CppError, CppLibrary, CppSegmenter
from tests.made_clips import synthetic_clip

MUTATIONS = 400


def manifest_with(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(bundle: Path) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        change(manifest)
        (bundle / "manifest.json").write_text(json.dumps(manifest))

    return spoil


def _link_out(bundle: Path) -> None:
    path = bundle / "graphs/encoder.onnx"
    outside = bundle.parent / "outside.onnx"
    shutil.copy(path, outside)
    path.unlink()
    path.symlink_to(outside)


ENGINE: dict[str, object] = {
    "graph": "decoder",
    "file": "engines/decoder.plan",
    "sha256": "0" * 64,
    "graph_sha256": "0" * 64,
    "library": "tensorrt",
    "version": "10.3.0",
    "capability": "8.7",
    "gpu": None,
    "driver": None,
    "flags": {},
    "profiles": [],
}


def engine_with(**changes: object) -> Callable[[Path], None]:
    return manifest_with(lambda m: m.update(engines=[ENGINE | changes]))


SPOILT = {
    "no-manifest": lambda b: (b / "manifest.json").unlink(),
    "not-json": lambda b: (b / "manifest.json").write_text("{"),
    "deeply-nested": lambda b: (b / "manifest.json").write_text("[" * 100_000),
    "not-text": lambda b: (b / "manifest.json").write_bytes(b"\xff\xfe"),
    "list": lambda b: (b / "manifest.json").write_text("[]"),
    "key-twice": lambda b: (b / "manifest.json").write_text('{"a": 1, "a": 2}'),
    "newer": manifest_with(lambda m: m.update(format_version=999)),
    "no-gap": manifest_with(lambda m: m.update(memory_gap=0)),
    "gap-of-text": manifest_with(lambda m: m.update(memory_gap="2")),
    "no-variant": manifest_with(lambda m: m.pop("variant")),
    "other-size": manifest_with(lambda m: m.update(height=98)),
    "size-off-the-contract": manifest_with(lambda m: m.update(height=113)),
    "unknown-precision": manifest_with(lambda m: m.update(precision="bf16")),
    "no-decoder": manifest_with(lambda m: m["graphs"].pop("decoder")),
    "other-tensor": manifest_with(lambda m: m["graphs"]["decoder"]["outputs"].pop()),
    "parent": manifest_with(lambda m: m["graphs"]["encoder"].update(file="../x.onnx")),
    "absolute": manifest_with(lambda m: m["graphs"]["encoder"].update(file="/etc/passwd")),
    "no-name": manifest_with(lambda m: m["graphs"]["encoder"].update(file="")),
    "folder": manifest_with(lambda m: m["graphs"]["encoder"].update(file="graphs")),
    "null-byte": manifest_with(lambda m: m["graphs"]["encoder"].update(file="a\0b")),
    "long-name": manifest_with(lambda m: m["graphs"]["encoder"].update(file="x" * 5000)),
    "tiled-with-one-size": manifest_with(
        lambda m: m.update(tiled={"97x97": m["graphs"]["elstt_step"]})
    ),
    "wrong-hash": manifest_with(lambda m: m["graphs"]["decoder"].update(sha256="0" * 64)),
    "engine-without-a-gpu": manifest_with(
        lambda m: m.update(engines=[{k: v for k, v in ENGINE.items() if k != "gpu"}])
    ),
    "engine-of-another-library": engine_with(library="other"),
    "engine-of-no-capability": engine_with(capability="8"),
    "engine-of-a-large-capability": engine_with(capability="123.0"),
    "engine-with-flags-of-text": engine_with(flags={"tf32": "yes"}),
    "engine-for-unknown-gpus": engine_with(flags={"hardware_compatible": "all"}),
    "engine-without-scratch": engine_with(flags={"memory_limit": 0}),
    "engine-with-two-shapes": engine_with(profiles=[{"frame": [[1], [1]]}]),
    "engine-with-shapes-of-text": engine_with(profiles=[{"frame": [["1"], [1], [1]]}]),
    "missing-graph": lambda b: (b / "graphs/decoder.onnx").unlink(),
    "another-file": lambda b: (b / "graphs/weights.bin").touch(),
    "link-out": _link_out,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_bundle_is_refused_as_in_python(
    cpp: CppLibrary, tiny_bundle: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    bundle = copy_to_change(tiny_bundle, tmp_path / "bundle")
    spoil(bundle)
    with pytest.raises(MavosError) as python:
        Bundle.open(bundle)
    with pytest.raises(CppError) as own:
        cpp.open(bundle)
    assert own.value.status == "bundle"
    ours, theirs = str(own.value), str(python.value)
    assert str(bundle) in ours
    # The same reason and advice; how JSON is broken, each library says in its own words.
    end = "; export the bundle again"
    assert (end in ours) == (end in theirs), (ours, theirs)
    if "can't be read" not in theirs and "expected" not in theirs and "not valid" not in theirs:
        assert ours == theirs


@pytest.fixture(scope="module")
def own(cpp: CppLibrary, tiny_bundle: Path) -> CppSegmenter:
    return cpp.open(tiny_bundle)


def refusal(function: Callable[[Path], object], path: Path) -> CppError | MavosError | None:
    try:
        function(path)
    except (CppError, MavosError) as error:
        return error
    return None


def test_mutated_states_are_taken_or_refused_as_in_python(
    own: CppSegmenter, tiny_bundle: Path, tmp_path: Path
) -> None:
    python = Segmenter.open(tiny_bundle, threads=1)
    clip = synthetic_clip(97, 97, 2, objects=2, seed=1)
    path = tmp_path / "state.safetensors"
    own.save(own.start(clip.frames[0], clip.labels[0]), path)
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    draw = random.Random(1)
    differing = []
    for _ in range(MUTATIONS):
        bad = bytearray(good)
        for _ in range(draw.randint(1, 3)):
            bad[draw.randrange(header if draw.random() < 0.9 else len(bad))] = draw.randrange(256)
        if draw.random() < 0.1:
            bad = bad[: draw.randrange(len(bad))]
        path.write_bytes(bad)
        ours, theirs = refusal(own.load, path), refusal(python.load, path)
        assert ours is None or str(path) in str(ours)
        assert getattr(ours, "status", "input") == "input"
        if (ours is None) != (theirs is None):
            differing.append((bytes(bad[8:header]), ours, theirs))
    assert not differing


def test_a_state_of_another_bundle_is_refused(
    own: CppSegmenter, cpp: CppLibrary, dynamic_bundle: Path, tmp_path: Path
) -> None:
    other = cpp.open(dynamic_bundle)
    clip = synthetic_clip(97, 97, 2, objects=2, seed=1)
    state = other.start(clip.frames[0], clip.labels[0])
    other.save(state, tmp_path / "state")
    with pytest.raises(CppError, match="state of another bundle"):
        own.load(tmp_path / "state")
    with pytest.raises(CppError, match="belongs to another bundle"):
        own.step(clip.frames[1], state)
    assert np.any(own.step(clip.frames[1], own.start(clip.frames[0], clip.labels[0]))[0])
