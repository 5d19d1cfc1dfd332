"""Events of a run: places at which a person should look, found in labels and pictures.

Everything is measured on every n-th pixel, in the thread that writes, so that no frame waits.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.masks.writing import Checked
from mavos_deploy.runtime.objects import VOID, Labels, histogram
from mavos_deploy.runtime.protocol import RgbFrame
from mavos_deploy.runtime.system.opencv import opencv
from mavos_deploy.words import Word, counted

PIXELS = 12_000  # of a frame that are looked at, at most
LARGE = 3.0  # times its usual area is suspicious
NO_LONGER_LARGE = 1.5
FEWEST = 24  # pixels looked at of an object, below which its shape and colours say nothing
PIECE = 0.25  # share of an object's area that makes a second piece of it suspicious
NO_PIECE = 0.1
KEEP = 0.9  # share of the past in the slow averages
BLACK = 12  # brightest value of a black frame, all but a hundredth of its pixels
FROZEN = 5  # equal frames in a row
BINS = 4  # of each colour
SWAPPED_PLACE = 0.5  # two objects swap if that makes their ways so much shorter
FAR = 0.6  # way that tells one object from another, in sides of a square of their area
AGREED = 0.5  # overlap (J) of two passes below which one of them is on something else
SWAPPED_COLOUR = 0.5  # likeness, of 2 in all, that two objects gain by changing places


class EventKind(Word):
    """Kinds of events, with their texts."""

    LOST = "lost"
    FOUND = "found"
    LEFT = "left"
    LARGE = "large"
    SPLIT = "split"
    SWAP = "swap"
    DISAGREES = "disagrees"
    ALL_LOST = "all-lost"
    POISONED = "poisoned"
    BLACK = "black"
    FROZEN = "frozen"


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        kind: Its kind.
        index: Number of the frame in the video, from 0.
        stem: Name of the frame.
        objects: Ids of the objects that it is about; empty for the frame as a whole.
        text: One line about it.
    """

    kind: EventKind
    index: int
    stem: str
    objects: tuple[int, ...]
    text: str

    def as_json(self) -> str:
        """One line of a file of events."""
        return json.dumps(
            {
                "event": str(self.kind),
                "frame": self.index,
                "name": self.stem,
                "objects": self.objects,
                "text": self.text,
            }
        )


@dataclass
class _Followed:
    """The past of an object.

    Attributes:
        area: Slow average of its area in pixels.
        place: Its centre in pixels, when it was last seen.
        way: Way of the centre from one frame to the next.
        edge: Whether it reached the border of the picture then.
        colours: Shares of its colours at its first frame.
        gone: Whether it has no pixel now.
        large: Whether it is suspiciously large now.
        pieces: Whether it is in pieces now, or was from the beginning.
    """

    area: float
    place: NDArray[np.float64]
    way: NDArray[np.float64]
    edge: bool
    colours: NDArray[np.float64]
    gone: bool = False
    large: bool = False
    pieces: bool = False


@dataclass(frozen=True)
class _Seen:
    """An object in a frame; see `_Followed`."""

    area: int
    place: NDArray[np.float64]
    edge: bool
    colours: NDArray[np.float64]
    second: float


