"""The device code of the `tensorrt` backend on a real driver, with PyTorch's modules as engines.

    python -m benchmarks.device_code BUNDLE --output device.json

TensorRT itself is not needed (benchmarks/torch_engines.py stands in for it): device memory, pinned
memory, streams, contexts and captured CUDA graphs are the real ones, through PyCUDA and CUDA's
Python bindings. Each check runs in a process of its own and gives figures:

- labels: bit for bit those of the same modules without any device code, over 60 frames with a
  second group of objects that comes late and leaves again; and how far the CPU's labels agree;
- threads: opened in one thread, used in a second one, closed in a third;
- flat: time and memory over a long video, with labels read at once and a frame later, and how long
  its transfers take;
- returned: memory of the GPU before opening and after closing, without what PyTorch keeps;
- full: a GPU without memory is refused in words, and serves again when there is some;
- lost: after a fault in a kernel every call says so in words, and nothing else is printed.

Exits with 1 if a check fails.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import torch

from benchmarks.card import milliseconds
from benchmarks.torch_engines import DirectBackend, add_engines, install
from mavos_deploy.errors import BackendError, MavosError
from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.export.parity import LIMITS
from mavos_deploy.runtime.backends.cuda_library import checked
from mavos_deploy.runtime.backends.protocol import Transfers
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.backends.tensorrt_gpu import TensorRtGpu
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.geometry import parse_size
from mavos_deploy.runtime.media.steps import Coming, Steps
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame
from mavos_deploy.runtime.resize import PreparedFrame
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.state import State
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.gpu import first_gpu

FRAMES = 60
ON_CPU = 16  # frames that the CPU segments, too, which in float16 takes it a second each
OBJECTS, LATE, GONE = 3, 13, 37  # objects, the frame in which ten more come, and where they leave
TRANSFERS = 200  # of which the median counts, by the host's clock
SPARE = 64 << 20  # bytes that a full GPU has left
# Writes to an address that belongs to nobody.
FAULT = """
.version 7.0
.target sm_70
.address_size 64
.visible .entry fault() {
    .reg .b64 %rd<2>;
    .reg .b32 %r<2>;
    mov.u64 %rd1, 64;
    mov.u32 %r1, 1;
    st.global.u32 [%rd1], %r1;
    ret;
}
"""


def main() -> int:
    """Run the checks; returns the exit code."""
    given = arguments()
    if given.only:
        return one_check(given)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in CHECKS if given.device == "cuda" else REHEARSED:
            part = Path(folder) / name
            command = [sys.executable, "-m", "benchmarks.device_code", *sys.argv[1:]]
            shown = subprocess.run(
                [*command, "--only", name, "--output", str(part)],
                check=False,
                capture_output=True,
                text=True,
            )
            figures = json.loads(part.read_text()) if part.exists() else {"passed": False}
            figures |= {"exit_code": shown.returncode, "stderr": shown.stderr[-2000:]}
            if shown.returncode or (name == "lost" and shown.stderr):
                figures["passed"] = False
            report[name] = figures
            with replacing(given.output) as temporary:
                temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            print(name, json.dumps(figures), flush=True)
    failed = [name for name, figures in report.items() if not figures["passed"]]
    print(f"{len(report)} checks, {', '.join(failed) or 'none'} failed")
    return int(bool(failed))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="for GPUs; its weights ship or are untrained")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--frames", type=int, default=2000, help="of the long video")
    parser.add_argument("--video", default="480x854", help="size of frames; default: %(default)s")
    parser.add_argument("--only", choices=list(CHECKS), help="one check, in this process")
    return parser.parse_args()


def one_check(given: argparse.Namespace) -> int:
    """Run a check and write its figures."""
    gpu = first_gpu()
    try:
        if gpu is None:
            raise BackendError("the driver shows no GPU")
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "bundle"
            copytree(given.bundle, copy)
            add_engines(copy, gpu.capability)
            bundle = Bundle.open(copy)
            install(bundle, given.device)
            figures = {"passed": True} | CHECKS[given.only](bundle, given)
    except MavosError as error:
        print(f"device_code: {error}", file=sys.stderr)
        return 2
    given.output.write_text(json.dumps(figures))
    return 0


def opened(bundle: Bundle) -> Segmenter:
    """A segmenter on the `tensorrt` backend."""
    return Segmenter(bundle, open_backend(bundle, None, "tensorrt"))


def frames(given: argparse.Namespace) -> Iterator[tuple[RgbFrame, Labels | None]]:
    """A clip with annotations: some objects at first, and ten more later."""
    height, width = parse_size(given.video)
    clip = iter_clip(height, width, FRAMES, objects=OBJECTS, late_objects=10, late_frame=LATE)
    for index, (frame, labels) in enumerate(clip):
        if index == 0:
            yield frame, labels
        elif index == LATE:
            yield frame, np.where(labels > OBJECTS, labels, 0).astype(np.uint8)
        else:
            yield frame, None


def segmented(segmenter: Segmenter, given: argparse.Namespace) -> Iterator[Labels]:
    """Labels of the clip's frames after the first."""
    clip = frames(given)
    frame, labels = next(clip)
    assert labels is not None
    state = segmenter.start(frame, labels)
    for index, (frame, annotation) in enumerate(clip, start=1):
        labels, state = segmenter.step(frame, state, annotation)
        if index == GONE:
            state = segmenter.remove(state, range(OBJECTS + 1, OBJECTS + 11))
        yield labels


