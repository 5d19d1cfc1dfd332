"""Writers of what a second look finds: confidence as a table, events as lines of JSON."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

from mavos_deploy.runtime.masks.writing import DocumentWriter, LabelledFrame, Legend
from mavos_deploy.runtime.review.events import Event

COLUMNS = ("frame", "name", "object", "confidence")
CHECK = "check"  # one more, where frames are checked by a pass backward
_ROWS = "rows"


class ConfidenceWriter(DocumentWriter):
    """Writes a row for each object of each frame, as CSV.

    A cell is empty where nothing is known, as for masks that no network made.

    Args:
        path: The file to create or replace.
        legend: Names and palette.
        checked: Whether to write what backward checks found, too.
    """

    def __init__(self, path: Path, legend: Legend, checked: bool = False) -> None:
        super().__init__(path, legend)
        self._checked = checked
        self.sections.add(_ROWS, _line((*COLUMNS, CHECK) if checked else COLUMNS))

    def write(self, frame: LabelledFrame) -> None:
        """Take the next frame."""
        overlaps = frame.checked.overlaps if frame.checked is not None else {}
        for own, value in sorted(frame.confidence.items()):
            more = (_cell(overlaps.get(own)),) if self._checked else ()
            row = (frame.index, frame.stem, own, _cell(value), *more)
            self.sections.add(_ROWS, _line(row))

    def pieces(self) -> Iterable[tuple[str, str]]:
        """See `DocumentWriter.pieces`."""
        yield "", _ROWS


class EventsWriter(DocumentWriter):
    """Writes the events of a run, a line of JSON for each.

    Args:
        path: The file to create or replace.
        legend: Names and palette.
        events: Events, to which the run adds.
    """

    def __init__(self, path: Path, legend: Legend, events: Sequence[Event]) -> None:
        super().__init__(path, legend)
        self._events = events

    def write(self, frame: LabelledFrame) -> None:
        """Take the next frame, whose events are known already."""

    def pieces(self) -> Iterable[tuple[str, str]]:
        """See `DocumentWriter.pieces`."""
        yield "".join(f"{event.as_json()}\n" for event in self._events), ""


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _line(cells: Iterable[object]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
