"""A folder of results: a folder of masks for each sequence, tied to what the masks were made with.

A sequence's folder appears whole, with the record `run.json` in it: the bundle, what computed, and
a digest of the data. So several processes may fill one results folder, what is finished is known
without asking any of them, and masks of two bundles are never taken for those of one.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.datasets.prediction import Predicted, digest
from mavos_deploy.runtime.datasets.sequences import Problem, VideoSequence, listed
from mavos_deploy.runtime.manifest import Manifest
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.files import replacing_directory, writing

RECORD = "run.json"
FORMAT_VERSION = 2  # raised whenever an older release would misread a record


@dataclass(frozen=True)
class Settings:
    """What masks depend on besides the data.

    Attributes:
        bundle: Digest of its identity and its graphs.
        variant: Of the bundle.
        trained: False where its masks mean nothing.
        backend: Name of what ran the graphs.
        arithmetic: What it computed in.
        stretch: Sequences of another aspect ratio than the bundle's were distorted, not refused.
    """

    bundle: str
    variant: str
    trained: bool
    backend: str
    arithmetic: str
    stretch: bool

    @classmethod
    def of(cls, segmenter: Segmenter, stretch: bool) -> "Settings":
        """Those of a segmenter that is ready."""
        manifest, traits = segmenter.bundle.manifest, segmenter.backend.traits
        return cls(
            content_of(manifest),
            manifest.variant,
            manifest.trained,
            traits.name,
            traits.arithmetic,
            stretch,
        )


@dataclass(frozen=True)
class _Record:
    settings: Settings
    predicted: Predicted


def content_of(manifest: Manifest) -> str:
    """Digest of a bundle's identity and its graphs; equal for bundles that give the same masks."""
    graphs = sorted((graph.file, graph.sha256) for graph in manifest.files)
    return hashlib.sha256(json.dumps([manifest.identity, graphs]).encode()).hexdigest()


class Results:
    """A results folder, new or with sequences of earlier runs."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        """Read what is there; nothing is written yet.

        Args:
            path: Existing or not.
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
        """Check that masks of these settings may join what is there, and make the folder.

        Args:
            settings: Of this run.

        Raises:
            InputError: There are results of another bundle or backend and they are to be kept, or
                the folder can't be made.
        """
        if not self._overwrite:
            for name, record in self._there.items():
                if found := _difference(record.settings, settings):
                    raise InputError(
                        f"{self.path} holds the results of {found} ({name}); choose another "
                        "folder, or pass --overwrite to replace them"
                    )
        self._settings = settings
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        if self._overwrite:
            for name in self._there:
                shutil.rmtree(self.path / name, ignore_errors=True)
            self._there = {}

    def finished(self, sequence: VideoSequence) -> Predicted | None:
        """What became of a sequence, if its masks are all there and settings and data are the same.

        A sequence that gave no mask is not finished: another `--fit` may take it.
        """
        record = self._there.get(sequence.name)
        if record is None or record.settings != self._settings or not record.predicted.frames:
            return None
        folder, predicted = self.path / sequence.name, record.predicted
        whole = all((folder / f"{stem}.png").is_file() for stem in predicted.frames)
        return predicted if whole and predicted.inputs == digest(sequence) else None

    def fill(self, name: str, segment: Callable[[Path], Predicted]) -> Predicted:
        """Make a sequence's folder, which appears, or replaces an older one, when it is complete.

        Args:
            name: Of the sequence.
            segment: Called with a folder to write `<frame stem>.png` to. What it raises passes
                through, and leaves nothing behind.

        Raises:
            InputError: The folder can't be written.
        """
        with replacing_directory(self.path / name, overwrite=True, marker=RECORD) as temporary:
            predicted = segment(temporary)
            data = {
                "format_version": FORMAT_VERSION,
                **asdict(self._settings),
                **asdict(predicted),
            }
            text = json.dumps(data, indent=2) + "\n"
            (temporary / RECORD).write_text(text, encoding="utf-8")
        return predicted


def check_one_run(path: Path, names: Collection[str]) -> None:
    """Refuse masks of different bundles or backends in one folder, as far as records tell.

    Args:
        path: The results folder. Masks that were made elsewhere have no records and pass.
        names: Sequences that are to be scored together.

    Raises:
        InputError: Two of them were made with different settings, or a record can't be read.
    """
    found = {n: _read_record(path / n / RECORD) for n in names if (path / n / RECORD).is_file()}
    records = list(found.items())
    for name, record in records[1:]:
        first_name, first = records[0]
        if difference := _difference(record.settings, first.settings):
            raise InputError(
                f"{path}: {name} holds the results of {difference} than {first_name}; score them "
                "apart with --sequences, or segment one of them again"
            )


def _difference(found: Settings, wanted: Settings) -> str | None:
    """In what way results don't go together; another `--fit` is only a reason to do them again."""
    if found.bundle != wanted.bundle:
        return "another bundle"
    if replace(found, stretch=wanted.stretch) != wanted:
        return f"another backend, {found.backend} in {found.arithmetic}"
    return None


def _read_records(path: Path) -> dict[str, _Record]:
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


def _read_record(path: Path) -> _Record:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        if data["format_version"] != FORMAT_VERSION:
            raise InputError(
                f"{path} was written by another release of mavos-deploy; choose another folder"
            )
        predicted = Predicted(
            str(data["inputs"]),
            tuple(map(str, data["frames"])),
            tuple(map(str, data["skipped"])),
            tuple(map(int, data["lost"])),
            tuple(Problem(**problem) for problem in data["problems"]),
        )
        settings = Settings(**{field.name: data[field.name] for field in fields(Settings)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error!r:.80}); choose another folder") from None
    return _Record(settings, predicted)
