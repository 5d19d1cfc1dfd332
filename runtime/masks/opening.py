"""Opens label maps in every format that is read."""

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mavos_deploy.errors import InputError
from mavos_deploy.reading import read_regular
from mavos_deploy.records import LARGEST, decode
from mavos_deploy.runtime.masks.formats.coco_reading import read_coco, read_youtube_vis
from mavos_deploy.runtime.masks.formats.cvat_reading import read_cvat
from mavos_deploy.runtime.masks.formats.label_studio_reading import read_label_studio
from mavos_deploy.runtime.masks.formats.labelme_reading import read_labelme
from mavos_deploy.runtime.masks.formats.mots_reading import read_mots
from mavos_deploy.runtime.masks.formats.store import SUFFIX as STORE_SUFFIX
from mavos_deploy.runtime.masks.formats.store_reading import store_maps
from mavos_deploy.runtime.masks.label_maps import LabelMaps
from mavos_deploy.runtime.masks.pictures import file_maps, folder_maps, masks_in, read_mask
from mavos_deploy.runtime.media import strays
from mavos_deploy.runtime.media.folders import natural_order


@dataclass(frozen=True)
class AnnotationFormat:
    """One format of annotation files.

    Attributes:
        name: Name for the table in docs/masks.md.
        suffix: Ending of its files.
        sign: Pattern in the bytes of a file that tells it from the others with this ending.
        rule: How it is read, for the same table.
        objects: How objects are told, for the same table.
        read: Reads a file's bytes; raises InputError.
    """

    name: str
    suffix: str
    sign: re.Pattern[bytes]
    rule: str
    objects: str
    read: Callable[[Path, bytes], LabelMaps]


def _one_labelme(path: Path, content: bytes) -> LabelMaps:
    return read_labelme({path: content})


LABELME = AnnotationFormat(
    "labelme",
    ".json",
    strays.LABELME,
    "a file, or a folder of files named after their frames; masks, polygons, rectangles, circles",
    "`group_id`, else the label; in a single file each shape",
    _one_labelme,
)
FORMATS = (
    AnnotationFormat(
        "Label Studio",
        ".json",
        re.compile(rb"\A\s*\["),
        "JSON (not JSON-MIN); brush strokes, polygons, rectangles, ellipses",
        "the label; in a single task each region",
        read_label_studio,
    ),
    LABELME,
    AnnotationFormat(
        "YouTube-VIS",
        ".json",
        # CocoVID lists its videos, too, but its frames are images as in COCO.
        re.compile(rb'"file_names"\s*:|\A(?!.*"images"\s*:).*"videos"\s*:', re.DOTALL),
        "one video; run lengths, compressed or not, and polygons",
        "each annotation, by its `id`",
        read_youtube_vis,
    ),
    AnnotationFormat(
        "COCO",
        ".json",
        re.compile(rb'"images"\s*:'),
        "its images are the frames; run lengths, compressed or not, polygons, and boxes of "
        "annotations without a mask",
        "`track_id`, `instance_id` or `attributes.track_id`, else the category; in a single image "
        "each annotation",
        read_coco,
    ),
    AnnotationFormat(
        "CVAT",
        ".xml",
        re.compile(rb"<annotations"),
        "XML 1.1 for images and for videos; masks, polygons, boxes, ellipses",
        "for videos the track, or the `group_id` of several; for images the `group_id`, else the "
        "label",
        read_cvat,
    ),
    AnnotationFormat(
        "MOTS",
        ".txt",
        re.compile(rb"\A\s*(?:[0-9]+ ){5}\S+\s*(?:\n|\Z)"),
        "text; compressed run lengths; regions to ignore are left out",
        "the object's number, without the thousands, which are its class, where that is clear",
        read_mots,
    ),
)


class Foreign(NamedTuple):
    """A format that is not read, by its sign in files with an ending."""

    name: str
    suffix: str
    sign: re.Pattern[bytes]


FOREIGN = (
    Foreign("Supervisely", ".json", re.compile(rb'"(?:classTitle|geometryType)"\s*:')),
    Foreign("SA-V", ".json", re.compile(rb'"masklet"\s*:')),
    Foreign("V7 Darwin", ".json", re.compile(rb'"item"\s*:\s*\{')),
    Foreign("VGG Image Annotator", ".json", re.compile(rb'"shape_attributes"\s*:')),
    Foreign("YOLO", ".txt", re.compile(rb"\A\s*[0-9]+(?: [0-9.e-]+){4,}\s*(?:\n|\Z)")),
)
_XML_HEAD = re.compile(r"\A\s*<\?xml[^>]*\?>")
SUFFIXES = tuple(dict.fromkeys(row.suffix for row in FORMATS))


