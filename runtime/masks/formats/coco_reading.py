"""Reads COCO's and YouTube-VIS's JSON, with run lengths or polygons."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from mavos_deploy.errors import InputError
from mavos_deploy.records import decode
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.formats.shapes import (
    Bits,
    Shape,
    box,
    check_size,
    from_runs,
    polygons,
    shape_maps,
    stem_of,
)
from mavos_deploy.runtime.masks.label_maps import FIRST, LabelMaps
from mavos_deploy.words import counted

SEVERAL_VIDEOS = "{} videos; save the masks of one in a file"

Side = Annotated[int, Meta(ge=1, le=2**26)]
Polygon = list[float]
Id = int | float | str  # a number, as text or with a decimal point where other programs wrote it


@dataclass(frozen=True)
class Runs:
    """Run lengths down the columns: numbers, or COCO's compressed text."""

    size: tuple[Side, Side]
    counts: list[int] | str


Segmentation = Runs | list[Polygon]


@dataclass(frozen=True)
class _Category:
    id: Id
    name: str


@dataclass(frozen=True)
class _Image:
    id: Id
    file_name: str
    height: Side
    width: Side
    video_id: Id | None = None


@dataclass(frozen=True)
class _Attributes:
    track_id: Id | None = None


@dataclass(frozen=True)
class _Annotation:
    image_id: Id
    category_id: Id
    segmentation: Segmentation | None = None
    bbox: list[float] | None = None
    track_id: Id | None = None
    instance_id: Id | None = None
    attributes: _Attributes | None = None
    iscrowd: float | bool | None = 0

    @property
    def mask(self) -> Segmentation | None:
        """Its mask; None where it has none or only polygons without a point."""
        return _without_empty(self.segmentation)

    @property
    def box(self) -> list[float] | None:
        """Its box; None where it has none, or an empty one, as where an object is out of sight."""
        sides = self.bbox or []
        return sides if sides and (len(sides) != 4 or min(sides[2:]) > 0) else None

    @property
    def track(self) -> Id | None:
        """Number of the object, under any of its usual names."""
        more = self.attributes or _Attributes()
        given = (self.track_id, self.instance_id, more.track_id)
        return next((number for number in given if number is not None), None)


@dataclass(frozen=True)
class _Coco:
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category] = ()  # type: ignore[assignment]


@dataclass(frozen=True)
class _Video:
    id: Id
    file_names: Annotated[list[str], Meta(min_length=1)]
    height: Side
    width: Side


@dataclass(frozen=True)
class _Track:
    id: Id
    video_id: Id
    category_id: Id
    segmentations: list[Segmentation | None]
    iscrowd: float | bool | None = 0

    @property
    def track(self) -> Id:
        """Number of the object."""
        return self.id


@dataclass(frozen=True)
class _YoutubeVis:
    videos: Annotated[list[_Video], Meta(min_length=1)]
    annotations: list[_Track]
    categories: list[_Category] = ()  # type: ignore[assignment]


def read_coco(path: Path, content: bytes) -> LabelMaps:
    """Read COCO's JSON; its images are frames of one video.

    Objects are told by `track_id`, `instance_id` or `attributes.track_id`; without them by their
    category, or in a single image each annotation is one.

    Args:
        path: Name of the file, for errors.
        content: Its bytes.

    Raises:
        InputError: It is no such file, has several videos, or it is not clear which annotations
            are one object.
    """
    data = decode(_Coco, content, partial(_fault, path, "COCO"))
    videos = len({_key(i.video_id) for i in data.images if i.video_id is not None})
    if videos > 1:
        raise InputError(f"{path}: {SEVERAL_VIDEOS.format(videos)}")
    names = {_key(category.id): category.name for category in data.categories}
    images = {_key(image.id): image for image in data.images}
    if len(images) < len(data.images):
        raise InputError(f"{path}: two images have one id; give each image an id of its own")
    frames = {i: stem_of(image.file_name) or FIRST for i, image in images.items()}
    if len(set(frames.values())) < len(data.images):
        raise InputError(f"{path}: two images have one name; give frames of one video names")
    sizes = {frames[i]: _size(path, image.height, image.width) for i, image in images.items()}
    shapes = []
    for annotation in data.annotations:
        frame = frames.get(_key(annotation.image_id))
        if frame is None:
            what = f"an annotation of image {annotation.image_id}"
            raise InputError(f"{path}: {what}, which is not there")
        category = _key(annotation.category_id)
        if (draw := _drawn(annotation, sizes[frame])) is not None:
            label = names.get(category, str(category))
            shapes.append(Shape(frame, label, _number(path, annotation), draw))
    notes = [*_boxes(data.annotations), *_crowds(data.annotations)]
    return shape_maps(str(path), sizes, shapes, notes)


