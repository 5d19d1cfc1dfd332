"""Measures the cost and gain of quantising a group, and chooses groups under a budget."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from mavos_deploy.calibration.rollout import Rollout, frames_of
from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.metrics import score_frame
from mavos_deploy.records import HUGE
from mavos_deploy.runtime.backends.protocol import Array, Backend, Tensor, WatchedBackend
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.segmenter import Segmenter

ROUNDS = 5  # rounds of timing, each over all samples
TRIED = 0.02  # rows that save a smaller share of what is saved already aren't tried beside it

ATTENTION = "attention"  # stands for a graph's name in rows about attention, which spans three

Groups = dict[str, tuple[str, ...]]  # chosen groups of layers by graph; parts of `ATTENTION`


@dataclass(frozen=True)
class Cost:
    """A row of the table: the effect of quantising one group alone.

    Attributes:
        graph: Name of the graph, or `ATTENTION`.
        group: Group of the graph's layers, or one of `quantisation.ATTENTIONS`; None for all of
            them together.
        layers: Number of layers; an attention counts once in each block.
        drop: Loss of J&F on the held-out clips, 0 to 1; negative where the masks got better.
        error: Largest difference of an output as a share of its range, on recorded inputs.
        saved: Gain per frame: seconds, measured side by side, or for a GPU the share of a frame's
            multiplications, since no time can be measured.
    """

    graph: str
    group: str | None
    layers: int
    drop: float
    error: float
    saved: float

    @property
    def price(self) -> float:
        """Drop for each unit saved; 0 where there is no drop, infinite where nothing is saved."""
        return max(self.drop, 0.0) / self.saved if self.saved > 0 else np.inf


def take(costs: Iterable[Cost], max_drop: float) -> list[Cost]:
    """Choose what to quantise, the cheapest first, while the sum of the drops is in the budget.

    A graph is taken whole where that fits, since every border between rounded and float layers
    costs time; otherwise those of its groups that fit.

    Args:
        costs: Rows of whole graphs and of their groups.
        max_drop: The budget, in J&F from 0 to 1.

    Returns:
        Rows that don't overlap, in the order of their choice.
    """
    worth = sorted(
        (cost for cost in costs if cost.saved > 0),
        key=lambda cost: (cost.price, -cost.saved, cost.graph, cost.group or ""),
    )
    taken: list[Cost] = []
    spent = 0.0

    def fits(cost: Cost) -> bool:
        return spent + max(cost.drop, 0.0) <= max_drop

    for whole in (cost for cost in worth if cost.group is None):
        if fits(whole):
            taken.append(whole)
            spent += max(whole.drop, 0.0)
    done = {cost.graph for cost in taken}
    for part in (cost for cost in worth if cost.group is not None and cost.graph not in done):
        if fits(part):
            taken.append(part)
            spent += max(part.drop, 0.0)
    return taken


def choose(
    costs: Collection[Cost], max_drop: float, together: Callable[[list[Cost]], float]
) -> tuple[list[Cost], float]:
    """Choose under the budget by drops that are measured together, since drops don't add up.

    Where the rows that `take` gives are within the budget, others are tried beside them, those that
    save most first, and stay while the drop of all together is within it. Where they are not, rows
    are left out one at a time, those that save least first. Where the rest is within the budget
    without one of them, that one is given back; otherwise it is the row of the highest price, and
    so on.

    Args:
        costs: Rows of whole graphs and of their groups.
        max_drop: The budget, in J&F from 0 to 1.
        together: Measures the drop of several rows at once.

    Returns:
        The rows, and their drop together; no rows where none fits.
    """
    taken = take(costs, max_drop)
    if not taken:
        return [], 0.0
    if (drop := together(taken)) <= max_drop:
        return _with_more(taken, drop, costs, max_drop, together)
    while len(taken) > 1:
        for row in sorted(taken, key=lambda cost: cost.saved):
            rest = [other for other in taken if other is not row]
            if (drop := together(rest)) <= max_drop:
                return rest, drop
        taken.remove(max(taken, key=lambda cost: (cost.price, cost.drop)))
    return [], 0.0


def _with_more(
    taken: list[Cost],
    drop: float,
    costs: Collection[Cost],
    max_drop: float,
    together: Callable[[list[Cost]], float],
) -> tuple[list[Cost], float]:
    """The rows taken, and those that fit beside them: whole graphs first, in place of groups."""
    least = TRIED * sum(cost.saved for cost in taken)
    left = (cost for cost in costs if cost not in taken)
    for row in sorted(left, key=lambda cost: (cost.group is not None, -cost.saved)):
        same = [other for other in taken if other.graph == row.graph]
        if any(other.group is None for other in same):
            continue  # taken whole already
        replaced = same if row.group is None else []
        if row.saved - sum(other.saved for other in replaced) <= least:
            continue
        kept = [other for other in taken if other not in replaced]
        if (more := together([*kept, row])) <= max_drop:
            taken, drop = [*kept, row], more
    return taken, drop


@dataclass
class Judge:
    """Scores a backend's masks on held-out clips.

    Clips with annotations are scored against them. Clips with reference masks only are scored
    against the masks of the unquantised bundle, which agree with themselves by 1.

    Attributes:
        clips: Clips held out from the recording.
        most_frames: Frames to use of each clip at most.
        before: J&F of the unquantised bundle, from 0 to 1, once `start` was called.
        notes: What was concluded from the clips' annotations, by clip, once `start` was called.
    """

    clips: list[VideoSequence]
    most_frames: int
    before: float = 1.0
    notes: dict[str, list[str]] = field(default_factory=dict)
    _own: dict[str, list[Labels]] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether all scores are against annotations."""
        return not any(clip.reference_only for clip in self.clips)

    def start(self, segmenter: Segmenter) -> None:
        """Score the unquantised bundle, whose masks stand in for annotations that are missing.

        Raises:
            InputError: A clip can't be used, or none has a frame to score.
            BackendError: The inference library failed.
        """
        self._own.clear()
        self.before = self._quality(segmenter, first=True)

    def drop(self, segmenter: Segmenter) -> float:
        """Loss of J&F against the unquantised bundle; negative where the masks are better.

        Raises:
            BackendError: The inference library failed.
        """
        return self.before - self._quality(segmenter)

    def _quality(self, segmenter: Segmenter, first: bool = False) -> float:
        """Mean of J and F over all objects of all clips, from 0 to 1."""
        means: list[float] = []
        for clip in self.clips:
            means += self._clip(segmenter, clip, first)
        if not means:
            raise InputError("the held-out clips have no frame to score; give longer ones")
        return float(np.mean(means))

    def _clip(self, segmenter: Segmenter, clip: VideoSequence, first: bool) -> list[float]:
        rollout, size = Rollout(segmenter), segmenter.bundle.manifest.size
        scores: dict[int, list[float]] = {}
        masks: list[Labels] = []
        # Annotations of some frames only would say nothing of how well objects are followed.
        labelled = not clip.reference_only
        own = self._own.get(clip.name, [])
        for index, frame in enumerate(frames_of(clip, size, self.most_frames, self.notes)):
            labels = rollout.step(frame)
            stand_in = labels if first else own[index] if own else None
            truth = frame.truth if labelled else stand_in
            if truth is not None and frame.follows:
                for number, score in score_frame(truth, labels, frame.follows).items():
                    scores.setdefault(number, []).append(score.mean)
            if first and not labelled:
                masks.append(labels)
        if first and not labelled:
            self._own[clip.name] = masks
        return [float(np.mean(values)) for values in scores.values()]


