"""Masks of one sequence of a data set, given each object's mask in the frame it starts in."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.hashing import file_sha256
from mavos_deploy.runtime.datasets.annotations import Truth, size_text
from mavos_deploy.runtime.datasets.sequences import Problem, VideoSequence
from mavos_deploy.runtime.geometry import Size, check_aspect
from mavos_deploy.runtime.masks.png import write_mask
from mavos_deploy.runtime.masks.small_objects import small_objects
from mavos_deploy.runtime.media.pictures import read_turned
from mavos_deploy.runtime.media.steps import Coming, Steps
from mavos_deploy.runtime.media.told import Told, Turns
from mavos_deploy.runtime.objects import Labels, only_objects
from mavos_deploy.runtime.segmenter import AnyFrame, Segmenter
from mavos_deploy.runtime.state import State

_Named = tuple[str, bytes | None]  # a frame's stem, and the palette of its mask


class OutputError(InputError):
    """Masks that can't be written where they belong, whatever the sequence is."""


@dataclass(frozen=True)
class ClipFrame:
    """One frame of a sequence with its annotation.

    Attributes:
        stem: Name of the frame's files without their endings.
        rgb: Picture, uint8 [H, W, 3].
        given: Labels of the objects that start here, uint8 [H, W]; None where none does.
        truth: The whole annotation, uint8 [H, W] with 255 for void; None where there is none.
        follows: Objects that started in earlier frames, ascending.
        starts: Objects that start here, ascending.
    """

    stem: str
    rgb: NDArray[np.uint8]
    given: Labels | None
    truth: Labels | None
    follows: tuple[int, ...]
    starts: tuple[int, ...]


@dataclass
class SequenceReader:
    """Yields the frames of a sequence in order of time, from the first usable object on.

    A frame whose picture can't be used is left out, and reading goes on with the next one.

    Attributes:
        sequence: A sequence with pictures; it can be read once.
        fits: Raises an InputError for a height and width that can't be segmented.
        on_picture: Called for each picture, also for those before the first object.
        strict: Raise an InputError at the first problem instead of collecting problems.
        truth: The annotations, as far as they are read.
        size: Height and width of the frames in pixels; None until one was yielded.
        skipped: Stems of the frames that were left out.
        lost: Objects that start in such a frame.
        problems: One entry for each frame that was left out.
    """

    sequence: VideoSequence
    fits: Callable[[Size], None]
    on_picture: Callable[[], None] = lambda: None
    strict: bool = False
    size: Size | None = field(default=None, init=False)
    skipped: list[str] = field(default_factory=list, init=False)
    lost: list[int] = field(default_factory=list, init=False)
    problems: list[Problem] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.truth = Truth(self.sequence)
        self._turns = Turns(Told(notes=self.truth.notes))

    def __iter__(self) -> Iterator[ClipFrame]:
        for stem, picture in self.sequence.images.items():
            self.on_picture()
            follows = tuple(sorted(self.truth.starts))
            labels, new = self.truth.read(stem)
            if self.strict and self.truth.problems:
                raise InputError(str(self.truth.problems[0]))
            if self.size is None and not new:
                continue  # nothing to follow yet
            try:
                rgb = self._read(picture, labels)
            except InputError as error:
                if self.strict:
                    raise
                self._leave_out(stem, new, error)
                continue
            self.size = rgb.shape[0], rgb.shape[1]
            given = None
            if labels is not None and new:
                given = only_objects(labels, new)
            yield ClipFrame(stem, rgb, given, labels, follows, tuple(new))

    def _read(self, path: Path, labels: Labels | None) -> NDArray[np.uint8]:
        rgb = self._turns.told_of(path, *read_turned(path))
        own = rgb.shape[0], rgb.shape[1]
        if self.size is not None and own != self.size:
            raise InputError(
                f"{path}: {size_text(own)} pixels, but earlier frames have {size_text(self.size)}"
            )
        if labels is not None and labels.shape != own:
            raise InputError(
                f"{path}: {size_text(own)} pixels, but its annotation has {size_text(labels.shape)}"
            )
        self.fits(own)
        return rgb

    def _leave_out(self, stem: str, new: list[int], error: InputError) -> None:
        self.skipped.append(stem)
        self.lost += new
        with_it = f", and with it object {', '.join(map(str, new))}" if new else ""
        found = f"frame left out{with_it} ({error})"
        expected = "a picture that the bundle can follow"
        self.problems.append(Problem(self.sequence.name, stem, found, expected))


