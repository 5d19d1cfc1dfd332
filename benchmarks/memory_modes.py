"""The worth of each part of the memory: the paper's Table 7 on a data set of your own.

    python benchmarks/memory_modes.py held-out --output build/memory-modes

Runs the PyTorch tracker with several memories over a data set and prints J&F of each:

    reference             the first frame, in long-term and short-term memory
    previous              the previous frame, in both
    reference+previous    the first frame in the long-term, the previous in the short-term memory
    latest                the same with the latest written frame in the long-term memory, too
    lvos:6                the same with up to seven frames in the long-term memory: the paper's 6F
    mca                   the same with the dynamic slot that MCA updates: MAVOS as published

Without --modes it takes those of the paper's table: the first three and mca.

Masks are written to <output>/<memory>/<sequence>/ and figures to <output>/memory_modes.json. With
--subset a list of sequences, such as return.txt of make_scenes.py, is scored apart.
"""

import argparse
import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from mavos_deploy.errors import MavosError
from mavos_deploy.evaluation.evaluate import Evaluation, evaluate, figures_of
from mavos_deploy.models.checkpoint import load_network
from mavos_deploy.models.long_term import LongTerm
from mavos_deploy.models.mavos import Features, Mavos
from mavos_deploy.models.tracker import MCA, GroupEngine, Tracker
from mavos_deploy.models.variants import VARIANTS, Variant
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.geometry import network_size
from mavos_deploy.runtime.masks.pictures import read_mask
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.media.pictures import read_rgb
from mavos_deploy.runtime.resize import resize_frame
from mavos_deploy.runtime.system.files import replacing
from mavos_deploy.runtime.system.machine import machine
from mavos_deploy.runtime.system.processors import usable_processors

NEVER = 1 << 30  # frames; a memory gap that no video reaches


class ReferenceOnly(GroupEngine):
    """Reads the annotated frame, whatever came since."""

    def memory_write(self, features: Features, labels: Tensor) -> None:
        """Remember nothing."""


class PreviousOnly(GroupEngine):
    """Reads the previous frame, also as its long-term memory."""

    def memory_write(self, features: Features, labels: Tensor) -> None:
        """Remember the frame in place of all others."""
        super().memory_write(features, labels)
        self.long_term = self.short_term


Mode = tuple[type[GroupEngine], int, LongTerm]
MODES: dict[str, Mode] = {
    "reference": (ReferenceOnly, NEVER, MCA),
    "previous": (PreviousOnly, NEVER, MCA),
    "reference+previous": (GroupEngine, NEVER, MCA),
    "latest": (GroupEngine, 10, LongTerm("latest")),
    "lvos:6": (GroupEngine, 10, LongTerm("lvos", 7)),
    "mca": (GroupEngine, 10, MCA),
}
PAPER = ["reference", "previous", "reference+previous", "mca"]  # the rows of its Table 7


def main() -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("data", type=Path, help="data set in one of mavos-eval's layouts")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--variant", choices=list(VARIANTS), default="tiny")
    parser.add_argument("--checkpoint", type=Path, help="of the variant; default: shipped weights")
    parser.add_argument("--subset", type=Path, metavar="FILE", help="sequences to score apart")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=PAPER)
    parser.add_argument("--threads", type=int, default=usable_processors())
    arguments = parser.parse_args()
    if len(set(arguments.modes)) < len(arguments.modes):
        parser.error("--modes: each once")
    torch.set_num_threads(arguments.threads)
    try:
        report = _measure(arguments)
    except MavosError as error:
        print(f"memory_modes.py: {error}", file=sys.stderr)
        return 2
    arguments.output.mkdir(parents=True, exist_ok=True)
    with replacing(arguments.output / "memory_modes.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")
    table = Table("memory", *next(iter(report["scores"].values())))
    for mode, scores in report["scores"].items():
        table.add_row(mode, *(f"{value:.3f}" for value in scores.values()))
    Console().print(table)
    return 0


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    dataset = open_dataset(arguments.data)
    subset = set(arguments.subset.read_text().split()) if arguments.subset else set()
    network, weights = load_network(VARIANTS[arguments.variant], arguments.checkpoint)
    scores: dict[str, dict[str, float]] = {}
    gains: list[dict[str, Any]] = []
    before: tuple[str, Evaluation] | None = None
    frames = sum(len(sequence.images) for sequence in dataset.sequences)
    with Progress(disable=not sys.stderr.isatty()) as progress:
        for mode in arguments.modes:
            task = progress.add_task(mode, total=frames)
            for sequence in dataset.sequences:
                folder = arguments.output / mode / sequence.name
                folder.mkdir(parents=True, exist_ok=True)
                _segment(network, sequence, mode, folder)
                progress.advance(task, len(sequence.images))
            evaluation = evaluate(dataset, arguments.output / mode)
            scores[mode] = {"J&F": _mean(evaluation, None)}
            if subset:
                scores[mode][arguments.subset.stem] = _mean(evaluation, subset)
            if before is not None:
                over, older = before
                for where in (True, False) if subset else (None,):
                    if gain := _gain(evaluation, older, subset, where):
                        gains.append({"memory": mode, "over": over, "in_subset": where, **gain})
            before = mode, evaluation
    return {
        "data": {"sequences": len(dataset.sequences), "frames": frames, "subset": len(subset)},
        "weights": {"variant": arguments.variant, "sha256": weights.sha256},
        "machine": machine(),
        "scores": scores,
        "gains": gains,
    }


