"""Bytes that a fuzzer finds, in manifests and states: read or refused, with sanitizers on."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mavos_deploy.runtime import Bundle, State
from mavos_deploy.runtime.bundles.manifest import MANIFEST, Manifest
from mavos_deploy.runtime.contract import memory_specs
from mavos_deploy.runtime.state import state_bytes
from tests.bundles import hollow_bundle

VARIABLE = "MAVOS_CPP_FUZZER"
RUNS = 20_000


def seed_state(manifest: Manifest) -> bytes:
    """A state with a memory of zeros."""
    size = manifest.size
    specs = memory_specs(manifest.specs_at(size))
    memory = {name: np.zeros(s.shape_at(groups=1), s.dtype) for name, s in specs.items()}
    state = State(manifest.identity, size, size, (3, 1), visible=2, updated=(0,), memory=memory)
    backend: Any = SimpleNamespace(download=lambda tensor: tensor)
    return state_bytes(state, backend)


@pytest.mark.slow
def test_no_bytes_crash_the_readers(tmp_path: Path) -> None:
    fuzzer = os.environ.get(VARIABLE)
    if not fuzzer:
        pytest.skip(f"{VARIABLE} names no built mavos_fuzz (docs/cpp.md)")
    folder = hollow_bundle(tmp_path)
    manifest = (folder / MANIFEST).read_bytes()
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "manifest").write_bytes(b"\0" + manifest)
    (seeds / "state").write_bytes(b"\1" + seed_state(Bundle.open(folder).manifest))
    ran = subprocess.run(
        [fuzzer, f"-runs={RUNS}", "-max_len=2000000", "-seed=1", str(seeds)],
        env={**os.environ, "MAVOS_MANIFEST": str(folder / MANIFEST)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert f"Done {RUNS} runs" in ran.stderr
