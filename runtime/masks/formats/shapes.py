"""Shapes of annotation files: drawn as masks, and given to objects."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.geometry import MAX_PIXELS, Size
from mavos_deploy.runtime.masks.formats import coco_runs
from mavos_deploy.runtime.masks.label_maps import LabelMaps
from mavos_deploy.runtime.masks.layers import Covered, Layers
from mavos_deploy.runtime.masks.names import check_frames, in_order
from mavos_deploy.runtime.masks.numbering import as_text
from mavos_deploy.runtime.objects import VOID, Labels

FURTHEST = 4  # sides of the picture from its corner that a point may lie
CORNERS = 64  # of the polygon that stands for an ellipse
MOST_SHAPES = 20_000  # of one frame

Bits = NDArray[np.bool_]  # (H, W)
Point = tuple[float, float]  # x, y in pixels


@dataclass(frozen=True, eq=False)
class Shape:
    """One shape of an annotation file.

    Attributes:
        frame: Name of its frame.
        label: Name of its class or object.
        track: Number that ties the shapes of one object together; None where the file has none.
        draw: Draws it, bool (H, W). May raise ValueError.
    """

    frame: str
    label: str
    track: int | None
    draw: Callable[[], Bits]


def stem_of(name: str) -> str:
    """The stem of a picture's name, which may come with folders of any system."""
    return PurePosixPath(name.replace("\\", "/")).stem


def left_out_text(kinds: Iterable[str]) -> list[str]:
    """A note about kinds of shapes that are not read; none where there are none."""
    listed = as_text(sorted(kinds))
    return [f"shapes of these kinds are left out: {listed}"] if listed else []


def check_size(height: int, width: int) -> Size:
    """A picture's size out of a file.

    Raises:
        ValueError: It is empty or too large.
    """
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"a picture of {height}x{width}; the limit is {MAX_PIXELS} pixels in all")
    return height, width


def polygons(outlines: Sequence[Sequence[Point]], size: Size) -> Bits:
    """Fill polygons as COCO does.

    Args:
        outlines: Corners of each polygon, in pixels.
        size: Height and width of the picture in pixels.

    Raises:
        ValueError: One has fewer than three points, or one of them is no point near the picture.
        InputError: pycocotools is missing.
    """
    coco_runs.check_pycocotools()
    from pycocotools import mask as coco

    mask = np.zeros(size, bool)
    for points in outlines:
        if len(points) < 3:
            raise ValueError(f"a polygon of {len(points)} points; it needs three")
        flat = [part for point in _checked(points, size) for part in point]
        mask |= coco.decode(coco.frPyObjects([flat], *size))[..., 0] > 0
    return mask


def ellipse(centre: Point, radii: Point, size: Size, degrees: float = 0.0) -> Bits:
    """Fill an ellipse.

    Args:
        centre: Its centre in pixels.
        radii: Half its width and height in pixels.
        size: Height and width of the picture in pixels.
        degrees: Angle by which it is turned clockwise.

    Raises:
        ValueError: It isn't near the picture.
        InputError: pycocotools is missing.
    """
    angles = [2 * math.pi * step / CORNERS for step in range(CORNERS)]
    across, down = radii
    edge = [(across * math.cos(angle), down * math.sin(angle)) for angle in angles]
    return polygons([[turned(centre, *place, degrees) for place in edge]], size)


