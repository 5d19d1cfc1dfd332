"""The files of a run: which are wanted, whether they may be written, and all of them at once."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from mavos_deploy.errors import InputError
from mavos_deploy.reading import open_regular
from mavos_deploy.runtime.masks.writing import LabelledFrame, MaskWriter
from mavos_deploy.runtime.media.results import RESULTS, Place, ResultKind, Target
from mavos_deploy.runtime.objects import VOID, only_objects
from mavos_deploy.runtime.system.files import writing
from mavos_deploy.runtime.system.folders import HeldFolder, check_free, is_own
from mavos_deploy.runtime.system.left_overs import clear_left_overs

BLANK = 1 << 16  # bytes of a file that are looked at in one


@dataclass(frozen=True)
class Wanted:
    """One result that a run is to write.

    Attributes:
        kind: What is written.
        path: File or folder.
        option: Variant of the kind; empty where it has none.
        colour: Colour that takes the place of pixels, RRGGBB; empty where the kind has none.
    """

    kind: ResultKind
    path: Path
    option: str = ""
    colour: str = ""


def parse_wanted(text: str, name: str, option_name: str = "--write") -> Wanted:
    """Read `KIND[:OPTION][=PATH]`.

    Args:
        text: A value of `--write`.
        name: Name of the video, for the default path: `<name>-<kind>`, with the kind's ending.
        option_name: Option that the words were given to, for errors.

    Raises:
        InputError: The kind or its option is unknown, or the file's ending is another.
    """
    words, _, path = text.partition("=")
    word, _, option = words.partition(":")
    if word not in RESULTS:
        raise InputError(
            f"{option_name} {text}: {word!r} is unknown; accepted are {', '.join(RESULTS)}"
        )
    kind = RESULTS[word]
    try:
        chosen, colour = kind.split_option(option)
    except ValueError as error:
        raise InputError(f"{option_name} {text}: {error}") from None
    ending = kind.suffix if kind.place is Place.FILE else ""
    where = Path(path or f"{name}-{word}{ending}")
    suffix = where.suffix.lower()
    if ending and suffix != ending:
        raise InputError(f"{option_name} {text}: the name must end in {ending}")
    endings = {other.suffix for other in RESULTS.values()}
    if not ending and suffix and suffix in endings and not where.is_dir():
        raise InputError(
            f"{option_name} {text}: {word} is a folder of files, and {where.name} looks like a "
            f"file; give the name of a folder, such as {where.with_suffix('')}"
        )
    return Wanted(kind, where, chosen, colour)


@dataclass(frozen=True)
class Taken:
    """The part of a run that is written. All else is computed in the same way.

    Attributes:
        objects: Ids of the objects that are written; None for all.
        first: Number of the first frame that is written.
    """

    objects: frozenset[int] | None = None
    first: int = 0

    def of(self, frame: LabelledFrame) -> LabelledFrame | None:
        """A frame as it is written; None where it isn't."""
        if frame.index < self.first:
            return None
        if self.objects is None:
            return frame
        told = {own: value for own, value in frame.confidence.items() if own in self.objects}
        checked = frame.checked
        if checked is not None:
            found = {own: value for own, value in checked.overlaps.items() if own in self.objects}
            checked = replace(checked, overlaps=found)
        labels = only_objects(frame.labels, self.objects)
        return replace(frame, labels=labels, confidence=told, checked=checked)


def parse_taken(objects: str | None, first: int) -> Taken:
    """Read the values of `--objects`, `A,B` or None for all, and `--write-from`.

    Raises:
        InputError: One is no id.
    """
    if objects is None:
        return Taken(None, first)
    ids = [text.strip() for text in objects.split(",")]
    if not all(text.isascii() and text.isdigit() and 0 < int(text[:4]) < VOID for text in ids):
        raise InputError(f"--objects {objects}: expected ids from 1 to {VOID - 1}, such as 1,3")
    return Taken(frozenset(map(int, ids)), first)


