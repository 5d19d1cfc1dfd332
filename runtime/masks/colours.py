"""Masks in colours: one colour for each object, with or without blends along the borders."""

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.masks.numbering import Numbering, Reading, Rule, as_text
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.regions import (
    beside,
    compact,
    cropped,
    fill_from_nearest,
    lined,
)
from mavos_deploy.runtime.objects import VOID, histogram

MOST_COLOURS = 65535  # of a picture that may be a mask with blended borders
MOST_BLENDED = 0.25  # share of a picture's pixels that may be blends of its colours
SOLID = 4  # pixels inside regions from which a colour has a region of its own
ALONG = 24.0  # distance in RGB from the line between two colours within which a colour blends them
LINED = 0.5  # share of a region's border with blends, from which they are none of an object
NEAR = 8  # difference of channels up to which colours are hardly different
TRACES = 16  # colours without a region that are looked at one by one
AT_ONCE = 1 << 19  # pixels that are worked on at once, so that large pictures need little memory

Colours = NDArray[np.uint8]  # (H, W, 3), RGB


def read_colours(
    colours: Colours,
    numbering: Numbering,
    indices: dict[int, int] | None = None,
    why: str | None = None,
) -> Reading:
    """Read a picture in colours.

    Args:
        colours: RGB, uint8, (H, W, 3); transparent pixels black.
        numbering: What earlier masks of the video have shown; changed by this one.
        indices: For a palette, the index of each of its colours 0xRRGGBB; objects that are new get
            them as ids where they are free. None where there is no palette.
        why: Reason to go by colour, for the user; None where nothing else is possible.

    Raises:
        ValueError: The colours don't tell the objects, with the reason and the remedy.
    """
    values, places = _places(colours)
    note = f"read by colour{'' if why is None else f' ({why})'}"
    kept = np.arange(len(values))
    if len(values) > 2:
        places, kept, blended = _without_blends(places, values, numbering)
        if blended:
            note += f"; {blended:.1%} of its pixels are blended and go to the nearest colour"
    found = [int(values[place]) for place in kept]
    _number(found, places, kept, numbering, indices)
    table = np.zeros(len(values), np.uint8)
    table[kept] = [numbering.numbers[colour] for colour in found]
    return Reading(table[places], _palette(numbering), note + _numbers_text(numbering))


def packed(colours: Colours) -> NDArray[np.uint32]:
    """Colours as 0xRRGGBB, uint32 of the shape without the channels."""
    wide = colours.astype(np.uint32)
    return (wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]).astype(np.uint32, copy=False)