def turned(centre: Point, dx: float, dy: float, degrees: float) -> Point:
    """A point beside another one, turned clockwise around it."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return centre[0] + dx * cosine - dy * sine, centre[1] + dx * sine + dy * cosine


def box(left: float, top: float, right: float, bottom: float, size: Size) -> Bits:
    """Draw a box; a pixel is in it if its centre is.

    Raises:
        ValueError: A side isn't near the picture.
    """
    _checked([(left, top), (right, bottom)], size)
    mask = np.zeros(size, bool)
    rows = slice(max(0, round(min(top, bottom))), max(0, round(max(top, bottom))))
    columns = slice(max(0, round(min(left, right))), max(0, round(max(left, right))))
    mask[rows, columns] = True
    return mask


def _checked(points: Iterable[Point], size: Size) -> list[Point]:
    checked = []
    for x, y in points:
        if not (abs(x) <= FURTHEST * size[1] and abs(y) <= FURTHEST * size[0]):
            raise ValueError(f"{x:g}, {y:g} is no point of a picture of {size[0]}x{size[1]}")
        checked.append((float(x), float(y)))
    return checked


def from_runs(counts: Sequence[int], size: Size, by_column: bool = False) -> Bits:
    """A mask out of run lengths, background first.

    Args:
        counts: Lengths of the runs, which take turns.
        size: Height and width in pixels.
        by_column: Whether pixels follow each other down the columns, as COCO has them.

    Raises:
        ValueError: They don't make up a picture of this size.
    """
    total = size[0] * size[1]  # checked as Python's numbers, since 64 bits may not hold them
    if min(counts, default=0) < 0 or max(counts, default=0) > total or sum(counts) != total:
        pixels = sum(min(max(count, 0), total) for count in counts)
        raise ValueError(f"run lengths of {pixels} pixels for a mask of {size[0]}x{size[1]}")
    lengths = np.array(counts, np.int64)
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return values.reshape(size[1], size[0]).T if by_column else values.reshape(size)


def within(part: Bits, left: int, top: int, size: Size) -> Bits:
    """A mask of which a box is given.

    Args:
        part: Shape (h, w).
        left: Column of the box.
        top: Row of the box.
        size: Height and width of the picture in pixels.

    Raises:
        ValueError: The box isn't within the picture.
    """
    height, width = part.shape
    if min(left, top) < 0 or left + width > size[1] or top + height > size[0]:
        raise ValueError(
            f"a mask of {height}x{width} at column {left}, row {top} of a picture of "
            f"{size[0]}x{size[1]}"
        )
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = part
    return mask


def shape_maps(
    name: str,
    sizes: Mapping[str, Size],
    shapes: Sequence[Shape],
    notes: Iterable[str] = (),
    own: str = "their own numbers",
    in_time: bool = False,
) -> LabelMaps:
    """Label maps out of shapes; later shapes lie over earlier ones.

    Args:
        name: Name of the file, for errors.
        sizes: Height and width of every frame, by name.
        shapes: All shapes, those of one frame in the order in which they are drawn.
        notes: Lines about the file.
        own: Words for the numbers of tracks, where they are the ids.
        in_time: Whether `sizes` are in order of time; else frames come in the order of their names.

    Raises:
        InputError: There is no shape, a frame has a name that no file can have, or it is not clear
            which shapes are one object.
    """
    check_frames(name, sizes)
    if not shapes:
        raise InputError(_without_shapes(name, list(notes)))
    ids, names, said = _objects(name, shapes, own)
    covered = Covered("to keep both, lay it above object {over}, or cut it out of that")
    by_frame: dict[str, list[tuple[int, Shape]]] = {frame: [] for frame in sizes}
    for number, shape in zip(ids, shapes, strict=True):
        by_frame[shape.frame].append((number, shape))

    def draw(frame: str) -> Labels:
        layers = Layers(sizes[frame])
        if len(by_frame[frame]) > MOST_SHAPES:
            raise InputError(f"{name}: frame {frame} has more than {MOST_SHAPES} shapes")
        for number, shape in by_frame[frame]:
            try:
                layers.draw(number, shape.draw())
            except ValueError as error:
                raise InputError(f"{name}: frame {frame}: {error}") from None
        covered.add(frame, layers)
        return layers.labels

    return LabelMaps(
        {frame: partial(draw, frame) for frame in (sizes if in_time else in_order(sizes))},
        names=names,
        notes=[*notes, said],
        lost=covered.lines,
        single=len(sizes) == 1 and not any(c.isdigit() for c in next(iter(sizes))),
    )


def _without_shapes(name: str, notes: Sequence[str]) -> str:
    if not notes:
        return f"{name}: no shape of an object in it; annotate the objects"
    why = "; ".join(notes)
    return f"{name}: no shape of an object in it ({why}); draw objects as masks, polygons or boxes"


def _objects(name: str, shapes: Sequence[Shape], own: str) -> tuple[list[int], dict[int, str], str]:
    """The id of every shape, the names of objects by id, and a note that says how they were given.

    Tracks tell the objects; without them the shapes of a single frame are an object each, and in
    several frames the labels tell them, where no frame has two shapes with one label, and tracks
    that only some shapes have don't contradict them. In a single frame some shapes may have a
    track, as the parts of one object, and others none.
    """
    tracks = [shape.track for shape in shapes]
    _check_labels(name, shapes)
    if None not in tracks:
        keys: list[int | str] = [track for track in tracks if track is not None]
        kept = all(0 < key < VOID for key in keys if isinstance(key, int))
        kind = "tracks"
    elif len({shape.frame for shape in shapes}) == 1 and any(t is not None for t in tracks):
        behind = max(track for track in tracks if track is not None)
        keys = [behind + n if track is None else track for n, track in enumerate(tracks, 1)]
        kept, kind = False, "tracks, and the shapes without one,"
    elif len({shape.frame for shape in shapes}) == 1:
        labels = [shape.label for shape in shapes]
        kept = len(set(labels)) == len(labels) and all(map(_is_id, labels))
        keys = [int(label) if kept else place for place, label in enumerate(labels, 1)]
        kind = "labels" if kept else "shapes"
    else:
        if any(track is not None for track in tracks):
            _check_tracks(name, shapes)
        double = Counter((shape.frame, shape.label) for shape in shapes).most_common(1)[0]
        if double[1] > 1:
            (frame, label), count = double
            raise InputError(
                f"{name}: {count} shapes of {label!r:.40} in frame {frame}, and no tracks that "
                "tell which is which in other frames; give shapes a track or group"
            )
        kept = all(_is_id(shape.label) for shape in shapes)
        keys = [int(shape.label) if kept else shape.label for shape in shapes]
        kind = "labels"
    order = sorted(set(keys), key=lambda key: (str(type(key)), key))
    if not kept and len(order) >= VOID:
        raise InputError(f"{name}: {len(order)} objects; a label map holds {VOID - 1}")
    numbers = {key: int(key) if kept else place for place, key in enumerate(order, 1)}
    ids = [numbers[key] for key in keys]
    names = {number: shape.label for number, shape in zip(ids, shapes, strict=True)}
    listed = as_text(f"{number} ({names[number]})" for number in sorted(names))
    how = own if kept else "numbers in order"
    return ids, names, f"objects are the {kind} of {name}, by {how}: {listed}"


def _check_labels(name: str, shapes: Sequence[Shape]) -> None:
    """Refuse a track that has two labels in one frame, so that it may be two objects."""
    labels: dict[tuple[str, int], str] = {}
    for shape in shapes:
        if shape.track is None:
            continue
        label = labels.setdefault((shape.frame, shape.track), shape.label)
        if label != shape.label:
            raise InputError(
                f"{name}: track or group {shape.track} has shapes of {label!r:.40} and of "
                f"{shape.label!r:.40} in frame {shape.frame}, and whether they are one object is "
                "not clear; give them one label, or each a track or group of its own"
            )


def _check_tracks(name: str, shapes: Sequence[Shape]) -> None:
    """Refuse labels that can't tell the objects, as the tracks of some shapes show."""
    tracks: dict[str, set[int | None]] = {}
    labels: dict[int | None, set[str]] = {}
    for shape in shapes:
        tracks.setdefault(shape.label, set()).add(shape.track)
        labels.setdefault(shape.track, set()).add(shape.label)
    advice = "which are one object is not clear; give every shape a track or group"
    for label, found in tracks.items():
        if len(found - {None}) > 1:
            given = as_text(sorted(track for track in found if track is not None))
            given += ", and others none" if None in found else ""
            raise InputError(
                f"{name}: shapes of {label!r:.40} have the track or group {given}; {advice}"
            )
    for track, words in labels.items():
        if track is not None and len(words) > 1:
            given = as_text(repr(word)[:40] for word in sorted(words))
            raise InputError(
                f"{name}: track or group {track} has shapes of {given}, and other shapes have "
                f"none; {advice}"
            )


def _is_id(label: str) -> bool:
    return label.isascii() and label.isdigit() and len(label) < 4 and 0 < int(label) < VOID
