"""The worth of keyframes, both directions, fusion and corrections on a data set with one object.

    python -m benchmarks.keyframes BUNDLE DATA --work build/keyframes

DATA is a data set that `mavos-eval` knows, such as DAVIS 2016; all its objects count as one.
Sequences whose last frame lacks the object are left out. Prints J and F, the mean over frames and
then over sequences, of masks made

    forward      from the mask of the first frame
    backward     from the mask of the last frame
    nearest      with both, of the pass whose keyframe is nearer
    blend        with both, fused as `mavos-run --fuse blend` does
    oracle       with both, of the pass that is better in each frame, which only the truth can tell

scored in all frames but the first and the last; those from the mask of the middle frame both ways,
beside forward, in all frames but the first and the middle one; and the gain over forward from one
more mask (both ways, blended with forward before it, corrected behind it) at the frame whose object
has the largest share of uncertain pixels, and at a random frame, in all frames but the first and
the new one.

Passes are kept in the folder of `--work`, so that a run that was stopped goes on.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.evaluation.metrics import boundary_accuracy, region_similarity
from mavos_deploy.runtime import Segmenter, State
from mavos_deploy.runtime.datasets.annotations import Truth
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.media.passes.fusion import (
    Enlarger,
    Shares,
    blend,
    by_object,
    overlap,
    risk,
    trust,
    weight,
)
from mavos_deploy.runtime.media.passes.soft import SoftSegmenter
from mavos_deploy.runtime.media.pictures import read_rgb
from mavos_deploy.runtime.objects import VOID, Labels

SEED = 0  # of the random frames
FORWARD, BACKWARD, MIDDLE, WORST, RANDOM = "forward", "backward", "middle", "worst", "random"

Score = tuple[float, float]  # J and F


@dataclass(frozen=True)
class Kept:
    """One pass, or two in both directions, over frames of a sequence.

    Attributes:
        labels: Labels by number of the frame, uint8 [H, W].
        shares: Shares of background and object, see `shares_of`.
    """

    labels: dict[int, Labels]
    shares: dict[int, Shares]


class Sequence1:
    """The pictures and truth of a sequence, with all objects as object 1."""

    def __init__(self, sequence: VideoSequence) -> None:
        truth = Truth(sequence)
        self.name = sequence.name
        self.pictures = list(sequence.images.values())
        self.truth: list[Labels] = []
        for stem in sequence.images:
            labels, _ = truth.read(stem)
            assert labels is not None, f"{sequence.name}: frame {stem} has no annotation"
            self.truth.append(((labels > 0) & (labels < VOID)).astype(np.uint8))
        truth.close()

    def __len__(self) -> int:
        return len(self.pictures)


class Bench:
    """Makes passes over sequences, and keeps them.

    Args:
        bundle: Folder of the bundle.
        threads: CPU threads; None for all.
        work: Folder of the passes.
    """

    def __init__(self, bundle: Path, threads: int | None, work: Path) -> None:
        self.segmenter = SoftSegmenter(Segmenter.open(bundle, threads))
        self._work = work
        work.mkdir(parents=True, exist_ok=True)

    def kept(self, clip: Sequence1, name: str, make: Callable[[], Kept]) -> Kept:
        """A pass that was made before, or a new one."""
        file = self._work / f"{clip.name}-{name}.npz"
        if file.exists():
            held = np.load(file)
            shape = clip.truth[0].shape
            pixels = shape[0] * shape[1]
            labels = np.unpackbits(held["labels"], axis=1)[:, :pixels].reshape(-1, *shape)
            numbers = held["numbers"].tolist()
            return Kept(
                dict(zip(numbers, labels, strict=True)),
                dict(zip(numbers, held["shares"], strict=True)),
            )
        made = make()
        np.savez_compressed(
            file,
            numbers=np.array(list(made.labels), np.int64),
            labels=np.packbits([one.ravel() for one in made.labels.values()], axis=1),
            shares=np.stack(list(made.shares.values())),
        )
        return made

    def start(self, clip: Sequence1, number: int) -> State:
        """The state after a frame with its true mask."""
        return self.segmenter.start(read_rgb(clip.pictures[number]), clip.truth[number])

    def follow(self, clip: Sequence1, state: State, numbers: Sequence[int]) -> Kept:
        """A pass over frames in this order."""
        found = Kept({}, {})
        for number in numbers:
            labels, state = self.segmenter.step(read_rgb(clip.pictures[number]), state)
            found.labels[number], found.shares[number] = labels, self.segmenter.shares
        return found

    def from_frame(self, clip: Sequence1, number: int, corrects: bool = False) -> Kept:
        """Passes both ways from a frame with its true mask, as a start or as a correction."""
        back = self.follow(clip, self.start(clip, number), range(number - 1, -1, -1))
        state = self.start(clip, 0 if corrects else number)
        if corrects:
            for before in range(1, number):
                _, state = self.segmenter.step(read_rgb(clip.pictures[before]), state)
            picture = read_rgb(clip.pictures[number])
            _, state = self.segmenter.step(picture, state, clip.truth[number])
        forth = self.follow(clip, state, range(number + 1, len(clip)))
        return Kept(back.labels | forth.labels, back.shares | forth.shares)

    def fused(self, clip: Sequence1, forward: Kept, backward: Kept, end: int) -> dict[int, Labels]:
        """Frames between the first one and another, out of a pass from each of them."""
        inside = self.segmenter.input_size(clip.truth[0].shape)
        aligned = self.segmenter.bundle.manifest.align_corners
        enlarger = Enlarger(clip.truth[0].shape, inside, aligned)
        there = trusted(forward, list(range(1, end + 1)), clip.truth[end])
        back = trusted(backward, list(range(end - 1, -1, -1)), clip.truth[0])
        return {
            number: enlarger.labels(
                blend(
                    by_object(forward.shares[number], (1,)),
                    by_object(backward.shares[number], (1,)),
                    {1: weight(there[number], back[number])},
                )
            )
            for number in range(1, end)
        }


def trusted(passed: Kept, numbers: list[int], truth: Labels) -> dict[int, float]:
    """Trust in a pass by frame; the last of the frames is a keyframe."""
    risks = [risk(passed.shares[number][1]) for number in numbers]
    ends = overlap(passed.labels[numbers[-1]], truth, 1)
    return dict(zip(numbers, trust(risks, ends), strict=True))


def scores(clip: Sequence1, labels: dict[int, Labels]) -> dict[int, Score]:
    """J and F of frames."""
    found = {}
    for number, one in labels.items():
        masks: tuple[NDArray[np.bool_], NDArray[np.bool_]] = (clip.truth[number] > 0, one > 0)
        found[number] = region_similarity(*masks), boundary_accuracy(*masks)
    return found


def mean(found: dict[int, Score], numbers: Sequence[int]) -> NDArray[np.float64]:
    """Mean J and F of frames."""
    scored = np.array([found[number] for number in numbers], np.float64)
    means: NDArray[np.float64] = scored.mean(0)
    return means


def sequence_means(bench: Bench, clip: Sequence1, drawn: float) -> dict[str, NDArray[np.float64]]:
    """Mean J and F of every way through a sequence; `drawn`, from 0 to 1, is the random frame."""
    last = len(clip) - 1
    inner = range(1, last)
    forward = bench.kept(
        clip, FORWARD, lambda: bench.follow(clip, bench.start(clip, 0), range(1, last + 1))
    )
    backward = bench.kept(
        clip, BACKWARD, lambda: bench.follow(clip, bench.start(clip, last), range(last - 1, -1, -1))
    )
    one, other = scores(clip, forward.labels), scores(clip, backward.labels)
    near = {number: (one if 2 * number <= last else other)[number] for number in inner}
    best = {number: max(one[number], other[number]) for number in inner}
    fused = scores(clip, bench.fused(clip, forward, backward, last))
    ways = {FORWARD: one, BACKWARD: other, "nearest": near, "blend": fused, "oracle": best}
    rows = {name: mean(found, inner) for name, found in ways.items()}
    shown = [number for number in range(1, last + 1) if clip.truth[number].any()]
    half = next(number for number in shown if number >= len(clip) // 2)
    middle = bench.kept(clip, MIDDLE, lambda: bench.from_frame(clip, half))
    rest = [number for number in range(1, last + 1) if number != half]
    rows["forward without the middle"] = mean(one, rest)
    rows[MIDDLE] = mean(scores(clip, middle.labels), rest)
    picked = {
        WORST: max(shown, key=lambda number: risk(forward.shares[number][1])),
        RANDOM: shown[int(drawn * len(shown))],
    }
    for name, number in picked.items():
        corrected = bench.kept(clip, name, lambda n=number: bench.from_frame(clip, n, True))  # type: ignore[misc]
        labels = corrected.labels | bench.fused(clip, forward, corrected, number)
        rest = [each for each in range(1, last + 1) if each != number]
        rows[f"gain, {name}"] = mean(scores(clip, labels), rest) - mean(one, rest)
    return rows


def main() -> None:
    """Score all sequences."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path, help="folder of a data set")
    parser.add_argument("--split", help="its split (default: the only one)")
    parser.add_argument("--work", type=Path, required=True, help="folder for the passes")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    given = parser.parse_args()
    bench = Bench(given.bundle, given.threads, given.work)
    chance = np.random.default_rng(SEED)
    tables = []
    for sequence in open_dataset(given.data, split=given.split).sequences:
        clip, drawn = Sequence1(sequence), chance.random()
        if not clip.truth[-1].any():
            print(f"{clip.name}: left out, the last frame lacks the object")
            continue
        tables.append(sequence_means(bench, clip, drawn))
        print(f"{clip.name}: " + ", ".join(f"{k} {v[0]:.3f}" for k, v in tables[-1].items()))
    print(f"\n{len(tables)} sequences\n\n| masks | J | F | J&F |\n|---|---|---|---|")
    for name in tables[0]:
        j, f = np.mean([table[name] for table in tables], axis=0)
        print(f"| {name} | {j:.3f} | {f:.3f} | {(j + f) / 2:.3f} |")


if __name__ == "__main__":
    main()
