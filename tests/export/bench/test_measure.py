"""A bench that makes no sense is refused before it runs; tests/cli/test_bench.py runs one."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.export.bench.measure import measure
from mavos_deploy.export.bench.runners import Subject
from mavos_deploy.runtime import Bundle
from tests.bundles import hollow_bundle


@pytest.mark.parametrize(
    ("times", "frames", "said"),
    [
        pytest.param(1, 6, "6 frames have no memory update.* at least 7 are needed", id="short"),
        pytest.param(2, None, "onnxruntime-cpu is given twice", id="twice"),
    ],
)
def test_a_clip_without_an_update_and_a_subject_given_twice_are_refused(
    tmp_path: Path, times: int, frames: int | None, said: str
) -> None:
    bundle = Bundle.open(hollow_bundle(tmp_path))
    subjects = [Subject("onnxruntime-cpu", bundle.path, None, 1)] * times
    silent: Any = lambda what, total: nullcontext(print)  # noqa: E731
    with pytest.raises(InputError, match=said):
        measure(bundle, subjects, frames, 2, False, None, silent)
