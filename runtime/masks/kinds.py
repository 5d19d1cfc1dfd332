"""How a picture is read as a mask: one row for each kind, with its rule.

People bring palettes, grey values, colours, one bit, soft edges. Rows are tried from first to
last; the first that recognises the picture reads it, and says how when that is not obvious. A
picture that no row reads with certainty is refused with advice. docs/masks.md is printed from this
table.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.masks.colours import Colours, packed, read_colours
from mavos_deploy.runtime.masks.levels import read_levels
from mavos_deploy.runtime.masks.numbering import Numbering, Reading, Rule, values_in
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.quantised import check_lines, check_near, is_of_web
from mavos_deploy.runtime.masks.regions import along_edge
from mavos_deploy.runtime.objects import VOID, Labels

OPAQUE = 128  # alpha from which a pixel counts
MOST_COLOURS = 254  # colours of a mask with transparency, above which it is a cut-out
TWO_BACKGROUNDS = (
    "some pixels are transparent and others black, and either may be the background; save ids as "
    "grey values, or give objects colours that are not black"
)
MOST_PIXELS = 1 << 25  # of a mask in colours, which takes eight times its pixels in memory
NO_VALUE = -1  # of a pixel
WIDENED = 257  # factor between values of 8 bits and the same in 16 bits


@dataclass(frozen=True)
class MaskKind:
    """One kind of mask picture.

    Attributes:
        name: Short, for the table in docs/masks.md.
        rule: How it is read, for the same table.
        read: Returns the reading, or None where the picture is of another kind. Raises ValueError
            with the reason and the remedy where it is of this kind and can't be read.
    """

    name: str
    rule: str
    read: Callable[[Image.Image, Numbering], Reading | None]


def read_kind(image: Image.Image, name: str, numbering: Numbering) -> Reading:
    """Read a decoded picture as a mask by the first row of `KINDS` that recognises it.

    Args:
        image: A loaded picture of any mode.
        name: Name of the file, for errors.
        numbering: What earlier masks of the video have shown; changed by this one.

    Raises:
        InputError: No row reads it with certainty; the message says what to do.
    """
    for kind in KINDS:
        try:
            reading = kind.read(image, numbering)
        except ValueError as error:
            raise InputError(f"{name}: {error}") from None
        if reading is not None:
            return reading
    raise InputError(
        f"{name}: a {image.mode} picture is no mask; save one id per pixel as a palette (mode P) "
        "or grey (mode L) PNG"
    )


def _one_bit(image: Image.Image, numbering: Numbering) -> Reading | None:
    if image.mode != "1":
        return None
    pixels = np.asarray(image)
    if image.info.get("transparency"):  # set pixels are
        how = "1 bit per pixel: opaque pixels are object 1"
        return Reading((~pixels).astype(np.uint8), how=how)
    return Reading(pixels.astype(np.uint8), how="1 bit per pixel: set pixels are object 1")


def _palette(image: Image.Image, numbering: Numbering) -> Reading | None:
    if image.mode != "P":
        return None
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    indices = np.array(image, np.uint8)
    used = values_in(indices)
    if used[-1] >= len(palette):  # indices without a colour; some writers leave the palette out
        return _as_ids(indices, palette, used, numbering)
    if is_of_web(palette):
        check_lines(indices)
    exact = _told_by_colour(palette, used) and _exact(palette, used)
    reading = _by_palette(indices, palette, used, _transparent(image), numbering)
    if exact:
        own = palette[used]
        if numbering.rule is Rule.COLOURS:  # without the blends, which went to another colour
            own = own[np.isin(packed(own), list(numbering.numbers))]
        if not np.isin(packed(own), packed(palette_colors(None))).all():
            check_near(own)
            check_lines(reading.labels, background=0)
    return reading


def _by_palette(
    indices: Labels,
    palette: Colours,
    used: list[int],
    transparent: list[int],
    numbering: Numbering,
) -> Reading:
    """Read indices of which each that occurs has a colour."""
    clear = [index for index in transparent if index in used]
    palette[clear] = 0
    if clear and 0 not in clear and 0 in used:
        return _palette_by_colour(indices, palette, used, numbering, clear, BACKGROUND)
    if not clear and (reading := _black_on_white(indices, palette, used, numbering)) is not None:
        return reading
    if numbering.rule is Rule.COLOURS:
        return _palette_by_colour(indices, palette, used, numbering, clear, None)
    told = _told_by_colour(palette, used)
    if palette[0].any() and not clear and numbering.rule is None:
        black = any(not palette[index].any() for index in used)
        if told and black and along_edge(indices) != [0]:
            return _palette_by_colour(indices, palette, used, numbering, clear, BACKGROUND)
        _check_background(indices, palette)
    if used in ([0, VOID], [VOID]) and not _is_void(palette):
        reading = read_levels(indices, numbering)  # 0 and 255, as binary masks with a palette have
        return Reading(reading.labels, None, reading.how)
    if told and _exact(palette, used):
        if numbering.rule is Rule.IDS:
            _check_order(palette, used, numbering)
            return _as_ids(indices, palette, used, numbering)
        return _palette_by_colour(indices, palette, used, numbering, clear, ORDER)
    return _as_ids(indices, palette, used, numbering)


def _black_on_white(
    indices: Labels, palette: Colours, used: list[int], numbering: Numbering
) -> Reading | None:
    """Read one black object before white, which is index 0, as ImageJ shows binary masks."""
    if len(used) != 2 or used[0] or (palette[0] != VOID).any() or palette[used[1]].any():
        return None
    if numbering.rule is None and (edge := along_edge(indices)) != [0]:
        if edge[0] != 0:
            return None
        raise ValueError(
            "index 0 is white and most of the edge, and the rest is black, so either may be the "
            "background; save the object as 255 or 1 and the background as 0, in grey"
        )
    if numbering.rule not in (None, Rule.CUT):
        return None
    labels = read_levels(np.where(indices, VOID, 0).astype(np.uint8), numbering).labels
    return Reading(labels, how="black before white, which is index 0: object 1")


BACKGROUND = "its background is not index 0"
ORDER = "its palette is not in the order of ids"


def _transparent(image: Image.Image) -> list[int]:
    """Indices that are transparent."""
    given = image.info.get("transparency")
    if isinstance(given, int):
        return [given]
    if isinstance(given, bytes):
        return [index for index, alpha in enumerate(given) if alpha < OPAQUE]
    return []


def _check_background(indices: Labels, palette: Colours) -> None:
    """Refuse a palette whose index 0 is neither black nor along the picture's edge."""
    if along_edge(indices)[0] == 0:
        return
    first = "".join(f"{int(part):02x}" for part in palette[0])
    raise ValueError(
        f"a palette whose index 0 is the colour #{first} and not the background, and no colour of "
        "it is black; give the background index 0, or save ids as grey values"
    )


