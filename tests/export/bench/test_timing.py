"""The figures of a bench, and the memory that grows; nothing here depends on time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.export.bench.end_to_end import run_end_to_end
from mavos_deploy.export.bench.memory import peak_memory
from mavos_deploy.export.bench.published import PublishedEngine
from mavos_deploy.export.bench.report import can_draw, tables, write_report
from mavos_deploy.export.bench.runners import (
    BackendRunner,
    Runner,
    Subject,
    prepare_for,
    video_size,
    warm_up,
)
from mavos_deploy.export.bench.timing import Timings, growth, summarise, time_steps
from mavos_deploy.export.bench.torch_runner import APPEND_EVERY, TorchRunner
from mavos_deploy.export.bench.ways import PYTORCH
from mavos_deploy.runtime import Segmenter
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.system.processors import usable_processors

GAP = 3  # of the bundle that tests share

GetSegmenter = Callable[[str], Segmenter]


@pytest.fixture(autouse=True)
def _threads_of_pytorch() -> None:
    torch.set_num_threads(min(2, usable_processors()))


def test_figures_tell_update_frames_from_others() -> None:
    # Frames 3, 6 and 9 are writes; the first one only copies.
    slow = [1.0 if frame in (6, 9) else 0.1 for frame in range(1, 11)]
    timings = {
        "slow": Timings(slow, slow, [{"encoder": s / 2, "decoder": s / 4} for s in slow], [7] * 10),
        "fast": Timings([s / 4 for s in slow], slow, [{}] * 10, [7] * 10),
    }
    figures = summarise(timings, GAP, "slow")
    assert figures["slow"]["plain_frame_ms"] == 100
    assert figures["slow"]["update_frame_ms"] == 1000
    assert figures["slow"]["amortised_ms"] == 400
    assert figures["slow"]["frames_per_second"] == 2.5
    assert figures["slow"]["shares"] == {"decoder": 0.25, "encoder": 0.5}
    assert figures["slow"]["speedup"] == 1
    assert figures["fast"]["speedup"] == 4
    assert figures["fast"]["shares"] == {}
    assert figures["slow"]["p99_ms"] == pytest.approx(1000)


def test_a_memory_gap_of_one_has_update_frames_only() -> None:
    timings = {"one": Timings([0.1] * 5, [0.1] * 5, [{}] * 5, [1] * 5)}
    assert summarise(timings, 1, "one")["one"]["amortised_ms"] == 100


@pytest.mark.parametrize("length", [1, 2, 37, 500])
def test_growth_is_the_slope_of_a_line(length: int) -> None:
    frames = np.arange(1, length + 1)
    seconds = 1 + 0.001 * (frames - frames.mean())
    assert growth(frames, seconds) == pytest.approx(0.1 if length > 1 else 0)


def test_one_slow_frame_does_not_look_like_growth() -> None:
    seconds = np.ones(200)
    seconds[190] = 50
    assert growth(np.arange(200), seconds) == 0


def test_the_size_of_a_video_is_even_and_maps_to_the_bundle() -> None:
    assert video_size((481, 849)) == (480, 848)
    assert video_size((480, 848)) == (480, 848)


def _runners(bundle: Bundle, *names: str) -> dict[str, Runner]:
    return {name: Subject(name, bundle.path, None, 1).open() for name in names}


def test_all_runners_get_all_frames_and_only_one_memory_grows(segmenter: GetSegmenter) -> None:
    bundle = segmenter("mobilenet").bundle
    frames = 2 * APPEND_EVERY + 2
    runners = _runners(bundle, "onnxruntime-cpu", "pytorch-eager", "pytorch-growing")
    warm_up(runners, bundle, 2)
    timings = time_steps(runners, bundle, frames, 2, lambda done: None)
    graphs = {frozenset(graphs) for graphs in timings["onnxruntime-cpu"].graphs}
    every = {"encoder", "elstt_step", "decoder", "memory_write"}
    assert graphs == {frozenset(every), frozenset({*every, "memory_update"})}
    assert all(not graphs for graphs in timings["pytorch-eager"].graphs)
    assert {len(timing.seconds) for timing in timings.values()} == {frames - 1}
    # In frames of memory: short-term, and long-term with its reference.
    one = timings["pytorch-eager"].memory[0] // 2
    assert timings["pytorch-eager"].memory[0] == timings["pytorch-growing"].memory[0]
    assert timings["pytorch-eager"].memory[-1] == 3 * one
    appended = (frames - 1) // APPEND_EVERY
    assert timings["pytorch-growing"].memory[-1] == (2 + appended) * one
    assert timings["onnxruntime-cpu"].memory[-1] <= 3 * one


def test_every_form_of_the_network_computes_the_same(
    segmenter: GetSegmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.compile
    # The part of torch.compile that may go wrong here is the tracing, not the compiler behind it.
    monkeypatch.setattr(
        torch, "compile", lambda f, dynamic: real(f, dynamic=dynamic, backend="eager")
    )
    monkeypatch.setattr(
        torch.nn.Module,
        "compile",
        lambda module, dynamic: setattr(module, "forward", module.forward),
    )
    bundle = segmenter("mobilenet").bundle
    frame, labels = next(iter_clip(*video_size(bundle.manifest.size), 1, objects=2))
    prepared = prepare_for(bundle, frame)
    logits = {}
    for way in PYTORCH:
        runner = TorchRunner(bundle.manifest, None, 1, f"pytorch-{way}")
        runner.warm_up(prepared, labels)  # past two updates by MCA
        assert runner._tracker is not None
        group = runner._tracker.groups[0]
        assert isinstance(group, PublishedEngine) == (not way.startswith("tuned"))
        assert group.logits is not None
        logits[way] = group.logits.numpy()
    for way in PYTORCH:
        np.testing.assert_allclose(logits[way], logits["tuned-eager"], atol=1e-4, err_msg=way)


def test_end_to_end_and_report(segmenter: GetSegmenter, tmp_path: Path) -> None:
    bundle = segmenter("mobilenet").bundle
    runners = {"onnxruntime-cpu": BackendRunner(bundle, open_backend(bundle, 1))}
    done: list[int] = []
    found = run_end_to_end(runners, None, 4, 2, done.append)
    assert done == [1, 2]
    figures = found["onnxruntime-cpu"]
    assert figures["frame_ms"] > 0
    assert 0 <= figures["outside_share"] < 1
    timings = {"onnxruntime-cpu": Timings([0.1] * 9, [0.1] * 9, [{"decoder": 0.05}] * 9, [9] * 9)}
    report = {
        "bundle": {"variant": "mobilenet", "size": "161x289"},
        "machine": {"processor": "one"},
        "threads": 1,
        "frames": 10,
        "objects": 2,
        "baseline": "onnxruntime-cpu",
        "tensor_only": summarise(timings, GAP, "onnxruntime-cpu"),
        "end_to_end": found,
        "peak_memory_mb": {"onnxruntime-cpu": None},
        "per_frame": {"onnxruntime-cpu": {"milliseconds": [100.0] * 9, "memory_mb": [1.0] * 9}},
    }
    assert len(tables(report)) == 3
    files = write_report(report, tmp_path)
    assert len(files) == (4 if can_draw() else 1)
    assert all(file.stat().st_size for file in files)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's procfs")
def test_peak_memory_is_that_of_a_process_of_its_own(segmenter: GetSegmenter) -> None:
    ballast = np.ones(1 << 27)  # 1 GB, which no other process has
    subject = Subject("onnxruntime-cpu", segmenter("mobilenet").bundle.path, None, 1)
    peak = peak_memory([subject], 2)["onnxruntime-cpu"]
    assert peak is not None
    assert 100 < peak < ballast.nbytes / 1e6
