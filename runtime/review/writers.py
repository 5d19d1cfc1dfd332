"""Writers of what a second look finds: confidence as a table, events as lines of JSON."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

from mavos_deploy.runtime.masks.writing import DocumentWriter, LabelledFrame, Legend
from mavos_deploy.runtime.review.events import Event

COLUMNS = ("frame", "name", "object", "confidence")
_ROWS = "rows"


class ConfidenceWriter(DocumentWriter):
    """Writes a row for each object of each frame, as CSV.

    The last cell is empty where nothing is known, as for masks that no network made.

    Args:
        path: The file to create or replace.
        legend: Names and palette.
    """

    def __init__(self, path: Path, legend: Legend) -> None:
        super().__init__(path, legend)
        self.sections.add(_ROWS, _line(COLUMNS))

    def write(self, frame: LabelledFrame) -> None:
        """Take the next frame."""
        for own, value in sorted(frame.confidence.items()):
            told = "" if value is None else f"{value:.4f}"
            self.sections.add(_ROWS, _line((frame.index, frame.stem, own, told)))

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


def _line(cells: Iterable[object]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
