"""Fit the weights of confidence on made-up scenes, and measure it on sequences with truth.

    python -m benchmarks.confidence collect BUNDLE --hard 8000,40,40 --output hard.json
    python -m benchmarks.confidence fit hard.json
    python -m benchmarks.confidence collect BUNDLE --data davis --output davis.json
    python -m benchmarks.confidence report davis=davis.json --output figures.json --plot plot.png
    python -m benchmarks.confidence swaps

`collect` segments videos and keeps the measures and J of every object in every frame. `fit` writes
runtime/review/weights.py. Hard scenes are those of examples/make_scenes.py with less contrast, more
blur, smaller objects and up to four times the pace, so that masks are bad often enough to learn
from. `report` tells how well confidence finds bad masks, and how well it is calibrated. `swaps`
exchanges two objects in the true masks of scenes from some frame on, and counts those told.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import MavosError
from mavos_deploy.evaluation.metrics import region_similarity
from mavos_deploy.evaluation.scenes.scene import SceneStyle, iter_scene
from mavos_deploy.evaluation.scenes.textures import HELD_OUT_PHOTOS, Photo, load_photos
from mavos_deploy.runtime.datasets.annotations import Truth
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.media.pictures import read_rgb
from mavos_deploy.runtime.objects import VOID
from mavos_deploy.runtime.review import weights
from mavos_deploy.runtime.review.confidence import features, judge
from mavos_deploy.runtime.review.events import Event, EventKind, Watch
from mavos_deploy.runtime.review.measures import Measures, Trace
from mavos_deploy.runtime.segmenter import Segmenter

BAD = 0.5  # J below which a mask is bad
WORST = 0.2  # share of the frames that a person would look at
BINS = 10  # of the calibration
SIZE = 240, 432  # height and width of scenes, in pixels
OBJECTS = (1, 1, 2, 3, 4)  # of scenes, in turn
RIDGE = 1.0  # keeps the weights of standardised features small
NO_TRACE = Trace(0.0, 0.0, 0.0, 0.0, 0.0, 1.0, False, ())

Frames = Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
Rows = list[list[Any]]  # sequence, frame, object, J, pixels of the truth, measures


def main() -> int:
    """Parse the command line and run one of the steps; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    steps = parser.add_subparsers(dest="step", required=True)
    collect = steps.add_parser("collect", help="segment videos with truth and keep measures")
    collect.add_argument("bundle", type=Path)
    source = collect.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="data set with every frame annotated")
    for name in ("scenes", "hard"):
        source.add_argument(f"--{name}", metavar="FIRST,COUNT,FRAMES", help="seeds and length")
    collect.add_argument("--output", type=Path, required=True)
    fit = steps.add_parser("fit", help="write the weights")
    fit.add_argument("rows", type=Path, nargs="+")
    report = steps.add_parser("report", help="print figures")
    report.add_argument("rows", nargs="+", metavar="NAME=FILE")
    report.add_argument("--output", type=Path, help="write them as JSON")
    report.add_argument("--plot", type=Path, help="write the calibration as a PNG")
    swaps = steps.add_parser("swaps", help="count the swaps that are told")
    swaps.add_argument("--scenes", default="600,60,30", metavar="FIRST,COUNT,FRAMES")
    given = parser.parse_args()
    try:
        if given.step == "collect":
            rows = list(_collect(given))
            given.output.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
        elif given.step == "swaps":
            print(json.dumps(_swaps(*map(int, given.scenes.split(",")))))
        elif given.step == "fit":
            _fit([row for path in given.rows for row in _read(path)])
        else:
            _report(
                {n: _read(Path(p)) for n, _, p in (r.partition("=") for r in given.rows)}, given
            )
    except MavosError as error:
        print(f"confidence.py: {error}", file=sys.stderr)
        return 2
    return 0