class Outputs:
    """All that a run writes.

    Making one checks every place and changes nothing.

    Args:
        results: Results to write, at least one.
        overwrite: Whether to replace results that exist.
        inputs: Files and folders that the run reads and must never replace. They need not exist.
        keep: Whether files of an earlier run stay until they are written again, because this one
            continues it.
        taken: The part of the run that is written.

    Attributes:
        taken: The same.

    Raises:
        InputError: Two results share a place, a library is missing, something is there that may
            not be replaced, or an input would be.
    """

    def __init__(
        self,
        results: Sequence[Wanted],
        overwrite: bool,
        inputs: tuple[Path, ...] = (),
        keep: bool = False,
        taken: Taken = Taken(),
    ) -> None:
        self.results = tuple(results)
        self.taken = taken
        self._keep = keep
        self._present: dict[Path, list[Path]] = {}
        self._old: list[Path] = []
        self._old_folders: list[Path] = []
        for order, result in enumerate(self.results):
            if twin := [r for r in self.results[:order] if _same(r.path, result.path)]:
                raise InputError(
                    f"{twin[0].kind.name} and {result.kind.name} would both be written to "
                    f"{result.path}; give one of them another path"
                )
        for result in self.results:
            result.kind.check()
        for result in self.results:
            if result.kind.place is Place.FILE:
                self._check_file(result, overwrite or keep, inputs)
        for result in self.results:
            if result.kind.place is not Place.FILE:
                self._check_folder(result, overwrite, inputs)

    @property
    def folder(self) -> Path:
        """Folder in which the first result lies; it may be missing before the results are."""
        return self.results[0].path.resolve().parent

    def _check_file(self, result: Wanted, overwrite: bool, inputs: tuple[Path, ...]) -> None:
        _spare(inputs, [result.path])
        if result.path.exists() and not overwrite:
            raise InputError(f"{result.path} exists; pass --overwrite to replace it")

    def _check_folder(self, result: Wanted, overwrite: bool, inputs: tuple[Path, ...]) -> None:
        folder, kind = result.path, result.kind
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; give a folder for the masks")
        check_free(folder)
        present = self._present[folder] = _present(folder)
        if kind.place is Place.BESIDE:
            present = [path for path in present if path.suffix == kind.suffix]
            _spare(inputs, present)
            if present and not (overwrite or self._keep):
                raise InputError(
                    f"{folder} holds {present[0].name}; pass --overwrite to replace such files"
                )
            return
        _spare(inputs, [folder, *present])
        if present and not (overwrite or self._keep):
            raise InputError(
                f"{folder} exists and is not empty; pass --overwrite to replace its masks"
            )
        others = [other.path for other in self.results if other is not result]
        own = [path for path in present if path not in others]
        nested = [path for path in own if kind.nested and path.name.isdigit() and path.is_dir()]
        files = [path for path in own if path not in nested]
        files += [file for path in nested for file in _present(path)]
        other = [p for p in files if not p.is_file() or p.suffix.lower() != kind.suffix]
        if other:
            name = other[0].relative_to(folder)
            each = other[0].is_dir() and str(name).isdigit() and not kind.nested
            hint = "ask for binary, which has a folder for each object, or " if each else ""
            raise InputError(
                f"{folder} holds more than masks ({name}), so it is not replaced; {hint}choose "
                "another folder"
            )
        if foreign := [file for file in files if not (kind.owns(file) or _is_blank(file))]:
            raise InputError(
                f"{foreign[0]} is no {kind.made}, so {folder} is not replaced; choose another "
                "folder"
            )
        self._old += files
        self._old_folders += nested

    def make(self) -> "HeldFolders":
        """Make the folders and hold them, and empty them of results of an earlier run.

        Raises:
            InputError: Another run holds a folder, it was changed since it was checked, or it
                can't be written to.
        """
        held = HeldFolders()
        try:
            for result in self.results:
                if result.kind.place is not Place.FILE:
                    held.add(result)
                    if _present(result.path) != self._present[result.path]:
                        raise InputError(
                            f"{result.path} was changed by something else since this run began; "
                            "run it again, with another folder if that was another run"
                        )
            for old in [] if self._keep else self._old:
                with writing(old):
                    old.unlink()
            for folder in self._old_folders:
                clear_left_overs(folder)
                with suppress(OSError):  # files of this run are to come, or something else is there
                    folder.rmdir()
        except BaseException:
            held.close()
            raise
        return held

    def open(self, target: Target) -> "OpenOutputs":
        """Begin to write.

        Args:
            target: What all results need to know of the video.

        Raises:
            InputError: A library is missing, or a place can't be written to; nothing is left.
        """
        opened = OpenOutputs(self.taken)
        try:
            for result in self.results:
                own = replace(
                    target, **{k: getattr(result, k) for k in ("path", "option", "colour")}
                )
                opened.add(result.kind.open(own))
        except BaseException as error:
            opened.__exit__(type(error), error, error.__traceback__)
            raise
        return opened


