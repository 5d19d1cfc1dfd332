"""Peak memory is measured in a process that holds nothing else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mavos_deploy.errors import InputError
from mavos_deploy.export.bench.memory import peak_memory
from mavos_deploy.export.bench.runners import Subject
from mavos_deploy.export.bench.ways import PYTORCH
from mavos_deploy.runtime import Segmenter

GetSegmenter = Callable[[str], Segmenter]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's procfs")
def test_peak_memory_is_that_of_a_process_of_its_own(segmenter: GetSegmenter) -> None:
    ballast = np.ones(1 << 27)  # 1 GB, which no other process has
    subject = Subject("onnxruntime-cpu", segmenter("mobilenet").bundle.path, None, 1)
    (peak,) = peak_memory([subject], 2)
    assert peak is not None
    assert 100 < peak < ballast.nbytes / 1e6


def test_a_process_that_cannot_open_the_subject_says_why(
    segmenter: GetSegmenter, tmp_path: Path
) -> None:
    bundle = segmenter("mobilenet").bundle.path
    with pytest.raises(InputError, match="exported without a checkpoint"):
        peak_memory([Subject(PYTORCH["eager"], bundle, tmp_path / "x.pth", 1)], 1)