def open_label_maps(path: Path, frames: Collection[str] | None = None) -> LabelMaps:
    """Find the label maps of a video; they are read when asked for.

    Args:
        path: A picture, an annotation file of one of `FORMATS`, a run-length store, or a folder of
            pictures or of annotation files.
        frames: Names of the video's frames; None where frames are named by their number.

    Raises:
        InputError: The path does not exist, or holds no masks, or an annotation file is damaged.
    """
    if any(mark in path.name for mark in "*?") and not path.exists():
        raise InputError(
            f"{path} is a pattern, and masks are a file or a folder; give the folder, "
            f"{path.parent}, and leave no other masks in it"
        )
    if not path.exists():
        raise InputError(f"{path} does not exist; expected a mask, or a folder of masks")
    if path.is_dir():
        return _folder(path, frames)
    if path.suffix.lower() == STORE_SUFFIX:
        return store_maps(path)
    if path.suffix.lower() in SUFFIXES:
        return read_annotations(path, _content(path))
    return file_maps(path)


def read_annotations(path: Path, content: bytes) -> LabelMaps:
    """Read an annotation file of any format.

    Args:
        path: Name of the file, for errors; its ending chooses among the formats.
        content: Its bytes.

    Raises:
        InputError: It is of no known format, or damaged.
    """
    if _is_results(content):
        raise InputError(
            f"{path} is a list of COCO's results, whose frames are not in it; save it as COCO, "
            "with its masks as `annotations` and the frames as `images`"
        )
    row = _format_of(path, content)
    if row is None:
        if path.suffix.lower() == ".json":
            _check_json(path, content)
        raise _unknown(path, _foreign(path, content))
    return row.read(path, content)


def _foreign(path: Path, content: bytes) -> str | None:
    """The format that a file has and that is not read; None where it is not known either."""
    rows = (row for row in FOREIGN if row.suffix == path.suffix.lower())
    return next((row.name for row in rows if row.sign.search(content)), None)


def _unknown(path: Path, foreign: str | None) -> InputError:
    names = ", ".join(row.name for row in FORMATS if row.suffix == path.suffix.lower())
    like = f"; it is like those of {foreign}, which are not read" if foreign else ""
    return InputError(
        f"{path} is no annotation file of a known format ({names}){like}; export the masks as PNG "
        "files named after their frames, or as COCO"
    )


def _is_results(content: bytes) -> bool:
    """Whether a file lists annotations of COCO without their images."""
    is_list = content[:100].lstrip().startswith(b"[")
    of_coco = is_list and re.search(rb'"image_id"\s*:', content) is not None
    return of_coco and re.search(rb'"data"\s*:', content) is None  # as tasks of Label Studio have


def _check_json(path: Path, content: bytes) -> None:
    def fail(reason: str) -> InputError:
        return InputError(
            f"{path} is no annotation file: {reason}; it may have been cut off, so save it again"
        )

    decode(dict, content, fail)


def _format_of(path: Path, content: bytes) -> AnnotationFormat | None:
    rows = (row for row in FORMATS if row.suffix == path.suffix.lower())
    return next((row for row in rows if row.sign.search(content)), None)


def _folder(path: Path, frames: Collection[str] | None) -> LabelMaps:
    """Annotation files where a folder has some, which may lie beside the pictures; else masks."""
    visible = (file for file in path.iterdir() if not file.name.startswith(".") and file.is_file())
    files = sorted((f for f in visible if f.suffix.lower() in SUFFIXES), key=natural_order)
    contents = {file: _content(file) for file in files}
    labelme = {f: c for f, c in contents.items() if _format_of(f, c) is LABELME}
    if labelme:
        return read_labelme(labelme)
    known = [file for file, content in contents.items() if _format_of(file, content) is not None]
    if len(known) > 1:
        raise InputError(
            f"{path} holds several annotation files, {known[0].name} and {known[1].name}; give one"
        )
    if known and _are_its_frames(masks_in(path).values(), contents[known[0]]):
        maps = read_annotations(known[0], contents[known[0]])
        if masks_in(path):
            maps.notes.append(
                f"masks are read from {known[0]}, whose frames are the pictures beside"
            )
        return maps
    if not masks_in(path) and not any(file.is_dir() for file in path.iterdir()):
        for file, content in contents.items():
            if foreign := _foreign(file, content):
                raise _unknown(file, foreign)
    maps = folder_maps(path, frames)
    if known:
        maps.notes.append(f"masks lie in {path} as pictures, so {known[0].name} is left out")
    return maps


def _are_its_frames(pictures: Iterable[Path], content: bytes) -> bool:
    """Whether an annotation file names all pictures beside it, and they are no masks."""
    pictures = list(pictures)
    if not all(picture.name.encode() in content for picture in pictures):
        return False
    try:
        for picture in pictures[:1]:
            read_mask(picture)
    except InputError:
        return True
    return not pictures


def _content(path: Path) -> bytes:
    try:
        content = read_regular(path, LARGEST).removeprefix(BOM_UTF8)
    except OSError as error:
        raise InputError(f"{path} can't be read ({error})") from None
    if not content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return content
    try:
        text = content.decode("utf-16")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-16 ({error}); save it as UTF-8") from None
    return _XML_HEAD.sub("", text).encode()  # without the head, which names the encoding