def _is_void(palette: Colours) -> bool:
    """Whether index 255 has the colour that DAVIS gives to void."""
    return len(palette) > VOID and bool((palette[VOID] == palette_colors(None)[VOID]).all())


def _told_by_colour(palette: Colours, used: list[int]) -> bool:
    """Whether every index that occurs has a colour of its own."""
    return len({tuple(palette[index].tolist()) for index in used}) == len(used)


def _exact(palette: Colours, used: list[int]) -> bool:
    """Whether a palette has just the colours of the picture.

    Programs that reduce a coloured picture to a palette make such ones, in an order of their own
    for each picture. Then the colours tell the ids and the indices don't.
    """
    own = packed(palette[used]).tolist()
    return len(own) > 1 and set(packed(palette).tolist()) <= {0, *own}


def _check_order(palette: Colours, used: list[int], numbering: Numbering) -> None:
    """Refuse a palette in which an id has not the colour that it had in earlier masks."""
    earlier = palette_colors(numbering.palette)
    for index in used:
        if index and (palette[index] != earlier[index]).any():
            raise ValueError(
                f"index {index} has another colour than in earlier masks of this video, and its "
                "palette has only the colours in use, as programs make it that sort colours; save "
                "all masks with one palette"
            )


def _palette_by_colour(
    indices: Labels,
    palette: Colours,
    used: list[int],
    numbering: Numbering,
    clear: list[int],
    why: str | None,
) -> Reading:
    _check_pixels(indices.size)
    colours = palette.copy()
    if clear and any(index not in clear and not palette[index].any() for index in used):
        raise ValueError(TWO_BACKGROUNDS)
    by_colour = packed(colours).tolist()
    own = {by_colour[index]: index for index in reversed(used)}
    told = None if why is BACKGROUND else own
    reading = read_colours(colours[indices], numbering, told, why)
    plain = {index: numbering.numbers.get(by_colour[index]) for index in used}
    if all(index == number for index, number in plain.items()):
        return Reading(reading.labels, palette.tobytes())  # indices are ids as well
    return reading


def _as_ids(indices: Labels, palette: Colours, used: list[int], numbering: Numbering) -> Reading:
    if any(used) and numbering.rule is None:
        numbering.rule, numbering.palette = Rule.IDS, palette.tobytes()
    if numbering.rule is Rule.IDS:
        numbering.numbers |= {index: index for index in used if index}
    elif any(used):
        return read_levels(indices, numbering)
    return Reading(indices, palette.tobytes() or None)


def _grey(image: Image.Image, numbering: Numbering) -> Reading | None:
    if image.mode not in ("L", "LA"):
        return None
    grey = np.asarray(image.getchannel("L"))
    if image.mode == "LA":
        clear = np.asarray(image.getchannel("A")) < OPAQUE
    else:
        clear = grey == image.info.get("transparency", NO_VALUE)
    if clear.any() and not clear.all() and not grey[~clear].any():
        return _cut_out(clear)
    return _values(np.where(clear, 0, grey).astype(np.uint8), numbering)