@dataclass(frozen=True)
class Predicted:
    """The result of segmenting one sequence.

    Attributes:
        inputs: Digest of its pictures and annotations.
        frames: Stems of the masks, in order of time.
        skipped: Stems of frames without a mask, because their picture can't be used.
        lost: Objects that were never given to the network, because their frame can't be used.
        problems: One entry for each thing that was skipped or lost, with the reason.
        notes: One line for each thing that was concluded from the annotations, or says how
            pictures are turned.
        confidence: Confidence in the mask of an object in each of `frames`, by its id in digits;
            None where it isn't followed yet. Empty in records of earlier releases.
    """

    inputs: str
    frames: tuple[str, ...]
    skipped: tuple[str, ...]
    lost: tuple[int, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()  # which records of earlier releases lack
    confidence: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


def digest(sequence: VideoSequence) -> str:
    """SHA-256 over the names and contents of a sequence's pictures and annotations."""
    whole = hashlib.sha256()

    @cache  # a file may hold the annotations of all frames
    def content_of(path: Path) -> str:
        try:
            return file_sha256(path)
        except OSError:  # named when it is read
            return "unreadable"

    for files in (sequence.images, sequence.annotations):
        for stem, path in files.items():
            content = content_of(path)
            whole.update(f"{stem}\0{content}\n".encode(errors="surrogatepass"))
        whole.update(b"\n")
    return whole.hexdigest()


def segment_sequence(
    segmenter: Segmenter,
    sequence: VideoSequence,
    folder: Path,
    *,
    stretch: bool,
    on_frame: Callable[[], None],
) -> Predicted:
    """Segment one sequence, given each object's mask in the frame it starts in.

    A picture that can't be used is left out, and the network goes on with the next one.

    Args:
        segmenter: A segmenter that is ready.
        sequence: A sequence with pictures.
        folder: Existing folder; it gets a palette PNG for each frame from the first reference
            mask on.
        stretch: Accept another aspect ratio than the bundle's.
        on_frame: Called for every frame.

    Returns:
        The names of the masks that were written, and what was left out.

    Raises:
        OutputError: The masks can't be written.
        InputError: The sequence can't be segmented.
        BackendError: The inference library failed.
    """

    def fits(own: Size) -> None:
        in_network = segmenter.bundle.manifest.input_size(own)  # may refuse, whatever the fit
        if not stretch:
            check_aspect(own, in_network)

    inputs = digest(sequence)
    reader = SequenceReader(sequence, fits, on_picture=on_frame)
    frames: list[str] = []
    told: dict[str, list[float | None]] = {}
    vanished: list[Problem] = []

    def note(frame: ClipFrame) -> None:
        if frame.given is not None:
            in_network = segmenter.bundle.manifest.input_size(frame.given.shape)
            vanished.extend(vanishing(sequence.name, frame.stem, frame.given, in_network))

    def coming() -> Iterator[Coming[_Named, AnyFrame, State]]:
        for frame in read:
            note(frame)
            named = frame.stem, reader.truth.palette  # a later annotation may bring one
            yield Coming(named, frame.rgb, frame.given)

    def keep(named: _Named, labels: Labels, state: State) -> None:
        stem, palette = named
        try:
            write_mask(folder / f"{stem}.png", labels, palette)
        except InputError as error:
            raise OutputError(str(error)) from error
        for own, value in state.confidence.items():
            values = told.setdefault(str(own), [])
            values.extend([None] * (len(frames) - len(values)))
            values.append(round(value, 4))
        frames.append(stem)

    read = iter(reader)
    if (first := next(read, None)) is not None:
        assert first.given is not None
        note(first)
        state = segmenter.start(first.rgb, first.given)
        keep((first.stem, reader.truth.palette), first.given, state)
        for stepped in Steps(segmenter, coming(), state):
            keep(stepped.item, stepped.labels, stepped.state)
    problems = reader.problems
    if first is None and not problems:
        what = "no picture" if not sequence.images else "no frame with a usable reference mask"
        problems = [Problem(sequence.name, None, f"not segmented: {what}", "one to start from")]
    return Predicted(
        inputs,
        tuple(frames),
        tuple(reader.skipped),
        tuple(reader.lost),
        (*problems, *vanished, *reader.truth.close()),
        tuple(reader.truth.notes),
        {own: (*of, *[None] * (len(frames) - len(of))) for own, of in told.items()},
    )


def vanishing(sequence: str, stem: str, labels: Labels, size: Size) -> list[Problem]:
    """Objects of which nothing is left at the network's size.

    Args:
        sequence: Name of the sequence.
        stem: Stem of the frame.
        labels: Labels of the objects that start there, uint8 [H, W].
        size: Height and width of frames in the network, in pixels.
    """
    expected = "a size of the bundle that keeps it"
    found = small_objects(labels, size, smallest=1)
    return [Problem(sequence, stem, text, expected) for text in found.values()]
