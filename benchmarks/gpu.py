"""All measurements on a machine with a GPU, in one command and one file.

    python benchmarks/gpu.py BUNDLE --checkpoint FILE --output gpu.json

Parity: every graph and the chain, on each backend, against PyTorch in float32 on the CPU. Times:
the backends that work here beside PyTorch in float32, in float16 and compiled in float16, on the
same frames in turns. The video's first frames, in which engines are captured, don't count. A
frame's time ends when its labels are on the host and its memory is written, with the device
synchronised. Times of single graphs of engines lie between two CUDA events and are taken in frames
of their own, at the end of the video. Transfers: bytes that cross the bus for a frame. Flatness:
the backends alone over a long video. Memory: how much more the device holds once a subject is open
and has run past a memory update; the GPU must have nothing else to do.

`--device cpu` does the same without CUDA, to try the script. Exits with 1 if a parity fails.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mavos_deploy.errors import BackendError, InputError, MavosError
from mavos_deploy.export.bench.runners import BackendRunner, Runner, warm_up
from mavos_deploy.export.bench.timing import Timings, shortest_run, summarise, time_steps
from mavos_deploy.export.bench.torch_runner import TorchRunner
from mavos_deploy.export.bench.ways import Way
from mavos_deploy.export.networks import network_of
from mavos_deploy.export.verify import verify
from mavos_deploy.runtime.backends.doctor import diagnose
from mavos_deploy.runtime.backends.protocol import (
    Backend,
    DeviceBackend,
    Tensor,
    Transfers,
    WatchedBackend,
)
from mavos_deploy.runtime.backends.table import BACKENDS, DEFAULT_BACKEND, open_backend
from mavos_deploy.runtime.backends.tensorrt_gpu import TensorRtGpu
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.resize import PreparedFrame
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import LoadMeter, resident_bytes

FORMAT_VERSION = 1
SETTLE = 8  # memory gaps that run before anything is timed: slots take turns, so each update too
WATCHED = 4  # memory gaps after that, in which single graphs are timed
PYTORCH = {
    "eager-fp32": Way("pytorch-eager-fp32"),
    "eager-fp16": Way("pytorch-eager-fp16", half=True),
    "compiled-fp16": Way("pytorch-compiled-fp16", compiled=True, half=True),
}


class GpuRunner(BackendRunner):
    """A backend whose steps end when the device has finished.

    Args:
        bundle: Opened bundle.
        backend: Backend with the bundle's graphs.
        watched_from: Step of a video from which on single graphs are timed, where the backend
            enqueues them; None never times any.

    Attributes:
        moved: Transfers over the bus for each step; empty for backends that don't count them.
        graph_ms: Times of each graph's runs between two CUDA events.
    """

    def __init__(self, bundle: Bundle, backend: Backend, watched_from: int | None = None) -> None:
        self._stream = OnStream(backend) if isinstance(backend, TensorRtGpu) else None
        super().__init__(bundle, self._stream or backend)
        self._transfers: Transfers | None = (
            backend.transfers if isinstance(backend, DeviceBackend) else None
        )
        self._watched_from = watched_from
        self.moved: list[Transfers] = []
        self.graph_ms: dict[str, list[float]] = {}

    def start(self, frame: PreparedFrame, labels: Labels) -> None:
        """See `Runner.start`."""
        super().start(frame, labels)
        self.moved, self.graph_ms = [], {}

    def step(self, frame: PreparedFrame) -> None:
        """See `Runner.step`."""
        before = self._transfers and astuple(self._transfers)
        if self._stream is not None and self._watched_from is not None:
            self._stream.watches = len(self.moved) >= self._watched_from
        super().step(frame)
        torch.cuda.synchronize()
        if self._stream is not None:
            for graph, begin, end in self._stream.events:
                self.graph_ms.setdefault(graph, []).append(begin.elapsed_time(end))
            self._stream.events.clear()
        if self._transfers and before:
            after = astuple(self._transfers)
            self.moved.append(Transfers(*(b - a for a, b in zip(before, after, strict=True))))

    def report(self, counted: slice) -> dict[str, Any]:
        """Figures that `summarise` lacks: device times by graph, and transfers of a frame.

        Args:
            counted: Steps of the video whose transfers count.
        """
        moved = self.moved[counted]
        transfers = {
            field.name: [getattr(one, field.name) for one in moved] for field in fields(Transfers)
        }
        return {
            "graph_device_p50_ms": {
                graph: round(float(np.median(times)), 3) for graph, times in self.graph_ms.items()
            },
            "transfers_of_a_frame": {
                name: {"median": int(np.median(counts)), "most": max(counts)}
                for name, counts in transfers.items()
                if counts
            },
        }


class OnStream(WatchedBackend):
    """Can put two CUDA events around each graph, on the stream that it is enqueued on.

    Attributes:
        watches: Whether runs are put between events.
        events: Graph, begin and end of each run since the list was cleared.
    """

    def __init__(self, backend: TensorRtGpu) -> None:
        super().__init__(backend)
        self.watches = False
        self.events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._stream = torch.cuda.ExternalStream(backend.stream)

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        if not self.watches:
            return super().run(graph, inputs)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record(self._stream)
        outputs = super().run(graph, inputs)
        end.record(self._stream)
        self.events.append((graph, begin, end))
        return outputs


class DeviceRunner(TorchRunner):
    """PyTorch on a device, whose steps end when the device has finished.

    Attributes:
        device_ms: Time of each step between two CUDA events; empty on a CPU.
    """

    device_ms: list[float]

    def start(self, frame: PreparedFrame, labels: Labels) -> None:
        """See `Runner.start`."""
        self.device_ms = []
        super().start(frame, labels)

    def step(self, frame: PreparedFrame) -> None:
        """See `Runner.step`."""
        if self._device == "cpu":
            super().step(frame)
            return
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        super().step(frame)
        end.record()
        torch.cuda.synchronize()
        self.device_ms.append(begin.elapsed_time(end))

    def warm_up(self, frame: PreparedFrame, labels: Labels) -> None:
        """See `Runner.warm_up`."""
        self.device_ms = []
        super().warm_up(frame, labels)

    def close(self) -> None:
        """See `Runner.close`."""
        super().close()
        del self._network
        if self._device == "cuda":
            torch.cuda.empty_cache()


def main() -> int:
    """Run everything; returns the exit code."""
    given = arguments()
    try:
        report = measure(given)
    except MavosError as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return 2
    if (report["load"] or {}).get("busy"):
        print("warning: the machine was busy with other work; the times are not to be trusted")
    passed = all(parity["passed"] for parity in report["parity"].values())
    for name, figures in report["times"].items():
        update = figures["update_frame_ms"]
        print(f"{name}: p50 {figures['p50_ms']} ms, p99 {figures['p99_ms']} ms, update {update} ms")
    print(f"parity {'passed' if passed else 'FAILED'}; {given.output}")
    return 0 if passed else 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="of --precision fp16, as a rule")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--frames", type=int, default=10_000, help="of the long video")
    parser.add_argument(
        "--compared", type=int, help="frames that PyTorch gets too; default: twelve memory gaps"
    )
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--backend", action="append", help="to measure; default: all that work")
    parser.add_argument("--pytorch", default=",".join(PYTORCH), help="default: %(default)s")
    parser.add_argument("--checkpoint", type=Path, help="that the bundle was exported from")
    given = parser.parse_args()
    given.pytorch = [way for way in given.pytorch.split(",") if way]
    if given.objects < 1:
        parser.error("--objects must be at least 1")
    if unknown := [way for way in given.pytorch if way not in PYTORCH]:
        parser.error(f"--pytorch {unknown[0]}: accepted are {', '.join(PYTORCH)}")
    return given


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure all; the report is written after each part, so that a crash leaves earlier parts."""
    bundle = Bundle.open(given.bundle)
    gap = bundle.manifest.write_every
    compared = 12 * gap if given.compared is None else given.compared
    if min(given.frames, compared) < (least := shortest_run(gap)):
        raise InputError(f"at a memory gap of {gap} at least {least} frames are needed")
    if given.device == "cuda" and not torch.cuda.is_available():
        raise BackendError("PyTorch has no CUDA device; --device cpu tries the script without one")
    names, refused = usable(bundle, given.backend, given.device)
    report: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "device": given.device,
        "machine": diagnose(None).to_dict(),
        "torch": torch_settings(given.device),
        "bundle": {
            key: getattr(bundle.manifest, key)
            for key in ("variant", "size", "precision", "target", "memory_gap", "trained")
        },
        "objects": given.objects,
        "refused": refused,
        "parity": {},
    }
    write(report, given.output)  # rather now than after the first part
    for name in names:
        report["parity"][name] = parity(bundle, name, given.checkpoint)
        write(report, given.output)
    with ExitStack() as stack:
        runners: dict[str, Runner] = {}
        report["device_memory_mb"] = {}
        ways: list[Way | str] = [*names, *(PYTORCH[word] for word in given.pytorch)]
        for way in ways:
            name = way if isinstance(way, str) else way.name
            before = used_bytes(given.device)
            runners[name] = runner = open_runner(way, bundle, given, SETTLE * gap + compared)
            stack.callback(runner.close)
            warm_up([runner], bundle, given.objects)
            if given.device == "cuda":
                held = used_bytes(given.device) - before
                report["device_memory_mb"][name] = round(held / 1e6, 1)
        counted = slice(SETTLE * gap, SETTLE * gap + compared)
        frames = counted.stop + WATCHED * gap + 1  # the first one starts the video
        meter = LoadMeter()
        timings = cut(
            time_steps(runners, bundle, frames, given.objects, said("compared", frames)), counted
        )
        load = meter.read()
        baseline = PYTORCH[given.pytorch[0]].name if given.pytorch else names[0]
        report |= {
            "compared_frames": compared,
            "baseline": baseline,
            "load": None if load is None else {**vars(load), "busy": load.busy},
            "times": summarise(timings, gap, baseline),
            "device_p50_ms": {
                name: round(float(np.median(runner.device_ms[counted])), 3)
                for name, runner in runners.items()
                if isinstance(runner, DeviceRunner) and runner.device_ms
            },
            "backends": {
                name: runner.report(counted)
                for name, runner in runners.items()
                if isinstance(runner, GpuRunner)
            },
        }
        write(report, given.output)
    report["flatness"] = {
        name: flatness(name, bundle, given) for name in names if given.frames > compared
    } or "left out: --frames is not above --compared"
    write(report, given.output)
    return report


