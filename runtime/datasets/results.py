"""A folder of results: one folder of masks for each sequence, tied to the bundle that made them.

A sequence's folder appears whole, with the record `run.json` in it: the bundle, the backend, and a
digest of the data. Several processes can therefore fill one results folder, a later run knows
which sequences are finished, and masks of two bundles are never taken for those of one.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from mavos_deploy.errors import InputError
from mavos_deploy.reading import read_regular
from mavos_deploy.records import LARGEST, advice, decode, encode
from mavos_deploy.runtime.bundles.manifest import Manifest
from mavos_deploy.runtime.datasets.prediction import Predicted, digest
from mavos_deploy.runtime.datasets.sequences import VideoSequence, listed
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.files import replacing_directory, writing
from mavos_deploy.runtime.system.left_overs import clear_left_overs

RECORD = "run.json"
FORMAT_VERSION = 2  # raised whenever an older release would misread a record


@dataclass(frozen=True)
class Settings:
    """Everything that masks depend on besides the data.

    Attributes:
        bundle: Digest of the bundle's identity and graphs.
        variant: Name of the bundle's network.
        trained: False where the bundle's masks mean nothing.
        backend: Name of the backend that ran the graphs.
        arithmetic: Type that it computed in.
        stretch: Whether sequences of another aspect ratio than the bundle's were distorted; else
            they were refused.
    """

    bundle: str
    variant: str
    trained: bool
    backend: str
    arithmetic: str
    stretch: bool

    @classmethod
    def of(cls, segmenter: Segmenter, stretch: bool) -> "Settings":
        """The settings of a segmenter that is ready."""
        manifest, traits = segmenter.bundle.manifest, segmenter.backend.traits
        return cls(
            content_of(manifest),
            manifest.variant,
            manifest.trained,
            traits.name,
            traits.arithmetic,
            stretch,
        )


Record = tuple[Settings, Predicted]


def content_of(manifest: Manifest) -> str:
    """Digest of a bundle's identity and its graphs; equal for bundles that give the same masks."""
    graphs = sorted((graph.file, graph.sha256) for graph in manifest.files)
    return hashlib.sha256(json.dumps([manifest.identity, graphs]).encode()).hexdigest()


class Results:
    """A results folder, new or with sequences of earlier runs."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        """Read what is there; nothing is written yet.

        Args:
            path: The results folder; it need not exist.
            overwrite: Replace all sequences that are there, also those of another bundle.

        Raises:
            InputError: The path is a file, a folder in it is no result of a run, or a record can't
                be read.
        """
        self.path = path
        self._overwrite = overwrite
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; give a folder for the results")
        self._there = _read_records(path)

    def bind(self, settings: Settings) -> None:
        """Check that masks of these settings may join the others, and make the folder.

        Args:
            settings: Settings of this run.

        Raises:
            InputError: The folder holds results of another bundle or backend, which are to be kept,
                or it can't be made.
        """
        if not self._overwrite:
            for name, (own, _) in self._there.items():
                if found := _difference(own, settings):
                    raise InputError(
                        f"{self.path} holds the results of {found} ({name}); choose another "
                        "folder, or pass --overwrite to replace them"
                    )
        self._settings = settings
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            clear_left_overs(self.path)
        if self._overwrite:
            for name in self._there:
                shutil.rmtree(self.path / name, ignore_errors=True)
            self._there = {}

    def finished(self, sequence: VideoSequence) -> Predicted | None:
        """The earlier result of a sequence, if it is whole and settings and data are the same.

        A sequence that gave no mask is not finished: another `--fit` may take it.
        """
        settings, predicted = self._there.get(sequence.name, (None, None))
        if predicted is None or settings != self._settings or not predicted.frames:
            return None
        folder = self.path / sequence.name
        whole = all((folder / f"{stem}.png").is_file() for stem in predicted.frames)
        return predicted if whole and predicted.inputs == digest(sequence) else None

    def fill(self, name: str, segment: Callable[[Path], Predicted]) -> Predicted:
        """Make a sequence's folder, which appears, or replaces an older one, when it is complete.

        Args:
            name: Name of the sequence.
            segment: Called with a folder to write `<frame stem>.png` to. An error that it raises
                passes through, and leaves nothing behind.

        Raises:
            InputError: The folder can't be written, or another run with other settings has made it
                meanwhile.
        """
        folder = self.path / name
        with replacing_directory(folder, overwrite=True, marker=RECORD) as temporary:
            predicted = segment(temporary)
            if name not in self._there:
                self._check_unfilled(folder)
            data = encode(self._settings, FORMAT_VERSION) | encode(predicted)
            text = json.dumps(data, indent=2, allow_nan=False) + "\n"
            (temporary / RECORD).write_text(text, encoding="utf-8")
        return predicted

    def _check_unfilled(self, folder: Path) -> None:
        """Refuse to replace what another run, which may fill the same folder, made meanwhile."""
        record = folder / RECORD
        found = record.is_file() and _difference(_read_record(record)[0], self._settings)
        if found:
            raise InputError(
                f"{folder} was filled meanwhile with the results of {found}; choose another "
                "folder for one of the two runs"
            )


def check_one_run(path: Path, names: Collection[str]) -> None:
    """Refuse masks of different bundles or backends in one folder, as far as records tell.

    Args:
        path: The results folder. Masks that were made elsewhere have no records and pass.
        names: Names of the sequences that are to be scored together.

    Raises:
        InputError: Two of them were made with different settings, or a record can't be read.
    """
    found = [(n, _read_record(path / n / RECORD)) for n in names if (path / n / RECORD).is_file()]
    for name, (settings, _) in found[1:]:
        first, (expected, _) = found[0]
        if difference := _difference(settings, expected):
            raise InputError(
                f"{path}: {name} holds the results of {difference} than {first}; score them "
                "apart with --sequences, or segment one of them again"
            )


def _difference(found: Settings, wanted: Settings) -> str | None:
    """Why results don't go together; another `--fit` is only a reason to make them again."""
    if found.bundle != wanted.bundle:
        return "another bundle"
    if replace(found, stretch=wanted.stretch) != wanted:
        return f"another backend, {found.backend} in {found.arithmetic}"
    return None


def _read_records(path: Path) -> dict[str, Record]:
    """Records of the sequences in a results folder, which must hold no other folder."""
    if not path.is_dir():
        return {}
    folders = sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))
    if other := [folder.name for folder in folders if not (folder / RECORD).is_file()]:
        raise InputError(
            f"{path}: {listed(other)} holds no {RECORD}, so it is no result of a run and nothing "
            "here is touched; choose another folder, or score masks as they are with --results"
        )
    return {folder.name: _read_record(folder / RECORD) for folder in folders}


def _read_record(path: Path) -> Record:
    def fail(reason: str) -> InputError:
        other = "was written by another release of mavos-deploy"
        what = other if "format version" in reason else "is damaged"
        return InputError(f"{path} {what} ({reason})" + advice(reason, "choose another folder"))

    try:
        content = read_regular(path, LARGEST)
    except OSError as error:  # gone, where another process replaces the folder just now
        raise fail(f"it can't be read ({error})") from None
    settings = decode(Settings, content, fail, FORMAT_VERSION)
    return settings, decode(Predicted, content, fail)
