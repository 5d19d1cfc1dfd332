"""A data set as scoring sees it: sequences with frames, annotations and spans of objects."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.objects import VOID
from mavos_deploy.words import Word

NAMES_SHOWN = 3  # names that a message lists before it only counts


class Layout(Word):
    """How a data set's folders are arranged, which also says how it is scored."""

    DAVIS = "davis"
    DAVIS_2016 = "davis-2016"
    YOUTUBE_VOS = "youtube-vos"
    LVOS = "lvos"
    LONG_TIME_VIDEO = "long-time-video"
    MOSE = "mose"
    VISOR = "visor"
    BURST = "burst"


# Whether the last frame of an object's span counts. The first never does: its mask is given.
LAST_FRAME_COUNTS = {
    Layout.DAVIS: False,
    Layout.DAVIS_2016: False,
    Layout.YOUTUBE_VOS: True,
    Layout.LVOS: False,
    Layout.LONG_TIME_VIDEO: False,
    Layout.MOSE: False,
    Layout.VISOR: True,
    Layout.BURST: True,
}


@dataclass(frozen=True)
class Problem:
    """Something in the data or the results that can't be scored; the rest is.

    Attributes:
        sequence: Name of the sequence; None where the whole data set is meant.
        frame: Stem of the frame, or of the first one of several; None where no frame is meant.
        found: The state of affairs, as a phrase.
        expected: The right state of affairs, as a phrase.
    """

    sequence: str | None
    frame: str | None
    found: str
    expected: str

    def __str__(self) -> str:
        where = " ".join(part for part in (self.sequence, self.frame) if part)
        return f"{where}: {self.found}; expected {self.expected}".removeprefix(": ")


@dataclass(frozen=True)
class EncodedMask:
    """A label map in a file of many.

    Attributes:
        size: Height and width in pixels.
        runs: COCO's compressed run lengths of each object, by id.
    """

    size: Size
    runs: Mapping[int, str]


@dataclass(frozen=True)
class VideoSequence:
    """One video of a data set.

    Attributes:
        name: Name of its folder.
        images: Pictures by frame stem in order of time; empty where only annotations are there.
        annotations: Masks by frame stem.
        expected: Stems of the frames that should have an annotation, in order of time.
        spans: Frames that each object is annotated in, as the metadata states them; None where an
            object spans from its first annotation to the last frame.
        last_counts: Whether the last frame of an object's span is scored.
        encoded: Masks by frame stem, where `annotations` names a file that holds many; else none.
    """

    name: str
    images: Mapping[str, Path]
    annotations: Mapping[str, Path]
    expected: tuple[str, ...]
    spans: Mapping[int, tuple[str, ...]] | None
    last_counts: bool
    encoded: Mapping[str, EncodedMask] = field(default_factory=dict)

    def scored(self, object_id: int, start: str) -> tuple[str, ...]:
        """Stems of the frames that an object is scored in.

        Args:
            object_id: Id of the object.
            start: Stem of the frame whose mask is given as the object's reference.
        """
        span = self.expected if self.spans is None else self.spans[object_id]
        after = span[span.index(start) + 1 :]
        return after if self.last_counts else after[:-1]

    def starting(self, stem: str, present: Iterable[int], known: Iterable[int]) -> list[int]:
        """Objects whose reference mask is the annotation of a frame, ascending.

        Args:
            stem: Stem of the frame.
            present: Ids in its annotation.
            known: Objects that have started already.
        """
        new = sorted(set(present) - set(known) - {0, VOID})
        if self.spans is None:
            return new
        return [i for i in new if i in self.spans and self.spans[i][0] == stem]

    @property
    def reference_only(self) -> bool:
        """Whether it has annotations only where objects start, as test sets have."""
        if self.spans is None:
            starts = set(self.expected[:1])
        else:
            starts = {span[0] for span in self.spans.values()}
        return set(self.annotations) <= starts


@dataclass(frozen=True)
class Dataset:
    """The sequences of one split.

    Attributes:
        path: Path as it was given.
        layout: Arrangement of its folders.
        split: Name of the split, as in the names of the tables.
        sequences: Usable sequences in the data set's order.
        problems: Faults of its files.
        notes: One line for each thing that was concluded, for the user.
    """

    path: Path
    layout: Layout
    split: str
    sequences: tuple[VideoSequence, ...]
    problems: tuple[Problem, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    @property
    def reference_only(self) -> bool:
        """Whether nothing can be scored here, because the annotations are kept on a server."""
        return all(sequence.reference_only for sequence in self.sequences)


def gathered(notes: Iterable[tuple[str, Iterable[str]]]) -> list[str]:
    """Each note once, with the names of the sequences that it concerns.

    Args:
        notes: Names of sequences, and the notes of each.
    """
    of_note: dict[str, list[str]] = {}
    for name, lines in notes:
        for line in lines:
            of_note.setdefault(line, []).append(name)
    return [f"{line} ({listed(names)})" for line, names in of_note.items()]


def missing(lost: list[str], what: str) -> str:
    """A phrase with the number of missing things, and the first names of them."""
    plural = f"{what}s are" if len(lost) > 1 else f"{what} is"
    return f"{len(lost)} {plural} missing ({listed(lost)})"


def listed(names: Iterable[str]) -> str:
    """A phrase with a few names and the number of all others."""
    names = list(names)
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
