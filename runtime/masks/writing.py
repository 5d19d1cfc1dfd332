"""The protocol of everything that takes a run's label maps, and the parts that writers share."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Protocol

from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.protocol import RgbFrame
from mavos_deploy.runtime.system.files import replacing, writing

OBJECT = "object"  # class of objects that have no name


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """One frame with its labels.

    Attributes:
        index: Number in the video, from 0.
        stem: Name without a suffix; no two frames of a video share one.
        labels: Ids, uint8, shape (H, W); 0 is the background.
        rgb: The picture, uint8, shape (H, W, 3); None where labels came without it.
        picture: Name of the picture's file, which formats write down; empty for `<stem>.jpg`.
    """

    index: int
    stem: str
    labels: Labels
    rgb: RgbFrame | None = None
    picture: str = ""

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
    """

    video: str = "video"
    names: Mapping[int, str] = field(default_factory=dict)
    palette: bytes | None = None

    def name_of(self, number: int) -> str:
        """Class name of an object."""
        return self.names.get(number, OBJECT)


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
                self._parts[part] = self._open.enter_context(TemporaryFile(dir=folder))
            self._parts[part].write(text.encode())

    def __contains__(self, part: str) -> bool:
        return part in self._parts

    def save(self, pieces: Iterable[tuple[str, str]]) -> None:
        """Write the file, whole or not at all.

        Args:
            pieces: Text, and the part that follows it; a part that is empty has no text.

        Raises:
            InputError: The disk is full or the place can't be written to.
        """
        with replacing(self._path) as temporary, temporary.open("wb") as file:
            for text, part in pieces:
                file.write(text.encode())
                if held := self._parts.get(part):
                    held.seek(0)
                    copyfileobj(held, file)

    def close(self) -> None:
        """Drop the parts."""
        self._open.close()


class DocumentWriter:
    """A writer of one text file, which appears when its block ends.

    Subclasses add to `sections` in `write` and say in `pieces` how the file is put together.

    Args:
        path: The file to create or replace.
        legend: Names and palette.
    """

    def __init__(self, path: Path, legend: Legend) -> None:
        self.legend = legend
        self.sections = Sections(path)

    def write(self, frame: LabelledFrame) -> None:
        """Take the next frame."""
        raise NotImplementedError

    def pieces(self) -> Iterable[tuple[str, str]]:
        """Text of the file and the parts that follow it, see `Sections.save`."""
        raise NotImplementedError

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