class HeldFolders:
    """The folders of a run, which no other run may fill meanwhile."""

    def __init__(self) -> None:
        self._held: list[tuple[HeldFolder, ResultKind]] = []

    def add(self, result: Wanted) -> None:
        """Make a folder and hold it; see `HeldFolder`."""
        self._held.append((HeldFolder(result.path), result.kind))

    def check(self) -> None:
        """Refuse to go on where a folder is no longer the same; see `HeldFolder.check`."""
        for folder, _ in self._held:
            folder.check()

    def check_files(self, frames: int) -> None:
        """Check that no file of a frame is gone; see `HeldFolder.check_files`.

        Args:
            frames: Number of frames that were written.
        """
        for folder, kind in self._held:
            if not kind.nested:
                folder.check_files(kind.suffix, frames)

    def close(self) -> None:
        """Free the folders. Safe to call twice."""
        for folder, _ in self._held:
            folder.close()

    def __enter__(self) -> "HeldFolders":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class OpenOutputs:
    """Writers that take the same frames. Use it in a `with` block, which each of them ends whole.

    A writer that fails at the end does not keep the others from finishing.

    Args:
        taken: The part of the frames that is written.
    """

    def __init__(self, taken: Taken = Taken()) -> None:
        self._taken = taken
        self._writers: list[MaskWriter] = []

    def add(self, writer: MaskWriter) -> None:
        """Add a writer, whose block begins."""
        writer.__enter__()
        self._writers.append(writer)

    @property
    def notes(self) -> list[str]:
        """Lines on what could not be taken over from the source; complete once the block ended."""
        notes = [note for writer in self._writers for note in getattr(writer, "notes", ())]
        return list(dict.fromkeys(notes))  # videos of one source lack the same things

    def write(self, frame: LabelledFrame) -> bool:
        """Give the next frame to each writer; see `MaskWriter.write`.

        Returns:
            Whether it is written at all.
        """
        taken = self._taken.of(frame)
        if taken is None:
            return False
        for writer in self._writers:
            writer.write(taken)
        return True

    def __enter__(self) -> "OpenOutputs":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        first: BaseException | None = None
        for writer in self._writers:
            try:
                writer.__exit__(kind, error, trace)
            except BaseException as failed:
                first = first or failed
        if first is not None:
            raise first


def _spare(inputs: tuple[Path, ...], replaced: list[Path]) -> None:
    """Refuse to replace an input."""
    there = [path for path in replaced if path.exists()]
    for given in inputs:
        if given.exists() and any(given.samefile(path) for path in there):
            raise InputError(f"{given} is an input and would be replaced; choose another output")


def _is_blank(file: Path) -> bool:
    """Whether a file holds nothing, as one may after the power went in the middle of a run."""
    try:
        with open_regular(file) as opened:
            return not any(part.strip(b"\0") for part in iter(lambda: opened.read(BLANK), b""))
    except OSError:
        return False


def _present(folder: Path) -> list[Path]:
    """Files and folders in a folder, sorted, without locks and left-overs of runs."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if not is_own(path)]


def _same(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()
