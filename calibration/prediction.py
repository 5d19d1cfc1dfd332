"""Masks of a bundle over a data set, sequence by sequence, so that a stopped run can go on.

A sequence's folder appears whole, and `run.json` beside the folders ties it to the bundle and to
the files it was made from. What is recorded there and still fits is not segmented again.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mavos_deploy.calibration.annotations import Truth
from mavos_deploy.calibration.sequences import Dataset, Problem, VideoSequence
from mavos_deploy.errors import InputError
from mavos_deploy.hashing import file_sha256
from mavos_deploy.runtime.bundle import Manifest
from mavos_deploy.runtime.files import replacing, replacing_directory, writing
from mavos_deploy.runtime.frames import read_image
from mavos_deploy.runtime.geometry import check_aspect
from mavos_deploy.runtime.masks import write_mask
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.state import State

RECORD = "run.json"
FORMAT_VERSION = 1  # raised whenever an older release would misread a record


@dataclass(frozen=True)
class Predicted:
    """What became of one sequence.

    Attributes:
        inputs: Digest of its pictures and annotations.
        frames: Stems of the masks, in order of time.
        skipped: Stems of frames without a mask, because their picture can't be used.
        lost: Objects that were never given to the network, because their frame can't be used.
        problems: What was skipped and lost, and why.
        seconds: From the first frame to the last mask.
    """

    inputs: str
    frames: tuple[str, ...]
    skipped: tuple[str, ...]
    lost: tuple[int, ...]
    problems: tuple[Problem, ...]
    seconds: float


class RunFolder:
    """A folder of results and the record of how they were made."""

    def __init__(self, path: Path, manifest: Manifest, overwrite: bool) -> None:
        """Check that masks of this bundle may go to the folder; nothing is written yet.

        Args:
            path: Existing or not.
            manifest: Of the bundle.
            overwrite: Replace the recorded sequences, also those of another bundle.

        Raises:
            InputError: The path is a file, holds something that is no evaluation, or holds the
                results of another bundle.
        """
        self.path = path
        self._manifest = manifest
        self._done: dict[str, Predicted] = {}
        self._replaced: list[str] = []
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; give a folder for the results")
        if not path.is_dir() or not any(path.iterdir()):
            return
        if not (path / RECORD).is_file():
            raise InputError(
                f"{path} holds no {RECORD}, so it is no evaluation of a bundle and is not touched; "
                "choose another folder, or score it as it is with --results"
            )
        identity, done = _read_record(path / RECORD)
        if overwrite:
            self._replaced = list(done)
        elif identity != _maker(manifest):
            raise InputError(
                f"{path} holds the results of another bundle; choose another folder, or pass "
                "--overwrite to replace them"
            )
        else:
            self._done = done

    def begin(self) -> None:
        """Make the folder, and remove what is to be replaced."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._write()
        for name in self._replaced:
            shutil.rmtree(self.path / name, ignore_errors=True)

    def finished(self, sequence: VideoSequence, inputs: str) -> Predicted | None:
        """The record of a sequence if its masks are all there and its inputs are still the same.

        A sequence that gave no mask is not finished: another `--fit` may take it.
        """
        known = self._done.get(sequence.name)
        if known is None or known.inputs != inputs or not known.frames:
            return None
        folder = self.path / sequence.name
        whole = all((folder / f"{stem}.png").is_file() for stem in known.frames)
        return known if whole else None

    def add(self, name: str, predicted: Predicted) -> None:
        """Record a sequence whose folder is complete."""
        self._done[name] = predicted
        self._write()

    def _write(self) -> None:
        record = {
            "format_version": FORMAT_VERSION,
            "bundle": _maker(self._manifest),
            "variant": self._manifest.variant,
            "trained": self._manifest.trained,
            "sequences": {name: asdict(done) for name, done in self._done.items()},
        }
        with replacing(self.path / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def predict(
    segmenter: Segmenter,
    dataset: Dataset,
    folder: RunFolder,
    stretch: bool,
    on_frame: Callable[[], None],
) -> dict[str, Predicted]:
    """Segment every sequence of a data set that is not finished yet.

    Args:
        segmenter: Ready.
        dataset: With pictures.
        folder: To write `<sequence>/<frame stem>.png` to.
        stretch: Distort sequences whose aspect ratio is not the bundle's, instead of refusing them.
        on_frame: Called for every frame, also of finished sequences.

    Returns:
        What became of each sequence.

    Raises:
        InputError: The results can't be written.
        BackendError: The inference library failed.
    """
    folder.begin()
    found = {}
    for sequence in dataset.sequences:
        inputs = digest(sequence)
        done = folder.finished(sequence, inputs)
        if done is not None:
            for _ in sequence.images:
                on_frame()
        else:
            with replacing_directory(folder.path / sequence.name, overwrite=True) as temporary:
                done = segment_sequence(
                    segmenter, sequence, temporary, inputs, stretch=stretch, on_frame=on_frame
                )
            folder.add(sequence.name, done)
        found[sequence.name] = done
    return found


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
    inputs: str,
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
        inputs: The sequence's digest, for the record.
        stretch: Accept another aspect ratio than the bundle's.
        on_frame: Called for every frame.

    Returns:
        What was written, and what was not.

    Raises:
        InputError: The masks can't be written.
        BackendError: The inference library failed.
    """
    started = time.perf_counter()
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
            if not stretch:
                check_aspect(rgb.shape[:2], segmenter.bundle.manifest.size)
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
        write_mask(folder / f"{stem}.png", written, truth.palette)
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
        round(time.perf_counter() - started, 3),
    )


def _maker(manifest: Manifest) -> str:
    """Equal for bundles that make the same masks: of a quantised one, the graphs count too."""
    if manifest.quantisation is None:
        return manifest.identity
    graphs = sorted(graph.sha256 for graph in manifest.graphs.values())
    return hashlib.sha256("".join([manifest.identity, *graphs]).encode()).hexdigest()


def _read_record(path: Path) -> tuple[str, dict[str, Predicted]]:
    """The bundle's identity and the finished sequences of a record."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        if data["format_version"] != FORMAT_VERSION:
            raise InputError(
                f"{path} was written by another release of mavos-deploy; choose another folder"
            )
        done = {}
        for name, entry in data["sequences"].items():
            if not name or name != Path(name).name or name.startswith("."):
                raise ValueError(f"{name!r:.60} is no sequence")
            done[name] = Predicted(
                str(entry["inputs"]),
                tuple(map(str, entry["frames"])),
                tuple(map(str, entry["skipped"])),
                tuple(map(int, entry["lost"])),
                tuple(Problem(**problem) for problem in entry["problems"]),
                float(entry["seconds"]),
            )
        return str(data["bundle"]), done
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error!r:.80}); choose another folder") from None
