"""Show that memory and time per frame stay flat, however long the video is.

    python benchmarks/soak.py BUNDLE --frames 10000 --every 13 --output soak.json --plot soak.png

Segments a made-up video of any length. The speed of a machine drifts by more than the limit, and
other work, such as a matrix product, doesn't drift as a step does. So time is measured side by side
with the same step, from a state that was kept from the beginning: in this process, which shows a
state that gets slower, and in a process that has just been started, which also shows a process or
library that gets slower. A line is fitted through the ratios of either kind, and one through the
resident memory. Exits with 1 if any of the three grows by 1% or more. The noise, also reported,
is the standard deviation of the rise of the same ratios in random orders: where it is 1% or more
the machine was too busy to tell, which exits with 1 too. One thread gives the least noise. On a
busy machine --processor-time takes the time that the processor worked on a step in place of the
time that passed.
The memory includes the state that is kept for comparison, from its frame on. Linux only.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import numpy as np
from rich.progress import track

from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.runtime import Segmenter, State
from mavos_deploy.runtime.protocol import RgbFrame
from mavos_deploy.runtime.system.child import Child
from mavos_deploy.runtime.system.files import replacing, writing
from mavos_deploy.runtime.system.machine import machine, peak_bytes, resident_bytes

Clock = Callable[[], float]

WARM_UP = 300  # frames; allocators and caches settle, and MCA has run several times
BLOCKS = 12  # the run is cut into as many parts, whose medians are the points of the fit
LIMIT = 0.01  # growth from the first to the last part
JUDGED = (
    "memory_growth",
    "time_growth_against_young_process",
    "time_growth_against_early_state",
)
SHORTEST = 1000  # frames; fewer give too few pairs
FEWEST_PAIRS = 200  # of which some fall on frames with an update and are not taken
POINTS = 200  # of the series in the report, each the median of its part of the run
YOUNG_STEPS = 40  # measured steps of a fresh process until the next one takes its place
SHUFFLES = 200  # random orders that the noise is taken from
YOUNG_WARM_UP = 10  # steps of a fresh process before it is measured


def main() -> int:
    """Run the measurement; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument(
        "--every", type=int, default=2, help="frames from one measured pair to the next"
    )
    parser.add_argument(
        "--processor-time", action="store_true", help="measure it in place of the time that passes"
    )
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    parser.add_argument("--plot", type=Path, help="draw time and memory; needs matplotlib")
    arguments = parser.parse_args()
    if arguments.frames < SHORTEST:
        parser.error(f"--frames must be at least {SHORTEST}")
    if arguments.objects < 1 or (arguments.threads is not None and arguments.threads < 1):
        parser.error("--objects and --threads must be at least 1")
    if arguments.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install '.[plot]'")
    try:
        for path in (arguments.output, arguments.plot):
            if path is not None:  # rather now than after an hour
                check_writable(path)
        report = measure(
            arguments.bundle,
            arguments.frames,
            arguments.objects,
            arguments.threads,
            arguments.every,
            time.process_time if arguments.processor_time else time.perf_counter,
        )
    except MavosError as error:
        print(f"soak.py: {error}", file=sys.stderr)
        return 2
    text = json.dumps(report, indent=2)
    if arguments.output is None:
        print(text)
    else:
        with replacing(arguments.output) as temporary:
            temporary.write_text(text + "\n")
    if arguments.plot:
        draw(report, arguments.plot)
    scatter = max(report["noise_against_young_process"], report["noise_against_early_state"])
    for name in JUDGED:
        print(f"{name}: {report[name]:+.2%}", file=sys.stderr)
    if scatter >= LIMIT:
        print(f"too noisy ({scatter:.2%}): repeat on a quieter machine", file=sys.stderr)
        return 1
    print("flat" if report["flat"] else "NOT FLAT", file=sys.stderr)
    return 0 if report["flat"] else 1