def _places(colours: Colours) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """All colours, ascending, and the place of each pixel's colour among them."""
    rows = max(1, AT_ONCE // colours.shape[1])
    parts = [colours[at : at + rows] for at in range(0, len(colours), rows)]
    values: NDArray[np.uint32] = np.zeros(0, np.uint32)
    for part in parts:
        values = np.union1d(values, packed(part)).astype(np.uint32)
        if len(values) > MOST_COLOURS:
            raise _photograph(f"more than {MOST_COLOURS}")
    places = np.empty(colours.shape[:2], np.uint16)
    for at, part in enumerate(parts):
        places[at * rows : (at + 1) * rows] = np.searchsorted(values, packed(part))
    return values, places


def _without_blends(
    places: NDArray[np.uint16], values: NDArray[np.uint32], numbering: Numbering
) -> tuple[NDArray[np.uint16], NDArray[np.intp], float]:
    """Give blends of colours to the nearest region.

    Returns:
        The places without blends, the colours that are left, and the share of pixels that changed.
    """
    common = int(np.argmax(histogram(places, len(values))))  # the rest lies in a part of a picture
    part = cropped(places, places != common)
    solid = histogram(part[compact(part)], len(values)) >= SOLID
    solid[common] = True
    if len(values) <= TRACES + np.count_nonzero(solid):
        known = np.isin(values, [*numbering.numbers, 0])
        blends = _between(values, solid) & ~known & ~solid
        solid = ~blends if _are_lines(places, blends) else np.ones(len(values), bool)
    if solid.all():
        return places, np.arange(len(values)), 0.0
    if _has_near(values[solid]):
        raise ValueError(
            f"{len(values)} colours, some of them hardly different, as lossy compression leaves "
            "them; save the mask as PNG from the start, one colour or id for each object"
        )
    kept = solid[places]
    blended = 1 - float(np.count_nonzero(kept)) / kept.size
    if blended > MOST_BLENDED or np.count_nonzero(solid) > VOID:
        raise _photograph(str(len(values)))
    return fill_from_nearest(places, kept), np.flatnonzero(solid), blended


def _has_near(values: NDArray[np.uint32]) -> bool:
    """Whether two colours are so near that compression may have made them of one."""
    points = _channels(values).astype(np.int16)
    return any(
        bool((abs(points[at + 1 :] - point).max(axis=1) <= NEAR).any())
        for at, point in enumerate(points[:-1])
    )


def _are_lines(places: NDArray[np.uint16], blends: NDArray[np.bool_]) -> bool:
    """Whether these colours run along a region's border; else they are small objects."""
    line = blends[places]
    beside_it = np.unique(places[beside(line) & ~line])
    return any(lined(places == place, line) >= LINED for place in beside_it.tolist())


def _between(values: NDArray[np.uint32], solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Colours that lie on the line between two colours with regions."""
    points = _channels(values).astype(np.float64)
    ends = points[solid]
    found = np.zeros(len(values), bool)
    for place in np.flatnonzero(~solid):
        for at in range(len(ends) - 1):
            line = ends[at + 1 :] - ends[at]
            along = ((points[place] - ends[at]) * line).sum(1) / (line**2).sum(1)
            nearest = ends[at] + along.clip(0, 1)[:, None] * line
            found[place] |= bool((np.linalg.norm(nearest - points[place], axis=1) < ALONG).any())
    return found


def _number(
    found: list[int],
    places: NDArray[np.uint16],
    kept: NDArray[np.intp],
    numbering: Numbering,
    indices: dict[int, int] | None,
) -> None:
    """Give numbers to the colours that have none yet."""
    if numbering.rule not in (None, Rule.COLOURS):
        _take_over(numbering)
    colours = numbering.numbers
    if numbering.rule is None:
        numbering.rule = Rule.COLOURS
        davis = _davis_ids()
        colours.clear()
        colours[_background(found, places, kept)] = 0
        numbering.davis = 0 in colours and all(colour in davis for colour in found)
    for colour in found:
        if colour not in colours:
            colours[colour] = _id_of(colour, numbering, indices)


def _take_over(numbering: Numbering) -> None:
    """Give the colours that earlier masks' values are shown in the same ids."""
    greys = {numbering.strength: 1} if numbering.rule is Rule.CUT else dict(numbering.numbers)
    colours = packed(palette_colors(numbering.palette)).tolist()
    if numbering.rule is Rule.IDS and numbering.palette:
        numbering.numbers = {colours[number]: number for number in numbering.numbers}
    else:
        numbering.numbers = {value * 0x010101: number for value, number in greys.items()}
    numbering.numbers[0] = 0
    numbering.rule = Rule.COLOURS


def _id_of(colour: int, numbering: Numbering, indices: dict[int, int] | None) -> int:
    taken = set(numbering.numbers.values())
    if numbering.davis and (own := _davis_ids().get(colour)) is not None and own not in taken:
        return own
    if indices is not None and not numbering.davis and indices.get(colour, 0) not in {0, *taken}:
        return indices[colour]
    return numbering.next_number()


def _davis_ids() -> dict[int, int]:
    """Ids by colour; of two ids with one colour the smaller."""
    packed_colours = packed(palette_colors(None)).tolist()
    return {colour: number for number, colour in reversed(list(enumerate(packed_colours)))}


def _background(found: list[int], places: NDArray[np.uint16], kept: NDArray[np.intp]) -> int:
    """Black, else the colour along the picture's edge."""
    if 0 in found:
        return 0
    edge = np.concatenate([places[0], places[-1], places[:, 0], places[:, -1]])
    return found[int(np.searchsorted(kept, int(np.bincount(edge).argmax())))]


def _channels(values: NDArray[np.uint32]) -> NDArray[np.uint8]:
    return np.stack([values >> 16, values >> 8 & 255, values & 255], -1).astype(np.uint8)


def _palette(numbering: Numbering) -> bytes:
    palette = np.zeros((256, 3), np.uint8)
    colours = np.array(list(numbering.numbers), np.uint32)
    palette[list(numbering.numbers.values())] = _channels(colours)
    palette[0] = 0
    ids = [number for number in numbering.numbers.values() if number != VOID]
    return palette[: max(ids, default=0) + 1].tobytes()


def _numbers_text(numbering: Numbering) -> str:
    if numbering.davis and numbering.numbers.keys() <= _davis_ids().keys():
        return ": DAVIS's colours, so their ids"
    by_id = sorted((number, colour) for colour, number in numbering.numbers.items())
    texts = [
        f"#{colour:06x} is {'the background' if number == 0 else f'object {number}'}"
        for number, colour in by_id
    ]
    return f": {as_text(texts)}"


def _photograph(count: str) -> ValueError:
    return ValueError(
        f"a picture of {count} colours, most of them no region, so it is a photograph or was "
        "changed by lossy compression; save the mask as PNG, one colour or id for each object"
    )