def usable(
    bundle: Bundle, wanted: list[str] | None, device: str
) -> tuple[list[str], dict[str, str]]:
    """Backends that open the bundle, and why others don't. A backend that was named has to."""
    on_gpu = [kind.name for kind in BACKENDS.values() if kind.gpu]
    candidates = wanted or (on_gpu if device == "cuda" else [DEFAULT_BACKEND])
    names, refused = [], {}
    for name in candidates:
        try:
            open_backend(bundle, None, name).close()
        except MavosError as error:
            if wanted:
                raise
            refused[name] = str(error)
        else:
            names.append(name)
    if not names:
        raise BackendError(f"no backend works here: {'; '.join(refused.values())}")
    return names, refused


def parity(bundle: Bundle, name: str, checkpoint: Path | None) -> dict[str, Any]:
    """The comparison of `mavos-verify`, with PyTorch in float32 on the CPU."""
    network = network_of(bundle.manifest, checkpoint)
    with Segmenter(bundle, open_backend(bundle, None, name)) as segmenter:
        return verify(segmenter, network, on_frame=said(f"parity of {name}", None)).to_dict()


def open_runner(
    way: Way | str, bundle: Bundle, given: argparse.Namespace, watched_from: int | None = None
) -> Runner:
    """A backend, or PyTorch on the device."""
    if isinstance(way, Way):
        return DeviceRunner(bundle.manifest, given.checkpoint, None, way, given.device)
    backend = open_backend(bundle, None, way)
    if given.device == "cpu":
        return BackendRunner(bundle, backend)
    return GpuRunner(bundle, backend, watched_from)


