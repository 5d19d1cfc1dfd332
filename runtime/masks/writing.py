"""The protocol of everything that takes a run's label maps, and the parts that writers share."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from shutil import copyfileobj
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, Protocol

from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame
from mavos_deploy.runtime.system.files import replacing, writing

IN_MEMORY = 1 << 16  # bytes of a part that stay in memory
OBJECT = "object"  # class of objects that have no name


@dataclass(frozen=True)
class Checked:
    """What following the objects of a frame back to an earlier one found.

    Attributes:
        back_to: Name of the earlier frame.
        overlaps: Overlap (J), 0..1, of each object there with what the run has there, by id.
    """

    back_to: str
    overlaps: Mapping[int, float]


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """One frame with its labels.

    Attributes:
        index: Number in the video, from 0.
        stem: Name without a suffix; no two frames of a video share one.
        labels: Ids, uint8, shape (H, W); 0 is the background.
        rgb: The picture, uint8, shape (H, W, 3); None where labels came without it.
        picture: Name of the picture's file, which formats write down; empty for `<stem>.jpg`.
        time: Time at which it is shown, in seconds; None where that is unknown.
        duration: Time that it is shown, in seconds; None where that is unknown.
        confidence: Confidence in the masks of the followed objects, 0..1, by id; None for one of
            which nothing is known.
        checked: What a backward check from this frame found; None where there was none.
    """

    index: int
    stem: str
    labels: Labels
    rgb: RgbFrame | None = None
    picture: str = ""
    time: Fraction | None = None
    duration: Fraction | None = None
    confidence: Mapping[int, float | None] = field(default_factory=dict)
    checked: Checked | None = None

    @property
    def file_name(self) -> str:
        """Name of the picture's file."""
        return self.picture or f"{self.stem}.jpg"


@dataclass(frozen=True)
class Legend:
    """The parts of a video's labels that are the same in all frames.

    Attributes:
        video: Name of the video.
        names: Class names by object id; objects without one are an "object".
        palette: RGB bytes, 3 per id; None for DAVIS's palette.
        pictures: Folder with the frames as pictures; None where there is none.
    """

    video: str = "video"
    names: Mapping[int, str] = field(default_factory=dict)
    palette: bytes | None = None
    pictures: Path | None = None

    def name_of(self, number: int) -> str:
        """Class name of an object."""
        return self.names.get(number, OBJECT)


class Classes:
    """Numbers of classes, given in the order in which their names come up, from 1."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers) + 1)

    def as_json(self) -> str:
        """COCO's list of categories."""
        return json.dumps([{"id": i, "name": name} for name, i in self._numbers.items()])


class MaskWriter(AbstractContextManager["MaskWriter"], Protocol):
    """Takes the frames of a video in order.

    Use it in a `with` block. At its end, also after Ctrl-C, files are whole and have their names;
    after any other error a file that could not be finished does not appear.
    """

    def write(self, frame: LabelledFrame) -> None:
        """Take the next frame.

        Raises:
            InputError: The format can't hold the frame, the disk is full, or the place can't be
                written to.
        """


class Sections:
    """Text of one file whose parts grow at the same time; memory stays flat.

    The parts are kept in nameless temporary files beside the target, of which a killed process
    leaves nothing.

    Args:
        path: The file to create or replace.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[str, IO[bytes]] = {}
        self._open = ExitStack()
        with writing(path):
            path.resolve().parent.mkdir(parents=True, exist_ok=True)

    def add(self, part: str, text: str) -> None:
        """Append text to a part, which begins with it if it is new.

        Raises:
            InputError: The disk is full or the place can't be written to.
        """
        with writing(self._path):
            if part not in self._parts:
                folder = self._path.resolve().parent
                held = SpooledTemporaryFile(IN_MEMORY, dir=str(folder))  # noqa: SIM115  # as below
                self._parts[part] = self._open.enter_context(held)
            self._parts[part].write(_utf8(text))

    def save(self, pieces: Iterable[tuple[str, str]]) -> None:
        """Write the file, whole or not at all.

        Args:
            pieces: Text, and the part that follows it; a part that is empty has no text.

        Raises:
            InputError: The disk is full or the place can't be written to.
        """
        with replacing(self._path) as temporary, temporary.open("wb") as file:
            for text, part in pieces:
                file.write(_utf8(text))
                if held := self._parts.get(part):
                    held.seek(0)
                    copyfileobj(held, file)

    def close(self) -> None:
        """Drop the parts."""
        self._open.close()


class DocumentWriter(ABC):
    """A writer of one text file, which appears when its block ends.

    Subclasses add to `sections` in `write` and say in `pieces` how the file is put together.

    Args:
        path: The file to create or replace.
        legend: Names and palette.
    """

    def __init__(self, path: Path, legend: Legend) -> None:
        self.legend = legend
        self.sections = Sections(path)

    @abstractmethod
    def write(self, frame: LabelledFrame) -> None:
        """Take the next frame."""

    @abstractmethod
    def pieces(self) -> Iterable[tuple[str, str]]:
        """Text of the file and the parts that follow it, see `Sections.save`."""

    def __enter__(self) -> "DocumentWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if error is None or isinstance(error, KeyboardInterrupt):
                self.sections.save(self.pieces())
        finally:
            self.sections.close()


class FolderWriter(ABC):
    """A writer of one file or more for each frame, each of them whole or not there.

    Args:
        folder: Folder of the files; made with its parents where it is missing.
        legend: Names and palette.

    Raises:
        InputError: The place can't be written to.
    """

    suffix = ".png"

    def __init__(self, folder: Path, legend: Legend) -> None:
        self.folder = folder
        self.legend = legend
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def path_of(self, frame: LabelledFrame, within: str = "") -> Path:
        """File of a frame, in a folder within the writer's own."""
        return self.folder / within / f"{frame.stem}{self.suffix}"

    @abstractmethod
    def write(self, frame: LabelledFrame) -> None:
        """Take the next frame."""

    def __enter__(self) -> "FolderWriter":
        return self

    def __exit__(  # noqa: B027  (nothing is open between two frames)
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        pass


def _utf8(text: str) -> bytes:
    """Text of a file; what a file name holds beside characters is written as an escape."""
    return text.encode("utf-8", "backslashreplace")