def read_youtube_vis(path: Path, content: bytes) -> LabelMaps:
    """Read YouTube-VIS's JSON of one video; each annotation is an object.

    Args:
        path: Name of the file, for errors.
        content: Its bytes.

    Raises:
        InputError: It is no such file, or has several videos.
    """
    data = decode(_YoutubeVis, content, partial(_fault, path, "YouTube-VIS"))
    if len(data.videos) > 1:
        raise InputError(f"{path}: {SEVERAL_VIDEOS.format(len(data.videos))}")
    video = data.videos[0]
    names = {_key(category.id): category.name for category in data.categories}
    stems = [stem_of(name) for name in video.file_names]
    if len(set(stems)) < len(stems):
        raise InputError(f"{path}: two frames have one name")
    size = _size(path, video.height, video.width)
    shapes = []
    for track in data.annotations:
        if _key(track.video_id) != _key(video.id) or len(track.segmentations) != len(stems):
            raise InputError(
                f"{path}: annotation {track.id} has {len(track.segmentations)} masks of video "
                f"{track.video_id}, but {len(stems)} frames of video {video.id} are there"
            )
        category = _key(track.category_id)
        label = names.get(category, str(category))
        number = _number(path, track)
        for stem, segmentation in zip(stems, track.segmentations, strict=True):
            if mask := _without_empty(segmentation):  # else it is out of sight
                shapes.append(Shape(stem, label, number, partial(draw_segmentation, mask, size)))
    sizes = dict.fromkeys(stems, size)
    return shape_maps(str(path), sizes, shapes, _crowds(data.annotations), in_time=True)


def _key(number: Id | None) -> int | str | None:
    """An id as it is compared: a number however it is written, else its text."""
    if isinstance(number, float):
        return int(number) if number.is_integer() else str(number)
    if isinstance(number, str) and re.fullmatch(r"0|[1-9][0-9]{0,17}", number):
        return int(number)
    return number


def _number(path: Path, annotation: _Annotation | _Track) -> int | None:
    """The number of an annotation's object; None where it has none."""
    number = _key(annotation.track)
    if isinstance(number, str):
        raise InputError(f"{path}: the track {number!r:.40} is no whole number; number the objects")
    return number


def _without_empty(segmentation: Segmentation | None) -> Segmentation | None:
    """A segmentation without polygons that have no point; None where nothing is left."""
    if isinstance(segmentation, list):
        segmentation = [outline for outline in segmentation if outline]
    return segmentation or None


def _drawn(annotation: _Annotation, size: Size) -> Callable[[], Bits] | None:
    """Draws an annotation: its mask, else its box; None where it has neither, or an empty box."""
    if mask := annotation.mask:
        return partial(draw_segmentation, mask, size)
    return partial(_box, annotation.box, size) if annotation.box else None


def _box(sides: list[float], size: Size) -> Bits:
    if len(sides) != 4:
        raise ValueError(f"a `bbox` of {len(sides)} numbers; it has left, top, width and height")
    left, top, width, height = sides
    return box(left, top, left + width, top + height, size)


def _boxes(annotations: Iterable[_Annotation]) -> list[str]:
    """Notes about annotations without a mask, which are read as boxes or left out."""
    without = [annotation for annotation in annotations if not annotation.mask]
    boxes = sum(bool(annotation.box) for annotation in without)
    notes = []
    if boxes:
        have = "has a box and no mask, and is" if boxes == 1 else "have a box and no mask, and are"
        notes.append(f"{counted(boxes, 'annotation')} {have} read as {counted(boxes, 'rectangle')}")
    if none := len(without) - boxes:
        have = "has neither mask nor box, and is" if none == 1 else "have no mask or box, and are"
        notes.append(f"{counted(none, 'annotation')} {have} left out")
    return notes


def _crowds(annotations: Iterable[_Annotation | _Track]) -> list[str]:
    """A note about annotations that are marked as crowds; none where there are none.

    COCO means groups of objects by the mark, but many programs set it for every mask that is
    written as run lengths, so nothing follows from it.
    """
    count = sum(bool(annotation.iscrowd) for annotation in annotations)
    if not count:
        return []
    return [
        f"{counted(count, 'annotation')} marked iscrowd, read like all others: remove those that "
        "stand for a crowd and not for one object"
    ]


def draw_segmentation(segmentation: Segmentation, size: Size) -> Bits:
    """Draw a segmentation of COCO.

    Raises:
        ValueError: It has another size, or is damaged.
        InputError: Polygons need pycocotools, which is missing.
    """
    if isinstance(segmentation, Runs):
        if segmentation.size != size:
            own = f"{segmentation.size[0]}x{segmentation.size[1]}"
            raise ValueError(f"a mask of {own} in a picture of {size[0]}x{size[1]}")
        counts = segmentation.counts
        return from_runs(unpack(counts) if isinstance(counts, str) else counts, size, True)
    for outline in segmentation:
        if len(outline) % 2:
            raise ValueError(f"a polygon of {len(outline)} numbers; each point has two")
    return polygons([list(zip(o[::2], o[1::2], strict=True)) for o in segmentation], size)


def unpack(text: str) -> list[int]:
    """Run lengths out of COCO's compressed text.

    Each length is written in characters of 5 bits, least first, with a sixth bit that says that
    more follow and the sign in the last one; from the fourth on, as the difference to the last but
    one.

    Raises:
        ValueError: The text ends within a number, or holds other characters.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"{text!r:.40} is no compressed run length of COCO")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that end within a number")
    return counts


def _size(path: Path, height: int, width: int) -> Size:
    try:
        return check_size(height, width)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _fault(path: Path, kind: str, reason: str) -> InputError:
    return InputError(f"{path} is no {kind} JSON that can be read: {reason}; export it again")