@dataclass
class Watch:
    """Looks at the frames of a video in their order.

    Attributes:
        events: All events so far, in the order of their frames.
    """

    events: list[Event] = field(default_factory=list)
    _objects: dict[int, _Followed] = field(default_factory=dict)
    _swapped: set[tuple[int, int]] = field(default_factory=set)
    _before: NDArray[np.uint8] | None = None
    _equal: int = 0
    _black: bool = False
    _all_gone: bool = False

    def look(self, index: int, stem: str, labels: Labels, rgb: RgbFrame | None) -> list[Event]:
        """Look at the next frame.

        Args:
            index: Number of the frame in the video.
            stem: Name of the frame.
            labels: Ids, uint8 [H, W].
            rgb: The picture, uint8 [H, W, 3]; None where there is none.

        Returns:
            Events of this frame.
        """
        found: list[tuple[EventKind, tuple[int, ...], str]] = []
        step = max(1, math.ceil(math.sqrt(labels.size / PIXELS)))
        coarse = labels[::step, ::step]
        picture = None if rgb is None else rgb[::step, ::step]
        if picture is not None:
            found += self._pictures(picture)
        counts = histogram(labels, 256)
        present = {int(i) for i in np.flatnonzero(counts) if i not in (0, VOID)}
        seen = {own: _look(coarse, own, picture) for own in sorted(present)}
        found += self._places(present)
        found += self._shapes(seen)
        found += self._swaps(seen)
        self._remember(seen)
        events = [Event(kind, index, stem, objects, text) for kind, objects, text in found]
        self.events += events
        return events

    def checked(self, index: int, stem: str, checked: Checked) -> None:
        """Note what a backward check from a frame found, where it is suspicious."""
        for own, value in checked.overlaps.items():
            if value < AGREED:
                text = (
                    f"object {own}, followed back from here, overlaps by {value:.2f} with what it "
                    f"was in frame {checked.back_to}"
                )
                self.events.append(Event(EventKind.DISAGREES, index, stem, (own,), text))

    def poisoned(self, index: int, stem: str) -> None:
        """Note that the memory holds NaN after a frame, the last one that has a mask."""
        text = "the memory after this frame holds NaN or infinite values; no mask follows it"
        self.events.append(Event(EventKind.POISONED, index, stem, (), text))

    def _pictures(
        self, picture: NDArray[np.uint8]
    ) -> Iterator[tuple[EventKind, tuple[int, ...], str]]:
        same = self._before is not None and np.array_equal(picture, self._before)
        self._equal = self._equal + 1 if same else 0
        self._before = picture.copy()
        if self._equal == FROZEN:
            text = f"the picture is the same for {FROZEN + 1} frames, or more; it may be frozen"
            yield EventKind.FROZEN, (), text
        black = float(np.quantile(picture, 0.99)) <= BLACK
        if black and not self._black:
            yield EventKind.BLACK, (), "the picture is black"
        self._black = black

    def _places(self, present: set[int]) -> Iterator[tuple[EventKind, tuple[int, ...], str]]:
        for own, past in self._objects.items():
            gone = own not in present
            if gone and not past.gone:
                if past.edge:
                    yield EventKind.LEFT, (own,), f"object {own} left the picture"
                else:
                    yield EventKind.LOST, (own,), f"object {own} is lost: it has no pixel"
            elif past.gone and not gone:
                yield EventKind.FOUND, (own,), f"object {own} is found again"
            past.gone = gone
        all_gone = bool(self._objects) and not present
        if all_gone and not self._all_gone:
            told = counted(len(self._objects), "object")
            yield EventKind.ALL_LOST, tuple(self._objects), f"all is lost: {told}, and no pixel"
        self._all_gone = all_gone

    def _shapes(self, seen: dict[int, _Seen]) -> Iterator[tuple[EventKind, tuple[int, ...], str]]:
        for own, now in seen.items():
            past = self._objects.get(own)
            if past is None or now.area < FEWEST:
                continue
            growth = now.area / max(past.area, FEWEST)
            if growth >= LARGE and not past.large:
                past.large = True
                text = f"object {own} has {growth:.1f} times its usual area"
                yield EventKind.LARGE, (own,), text
            elif growth < NO_LONGER_LARGE:
                past.large = False
            if now.second >= PIECE and not past.pieces:
                past.pieces = True
                text = f"object {own} is in pieces; {now.second:.0%} of it lies apart from the rest"
                yield EventKind.SPLIT, (own,), text
            elif now.second < NO_PIECE:
                past.pieces = False

    def _swaps(self, seen: dict[int, _Seen]) -> Iterator[tuple[EventKind, tuple[int, ...], str]]:
        told = [own for own in seen if own in self._objects and seen[own].area >= FEWEST]
        for pair in combinations(told, 2):
            a, b = pair
            reason = self._swap(seen[a], seen[b], self._objects[a], self._objects[b])
            if reason and pair not in self._swapped:
                self._swapped.add(pair)
                text = f"objects {pair[0]} and {pair[1]} may have changed places: {reason}"
                yield EventKind.SWAP, pair, text
            elif not reason:
                self._swapped.discard(pair)

    def _swap(self, a: _Seen, b: _Seen, was_a: _Followed, was_b: _Followed) -> str:
        """What says that two objects changed places; empty for nothing."""
        side = math.sqrt((a.area + b.area) / 2)
        if not (was_a.gone or was_b.gone):
            to_a, to_b = was_a.place + was_a.way, was_b.place + was_b.way
            stay = _far(a.place, to_a) + _far(b.place, to_b)
            change = _far(a.place, to_b) + _far(b.place, to_a)
            if change < SWAPPED_PLACE * stay and stay > 2 * FAR * side:
                return "each is where the other was"
        stay = _alike(a.colours, was_a.colours) + _alike(b.colours, was_b.colours)
        change = _alike(a.colours, was_b.colours) + _alike(b.colours, was_a.colours)
        return "each has the other's colours" if change - stay > SWAPPED_COLOUR else ""

    def _remember(self, seen: dict[int, _Seen]) -> None:
        for own, now in seen.items():
            past = self._objects.get(own)
            if past is None:
                pieces = now.second >= NO_PIECE
                still = np.zeros(2)
                self._objects[own] = _Followed(
                    now.area, now.place, still, now.edge, now.colours, pieces=pieces
                )
                continue
            if now.area:
                past.way = now.place - past.place
                past.place, past.edge = now.place, now.edge
                past.area = KEEP * past.area + (1 - KEEP) * now.area


def _look(coarse: Labels, own: int, picture: NDArray[np.uint8] | None) -> _Seen:
    mask = coarse == own
    rows, columns = mask.sum(1), mask.sum(0)
    area = int(rows.sum())
    total = max(area, 1)
    y, x = rows @ np.arange(len(rows)) / total, columns @ np.arange(len(columns)) / total
    edge = bool(rows[0] or rows[-1] or columns[0] or columns[-1])
    colours = np.zeros(BINS**3)
    if picture is not None and area:
        bins = picture[mask].astype(np.intp) // (256 // BINS)
        flat = (bins[:, 0] * BINS + bins[:, 1]) * BINS + bins[:, 2]
        colours = np.bincount(flat, minlength=BINS**3) / area
    return _Seen(area, np.array([y, x]), edge, colours, _second(mask, area))


def _second(mask: NDArray[np.bool_], area: int) -> float:
    """Area of the second largest piece of a mask, as a share of the whole."""
    if area < FEWEST:
        return 0.0
    cv2 = opencv()
    _, _, pieces, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    areas = sorted(pieces[1:, cv2.CC_STAT_AREA].tolist())
    return float(areas[-2]) / area if len(areas) > 1 else 0.0


def _far(place: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.hypot(*(place - other)))


def _alike(colours: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.minimum(colours, other).sum())


def summary_of(events: Sequence[Event]) -> str:
    """All events in one line; empty for none."""
    kinds = dict.fromkeys(event.kind for event in events)
    return ", ".join(f"{kind}: {sum(e.kind is kind for e in events)}" for kind in kinds)