def check_labels(bundle: Bundle, given: argparse.Namespace) -> dict[str, Any]:
    """Labels against those of the modules alone."""
    with (
        opened(bundle) as segmenter,
        Segmenter(bundle, DirectBackend(bundle, given.device)) as direct,
    ):
        pairs = list(zip(segmented(segmenter, given), segmented(direct, given), strict=True))
    with Segmenter(bundle, open_backend(bundle, None, "onnxruntime-cpu")) as cpu:
        agreement = [
            float(np.mean(labels == wanted))
            for (labels, _), wanted in zip(pairs[:ON_CPU], segmented(cpu, given), strict=False)
        ]
    other = [
        index for index, (one, two) in enumerate(pairs, start=1) if not np.array_equal(one, two)
    ]
    return {
        "passed": not other and min(agreement) >= LIMITS[bundle.manifest.precision].agreement,
        "frames": len(pairs),
        "objects": int(max(labels.max() for labels, _ in pairs)),
        "frames_that_differ": other,
        "agreement_with_cpu": round(min(agreement), 5),
    }


def check_threads(bundle: Bundle, given: argparse.Namespace) -> dict[str, Any]:
    """A segmenter that wanders through three threads."""
    held: dict[str, Any] = {}

    def open_it() -> None:
        held["segmenter"] = opened(bundle)

    def use_it() -> None:
        held["labels"] = list(segmented(held["segmenter"], given))

    def close_it() -> None:
        held["segmenter"].close()

    for work in (open_it, use_it, close_it):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    with opened(bundle) as again:
        equal = all(
            np.array_equal(one, two)
            for one, two in zip(held["labels"], segmented(again, given), strict=True)
        )
    return {"passed": equal, "frames": len(held["labels"])}