def measure_modes(
    variant: Variant, checkpoint: Path | None, data: Path, output: Path, modes: Collection[str]
) -> dict[str, float]:
    """J&F of a network with some memories, without progress.

    Args:
        variant: The network.
        checkpoint: File of the weights; None for shipped ones.
        data: Folder of the data set.
        output: Folder for the masks.
        modes: Keys of `MODES`.
    """
    dataset = open_dataset(data)
    network, _ = load_network(variant, checkpoint)
    scores = {}
    for mode in modes:
        for sequence in dataset.sequences:
            folder = output / mode / sequence.name
            folder.mkdir(parents=True, exist_ok=True)
            _segment(network, sequence, mode, folder)
        scores[mode] = _mean(evaluate(dataset, output / mode), None)
    return scores


def _mean(evaluation: Evaluation, names: set[str] | None) -> float:
    figures = figures_of(
        item
        for sequence in evaluation.sequences
        if names is None or sequence.name in names
        for item in sequence.objects
    )
    if figures is None:
        raise MavosError("nothing could be scored; see mavos-eval for what is wrong with the data")
    return figures.mean


def _gain(
    after: Evaluation, before: Evaluation, subset: set[str], inside: bool | None
) -> dict[str, float | None]:
    """Gain in J&F with its standard error, objects paired; in or out of the subset, or in all.

    Empty where there is no object.
    """
    gains = [
        (new.j.mean + new.f.mean - old.j.mean - old.f.mean) / 2
        for one, other in zip(after.sequences, before.sequences, strict=True)
        if inside is None or (one.name in subset) is inside
        for new, old in zip(one.objects, other.objects, strict=True)
        if new.frames
    ]
    if not gains:
        return {}
    error = float(np.std(gains, ddof=1) / len(gains) ** 0.5) if len(gains) > 1 else None
    return {"objects": len(gains), "J&F": float(np.mean(gains)), "standard_error": error}


def _segment(network: Mavos, sequence: VideoSequence, mode: str, folder: Path) -> None:
    """Write the masks of one sequence, whose first frame has all objects."""
    engine, memory_gap, memory = MODES[mode]
    tracker: Tracker | None = None
    for stem, picture in sequence.images.items():
        rgb = read_rgb(picture)
        height, width = rgb.shape[:2]
        size = network_size(height, width, network.variant.align_corners)
        frame = torch.from_numpy(resize_frame(rgb, *size)).float()
        if tracker is None:
            mask = read_mask(sequence.annotations[stem])
            tracker = Tracker(network, mask.labels.shape, memory_gap, engine, memory)
            labels = tracker.start(frame, mask.labels)
        else:
            labels = tracker.predict(frame)
            tracker.remember(labels)
        write_mask(folder / f"{stem}.png", np.array(tracker.ids, np.uint8)[labels], mask.palette)


if __name__ == "__main__":
    sys.exit(main())
