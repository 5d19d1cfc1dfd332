"""The figures of a bench, and the memory that grows; nothing here depends on time."""

from collections.abc import Callable

import numpy as np
import pytest

from mavos_deploy.export.bench.runners import Subject, warm_up
from mavos_deploy.export.bench.timing import (
    Timings,
    growth_per_100_frames,
    summarise,
    time_steps,
    usual_run,
)
from mavos_deploy.export.bench.torch_runner import APPEND_EVERY
from mavos_deploy.export.bench.ways import GROWING, PYTORCH
from mavos_deploy.runtime import Segmenter

GAP = 3  # of the bundle that tests share

GetSegmenter = Callable[[str], Segmenter]


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


@pytest.mark.parametrize(
    ("memory_gap", "frames"),
    [
        pytest.param(5, 16, id="deaot-l"),
        pytest.param(10, 31, id="mavos"),
        pytest.param(None, 31, id="nothing-enters-at-a-gap"),
    ],
)
def test_a_clip_is_long_enough_whatever_enters_the_memory(
    memory_gap: int | None, frames: int
) -> None:
    assert usual_run(memory_gap) == frames


@pytest.mark.parametrize("length", [1, 2, 37, 500])
def test_growth_is_the_slope_of_a_line(length: int) -> None:
    frames = np.arange(1, length + 1)
    seconds = 1 + 0.001 * (frames - frames.mean())
    assert growth_per_100_frames(frames, seconds) == pytest.approx(0.1 if length > 1 else 0)


def test_one_slow_frame_does_not_look_like_growth() -> None:
    seconds = np.ones(200)
    seconds[190] = 50
    assert growth_per_100_frames(np.arange(200), seconds) == 0


def test_all_runners_get_all_frames_and_only_one_memory_grows(segmenter: GetSegmenter) -> None:
    bundle = segmenter("mobilenet").bundle
    frames = 2 * APPEND_EVERY + 2
    ways = ("onnxruntime-cpu", PYTORCH["eager"], GROWING)
    subjects = [Subject(way, bundle.path, None, 1) for way in ways]
    runners = {subject.name: subject.open() for subject in subjects}
    warm_up(runners.values(), bundle, 2)
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