def _read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _collect(given: argparse.Namespace) -> Iterator[list[Any]]:
    segmenter = Segmenter.open(given.bundle, threads=1)
    if given.data is not None:
        videos = _sequences(given.data)
    else:
        first, count, frames = map(int, (given.hard or given.scenes).split(","))
        photos = load_photos(HELD_OUT_PHOTOS)
        make = _hard if given.hard else _scene
        videos = ((f"scene-{s}", make(s, frames, photos)) for s in range(first, first + count))
    for name, video in videos:
        yield from _measured(segmenter, name, video)
        print(name, file=sys.stderr, flush=True)


def _sequences(folder: Path) -> Iterator[tuple[str, Frames]]:
    for sequence in open_dataset(folder).sequences:
        yield sequence.name, _annotated(sequence)


def _annotated(sequence: Any) -> Frames:  # noqa: ANN401
    truth = Truth(sequence)
    for stem, picture in sequence.images.items():
        labels, _ = truth.read(stem)
        if labels is not None:
            yield read_rgb(picture), np.where(labels == VOID, 0, labels).astype(np.uint8)


def _scene(seed: int, frames: int, photos: tuple[Photo, ...]) -> Frames:
    return iter_scene(*SIZE, frames, OBJECTS[seed % len(OBJECTS)], seed, photos)


def _hard(seed: int, frames: int, photos: tuple[Photo, ...]) -> Frames:
    draws = np.random.default_rng(seed)
    pace = draws.uniform(1.0, 4.0)
    roam = draws.uniform(0.3, 1.0)
    style = SceneStyle(0.08, 0.34, (pace, 1.2 * pace), roam, leaving=0.5, visible=0.5)
    contrast = draws.uniform(0.12, 1.0)
    blur = float(draws.choice([0, 0, 1.0, 2.0]))
    grey = draws.uniform(0, 255 * (1 - contrast))
    for rgb, labels in iter_scene(*SIZE, frames, OBJECTS[seed % len(OBJECTS)], seed, photos, style):
        picture = rgb.astype(np.float32) * contrast + grey
        if blur:
            picture = cv2.GaussianBlur(picture, (0, 0), blur).astype(np.float32, copy=False)
        yield np.clip(picture.round(), 0, 255).astype(np.uint8), labels


def _measured(segmenter: Segmenter, name: str, video: Frames) -> Iterator[list[Any]]:
    state = None
    for index, (rgb, truth) in enumerate(video):
        if state is None:
            if truth.any():
                state = segmenter.start(rgb, truth)
            continue
        labels, state = segmenter.step(rgb, state)
        for own, judgement in state.review.objects.items():
            j = region_similarity(truth == own, labels == own)
            measures = [float(value) for value in judgement.measures]
            yield [name, index, own, j, int((truth == own).sum()), *measures]


def _measures(row: list[Any]) -> Measures:
    found = Measures(*row[5:])
    return found._replace(cells=int(found.cells), touches=bool(found.touches))


def _fit(rows: Rows) -> None:
    seen = [(row[3], _measures(row)) for row in rows]
    values = np.array([features(found)[1:] for _, found in seen if found.cells])
    overlap = np.array([j for j, found in seen if found.cells])
    gone = [j >= BAD for j, found in seen if not found.cells]
    good = _logistic(values, (overlap >= BAD).astype(np.float64))
    Path(weights.__file__).write_text(
        f'"""{weights.__doc__}"""\n\nGOOD = {good}\nOVERLAP = {_logistic(values, overlap)}\n'
        f"GONE = {round(float(np.mean(gone)), 3)}\n"
    )
    print(f"{len(overlap)} masks, {np.mean(overlap < BAD):.1%} of them bad; {len(gone)} are gone")


def _logistic(values: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, ...]:
    """Weights of a constant and of features, by Newton's method; the target may be any share."""
    mean, spread = values.mean(0), values.std(0)
    inputs = np.c_[np.ones(len(values)), (values - mean) / spread]
    ridge = RIDGE * np.eye(inputs.shape[1])
    ridge[0, 0] = 0
    found = np.zeros(inputs.shape[1])
    for _ in range(50):
        share = 1 / (1 + np.exp(-inputs @ found))
        slope = inputs.T @ (target - share) - ridge @ found
        bend = (inputs * (share * (1 - share))[:, None]).T @ inputs + ridge
        found += np.linalg.solve(bend, slope)
    own = found[1:] / spread
    return tuple(round(float(v), 4) for v in (found[0] - own @ mean, *own))


