"""Refuses palettes that a program made of a picture with blended borders or lossy compression."""

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.runtime.masks.regions import beside, compact, cropped, lined, loose
from mavos_deploy.runtime.objects import Labels, histogram

CUBE = 51  # step between the channels of the web's colours
PURE = 8  # colours of a palette up to which it may be pure colours by choice
NEAR = 8  # difference of channels up to which colours are hardly different
INSIDE = 0.1  # share of a value's pixels among their like, below which it may be a line
LINED = 0.5  # share of a region's border with lines, from which they are no objects
PIECES = 0.2  # the same for loose pieces; masks of real objects had 0.17 at most
SOLID = 4  # pixels inside regions from which a value has a region of its own
REMEDY = (
    "export the mask as PNG from the tool that made it, one colour or id for each object; "
    "converting a JPEG, or a mask with smooth borders, does not help"
)

Colours = NDArray[np.uint8]


def is_of_web(palette: Colours) -> bool:
    """Whether a palette, (N, 3), has the web's colours, as programs use that convert pictures."""
    return not (palette % CUBE).any() and len(np.unique(palette, axis=0)) > PURE


def check_lines(labels: Labels, background: int | None = None) -> None:
    """Refuse values that are no regions but run along the borders of others.

    Args:
        labels: uint8, (H, W), any values.
        background: Value along whose border a thin object may run; None where there is none.

    Raises:
        ValueError: There are some, with the remedy.
    """
    if background is not None and (objects := labels != background).any():
        labels = cropped(labels, objects)
    inside = histogram(labels[compact(labels, 9)], 256)
    sizes = histogram(labels, 256)
    thin = (sizes > 0) & (inside < INSIDE * sizes)
    if background is not None:
        thin[background] = False  # of which cropping leaves a margin
    line = thin[labels]
    touched = np.unique(labels[beside(line) & ~line]).tolist()
    regions = [value for value in touched if value != background and inside[value] >= SOLID]
    if any(lined(labels == value, line) >= LINED for value in regions):
        raise ValueError(
            "a palette made of a picture of more colours, some of which run along borders and fill "
            f"no region ({np.count_nonzero(thin)} of {np.count_nonzero(sizes)}); {REMEDY}"
        )
    if background is None:
        return
    solid = (inside >= SOLID) & (np.arange(256) != background)
    pieces = loose(labels) & (labels != background)
    for value in np.flatnonzero(solid).tolist() if pieces.any() else ():
        region = labels == value
        if lined(region, pieces & ~region) >= PIECES:
            raise ValueError(
                "a palette made of a picture of more colours, where loose pieces of some colours "
                f"lie along the borders of others; {REMEDY}"
            )


def check_near(colours: Colours) -> None:
    """Refuse colours that are hardly different, where some of them are no greys.

    Args:
        colours: Colours in use, (N, 3).

    Raises:
        ValueError: There are two, with the remedy.
    """
    if (colours == colours[:, :1]).all():
        return  # ids as greys
    points = colours.astype(np.int16)
    for at, point in enumerate(points):
        near = abs(points[at + 1 :] - point).max(axis=1) <= NEAR
        if near.any():
            one, other = (bytes(colours[i]).hex() for i in (at, at + 1 + int(near.argmax())))
            raise ValueError(
                f"a palette with colours that are hardly different, #{one} and #{other}, as lossy "
                f"compression leaves them; {REMEDY}"
            )
