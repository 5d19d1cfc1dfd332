"""Results of sequences, counted while workers are at them and reported in the end."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mavos_deploy.runtime.datasets.prediction import Predicted
from mavos_deploy.runtime.datasets.results import Settings
from mavos_deploy.runtime.datasets.sequences import Problem, VideoSequence, gathered


@dataclass(frozen=True)
class BatchOutcome:
    """The result of segmenting many sequences.

    Attributes:
        predicted: Result of each sequence by its name. A sequence that failed has no frames, and
            the reason among its problems.
        kept: Names of the sequences that an earlier run had finished.
        failed: Names of the sequences that were given up.
        settings: Everything but the data that the masks depend on.
    """

    predicted: dict[str, Predicted]
    kept: tuple[str, ...]
    failed: tuple[str, ...]
    settings: Settings

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems of all sequences, in order."""
        return tuple(p for predicted in self.predicted.values() for p in predicted.problems)

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines that say how annotations were read, with the names of the sequences."""
        return tuple(gathered((name, one.notes) for name, one in self.predicted.items()))

    @property
    def frames(self) -> int:
        """Number of masks that are there now."""
        return sum(len(predicted.frames) for predicted in self.predicted.values())


class Tally:
    """The frames that are done, and the result of each sequence."""

    def __init__(self, on_frames: Callable[[int], None]) -> None:
        self._on_frames = on_frames
        self._frames: Counter[str] = Counter()
        self._predicted: dict[str, Predicted] = {}
        self._kept: list[str] = []
        self._failed: set[str] = set()

    def count(self, sequence: VideoSequence, frames: int = 1) -> None:
        """Add frames that are done."""
        self._frames[sequence.name] += frames
        self._on_frames(self._frames.total())

    def uncount(self, sequence: VideoSequence) -> None:
        """Take away the frames of a try that failed."""
        self.count(sequence, -self._frames[sequence.name])

    def add(self, sequence: VideoSequence, predicted: Predicted) -> None:
        """Note a sequence that is done; its frames were counted one by one."""
        self._predicted[sequence.name] = predicted

    def keep(self, sequence: VideoSequence, predicted: Predicted) -> None:
        """Note a sequence that an earlier run had finished."""
        self.add(sequence, predicted)
        self._kept.append(sequence.name)
        self.count(sequence, len(sequence.images))

    def give_up(self, sequence: VideoSequence, found: str, expected: str) -> None:
        """Note a sequence that is not tried again, and the words of the problem."""
        problem = Problem(sequence.name, None, found, expected)
        self.add(sequence, Predicted("", (), (), (), (problem,)))
        self._failed.add(sequence.name)

    def outcome(self, sequences: Sequence[VideoSequence], settings: Settings) -> BatchOutcome:
        """Everything, in the order of the sequences."""
        return BatchOutcome(
            {s.name: self._predicted[s.name] for s in sequences},
            tuple(self._kept),
            tuple(s.name for s in sequences if s.name in self._failed),
            settings,
        )