def _report(data: dict[str, Rows], given: argparse.Namespace) -> None:
    figures = {name: _figures(rows) for name, rows in data.items()}
    for name, of in figures.items():
        print(name, {key: value for key, value in of.items() if key != "calibration"})
    if given.output is not None:
        given.output.write_text(json.dumps(figures, indent=2) + "\n")
    if given.plot is not None:
        _plot(figures, given.plot)


def _figures(rows: Rows) -> dict[str, Any]:
    j = np.array([row[3] for row in rows])
    judged = [judge(_measures(row), NO_TRACE) for row in rows]
    confidence = np.array([one.confidence for one in judged])
    overlap = np.array([one.overlap for one in judged])
    bad = j < BAD
    worst = np.argsort(confidence, kind="stable")[: round(WORST * len(j))]
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    calibration = [
        {
            "confidence": round(float(confidence[bins == b].mean()), 3),
            "good": round(float((~bad)[bins == b].mean()), 3),
            "masks": int((bins == b).sum()),
        }
        for b in range(BINS)
        if (bins == b).any()
    ]
    return {
        "masks": len(j),
        "bad": round(float(bad.mean()), 4),
        "mean_j": round(float(j.mean()), 4),
        "auc": round(_auc(confidence, bad), 4),
        "worst_fifth_holds": round(float(bad[worst].sum() / max(bad.sum(), 1)), 4),
        "worst_fifth_could_hold": round(min(1.0, len(worst) / max(int(bad.sum()), 1)), 4),
        "overlap_error": round(float(np.abs(overlap - j).mean()), 4),
        "calibration_error": round(
            sum(abs(b["confidence"] - b["good"]) * b["masks"] for b in calibration) / len(j), 4
        ),
        "calibration": calibration,
    }


def _auc(score: NDArray[np.float64], bad: NDArray[np.bool_]) -> float:
    """Chance that a good mask has the higher score than a bad one; ties count by half."""
    _, places, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[places]
    good, wrong = int((~bad).sum()), int(bad.sum())
    return float((rank[~bad].sum() - good * (good + 1) / 2) / max(good * wrong, 1))


def _swaps(first: int, count: int, frames: int) -> dict[str, int]:
    """Swaps in the middle of scenes with two objects or more, those told, and false ones."""
    photos = load_photos(HELD_OUT_PHOTOS)
    found = {"scenes": 0, "swaps": 0, "told": 0, "false": 0}
    for seed in range(first, first + count):
        if OBJECTS[seed % len(OBJECTS)] == 1:
            continue
        clip = list(_scene(seed, frames, photos))
        found["scenes"] += 1
        found["false"] += len(_told(clip))
        at = frames // 2
        if {1, 2} <= set(np.unique(clip[at][1]).tolist()) & set(
            np.unique(clip[at - 1][1]).tolist()
        ):
            table = np.arange(256, dtype=np.uint8)
            table[[1, 2]] = 2, 1
            changed = [(rgb, table[k] if n >= at else k) for n, (rgb, k) in enumerate(clip)]
            told = [e for e in _told(changed) if e.objects == (1, 2) and at <= e.index < at + 3]
            found["swaps"] += 1
            found["told"] += bool(told)
    return found


def _told(clip: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> list[Event]:
    watch = Watch()
    for index, (rgb, labels) in enumerate(clip):
        watch.look(index, f"{index:05d}", labels, rgb)
    return [event for event in watch.events if event.kind is EventKind.SWAP]


def _plot(figures: dict[str, dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(4.6, 4.2), dpi=110)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, of in figures.items():
        points = [b for b in of["calibration"] if b["masks"] >= 10]
        axes.plot(
            [b["confidence"] for b in points], [b["good"] for b in points], marker="o", label=name
        )
    axes.set(xlabel="confidence", ylabel="share of masks with J of 0.5 and more")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
