"""A writer of the HTML page of one run."""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.media.overlay import draw_objects
from mavos_deploy.runtime.objects import ids_of
from mavos_deploy.runtime.review.events import Event
from mavos_deploy.runtime.review.page import Section, Strip, Thumbnail, page
from mavos_deploy.runtime.system.files import replacing, writing

WORST = 10  # frames with a thumbnail
APART = 10  # frames of which at most one has a thumbnail
WIDTH = 320  # pixels of a thumbnail
QUALITY = 80  # of its JPEG


class ReportWriter:
    """Writes the page when its block ends.

    Args:
        path: The file to create or replace.
        legend: Names and palette.
        events: Events, to which the run adds.
        facts: Everything that the run was made with, by name.
        ended: Says why the run ended early, a line; empty where it didn't.
    """

    def __init__(
        self,
        path: Path,
        legend: Legend,
        events: Sequence[Event],
        facts: Mapping[str, str],
        ended: Callable[[], str] = str,
    ) -> None:
        self._path = path
        self._legend = legend
        self._events = events
        self._facts = facts
        self._ended = ended
        self._colours = palette_colors(legend.palette)
        self._places: list[int] = []
        self._values: dict[int, list[float | None]] = {}
        self._checks: dict[int, float] = {}  # the lowest overlap that a backward check found
        self._worst: dict[int, tuple[float, Thumbnail]] = {}  # by the stretch that they are from
        with writing(path):
            path.resolve().parent.mkdir(parents=True, exist_ok=True)

    def write(self, frame: LabelledFrame) -> None:
        """Take the next frame; see `MaskWriter.write`."""
        present = set(ids_of(frame.labels))
        told = {own: value for own, value in frame.confidence.items() if value is not None}
        order = len(self._places)
        self._places.append(frame.index)
        for own in {*present, *frame.confidence, *self._values}:
            values = self._values.setdefault(own, [None] * order)
            values.append(told.get(own) if own in present else -1.0)
        if frame.checked is not None:
            for own, value in frame.checked.overlaps.items():
                self._checks[own] = min(value, self._checks.get(own, value))
        if told and frame.rgb is not None:
            self._keep(frame, order, min(told, key=lambda own: told[own]), min(told.values()))

    def _keep(self, frame: LabelledFrame, order: int, own: int, value: float) -> None:
        """Draw a thumbnail if the frame is among the worst."""
        stretch = order // APART
        before = self._worst.get(stretch)
        limit = math.inf
        if before is not None:
            limit = before[0]
        elif len(self._worst) == WORST:
            limit = max(kept for kept, _ in self._worst.values())
        if value >= limit:
            return
        text = f"{self._legend.name_of(own)} {own}: {value:.2f}"
        self._worst[stretch] = value, Thumbnail(frame.index, frame.stem, text, self._drawn(frame))
        if len(self._worst) > WORST:
            del self._worst[max(self._worst, key=lambda place: self._worst[place][0])]

    def _drawn(self, frame: LabelledFrame) -> str:
        assert frame.rgb is not None
        picture = Image.fromarray(
            draw_objects(frame.rgb, frame.labels, self._colours.astype(np.uint16))
        )
        picture.thumbnail((WIDTH, WIDTH))
        file = BytesIO()
        picture.save(file, format="JPEG", quality=QUALITY)
        return base64.b64encode(file.getvalue()).decode()

    def text(self) -> str:
        """The page as it is now."""
        checks = {own: {"lowest check": f"{value:.2f}"} for own, value in self._checks.items()}
        strips = []
        for own, values in sorted(self._values.items()):
            name, colour = self._legend.name_of(own), _hex(self._colours[own])
            strips.append(Strip(own, name, colour, values, checks.get(own, {})))
        worst = [found for _, found in sorted(self._worst.values(), key=lambda pair: pair[0])]
        section = Section(self._legend.video, self._places, strips, self._events, worst)
        title = f"{self._legend.video}: masks to look at"
        return page(title, self._facts, [section], self._ended())

    def __enter__(self) -> "ReportWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, KeyboardInterrupt):
            with replacing(self._path) as temporary:
                temporary.write_text(self.text(), "utf-8", "backslashreplace")


def _hex(colour: Sequence[int]) -> str:
    return "#" + "".join(f"{int(value):02x}" for value in colour)
