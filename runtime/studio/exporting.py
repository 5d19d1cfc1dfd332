"""Writes masks of a project in any format of `mavos-run --write`, in a thread of its own."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mavos_deploy import records
from mavos_deploy.errors import InputError, MavosError, one_line, shortage
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.media.frames import open_frames
from mavos_deploy.runtime.media.outputs import Outputs, Wanted, parse_wanted
from mavos_deploy.runtime.media.part import part_of
from mavos_deploy.runtime.media.results import RESULTS, Place, Target
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.review.second_look import SecondLook
from mavos_deploy.runtime.system.files import replacing

FOLDER = "exports"
RECORD = "export.json"


@dataclass(frozen=True)
class Order:
    """A result that a person wants.

    Attributes:
        kind: A word of `--write`.
        option: Its variant; empty for the first.
        objects: Ids to write; None for all.
        start: First frame; None for the first that has a mask.
        end: Last frame; None for the last that has a mask.
    """

    kind: str
    option: str = ""
    objects: tuple[int, ...] | None = None
    start: int | None = None
    end: int | None = None

    def wanted(self, folder: Path, name: str) -> Wanted:
        """The result in a folder.

        Raises:
            InputError: The kind or its option is unknown.
        """
        text = f"{self.kind}:{self.option}" if self.option else self.kind
        return parse_wanted(text, str(folder / name), "export")


@dataclass(frozen=True)
class Command:
    """The command line that does the same as an export.

    Attributes:
        text: The command.
        same: Whether it gives the same bytes.
        why: Why it doesn't, and what to do.
    """

    text: str
    same: bool = True
    why: str = ""


@dataclass(frozen=True)
class Content:
    """What an export writes, as it was when it was asked for.

    Attributes:
        frames: Numbers of the frames.
        legend: Names and palette.
        labels: Gives a frame's mask.
        confidence: Gives the confidence in each object of a frame, by id.
        facts: What the masks were made with, by name.
    """

    frames: range
    legend: Legend
    labels: Callable[[int], Labels]
    confidence: Callable[[int], Mapping[int, float]]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Export:
    """One export and how far it has come."""

    number: int
    kind: str
    command: Command
    path: str
    total: int
    done: int = 0
    state: Literal["running", "done", "failed", "stopped"] = "running"
    message: str = ""
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The values of the interface."""
        return {
            "id": self.number,
            "kind": self.kind,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "path": self.path,
            "command": self.command.text,
            "same": self.command.same,
            "why": self.command.why,
            "download": f"/api/exports/{self.number}" if self.state == "done" else None,
            "message": self.message,
            "notes": list(self.notes),
        }


def _keep(export: Export) -> None:
    """Write down a result that is done, beside it."""
    with replacing(Path(export.path).with_name(RECORD), follow=False) as temporary:
        temporary.write_text(json.dumps(records.encode(export), indent=2), encoding="utf-8")


def _kept(folder: Path) -> Export | None:
    """A result of an earlier server; None where it isn't there any more."""
    with suppress(InputError, FileNotFoundError):
        export = records.read(Export, folder / RECORD, InputError)
        path = folder / Path(export.path).name  # the folder may have been moved
        if path.exists():
            return replace(export, path=str(path))
    return None


def kinds() -> list[dict[str, Any]]:
    """All kinds of results, as the page lists them."""
    found = []
    for kind in (kind for kind in RESULTS.values() if not kind.review):
        missing = ""
        try:
            kind.check()
        except MavosError as error:
            missing = str(error)
        found.append(
            {
                "name": kind.name,
                "help": kind.help,
                "suffix": kind.suffix,
                "folder": kind.place is not Place.FILE,
                "options": dict(kind.options),
                "colour": kind.colour,
                "missing": missing,
            }
        )
    return found


class _StoppedError(Exception):
    """The export is to end, and nothing of it stays."""


