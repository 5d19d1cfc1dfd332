"""Masks in grey values: ids, one object of 255, evenly spaced levels, soft edges."""

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.masks.numbering import Numbering, Reading, Rule, as_text, values_in
from mavos_deploy.runtime.masks.regions import beside, compact, cropped, lined
from mavos_deploy.runtime.objects import VOID, Labels, histogram

HALF = 0.5  # share of an object's value from which a soft edge belongs to it
MOST_LEVELS = 51  # evenly spaced levels; more would lie closer than 5, as ids do
MANY = 16  # values from which a picture looks soft
INSIDE_FEW, INSIDE_MANY = 0.02, 0.3  # share of soft pixels that may have equal neighbours
OVER = 1.1  # factor of an object's value, beyond which only few pixels overshoot
NEAR = 0.1  # share of an object's value, up to which another value is the same
LINED = 0.5  # share of an object's border with thin lines, from which they are soft edges
PLAIN = 0.5  # share of pixels near 0 or full strength, below which a picture is a photograph
SOLID = 4  # pixels inside regions from which a value has a region of its own
MOST_CHECKED = 16  # objects, the largest ones, that are checked for thin lines


def read_levels(values: Labels, numbering: Numbering) -> Reading:
    """Read grey values.

    Args:
        values: uint8, (H, W).
        numbering: What earlier masks of the video have shown; changed by this one.

    Raises:
        ValueError: The values don't tell the objects, with the reason and the remedy.
    """
    used = [value for value in values_in(values) if value]
    if not used:
        return Reading(values.copy())
    if numbering.rule is Rule.CUT:
        return _as_cut(values, used, numbering)
    if numbering.rule is Rule.LEVELS:
        return _as_levels(values, used, numbering)
    if numbering.rule is Rule.IDS and numbering.numbers.keys() >= set(used):
        return Reading(values.copy())
    return _decided(values, used, numbering)


def _decided(values: Labels, used: list[int], numbering: Numbering) -> Reading:
    """Read a first mask, or one that brings new ids."""
    if used == [VOID] and numbering.rule is None:
        numbering.rule, numbering.strength = Rule.CUT, VOID
        return Reading((values > 0).astype(np.uint8), how="0 and 255: object 1")
    if len(used) > 1 and (soft := _soft(values, used, numbering)) is not None:
        return soft
    levels = [round(VOID * place / len(used)) for place in range(1, len(used) + 1)]
    close = all(abs(a - b) <= 1 for a, b in zip(used, levels, strict=True))
    if numbering.rule is None and close and len(used) <= MOST_LEVELS:
        numbering.rule = Rule.LEVELS
        numbering.numbers = {value: place for place, value in enumerate(used, 1)}
        return _as_levels(values, used, numbering)
    numbering.rule = Rule.IDS
    numbering.numbers |= {value: value for value in used}
    return Reading(values.copy())


def _as_levels(values: Labels, used: list[int], numbering: Numbering) -> Reading:
    if unknown := [value for value in used if value not in numbering.numbers]:
        raise ValueError(
            f"grey value {unknown[0]}, but earlier masks of this video have "
            f"{as_text(numbering.numbers)} for objects 1 to {len(numbering.numbers)}; give every "
            "object one value in all masks, best its id"
        )
    table = np.zeros(256, np.uint8)
    table[list(numbering.numbers)] = list(numbering.numbers.values())
    how = f"grey levels {as_text(numbering.numbers)}: objects 1 to {len(numbering.numbers)}"
    return Reading(table[values], how=how)


def _as_cut(values: Labels, used: list[int], numbering: Numbering) -> Reading:
    """Read a mask of a video whose masks are of one object."""
    strength = numbering.strength
    part = cropped(values, values > 0)
    alike = len(used) == 1 and abs(used[0] - strength) <= strength * NEAR
    if not alike and _regions(part, (part > 0) & (part != strength), len(used)):
        raise ValueError(
            f"grey values {as_text(used)}, but earlier masks of this video have one object of "
            f"value {strength}; give every object one value in all masks, best its id"
        )
    labels = (values > strength * HALF).astype(np.uint8)
    how = "0 and 255: object 1" if used == [VOID] else _cut_text(used, strength)
    return Reading(labels, how=how)