Timed = tuple[Backend, list[dict[str, Array]]]  # a backend, and inputs to run it on


class TeacherForced(WatchedBackend):
    """Runs each graph of two backends on the first one's inputs and notes how they differ.

    Attributes:
        errors: Largest difference of any output as a share of its range, by graph.

    Args:
        backend: Backend whose outputs go on.
        other: Backend to compare with it.
        graphs: Names of the graphs to compare.
    """

    def __init__(self, backend: Backend, other: Backend, graphs: Collection[str]) -> None:
        super().__init__(backend)
        self.errors = dict.fromkeys(graphs, 0.0)
        self._other = other

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        outputs = super().run(graph, inputs)
        if graph in self.errors:
            for name, got in self._other.run(graph, inputs).items():
                if got.dtype != np.float32:  # label maps, which follow from the logits
                    continue
                want = outputs[name]
                spread = float(want.max() - want.min()) or 1.0
                error = float(np.abs(got - want).max()) / spread
                error = error if math.isfinite(error) else HUGE
                self.errors[graph] = max(self.errors[graph], error)
        return outputs


def seconds_saved(graph: str, before: Timed, after: Timed) -> float:
    """Seconds that quantising saves in a call of a graph, both forms measured in turns.

    Args:
        graph: Name of the graph.
        before: Backend with the unquantised graph, and inputs to run it on.
        after: Backend with the quantised graph, and the same inputs in the types that it takes.

    Returns:
        Median of the differences between calls that follow each other; negative where the second
        is slower.
    """
    pair = (before, after)
    for backend, samples in pair:  # the first call allocates
        backend.run(graph, samples[0])
    differences = []
    for turn in range(ROUNDS):
        for index in range(len(before[1])):
            took = {}
            for which in (0, 1) if turn % 2 else (1, 0):
                backend, samples = pair[which]
                started = time.perf_counter()
                backend.run(graph, samples[index])
                took[which] = time.perf_counter() - started
            differences.append(took[0] - took[1])
    return median(differences)


def frame_seconds(
    segmenters: tuple[Segmenter, Segmenter], clip: VideoSequence, most_frames: int
) -> tuple[float, float]:
    """Mean seconds of a frame on two segmenters that take turns, memory updates included.

    It is the mean of two medians, of frames with a memory update and of all others, so that a
    disturbance of single frames doesn't count.
    """
    rollouts = [Rollout(segmenter) for segmenter in segmenters]
    manifest = segmenters[0].bundle.manifest
    took: tuple[dict[bool, list[float]], ...] = ({True: [], False: []}, {True: [], False: []})
    for index, frame in enumerate(frames_of(clip, manifest.size, most_frames)):
        order = (0, 1) if index % 2 else (1, 0)
        for which in order:
            started = time.perf_counter()
            rollouts[which].step(frame)
            seconds = time.perf_counter() - started
            state = rollouts[which].state
            assert state is not None
            if index and frame.given is None:
                took[which][state.since_update == 0].append(seconds)
    gap = manifest.write_every

    def mean(kinds: dict[bool, list[float]]) -> float:
        usual, updating = median(kinds[False] or kinds[True]), median(kinds[True] or kinds[False])
        return (usual * (gap - 1) + updating) / gap

    return mean(took[0]), mean(took[1])
