"""A video from file to masks: its time, and the share of it outside of the steps."""

from collections.abc import Callable

from mavos_deploy.export.bench.end_to_end import ORDER, run_end_to_end
from mavos_deploy.export.bench.runners import BackendRunner
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.backends.table import open_backend

GetSegmenter = Callable[[str], Segmenter]


def test_end_to_end_times_frames_and_what_lies_outside_of_steps(segmenter: GetSegmenter) -> None:
    bundle = segmenter("mobilenet").bundle
    runners = {"onnxruntime-cpu": BackendRunner(bundle, open_backend(bundle, 1))}
    done: list[int] = []
    found = run_end_to_end(runners, None, 4, 2, done.append)
    assert done == list(range(1, len(ORDER) + 1))
    figures = found["onnxruntime-cpu"]
    assert figures["frame_ms"] > 0
    assert 0 <= figures["outside_share"] < 1
    assert figures["writing_share"] >= 0
