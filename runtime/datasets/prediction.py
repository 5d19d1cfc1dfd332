"""Masks of one sequence of a data set, given each object's mask in the frame it starts in."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.hashing import file_sha256
from mavos_deploy.runtime.datasets.annotations import Truth
from mavos_deploy.runtime.datasets.sequences import Problem, VideoSequence
from mavos_deploy.runtime.geometry import check_aspect
from mavos_deploy.runtime.media.frames import read_image
from mavos_deploy.runtime.media.masks import write_mask
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.state import State


class OutputError(InputError):
    """Masks that can't be written where they belong, whatever the sequence is."""


@dataclass(frozen=True)
class Predicted:
    """What became of one sequence.

    Attributes:
        inputs: Digest of its pictures and annotations.
        frames: Stems of the masks, in order of time.
        skipped: Stems of frames without a mask, because their picture can't be used.
        lost: Objects that were never given to the network, because their frame can't be used.
        problems: What was skipped and lost, and why.
    """

    inputs: str
    frames: tuple[str, ...]
    skipped: tuple[str, ...]
    lost: tuple[int, ...]
    problems: tuple[Problem, ...]


def digest(sequence: VideoSequence) -> str:
    """SHA-256 over the names and contents of a sequence's pictures and annotations."""
    whole = hashlib.sha256()
    for files in (sequence.images, sequence.annotations):
        for stem, path in files.items():
            try:
                content = file_sha256(path)
            except OSError:  # named when it is read
                content = "unreadable"
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
        segmenter: Ready.
        sequence: With pictures.
        folder: Exists; gets a palette PNG for each frame from the first reference mask on.
        stretch: Accept another aspect ratio than the bundle's.
        on_frame: Called for every frame.

    Returns:
        What was written, and what was not.

    Raises:
        OutputError: The masks can't be written.
        InputError: The sequence can't be segmented.
        BackendError: The inference library failed.
    """
    inputs = digest(sequence)
    truth = Truth(sequence)
    frames: list[str] = []
    skipped: list[str] = []
    lost: list[int] = []
    problems: list[Problem] = []
    state: State | None = None
    for stem, picture in sequence.images.items():
        on_frame()
        labels, new = truth.read(stem)
        if state is None and not new:
            continue  # nothing to follow yet
        try:
            rgb = read_image(picture)
            if state is not None and rgb.shape[:2] != state.size:
                raise InputError(f"{picture}: {rgb.shape[0]}x{rgb.shape[1]} pixels")
            if labels is not None and new and labels.shape != rgb.shape[:2]:
                raise InputError(f"{picture}: not the size of its annotation")
            own = rgb.shape[0], rgb.shape[1]
            in_network = segmenter.bundle.manifest.input_size(own)  # may refuse, whatever the fit
            if not stretch:
                check_aspect(own, in_network)
        except InputError as error:
            skipped.append(stem)
            lost += new
            with_it = f", and with it object {', '.join(map(str, new))}" if new else ""
            found = f"frame left out{with_it} ({error})"
            problems.append(
                Problem(sequence.name, stem, found, "a picture that the bundle can follow")
            )
            continue
        given = None
        if labels is not None and new:
            given = np.where(np.isin(labels, new), labels, 0).astype(np.uint8)
        if state is None:
            assert given is not None
            written, state = given, segmenter.start(rgb, given)
        else:
            written, state = segmenter.step(rgb, state, given)
        try:
            write_mask(folder / f"{stem}.png", written, truth.palette)
        except InputError as error:
            raise OutputError(str(error)) from error
        frames.append(stem)
    if state is None and not problems:
        what = "no picture" if not sequence.images else "no frame with a usable reference mask"
        problems.append(Problem(sequence.name, None, f"not segmented: {what}", "one to start from"))
    return Predicted(
        inputs,
        tuple(frames),
        tuple(skipped),
        tuple(lost),
        (*problems, *truth.close()),
    )