class Exporter:
    """Writes one result after the other.

    Args:
        folder: The project's folder; results lie in a folder of their own in it.
        source: Path of the video.
        length: Number of its frames.
        on_change: Called with each export that changes.
    """

    def __init__(
        self, folder: Path, source: str, length: int, on_change: Callable[[Export], None]
    ) -> None:
        self._folder = folder / FOLDER
        self._source = source
        self._length = length
        self._on_change = on_change
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        found = self._folder.glob("[0-9]*") if self._folder.is_dir() else ()
        earlier = {int(path.name): path for path in found if path.name.isdigit()}
        self._next = max(earlier, default=0) + 1
        self.exports = [
            export for _, path in sorted(earlier.items()) if (export := _kept(path)) is not None
        ]

    @property
    def active(self) -> bool:
        """Whether an export is under way."""
        return self._thread is not None and self._thread.is_alive()

    def place(self, order: Order) -> Wanted:
        """Where the next result will lie."""
        return order.wanted(self._folder / f"{self._next:03d}", Path(self._source).stem)

    def start(self, wanted: Wanted, command: Command, content: Content) -> Export:
        """Begin to write.

        Args:
            wanted: The result, from `place`.
            command: The command line that does the same.
            content: What to write.

        Raises:
            InputError: A library is missing, or the place can't be written to.
        """
        outputs = Outputs([wanted], overwrite=False, inputs=(Path(self._source),))
        total = len(content.frames)
        export = Export(self._next, wanted.kind.name, command, str(wanted.path), total)
        self._next += 1
        self._stop.clear()
        self.exports.append(export)
        self._thread = threading.Thread(
            target=self._work, args=(export, outputs, content), name="mavos-export", daemon=True
        )
        self._thread.start()
        return export

    def stop(self) -> None:
        """End the export that runs, if one does, and remove what it wrote."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _show(self, export: Export) -> Export:
        self.exports[-1] = export
        self._on_change(export)
        return export

    def _work(self, export: Export, outputs: Outputs, content: Content) -> None:
        state: Literal["done", "failed", "stopped"] = "failed"
        message, notes = "", []
        try:
            for done, note in self._write(outputs, content):
                notes += note
                export = self._show(replace(export, done=done))
            state = "done"
        except _StoppedError:
            state = "stopped"
        except MavosError as error:
            message = str(error)
        except Exception as error:  # shown on the page, whatever it is
            message = shortage(error) or f"{type(error).__name__}: {one_line(error)}"
        export = replace(export, state=state, message=message, notes=tuple(notes))
        if state == "done":
            with suppress(InputError):  # the disk is full now; the result itself is whole
                _keep(export)
        else:
            with suppress(OSError):
                shutil.rmtree(Path(export.path).parent)
        self._show(export)

    def _write(self, outputs: Outputs, content: Content) -> Iterator[tuple[int, list[str]]]:
        """Write all frames; after each the number so far, and lines on what is lacking."""
        part, look = content.frames, SecondLook(facts=content.facts)
        with open_frames(self._source, part_of(part, self._length)) as source:
            source.original.part = part[0] > 0
            name = (source.folder or Path(source.name)).stem
            legend = replace(content.legend, video=name, pictures=source.folder)
            target = Target(legend, source.size, original=source.original)
            target = replace(target, events=look.events, facts=look.facts)
            done = 0
            with outputs.make() as held, outputs.open(target) as files:
                for frame in source:
                    if self._stop.is_set():
                        raise _StoppedError
                    held.check()
                    labels, told = content.labels(frame.index), content.confidence(frame.index)
                    named = (frame.index, frame.stem, labels, frame.rgb, frame.file)
                    labelled = LabelledFrame(*named, frame.time, frame.duration, dict(told))
                    look.look(labelled)
                    files.write(labelled)
                    done += 1
                    yield done, []
            if done != len(part):
                raise InputError(
                    f"{self._source}: {len(part) - done} frames are damaged and were left out; "
                    "re-encode the video with ffmpeg"
                )
            yield done, [*files.notes, *source.told.damage]
