"""The HTML page of a run or of an evaluation: one file that needs no network and no script."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from mavos_deploy.runtime.review.events import Event

STRIP = 1000  # units of a strip's width
LEVELS = 10  # steps of the colours of confidence
UNKNOWN, GONE = "#d6d9de", "#5f6672"
MOST_EVENTS = 1000  # rows of the table of events

# From red over amber to green-blue, which people without green or red tell apart, too.
_ENDS = ((178, 34, 52), (240, 173, 78), (0, 128, 128))

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;
color:#1d2129}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .6rem}p{margin:.3rem 0}
table{border-collapse:collapse;font-size:.9rem}td,th{padding:.2rem .8rem .2rem 0;text-align:left;
vertical-align:top}th{font-weight:600}.strip{display:grid;gap:.2rem 1rem;
grid-template-columns:11rem 1fr;align-items:center;margin:.35rem 0}
.strip svg{width:100%;height:26px;display:block}
.name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.dim{color:#5f6672}
.dot{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}
.worst{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:1rem}
figure{margin:0}img{width:100%;display:block;border-radius:3px}figcaption{font-size:.85rem}
.scale i{display:inline-block;width:1.6rem;height:.8rem}
"""


@dataclass(frozen=True)
class Strip:
    """One object over time.

    Attributes:
        number: Its id.
        name: Its name.
        colour: Its colour in the thumbnails, such as #aa0000.
        values: For each frame its confidence 0..1, None where that is unknown, or -1 where the
            object has no pixel.
        scores: Figures beside the name, such as J.
    """

    number: int
    name: str
    colour: str
    values: Sequence[float | None]
    scores: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Thumbnail:
    """One of the worst frames.

    Attributes:
        index: Its number in the video.
        stem: Its name.
        text: A line under it.
        picture: Content of a JPEG file in base64.
    """

    index: int
    stem: str
    text: str
    picture: str


@dataclass(frozen=True)
class Section:
    """One video.

    Attributes:
        title: Its name.
        places: Number in the video of each frame.
        strips: Its objects.
        events: Its events; None where nobody looked for any.
        worst: Its worst frames.
        stems: Name of each frame, for frames that are known by it; else numbers are shown.
    """

    title: str
    places: Sequence[int]
    strips: Sequence[Strip]
    events: Sequence[Event] | None
    worst: Sequence[Thumbnail]
    stems: Sequence[str] = ()


def page(title: str, facts: Mapping[str, str], sections: Iterable[Section], ended: str = "") -> str:
    """The whole page.

    Args:
        title: Its heading.
        facts: Everything that the run was made with, by name.
        sections: One for each video.
        ended: Why the run ended early; empty where it didn't.
    """
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts.items())
    colours = [colour_of(n / LEVELS) for n in range(LEVELS + 1)]
    scale = "".join(f'<i style="background:{colour}"></i>' for colour in colours)
    body = "".join(_section(section) for section in sections)
    early = f"<p><strong>The run ended early:</strong> {escape(ended)}</p>" if ended else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{early}"
        f'<p class="scale dim">Confidence from 0 {scale} to 1; '
        f'<i style="background:{GONE}"></i> no pixel, <i style="background:{UNKNOWN}"></i> '
        f"unknown, &#9662; an event</p>{body}"
        f"<h2>Made with</h2><table>{rows}</table></body></html>\n"
    )


def colour_of(confidence: float) -> str:
    """Colour of a confidence, in `LEVELS` steps, such as #b22234."""
    place = min(max(round(confidence * LEVELS) / LEVELS, 0.0), 1.0) * 2
    low, high = (_ENDS[0], _ENDS[1]) if place <= 1 else (_ENDS[1], _ENDS[2])
    share = place if place <= 1 else place - 1
    mixed = (round(a + (b - a) * share) for a, b in zip(low, high, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _section(section: Section) -> str:
    strips = "".join(_strip(strip, section) for strip in section.strips)
    worst = "".join(
        f'<figure><img alt="frame {escape(one.stem)}" src="data:image/jpeg;base64,{one.picture}">'
        f"<figcaption><b>{escape(one.stem)}</b> {escape(one.text)}</figcaption></figure>"
        for one in section.worst
    )
    told = ""
    if names := section.stems or section.places:
        told = f'<p class="dim">frames {escape(str(names[0]))} to {escape(str(names[-1]))}</p>'
    shown = f"<h2>Frames to look at first</h2><div class=worst>{worst}</div>" if worst else ""
    events = "" if section.events is None else _events(section.events)
    return f"<h2>{escape(section.title)}</h2>{told}{strips}{shown}{events}"


def _strip(strip: Strip, section: Section) -> str:
    scores = "".join(f" &middot; {escape(k)} {escape(v)}" for k, v in strip.scores.items())
    events = section.events or ()
    own = [event for event in events if strip.number in event.objects or not event.objects]
    return (
        f'<div class=strip><div class=name title="{escape(strip.name)}">'
        f'<span class=dot style="background:{strip.colour}"></span>{strip.number} '
        f'{escape(strip.name)}<span class="dim">{scores}</span></div>'
        f'<svg viewBox="0 0 {STRIP} 26" preserveAspectRatio="none" role="img" '
        f'aria-label="confidence of object {strip.number}">'
        f"{_bars(strip.values)}{_marks(own, section.places)}</svg></div>"
    )


def _bars(values: Sequence[float | None]) -> str:
    """Rectangles, one for each stretch of one colour; many frames share a bar by their worst."""
    count = min(STRIP, len(values)) or 1
    colours = []
    for place in range(count):
        part = values[place * len(values) // count : (place + 1) * len(values) // count]
        known = [value for value in part if value is not None]
        colours.append(UNKNOWN if not known else _shade(min(known)))
    parts, start = [], 0
    for place in range(1, count + 1):
        if place == count or colours[place] != colours[start]:
            x, width = STRIP * start / count, STRIP * (place - start) / count
            where = f'x="{x:.1f}" y="9" width="{width:.1f}" height="17"'
            parts.append(f'<rect {where} fill="{colours[start]}"/>')
            start = place
    return "".join(parts)


def _shade(value: float) -> str:
    return GONE if value < 0 else colour_of(value)


def _marks(events: Sequence[Event], places: Sequence[int]) -> str:
    order = {index: place for place, index in enumerate(places)}
    marks = []
    for event in events:
        place = order.get(event.index, len(places))
        x = STRIP * (place + 0.5) / max(len(places), 1)
        text = escape(f"{event.stem}: {event.text}")
        shape = f'<path class="event" d="M{x - 5:.1f} 0h10l-5 9z">'
        marks.append(f"{shape}<title>{text}</title></path>")
    return "".join(marks)


def _events(events: Sequence[Event]) -> str:
    if not events:
        return '<p class="dim">No events.</p>'
    rows = "".join(
        f"<tr><td>{escape(event.stem)}</td><td>{event.kind}</td><td>{escape(event.text)}</td></tr>"
        for event in events[:MOST_EVENTS]
    )
    more = len(events) - MOST_EVENTS
    left = f"<p class=dim>and {more} more</p>" if more > 0 else ""
    head = "<tr><th>frame</th><th>event</th><th></th></tr>"
    return f"<h2>Events</h2><table>{head}{rows}</table>{left}"
