"""Score the masks that mavos-studio cuts out of first frames from boxes and strokes.

    python benchmarks/studio_masks.py DATA --strokes 2

DATA is the folder of a data set that `mavos-eval` knows, such as DAVIS 2016. For the first frame of
each sequence the script draws the bounding box of the true mask, 5% of its sides wider on each
side, and then corrective strokes. A stroke lies in the largest connected part that is wrong: its
middle is the part's deepest point, it runs along the part's longer axis as far as the part is half
as deep, and its radius is half of that depth, 1 to 5 pixels. Prints a table of intersections over
unions, and the processor's time for a call. `--plain` compares with OpenCV's GrabCut alone,
of five rounds on the whole frame, and `--scale` enlarges the frames.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mavos_deploy.evaluation.metrics import region_similarity
from mavos_deploy.runtime.datasets.annotations import Truth
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.masks.runs import box_of
from mavos_deploy.runtime.media.pictures import read_rgb
from mavos_deploy.runtime.studio.cutting import Hints, cut
from mavos_deploy.runtime.studio.drawing import Box, Mask, Stroke

Frame = NDArray[np.uint8]
Cutter = Callable[[Frame, Hints], Mask]
WIDER = 0.05  # share of the box's sides


def main() -> None:
    """Score all sequences."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of a data set")
    parser.add_argument("--split", default="train", help="its split (default: train)")
    parser.add_argument("--strokes", type=int, default=2, help="corrective strokes (default: 2)")
    parser.add_argument("--scale", type=int, default=1, help="times larger frames (default: 1)")
    parser.add_argument("--plain", action="store_true", help="OpenCV's GrabCut alone, from the box")
    options = parser.parse_args()
    cutter, strokes = (plain, 0) if options.plain else (cut, options.strokes)
    columns = ["sequence", "box", *(f"stroke {i + 1}" for i in range(strokes))]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    seconds: list[float] = []
    rows = []
    for sequence in open_dataset(options.data, split=options.split).sequences:
        frame, truth = first_frame(sequence, options.scale)
        rows.append(scores(cutter, frame, truth, strokes, seconds))
        print(f"| {sequence.name} | {' | '.join(f'{s:.3f}' for s in rows[-1])} |", flush=True)
    for name, how in (("mean", np.mean), ("median", np.median), ("least", np.min)):
        print(f"| {name} | {' | '.join(f'{score:.3f}' for score in how(rows, axis=0))} |")
    print(
        f"\n{len(seconds)} calls at {truth.shape[0]}x{truth.shape[1]}: median "
        f"{1000 * np.median(seconds):.0f} ms of a processor, longest {1000 * max(seconds):.0f} ms"
    )


def first_frame(sequence: VideoSequence, scale: int) -> tuple[Frame, Mask]:
    """The first picture and where its annotation has an object, enlarged."""
    stem = sequence.expected[0]
    frame = read_rgb(sequence.images[stem])
    size = frame.shape[1] * scale, frame.shape[0] * scale
    truth = truth_of(sequence, stem).repeat(scale, axis=0).repeat(scale, axis=1)
    larger = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
    return larger.astype(np.uint8, copy=False), truth


def scores(
    cutter: Cutter, frame: Frame, truth: Mask, strokes: int, seconds: list[float]
) -> list[float]:
    """Intersections over unions with the box alone, and after each stroke."""
    nothing = np.zeros(truth.shape, np.bool_)
    box = box_around(truth)
    drawn: list[Stroke] = []
    found: list[float] = []
    while True:
        start = time.process_time()
        mask = cutter(frame, Hints(box, drawn, nothing, nothing))
        seconds.append(time.process_time() - start)
        found.append(region_similarity(truth, mask))
        if len(drawn) == strokes:
            return found
        drawn.append(corrective_stroke(mask, truth))


def truth_of(sequence: VideoSequence, stem: str) -> Mask:
    """Where the annotation of a frame has an object."""
    labels, _ = Truth(sequence).read(stem)
    assert labels is not None, f"{sequence.name} has no annotation of {stem}"
    return np.asarray(labels > 0)


def least_certain(confidence: Sequence[float | None]) -> int:
    """Place of the least confidence; None is unknown."""
    return int(np.argmin([np.inf if value is None else value for value in confidence]))


def box_around(truth: Mask) -> Box:
    """The bounding box, wider by `WIDER` of its sides on each side, within the frame."""
    left, top, width, height = box_of(truth)
    return (
        max(0.0, np.floor(left - WIDER * width)),
        max(0.0, np.floor(top - WIDER * height)),
        min(float(truth.shape[1]), np.ceil(left + width + WIDER * width)),
        min(float(truth.shape[0]), np.ceil(top + height + WIDER * height)),
    )


def corrective_stroke(mask: Mask, truth: Mask) -> Stroke:
    """The stroke that the rule at the top of this file places."""
    _, parts = cv2.connectedComponents((mask ^ truth).astype(np.uint8), connectivity=4)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    part = parts == areas.argmax() if len(areas) > 1 else truth
    padded = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, 5)
    depth = padded[1:-1, 1:-1].astype(np.float32, copy=False)
    y, x = (int(i) for i in np.unravel_index(depth.argmax(), depth.shape))
    ends = [_end(depth, (x, y), sign * _axis(part)) for sign in (-1, 1)]
    points = tuple((column + 0.5, row + 0.5) for column, row in ends)
    radius = float(np.clip(depth[y, x] / 2, 1, 5))
    return Stroke(points, radius, bool(truth[y, x]))


def _axis(part: Mask) -> NDArray[np.float64]:
    """Direction of the longer axis, x and y."""
    rows, columns = np.nonzero(part)
    if len(rows) < 3:
        return np.array([1.0, 0.0])
    _, vectors = np.linalg.eigh(np.cov(np.stack([columns, rows]).astype(np.float64)))
    longer: NDArray[np.float64] = vectors[:, -1]
    return longer


def _end(
    depth: NDArray[np.float32], start: tuple[int, int], direction: NDArray[np.float64]
) -> tuple[int, int]:
    """The last pixel from a start in a direction where the part is half as deep as there."""
    least = max(1.0, depth[start[::-1]] / 2)
    end = start
    for step in range(1, sum(depth.shape)):
        x, y = (round(start[i] + step * direction[i]) for i in range(2))
        inside = 0 <= x < depth.shape[1] and 0 <= y < depth.shape[0]
        if not inside or depth[y, x] < least:
            break
        end = x, y
    return end


def plain(frame: Frame, hints: Hints) -> Mask:
    """OpenCV's GrabCut from the box, as it comes."""
    assert hints.box is not None
    left, top, right, bottom = (int(side) for side in hints.box)
    marks = np.zeros(frame.shape[:2], np.uint8)
    rectangle = left, top, right - left, bottom - top
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(frame, marks, rectangle, *models, 5, cv2.GC_INIT_WITH_RECT)
    return np.asarray(marks % 2 == 1)


if __name__ == "__main__":
    main()
