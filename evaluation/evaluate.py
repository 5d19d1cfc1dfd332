"""Scores of predicted masks over a data set: J and F of every object, frame by frame.

The rules are the DAVIS 2017 toolkit's, and each layout's own where they differ: an object is scored
from the frame after its reference mask on, and global figures are means over objects. Frames and
objects that can't be scored are named and left out, and everything else is scored.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.evaluation.metrics import Score, Statistics, score_frame, statistics
from mavos_deploy.evaluation.predictions import Predictions, results_folder
from mavos_deploy.runtime.datasets.annotations import Truth
from mavos_deploy.runtime.datasets.prediction import Predicted
from mavos_deploy.runtime.datasets.sequences import Dataset, Problem, VideoSequence, gathered
from mavos_deploy.runtime.objects import Labels


@dataclass(frozen=True)
class ObjectResult:
    """Scores of one object.

    Attributes:
        object_id: Id of the object in the annotations.
        start: Stem of the frame with its reference mask.
        frames: Stems of the frames that were scored, in order of time.
        region: J of each of these frames, float64 [frames].
        boundary: F of each of these frames, float64 [frames].
    """

    object_id: int
    start: str
    frames: tuple[str, ...]
    region: NDArray[np.float64]
    boundary: NDArray[np.float64]

    @property
    def j(self) -> Statistics:
        """Mean, recall and decay of J; there must be a frame."""
        return statistics(self.region)

    @property
    def f(self) -> Statistics:
        """Mean, recall and decay of F; there must be a frame."""
        return statistics(self.boundary)


@dataclass(frozen=True)
class Figures:
    """The figures of the official global table.

    Attributes:
        j: Statistics of J, means over objects.
        f: Statistics of F, means over objects.
    """

    j: Statistics
    f: Statistics

    @property
    def mean(self) -> float:
        """J&F: the mean of the means of J and F."""
        return (self.j.mean + self.f.mean) / 2

    def row(self) -> dict[str, float]:
        """The columns of the official table by their names."""
        return {"J&F-Mean": self.mean} | {
            f"{measure}-{name}": value
            for measure, part in (("J", self.j), ("F", self.f))
            for name, value in (
                ("Mean", part.mean),
                ("Recall", part.recall),
                ("Decay", part.decay),
            )
        }


@dataclass(frozen=True)
class SequenceResult:
    """Scores of one sequence.

    Attributes:
        name: Name of the sequence.
        objects: Every object that has a reference mask, also those without a frame to score.
        baseline: Scores of the repeated reference masks, by object; empty where not wanted.
        problems: Frames and objects that were left out, with the reasons.
        notes: One line for each thing that was concluded from its masks.
    """

    name: str
    objects: tuple[ObjectResult, ...]
    baseline: tuple[ObjectResult, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """Scores of a data set.

    Attributes:
        dataset: The data set.
        sequences: Scores of each sequence that was scored.
        problems: Everything that could not be scored, with the reasons.
        notes: One line for each thing that was concluded from the masks, with their sequences.
    """

    dataset: Dataset
    sequences: tuple[SequenceResult, ...]
    problems: tuple[Problem, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    @property
    def figures(self) -> Figures | None:
        """Means over all objects; None where nothing was scored."""
        return figures_of(o for sequence in self.sequences for o in sequence.objects)

    @property
    def baseline(self) -> Figures | None:
        """Means over all objects for the repeated reference masks; None without them."""
        return figures_of(o for sequence in self.sequences for o in sequence.baseline)


def figures_of(objects: Iterable[ObjectResult]) -> Figures | None:
    """Means over objects; those without a scored frame don't count. None if none is left."""
    scored = [item for item in objects if item.frames]
    if not scored:
        return None
    return Figures(_mean([o.j for o in scored]), _mean([o.f for o in scored]))


def _mean(parts: list[Statistics]) -> Statistics:
    return Statistics(
        mean=float(np.mean([part.mean for part in parts])),
        recall=float(np.mean([part.recall for part in parts])),
        decay=float(np.mean([part.decay for part in parts])),
    )


