"""Times of a bundle's graphs as PyTorch modules on a GPU, in every form that they have.

    python -m benchmarks.graph_times BUNDLE --output graphs.json

The inputs are those of the last frames of a made-up clip that the modules segment themselves in
float32, past two memory updates. Each module then runs in float32 and in the bundle's precision:
kernel by kernel, and as one captured CUDA graph, without the gaps between launches. The differences
are those of the bundle's precision from float32 on the same inputs, as shares of a tensor's range.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.card import milliseconds
from benchmarks.torch_engines import DirectBackend
from mavos_deploy.errors import MavosError
from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.runtime.backends.protocol import WatchedBackend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import GraphName, Precision
from mavos_deploy.runtime.geometry import Size, parse_size
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.files import replacing

RUNS = 50


def main() -> int:
    """Measure, and write the file after each graph; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="for GPUs; its weights ship or are untrained")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument(
        "--video", default="1080x1920", help="size of its frames; default: %(default)s"
    )
    given = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False
    try:
        bundle = Bundle.open(given.bundle)
        inputs = recorded(bundle, given.device, given.objects, parse_size(given.video))
        report: dict[str, Any] = {
            "bundle": {
                key: getattr(bundle.manifest, key) for key in ("variant", "size", "precision")
            },
            "objects": given.objects,
            "video": given.video,
            "torch": torch.__version__,
            "graphs": {},
        }
        forms = {
            "fp32": DirectBackend(in_float32(bundle), given.device).modules,
            bundle.manifest.precision: DirectBackend(bundle, given.device).modules,
        }
        for graph, spec in bundle.specs.items():
            figures: dict[str, Any] = {}
            report["graphs"][graph] = figures
            exact: tuple[Tensor, ...] | None = None
            for form, modules in forms.items():
                types = (in_float32(bundle) if form == "fp32" else bundle).specs[graph].inputs
                feeds = [
                    inputs[graph][tensor.name].to(getattr(torch, tensor.dtype)) for tensor in types
                ]
                module = modules[graph]
                with torch.inference_mode():
                    made = module(*feeds)
                    run = launched(module, feeds)
                    figures[f"{form}_ms"] = round(milliseconds(run, given.device, RUNS), 4)
                    if given.device == "cuda":
                        replay = captured(module, feeds)
                        figures[f"{form}_captured_ms"] = round(
                            milliseconds(replay, given.device, RUNS), 4
                        )
                if exact is None:
                    exact = tuple(tensor.float() for tensor in made)
                else:
                    figures["differences"] = {
                        tensor.name: difference(one, other)
                        for tensor, one, other in zip(spec.outputs, made, exact, strict=True)
                    }
            print(graph, json.dumps(figures), flush=True)
            with replacing(given.output) as temporary:
                temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except MavosError as error:
        print(f"graph_times: {error}", file=sys.stderr)
        return 2
    return 0


def in_float32(bundle: Bundle) -> Bundle:
    """The bundle as if it had been exported in float32."""
    return replace(bundle, manifest=replace(bundle.manifest, precision=Precision.FP32))


def recorded(
    bundle: Bundle, device: str, objects: int, video: Size
) -> dict[str, dict[str, Tensor]]:
    """Inputs of each graph at its last run in a clip past two memory updates, in float32.

    The decoder for several groups gets what the one for a single group got, to compare the two.
    """
    backend = Recorder(DirectBackend(in_float32(bundle), device))
    with Segmenter(in_float32(bundle), backend) as segmenter:
        clip = iter_clip(*video, 3 * bundle.manifest.write_every + 1, objects=objects)
        frame, labels = next(clip)
        state = segmenter.start(frame, labels)
        for frame, _ in clip:
            labels, state = segmenter.step(frame, state)
    latest = backend.latest
    if GraphName.DECODER_ONE in latest:
        latest.setdefault(GraphName.DECODER, latest[GraphName.DECODER_ONE])
    return latest


class Recorder(WatchedBackend):
    """Keeps the inputs of each graph's latest run."""

    def __init__(self, backend: DirectBackend) -> None:
        super().__init__(backend)
        self.latest: dict[str, dict[str, Tensor]] = {}

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        self.latest[graph] = dict(inputs)
        return super().run(graph, inputs)


def launched(module: torch.nn.Module, feeds: list[Tensor]) -> Callable[[], object]:
    """A run of a module, kernel by kernel."""
    return lambda: module(*feeds)


def captured(module: torch.nn.Module, feeds: list[Tensor]) -> Callable[[], object]:
    """A run of a module as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            module(*feeds)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        module(*feeds)
    return graph.replay


def difference(got: Tensor, want: Tensor) -> float:
    """The largest difference as a share of the range; for labels the share that differs."""
    if not got.dtype.is_floating_point:
        return round(float((got.float() != want).float().mean()), 6)
    span = float(want.max() - want.min()) or 1.0
    return round(float((got.float() - want).abs().max()) / span, 6)


if __name__ == "__main__":
    sys.exit(main())