def _cut_text(used: list[int], strength: int) -> str:
    return (
        f"soft edges, {len(used) + 1} grey values up to {used[-1]}: object 1, cut at half of "
        f"{strength}"
    )


def _regions(values: Labels, between: NDArray[np.bool_], used: int) -> bool:
    """Whether these pixels have regions of their own, so that their values are ids."""
    inside = np.count_nonzero(compact(values) & between)
    limit = INSIDE_MANY if used > MANY else INSIDE_FEW
    return bool(inside > limit * np.count_nonzero(between))


def _soft(values: Labels, used: list[int], numbering: Numbering) -> Reading | None:
    """Read objects whose borders fade, as painting and resizing programs leave them."""
    whole, values = values, cropped(values, values > 0)
    counts = histogram(values, 256)
    half = -(-used[-1] // 2)
    strength = half + int(np.argmax(counts[half:]))
    if counts[round(strength * OVER) :].sum() > counts[strength]:
        strength = used[-1]  # values rise beyond: no object has this one all over
    object_pixels = values == strength
    between = (values > 0) & ~object_pixels
    if _regions(values, between, len(used)):
        _check_lossy(values, used, strength)
        _check_lines(values, used)
        return None
    if len(used) > MANY:
        near = (values <= strength * 0.1) | (abs(values - float(strength)) <= strength * 0.1)
        plain = np.count_nonzero(near) + whole.size - values.size
        if plain < PLAIN * whole.size:
            raise ValueError(
                f"a grey picture of {len(used)} values without regions, as photographs and depth "
                "maps are; save one id per pixel"
            )
    elif lined(object_pixels, between) < LINED:
        return None
    if len(used) < 4 and strength < 32:
        raise _thin_lines(strength, [value for value in used if value != strength])
    labels = (whole > strength * HALF).astype(np.uint8)
    if numbering.rule is None:
        numbering.rule, numbering.strength = Rule.CUT, strength
    elif strength in numbering.numbers:
        labels *= strength
    else:
        raise ValueError(
            f"soft edges up to {strength}, but earlier masks of this video have ids "
            f"{as_text(numbering.numbers)}; save one id per pixel, without smoothing"
        )
    return Reading(labels, how=_cut_text(used, strength))


def _check_lossy(values: Labels, used: list[int], strength: int) -> None:
    """Refuse values close to 0 and to one other value, with thin lines of all others between."""
    middle = [value for value in used if strength * 0.1 < value < strength * 0.9]
    if len(used) <= MANY or len(middle) < SOLID or strength < VOID // 2:
        return
    inside = histogram(values[compact(values)], 256)
    if not inside[middle].any():
        raise ValueError(
            f"{len(used)} grey values, most of them close to 0 or {strength}, as lossy compression "
            "leaves them; save the mask as PNG from the start"
        )


def _check_lines(values: Labels, used: list[int]) -> None:
    """Refuse ids with thin lines of others around an object, as interpolation leaves them."""
    inside = compact(values)
    sizes = histogram(values[inside], 256)
    largest = sorted(used, key=lambda value: -int(sizes[value]))[:MOST_CHECKED]
    for value in largest:
        if sizes[value] < SOLID:
            continue
        region = values == value
        line = (values > 0) & (values < value) & ~inside
        if lined(region, line) >= LINED:
            raise _thin_lines(value, values_in(values[line & beside(region)]))
        # Some filters overshoot: values above the object's run along its border as well.
        line = (values > 0) & ~region & (values != VOID) & ~inside
        around = values_in(values[line & beside(region)])
        if len(around) >= SOLID and lined(region, line) >= LINED:
            raise _thin_lines(value, around)


def _thin_lines(strength: int, thin: list[int]) -> ValueError:
    return ValueError(
        f"object {strength} is surrounded by thin lines of {as_text(thin)}, as resizing with "
        "interpolation leaves them; resize masks with nearest neighbour, and make a map of "
        "probabilities 0 and 255 first"
    )
