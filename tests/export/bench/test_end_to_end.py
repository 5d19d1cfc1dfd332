"""A video from file to masks: its time, and the share of it outside of the steps."""

from collections.abc import Callable, Mapping

import pytest

from mavos_deploy.export.bench.end_to_end import ORDER, run_end_to_end
from mavos_deploy.export.bench.runners import BackendRunner
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.backends.protocol import Array
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.contract import GraphName

GetSegmenter = Callable[[str], Segmenter]


def test_end_to_end_times_frames_and_what_lies_outside_of_steps(
    segmenter: GetSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = segmenter("mobilenet").bundle
    backend = open_backend(bundle, 1)
    runners = {"onnxruntime-cpu": BackendRunner(bundle, backend)}
    ran: list[str] = []
    run_graph = backend.run

    def run(graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        ran.append(graph)
        return run_graph(graph, inputs)

    monkeypatch.setattr(backend, "run", run)
    done: list[int] = []
    found = run_end_to_end(runners, None, 4, 2, done.append)
    assert ran.count(GraphName.ENCODER) == 4 * len(ORDER)  # each frame of each run once
    assert done == list(range(1, len(ORDER) + 1))
    figures = found["onnxruntime-cpu"]
    assert figures["frame_ms"] > 0
    assert 0 <= figures["outside_share"] < 1
    assert figures["writing_share"] >= 0