def cut(timings: dict[str, Timings], counted: slice) -> dict[str, Timings]:
    """The frames that count of every runner; they begin at a multiple of the memory gap."""
    return {
        name: Timings(*(getattr(timing, field.name)[counted] for field in fields(Timings)))
        for name, timing in timings.items()
    }


def flatness(name: str, bundle: Bundle, given: argparse.Namespace) -> dict[str, Any]:
    """Time and device memory over a long video."""
    held: list[int] = []
    told = said(f"the long video on {name}", None)

    def on_frame(done: int) -> None:
        held.append(used_bytes(given.device))
        told(done)

    runner = open_runner(name, bundle, given)
    try:
        warm_up([runner], bundle, given.objects)
        settled = SETTLE * bundle.manifest.write_every
        frames = settled + given.frames + 1
        timings = time_steps({name: runner}, bundle, frames, given.objects, on_frame)
    finally:
        runner.close()
    held, timings = held[settled:], cut(timings, slice(settled, None))
    warm = len(held) // 10  # until the allocators have settled
    return {
        "frames": given.frames,
        **summarise(timings, bundle.manifest.write_every, name)[name],
        "memory_mb": {
            "after_a_tenth": round(held[warm] / 1e6, 1),
            "at_the_end": round(held[-1] / 1e6, 1),
            "most": round(max(held) / 1e6, 1),
        },
    }


def used_bytes(device: str) -> int:
    """Memory of the whole GPU that is in use, whoever uses it; on a CPU that of this process."""
    if device == "cpu":
        return resident_bytes()
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    return total - free


def torch_settings(device: str) -> dict[str, Any]:
    """PyTorch's settings that its figures depend on; these are its defaults."""
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda if device == "cuda" else None,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn": torch.backends.cudnn.version() if device == "cuda" else None,
    }


def said(what: str, total: int | None) -> Any:  # noqa: ANN401  # called with how many are done
    """Progress on a terminal, nothing elsewhere."""

    def show(done: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else "\r"
            print(f"{what}: {done}", end=end, file=sys.stderr)

    return show


def write(report: dict[str, Any], path: Path) -> None:
    """Replace the file by the report so far."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