def check_writable(path: Path) -> None:
    """Refuse a file that couldn't be written."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass


def measure(
    bundle: Path, frames: int, objects: int, threads: int | None, every: int, clock: Clock
) -> dict[str, Any]:
    """Segment a video and describe how time and memory went."""
    with ExitStack() as stack:
        segmenter = stack.enter_context(Segmenter.open(bundle, threads))
        gap = segmenter.bundle.manifest.memory_gap
        pairs = (frames - WARM_UP) // max(1, every)
        if every < 1 or (gap is not None and every % gap == 0) or pairs < FEWEST_PAIRS:
            raise InputError(
                f"--every {every}: give 1 or more, no multiple of the memory gap {gap}, so that "
                f"frames without an update are among them, and at least {FEWEST_PAIRS} pairs"
            )
        saved = Path(stack.enter_context(TemporaryDirectory())) / "early.safetensors"
        young = stack.enter_context(YoungProcess(bundle, threads, saved, clock))
        manifest = segmenter.bundle.manifest
        clip = iter_clip(*manifest.size, frames, objects=objects)
        first, labels = next(clip)
        state = segmenter.start(first, labels)
        early: State | None = None  # kept right after a memory update, so its step is without one
        seconds: list[float] = []
        to_early: list[float] = []
        to_young: list[float] = []
        resident: list[float] = []
        for index, (frame, _) in enumerate(
            track(clip, total=frames - 1, disable=not sys.stderr.isatty()), start=1
        ):
            if early is None and index >= WARM_UP and (gap is None or state.since_update == 0):
                early = state
                segmenter.save(early, saved)
            plain = gap is None or state.since_update + 1 < gap  # this step is without one too
            if early is not None and plain and index % every == 0:
                before, fresh = time_step(segmenter, frame, early, clock)[0], young.time_step(frame)
                now, state = time_step(segmenter, frame, state, clock)
                to_early.append(now / before)
                to_young.append(now / fresh)
            else:
                now, state = time_step(segmenter, frame, state, clock)
            seconds.append(now)
            resident.append(resident_bytes())
    steady = seconds[WARM_UP:]
    judged = dict(zip(JUDGED, (resident[WARM_UP:], to_young, to_early), strict=True))
    return {
        "flat": all(rise(values) < LIMIT for values in judged.values()),
        "bundle": f"{manifest.variant} {manifest.height}x{manifest.width}",
        "memory": str(manifest.memory),
        "memory_gap": manifest.memory_gap,
        "frames": frames,
        "objects": objects,
        "threads": threads,
        "processor_time": clock is time.process_time,
        **{name: round(rise(values), 5) for name, values in judged.items()},
        "noise_against_young_process": round(noise(to_young), 5),
        "noise_against_early_state": round(noise(to_early), 5),
        "time_growth_with_drift_of_machine": round(rise(steady), 5),  # not judged
        "timed_pairs": len(to_early),
        "young_processes": young.started,
        "frame_of_point": _medians(range(1, frames)),
        "milliseconds_of_point": [round(s * 1e3, 2) for s in _medians(seconds)],
        "resident_mb_of_point": [round(b / 1e6, 1) for b in _medians(resident)],
        "milliseconds_p50": round(statistics.median(steady) * 1e3, 2),
        "milliseconds_p99": round(float(np.percentile(steady, 99)) * 1e3, 2),
        "resident_mb_after_warm_up": round(resident[WARM_UP] / 1e6, 1),
        "resident_mb_at_the_end": round(resident[-1] / 1e6, 1),
        "resident_mb_peak": round((peak_bytes() or 0) / 1e6, 1),
        "machine": machine(),
        "python": platform.python_version(),
        "tools": manifest.tools,
    }


def _medians(values: Sequence[float]) -> list[float]:
    parts = np.array_split(np.asarray(values), min(POINTS, len(values)))
    return [float(np.median(part)) for part in parts]


def draw(report: dict[str, Any], path: Path) -> None:
    """Time per frame and memory over the length of the video."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(report["frame_of_point"], report["milliseconds_of_point"], linewidth=1)
    above.set_ylabel("milliseconds per frame")
    below.plot(report["frame_of_point"], report["resident_mb_of_point"], linewidth=1)
    below.set_ylabel("memory of the process, MB")
    below.set_xlabel("frame of the video")
    for axes in (above, below):
        axes.set_ylim(0, 1.1 * axes.dataLim.y1)
    figure.suptitle(f"{report['bundle']}, {report['objects']} objects, {report['frames']} frames")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


class YoungProcess:
    """Steps from the early state in a process that is replaced before it can grow old."""

    def __init__(self, bundle: Path, threads: int | None, state: Path, clock: Clock) -> None:
        """Keep the arguments; the first process is started when a step is asked for."""
        self._arguments = (bundle, threads, state, clock)
        self._child: Child | None = None
        self._steps = 0
        self.started = 0

    def time_step(self, frame: RgbFrame) -> float:
        """Seconds that the step takes there."""
        if self._child is None or self._steps == YOUNG_STEPS:
            self._replace(frame)
        self._steps += 1
        return self._ask(frame)

    def _ask(self, frame: RgbFrame) -> float:
        assert self._child is not None
        self._child.send(frame)
        return float(self._child.receive())

    def _replace(self, frame: RgbFrame) -> None:
        self._stop()
        self._child = Child("the process just started", answer_steps, *self._arguments)
        self._steps = 0
        self.started += 1
        for _ in range(YOUNG_WARM_UP):
            self._ask(frame)

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()

    def __enter__(self) -> "YoungProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()


def answer_steps(
    pipe: Connection, bundle: Path, threads: int | None, saved: Path, clock: Clock
) -> None:
    """Time a step for every frame that the pipe brings; the young process does this."""
    with suppress(EOFError), Segmenter.open(bundle, threads) as segmenter:
        state = segmenter.load(saved)
        while True:
            pipe.send(time_step(segmenter, pipe.recv(), state, clock)[0])


def time_step(
    segmenter: Segmenter, frame: RgbFrame, state: State, clock: Clock
) -> tuple[float, State]:
    """Step once; returns the seconds it took and the new state."""
    started = clock()
    _, state = segmenter.step(frame, state)
    return clock() - started, state


def rise(values: list[float]) -> float:
    """Rise of a line fitted through the medians of the run's parts, as a share of their median.

    The slope is the median of the slopes between all pairs of parts (Theil-Sen).
    """
    length = len(values) // BLOCKS
    parts = [statistics.median(values[i * length : (i + 1) * length]) for i in range(BLOCKS)]
    slopes = [(parts[j] - parts[i]) / (j - i) for j in range(BLOCKS) for i in range(j)]
    return statistics.median(slopes) * (BLOCKS - 1) / statistics.median(parts)


def noise(values: list[float]) -> float:
    """Standard deviation of the rise of the same values in random orders.

    Runs of as many values as one young process gives stay together, for they share its luck.
    """
    runs = [values[i : i + YOUNG_STEPS] for i in range(0, len(values), YOUNG_STEPS)]
    random = np.random.default_rng(0)
    orders = [random.permutation(len(runs)) for _ in range(SHUFFLES)]
    return statistics.stdev(rise([v for i in order for v in runs[i]]) for order in orders)


if __name__ == "__main__":
    sys.exit(main())