def _values(values: Labels, numbering: Numbering) -> Reading:
    if numbering.rule is Rule.COLOURS:  # a coloured mask in which only greys are in sight
        return read_colours(np.repeat(values[..., None], 3, axis=2), numbering)
    return read_levels(values, numbering)


def _sixteen(image: Image.Image, numbering: Numbering) -> Reading | None:
    if not image.mode.startswith("I"):
        return None
    values = np.asarray(image)
    values = np.where(values == image.info.get("transparency", NO_VALUE), 0, values)
    bits = f"{16 if image.mode.startswith('I;16') else 'more than 8'} bits per pixel"
    least, most = int(values.min()), int(values.max())
    if least >= 0 and most < VOID:
        reading = _values(values.astype(np.uint8), numbering)
        return Reading(reading.labels, None, reading.how or f"{bits}, all ids below 255")
    if least >= 0 and numbering.wide not in (0, most):
        raise ValueError(_other_value(bits, most, f"one object of value {numbering.wide}"))
    if least >= 0 and most <= VOID * WIDENED and not (values % WIDENED).any():
        reading = _values((values // WIDENED).astype(np.uint8), numbering)
        how = f"{bits}, all values multiples of {WIDENED}, read as 8 bits"
        return Reading(reading.labels, None, f"{how}; {reading.how}" if reading.how else how)
    if least >= 0 and not ((values > 0) & (values < most)).any():
        if numbering.rule is not None and numbering.wide != most:
            raise ValueError(_other_value(bits, most, "others"))
        numbering.wide = most
        binary = np.where(values > 0, VOID, 0).astype(np.uint8)
        return Reading(_values(binary, numbering).labels, how=f"0 and {most}: object 1")
    raise ValueError(
        f"{bits} with values from {least} to {most}; a label map holds ids 1 to 254, so "
        "give the objects smaller ids"
    )


def _other_value(bits: str, value: int, earlier: str) -> str:
    return (
        f"{bits} with the value {value}, but earlier masks of this video have "
        f"{earlier}; a label map holds ids 1 to 254, so give the objects smaller ids"
    )


def _coloured(image: Image.Image, numbering: Numbering) -> Reading | None:
    if image.mode not in ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "PA"):
        return None
    _check_pixels(image.width * image.height)
    if image.mode in ("RGBA", "PA") or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA"))
        colours, clear = rgba[..., :3].copy(), rgba[..., 3] < OPAQUE
        if clear.any():
            opaque = packed(colours[~clear])
            if len(np.unique(opaque)) > MOST_COLOURS or not opaque.any():
                return _cut_out(clear)
            if not opaque.all():
                raise ValueError(TWO_BACKGROUNDS)
            colours[clear] = 0
    else:
        colours = np.array(image.convert("RGB"))
    if (colours == colours[..., :1]).all():
        return _values(np.ascontiguousarray(colours[..., 0]), numbering)
    return read_colours(colours, numbering)


def _check_pixels(count: int) -> None:
    """Refuse a mask that is too large to be read by colour."""
    if count > MOST_PIXELS:
        raise ValueError(
            f"{count} pixels in colours; the limit is {MOST_PIXELS}, so save ids as a palette "
            "(mode P) whose indices are the ids, or grey (mode L) PNG"
        )


def _cut_out(clear: NDArray[np.bool_]) -> Reading:
    return Reading((~clear).astype(np.uint8), how="a cut-out: opaque pixels are object 1")


KINDS = (
    MaskKind("1 bit", "set pixels are object 1", _one_bit),
    MaskKind(
        "palette (P)",
        "indices are ids; where index 0 is not the background, or the palette has just the colours "
        "of the picture, as programs make it that sort colours, the colours tell the ids",
        _palette,
    ),
    MaskKind(
        "grey (L, LA)",
        "values are ids, of 2 and 4 bits as they are in the file; 0 and 255 are one object; evenly "
        "spaced levels up to 255 are objects 1, 2, ...; one object with a fading border is cut at "
        "half of its value; transparent pixels are background",
        _grey,
    ),
    MaskKind(
        "16 bits (I;16)",
        "values are ids where all are below 255; 0 and one other value, the same in all masks, are "
        "one object; multiples of 257 are read as 8 bits",
        _sixteen,
    ),
    MaskKind(
        "colours (RGB, RGBA)",
        "one id for each colour: DAVIS's ids for DAVIS's colours, else numbered by their value; "
        "black, else the colour along the edge, is the background; blended borders go to the "
        "nearest colour; a picture with transparency and many colours is a cut-out of object 1",
        _coloured,
    ),
)
