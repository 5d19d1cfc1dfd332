"""Every door takes its seeds, its corpus and changes of both, and nothing but our errors comes out.

Without a fuzzer, so that all machines run it; `make fuzz` goes further.
"""

import json
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mavos_deploy.errors import MavosError
from mavos_deploy.records import decode
from tests.fuzz.draws import mutated
from tests.fuzz.targets import CORPUS, TARGETS

CHANGES = 60  # of each door's inputs
TAKEN = (
    "manifest",
    "pictures",
    "masks",
    "annotations",
    "stores",
    "videos",
    "states",
    "onnx",
    "wire",
)


@pytest.mark.parametrize("name", TARGETS)
def test_a_door_lets_nothing_out_but_our_errors(name: str, tmp_path: Path) -> None:
    for module in {"onnx": ["onnx"], "checkpoints": ["torch"]}.get(name, []):
        pytest.importorskip(module)
    target, draw = TARGETS[name], random.Random(name)
    inputs = [*target.seeds(), *target.corpus().values()]
    door = target.prepare(tmp_path)
    for content in [*inputs, *(mutated(draw.choice(inputs), draw) for _ in range(CHANGES)), b""]:
        with suppress(MavosError):
            door(content)


def test_the_fuzzer_imports_the_library_itself() -> None:
    """What was imported before atheris instruments imports has no coverage."""
    code = "import sys, tests.fuzz.run; sys.exit('mavos_deploy.runtime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", TAKEN)
def test_a_seed_is_read_to_its_end(name: str, tmp_path: Path) -> None:
    for module in {"onnx": ["onnx"], "checkpoints": ["torch"]}.get(name, []):
        pytest.importorskip(module)
    target = TARGETS[name]
    door, taken = target.prepare(tmp_path), 0
    for content in target.seeds():
        with suppress(MavosError):
            door(content)
            taken += 1
    assert taken, "a fuzzer would only see how its seeds are refused"


def test_the_corpus_is_that_of_the_targets_and_small() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} <= TARGETS.keys()
    assert sum(file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()) < 200_000


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_manifest_with_any_value_in_any_place_is_read_or_refused(data: st.DataObject) -> None:
    seeds = TARGETS["manifest"].seeds()
    manifest = json.loads(data.draw(st.sampled_from(seeds)))
    here: Any = manifest
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(here[key], dict | list) or not here[key] or data.draw(st.booleans()):
            here[key] = data.draw(VALUES)
            break
        here = here[key]
    with suppress(MavosError):
        TARGETS["manifest"].prepare(Path())(json.dumps(manifest).encode())


@settings(max_examples=50, deadline=None)
@given(value=VALUES)
def test_any_json_is_decoded_or_refused(value: object) -> None:
    with suppress(MavosError):
        decode(dict, json.dumps(value), MavosError)