def check_flat(bundle: Bundle, given: argparse.Namespace) -> dict[str, Any]:
    """Time and memory over a long video, and the time of its transfers."""
    gap = bundle.manifest.write_every
    height, width = parse_size(given.video)
    with opened(bundle) as segmenter:
        clip = iter_clip(height, width, 8 * gap, objects=OBJECTS)
        frame, labels = next(clip)
        pictures = [segmenter.prepare(frame), *(segmenter.prepare(f) for f, _ in clip)]
        state = segmenter.start(pictures[0], labels)
        seconds, held = [], []
        for index in range(given.frames):
            started = time.perf_counter()
            _, state = segmenter.step(pictures[index % len(pictures)], state)
            seconds.append(time.perf_counter() - started)
            held.append(used(given.device))
        warm = max(len(held) // 10, 8 * gap) if len(held) > 16 * gap else len(held) // 2
        coming: Iterator[Coming[int, PreparedFrame, State]] = (
            Coming(index, pictures[index % len(pictures)]) for index in range(given.frames)
        )
        taken = [time.perf_counter() for _ in Steps(segmenter, coming, state)]
        backend = segmenter.backend
        assert isinstance(backend, TensorRtGpu)
        backend.transfers = Transfers()
        _, state = segmenter.step(pictures[0], state)
        moved = dict(vars(backend.transfers))
        picture = pictures[0].resized.astype(np.float32)[None]
        up = milliseconds(lambda: backend.upload(picture), "cpu", TRANSFERS)
        block = backend.upload(np.zeros((height, width), np.uint8))
        down = milliseconds(lambda: backend.download(block), "cpu", TRANSFERS)
    at_once = 1e3 * np.array(seconds[warm:])
    p50, p99 = np.percentile(at_once, (50, 99))
    ahead = 1e3 * np.diff(taken)[warm:]
    return {
        "passed": held[-1] <= held[warm] + (1 << 20),
        "frames": given.frames,
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "mean_ms": round(float(at_once.mean()), 3),
        "labels_a_frame_later_ms": {
            "p50": round(float(np.median(ahead)), 3),
            "mean": round(float(ahead.mean()), 3),
        },
        "memory_mb": {
            "after_a_tenth": round(held[warm] / 1e6, 1),
            "at_the_end": round(held[-1] / 1e6, 1),
        },
        "transfers_of_a_frame": moved,
        "picture_up_ms": round(up, 4),
        "labels_down_ms": round(down, 4),
    }


def check_returned(bundle: Bundle, given: argparse.Namespace) -> dict[str, Any]:
    """Memory of the GPU before opening and after closing, without what PyTorch keeps."""
    after = []
    for _ in range(3):  # libraries take memory for themselves with the first one
        with opened(bundle) as segmenter:
            for _ in segmented(segmenter, given):
                pass
        kept = torch.cuda.memory_reserved() if given.device == "cuda" else 0
        after.append(used(given.device) - kept)
    return {
        "passed": after[-1] <= after[0],
        "after_mb": [round(size / 1e6, 1) for size in after],
    }


def check_full(bundle: Bundle, given: argparse.Namespace) -> dict[str, Any]:
    """A GPU without memory."""
    clip = frames(given)
    frame, labels = next(clip)
    assert labels is not None
    with opened(bundle) as segmenter:
        states = [segmenter.start(frame, labels)]
        refused = None
        with hogged(given.device):
            try:
                for _ in range(1000):
                    states.append(segmenter.start(frame, labels))
            except MavosError as error:
                refused = str(error)
        videos = len(states)
        del states[1:]
        wanted, _ = segmenter.step(frame, states[0])
    with opened(bundle) as segmenter:
        again, _ = segmenter.step(frame, segmenter.start(frame, labels))
    return {
        "passed": refused is not None and np.array_equal(wanted, again),
        "videos": videos,
        "refused": refused,
    }


def check_lost(bundle: Bundle, given: argparse.Namespace) -> dict[str, Any]:
    """A fault in a kernel of somebody else."""
    from cuda.bindings import driver

    clip = frames(given)
    frame, labels = next(clip)
    assert labels is not None
    said = []
    with opened(bundle) as segmenter:
        state = segmenter.start(frame, labels)
        _, state = segmenter.step(frame, state)
        with torch.cuda.device(0):  # the module is never unloaded, which would fail after the fault
            module = checked(driver, driver.cuModuleLoadData(FAULT.encode()))
            kernel = checked(driver, driver.cuModuleGetFunction(module, b"fault"))
            checked(driver, driver.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0))
        for _ in range(3):
            try:
                _, state = segmenter.step(frame, state)
            except BackendError as error:
                said.append(str(error))
    return {"passed": len(said) == 3, "said": said}


@contextmanager
def hogged(device: str) -> Iterator[None]:
    """Take the GPU's memory but a little."""
    held: list[Any] = []
    if device == "cuda":
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
        held.append(torch.empty(free - SPARE, dtype=torch.uint8, device=device))
    yield
    held.clear()
    if device == "cuda":
        torch.cuda.empty_cache()


def used(device: str) -> int:
    """Bytes of the GPU that are in use; 0 on a CPU."""
    if device == "cpu":
        return 0
    free, total = torch.cuda.mem_get_info()
    return total - free


CHECKS: dict[str, Callable[[Bundle, argparse.Namespace], dict[str, Any]]] = {
    "labels": check_labels,
    "threads": check_threads,
    "flat": check_flat,
    "returned": check_returned,
    "full": check_full,
    "lost": check_lost,
}
# Filling a GPU and breaking one are not tried on a processor; tests/host_cuda.py does both.
REHEARSED = ("labels", "threads", "flat", "returned")


if __name__ == "__main__":
    sys.exit(main())