class _Series:
    """Scores of the objects of a sequence as they come in."""

    def __init__(self) -> None:
        self._scores: dict[int, list[tuple[str, Score]]] = {}

    def add(self, stem: str, scores: dict[int, Score]) -> None:
        for object_id, score in scores.items():
            self._scores.setdefault(object_id, []).append((stem, score))

    def results(self, starts: dict[int, str]) -> tuple[ObjectResult, ...]:
        found = []
        for object_id, start in sorted(starts.items()):
            scores = self._scores.get(object_id, [])
            columns = np.array([score for _, score in scores], np.float64).reshape(-1, 2)
            frames = tuple(stem for stem, _ in scores)
            found.append(ObjectResult(object_id, start, frames, columns[:, 0], columns[:, 1]))
        return tuple(found)


def evaluate(
    dataset: Dataset,
    folder: Path,
    predicted: Mapping[str, Predicted] | None = None,
    with_baseline: bool = False,
    on_frame: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Score the masks of a data set, `<sequence>/<frame stem>.png` in a folder.

    Args:
        dataset: Data set with its annotations.
        folder: Folder of the masks.
        predicted: Result of `segment_sequence` by sequence name; None for masks made elsewhere.
        with_baseline: Also score the reference masks, repeated in every later frame.
        on_frame: Called for every annotated frame.

    Returns:
        The scores, and every problem by name. Nothing is scored where the data set has reference
        masks only.
    """
    results = []
    problems = list(dataset.problems)
    folder, nested = results_folder(folder, [sequence.name for sequence in dataset.sequences])
    for sequence in dataset.sequences:
        done = None if predicted is None else predicted[sequence.name]
        if done is not None:
            problems += done.problems
        if dataset.reference_only or (done is not None and not done.frames):
            continue
        result = score_sequence(
            sequence,
            folder / sequence.name,
            with_baseline,
            done.skipped if done else (),
            done.lost if done else (),
            on_frame,
        )
        results.append(result)
        problems += result.problems
    notes = [nested] if nested else []
    notes += gathered((result.name, result.notes) for result in results)
    places = {sequence.name: place for place, sequence in enumerate(dataset.sequences)}
    problems.sort(key=lambda p: (places.get(p.sequence or "", -1), p.frame or ""))
    # A problem that stops both a run and its scoring is named once.
    return Evaluation(dataset, tuple(results), tuple(dict.fromkeys(problems)), tuple(notes))


def score_sequence(
    sequence: VideoSequence,
    folder: Path,
    with_baseline: bool = False,
    skipped: Collection[str] = (),
    lost: Collection[int] = (),
    on_frame: Callable[[], None] = lambda: None,
) -> SequenceResult:
    """Score the masks of one sequence.

    Args:
        sequence: Sequence with its annotations.
        folder: Folder of the predicted masks, `<frame stem>.png`.
        with_baseline: Also score the reference masks, repeated in every later frame.
        skipped: Frames whose missing mask is known and named elsewhere.
        lost: Objects that were not given to the network, for a reason that is named elsewhere.
        on_frame: Called for every annotated frame.

    Returns:
        The scores of all frames that can be scored, and the problems of the others.
    """
    if not folder.is_dir():
        gone = Problem(sequence.name, None, f"no results in {folder}", "a mask per scored frame")
        return SequenceResult(sequence.name, (), (), (gone,))
    truth = Truth(sequence)
    predictions = Predictions(sequence, folder)
    ours, repeated_scores = _Series(), _Series()
    due: dict[str, list[int]] = {}  # objects to score by frame
    repeated: Labels | None = None
    for stem in sequence.expected:
        on_frame()
        labels, new = truth.read(stem)
        if labels is None:
            continue
        ids = due.get(stem, [])
        if ids and stem not in skipped:
            predicted = predictions.read(stem, labels.shape, sorted(truth.starts))
            if predicted is not None:
                ours.add(stem, score_frame(labels, predicted, ids))
                if with_baseline and repeated is not None:
                    repeated_scores.add(stem, score_frame(labels, repeated, ids))
        for object_id in set(new) - set(lost):
            for later in sequence.scored(object_id, stem):
                due.setdefault(later, []).append(object_id)
        if new and with_baseline:
            before = np.zeros_like(labels) if repeated is None else repeated
            repeated = np.where(np.isin(labels, new), labels, before)
    problems = [*truth.close(), *predictions.close(truth.starts)]
    return SequenceResult(
        sequence.name,
        ours.results(truth.starts),
        repeated_scores.results(truth.starts) if with_baseline else (),
        tuple(problems),
        (*truth.notes, *predictions.notes),
    )
