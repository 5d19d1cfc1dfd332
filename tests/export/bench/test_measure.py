"""A bench that makes no sense is refused before it runs; tests/cli/test_bench.py runs one."""

from dataclasses import replace
from pathlib import Path

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.export.bench.measure import BenchRequest
from mavos_deploy.export.bench.ways import PYTORCH
from mavos_deploy.runtime import Bundle
from tests.bundles import hollow_bundle


def test_a_clip_without_an_update_and_a_way_given_twice_are_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(hollow_bundle(tmp_path))
    ways = (PYTORCH["eager"], "onnxruntime-cpu")
    request = BenchRequest(bundle, ways, None, 1, None, 2, False, None)
    assert request.length == 3 * bundle.manifest.memory_gap + 1
    assert [subject.name for subject in request.subjects] == ["pytorch-eager", "onnxruntime-cpu"]
    with pytest.raises(InputError, match="onnxruntime-cpu is given twice"):
        replace(request, ways=("onnxruntime-cpu", "onnxruntime-cpu"))
    with pytest.raises(InputError, match=r"6 frames have no memory update.* at least 7 are needed"):
        replace(request, frames=6)
