"""The table of everything that a run can write, from which options, docs and conversions come."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.masks.formats.coco import CocoWriter
from mavos_deploy.runtime.masks.formats.coco_runs import check_pycocotools
from mavos_deploy.runtime.masks.formats.cvat import CvatWriter
from mavos_deploy.runtime.masks.formats.label_studio import LabelStudioWriter
from mavos_deploy.runtime.masks.formats.labelme import LabelmeWriter
from mavos_deploy.runtime.masks.formats.mots import CLASSES, MotsWriter
from mavos_deploy.runtime.masks.formats.store import SUFFIX, StoreWriter
from mavos_deploy.runtime.masks.formats.youtube_vis import YoutubeVisWriter
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.picture_files import BinaryWriter, CutoutWriter, PaletteWriter
from mavos_deploy.runtime.masks.writing import Legend, MaskWriter
from mavos_deploy.runtime.media import drawings
from mavos_deploy.runtime.media.drawings import Drawing
from mavos_deploy.runtime.media.overlay import draw_objects
from mavos_deploy.runtime.media.pictures import mode_of
from mavos_deploy.runtime.review.events import Event
from mavos_deploy.runtime.review.report import ReportWriter
from mavos_deploy.runtime.review.writers import ConfidenceWriter, EventsWriter
from mavos_deploy.words import Word

if TYPE_CHECKING:
    from mavos_deploy.runtime.media.encoding import Original


class Place(Enum):
    """Kinds of paths that results have."""

    FILE = "a file"
    FOLDER = "a folder of its own"
    BESIDE = "a folder that may hold other files, such as the frames"


class Trait(Word):
    """A part of a video's label maps beside ids and pixels, which not every format holds."""

    STEMS = "names of frames"
    NAMES = "class names"
    EMPTY = "frames without an object"
    SIZES = "frames of different sizes"
    VOID = "void pixels (255)"
    COLOURS = "colours of objects"


@dataclass(frozen=True)
class Target:
    """All that a writer needs to know before the first frame.

    Attributes:
        legend: Names and palette.
        size: Height and width of the frames in pixels; None where they may differ.
        path: File or folder.
        option: Variant of the kind.
        colour: Colour that takes the place of pixels, RRGGBB.
        original: What a video that shows the frames takes over from their source.
        events: Events of the run, to which it adds.
        facts: Everything that the run was made with, by name.
        ended: Says why the run ended early, a line; empty where it didn't.
        checked: Whether frames are checked by a pass backward now and then.
    """

    legend: Legend
    size: Size | None = None
    path: Path = Path()
    option: str = ""
    colour: str = ""
    original: "Original | None" = None
    events: Sequence[Event] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    ended: Callable[[], str] = str
    checked: bool = False


@dataclass(frozen=True)
class ResultKind:
    """One kind of result.

    Attributes:
        name: Word of `--write`.
        help: What is written, a phrase for tables.
        open: Makes the writer.
        place: Whether it is a file or a folder.
        suffix: Ending of the files.
        options: Help by option; the first one is taken where none is given.
        colour: Colour that takes the place of pixels, RRGGBB, where an option may name another;
            empty for kinds without one.
        holds: What else it keeps of a video's label maps.
        masks: Whether it can be read as masks again.
        pictures: Whether it needs the frames' pictures.
        review: Whether it shows what a run says of its masks, so that masks alone give none.
        confidence: Whether it needs the confidence of every frame, which `--resume` doesn't keep.
        needs: Extra of the package that it needs.
        check: Raises InputError where a library of that extra is missing.
        made: Name of one of its files in errors.
        nested: Whether files may lie in a folder for each object.
        owns: Tells whether a file looks as if this kind had written it.
    """

    name: str
    help: str
    open: Callable[[Target], MaskWriter]
    place: Place = Place.FILE
    suffix: str = ".png"
    options: Mapping[str, str] = field(default_factory=dict)
    colour: str = ""
    holds: frozenset[Trait] = frozenset()
    masks: bool = True
    pictures: bool = False
    review: bool = False
    confidence: bool = False
    needs: str = ""
    check: Callable[[], None] = lambda: None
    made: str = "result"
    nested: bool = False
    owns: Callable[[Path], bool] = lambda path: True

    def split_option(self, option: str) -> tuple[str, str]:
        """A variant and a colour out of `OPTION`, `COLOUR` or `OPTION,COLOUR`.

        Raises:
            ValueError: A part is neither; the message names what is accepted.
        """
        chosen, colour = next(iter(self.options), ""), self.colour
        for part in option.split(",") if option else []:
            if part in self.options:
                chosen = part
            elif self.colour and re.fullmatch("[0-9a-fA-F]{6}", part):
                colour = part.lower()
            else:
                accepted = [*self.options, *(["a colour as RRGGBB"] if self.colour else [])]
                raise ValueError(
                    f"{self.name} has no option {part!r}; "
                    + (f"accepted are {', '.join(accepted)}" if accepted else "it has none")
                )
        return chosen, colour


def _has_mode(mode: str) -> Callable[[Path], bool]:
    """A test of a PNG's header."""

    def owns(path: Path) -> bool:
        return mode_of(path, ("PNG",)) == mode

    return owns


_ALL = frozenset(Trait)
_DOCUMENT = _ALL - {Trait.VOID, Trait.COLOURS}
_FOLDER = frozenset({Trait.STEMS, Trait.EMPTY, Trait.SIZES})

BACKGROUND = "background"
_WHERE = {"objects": "the objects", BACKGROUND: "everything but the objects"}


def _film(
    name: str,
    what: str,
    drawing: Callable[[Target], Drawing],
    encoding: str = "H264",
    suffix: str = ".mp4",
    options: Mapping[str, str] | None = None,
    colour: str = "",
) -> ResultKind:
    """A kind of video; see `ResultKind` for what isn't said here.

    Args:
        name: Word of `--write`.
        what: Help of the kind.
        drawing: Makes the function that draws a frame.
        encoding: A key of `films.ENCODINGS`.
        suffix: Ending of the file.
        options: Help by option.
        colour: Colour that takes the place of pixels.
    """

    def open_film(target: Target) -> MaskWriter:
        from mavos_deploy.runtime.media.films import ENCODINGS, FilmWriter

        assert target.size is not None
        draw = drawing(target)
        return FilmWriter(target.path, target.size, draw, target.original, ENCODINGS[encoding])

    return ResultKind(
        name,
        what,
        open_film,
        suffix=suffix,
        options=options or {},
        colour=colour,
        masks=False,
        pictures=True,
    )


def _overlay(target: Target) -> Drawing:
    colours = palette_colors(target.legend.palette).astype(np.uint16)
    return lambda rgb, labels: draw_objects(rgb, labels, colours)


_KINDS = (
    ResultKind(
        "palette",
        "a palette PNG for each frame, whose indices are ids",
        lambda target: PaletteWriter(target.path, target.legend),
        Place.FOLDER,
        holds=_FOLDER | {Trait.VOID, Trait.COLOURS},
        made="palette mask",
        owns=_has_mode("P"),
    ),
    ResultKind(
        "binary",
        "for each object a folder with a PNG for each frame, 255 inside and 0 outside",
        lambda target: BinaryWriter(target.path, target.legend),
        Place.FOLDER,
        holds=_FOLDER,
        made="grey mask",
        nested=True,
        owns=_has_mode("L"),
    ),
    ResultKind(
        "cutouts",
        "the pictures with alpha, PNG, in which nothing but objects is left",
        lambda t: CutoutWriter(t.path, t.legend, together=t.option == "together"),
        Place.FOLDER,
        options={"each": "a folder for each object", "together": "all objects in one picture"},
        masks=False,
        pictures=True,
        made="cut-out",
        nested=True,
        owns=_has_mode("RGBA"),
    ),
    ResultKind(
        "store",
        "a run-length store: the whole video in one file, readable by frame number",
        lambda target: StoreWriter(target.path, target.legend),
        suffix=SUFFIX,
        holds=_ALL,
    ),
    ResultKind(
        "coco",
        "COCO's JSON with compressed run lengths; `track_id` is the id",
        lambda target: CocoWriter(target.path, target.legend),
        suffix=".json",
        holds=_DOCUMENT,
        needs="annotations",
        check=check_pycocotools,
    ),
    ResultKind(
        "youtube-vis",
        "YouTube-VIS's JSON with compressed run lengths",
        lambda target: YoutubeVisWriter(target.path, target.legend),
        suffix=".json",
        holds=_DOCUMENT - {Trait.SIZES},
        needs="annotations",
        check=check_pycocotools,
    ),
    ResultKind(
        "mots",
        "MOTS's text, a line for each object of each frame",
        lambda target: MotsWriter(target.path, target.legend, target.option),
        suffix=".txt",
        options={
            word: f"objects without a name of MOTS are of class {number}, {word}"
            for word, number in sorted(CLASSES.items(), reverse=True)
        },
        holds=frozenset({Trait.SIZES}),
        needs="annotations",
        check=check_pycocotools,
    ),
    ResultKind(
        "labelme",
        "labelme's JSON for each frame, with masks; it may lie beside the frames",
        lambda target: LabelmeWriter(target.path, target.legend),
        Place.BESIDE,
        suffix=".json",
        holds=_DOCUMENT,
        made="file of labelme",
    ),
    ResultKind(
        "cvat-images",
        "CVAT's XML for images, with masks; groups are ids",
        lambda target: CvatWriter(target.path, target.legend, video=False),
        suffix=".xml",
        holds=_DOCUMENT,
    ),
    ResultKind(
        "cvat-video",
        "CVAT's XML for videos, with masks; groups are ids",
        lambda target: CvatWriter(target.path, target.legend, video=True),
        suffix=".xml",
        holds=frozenset({Trait.NAMES}),
    ),
    ResultKind(
        "label-studio",
        "Label Studio's JSON with brush strokes",
        lambda target: LabelStudioWriter(target.path, target.legend),
        suffix=".json",
        holds=_DOCUMENT,
    ),
    _film(
        "overlay",
        "the video with the objects coloured and outlined, H.264",
        _overlay,
    ),
    _film(
        "matte",
        "a video, white where an object is and black elsewhere, H.264",
        lambda target: drawings.matte,
    ),
    _film(
        "green-screen",
        "the video with a colour for everything but the objects, H.264",
        lambda target: drawings.filled(target.colour, background=True),
        colour="00ff00",
    ),
    _film(
        "alpha-prores",
        "the video with the objects opaque and all else transparent, ProRes 4444",
        lambda target: drawings.with_alpha,
        "ProRes",
        suffix=".mov",
    ),
    _film(
        "alpha-vp9",
        "the video with the objects opaque and all else transparent, VP9, for browsers",
        lambda target: drawings.with_alpha,
        "VP9",
        suffix=".webm",
    ),
    _film(
        "blur",
        "the video with a part blurred, H.264",
        lambda target: drawings.blurred(target.option == BACKGROUND),
        options=_WHERE,
    ),
    _film(
        "pixelate",
        "the video with a part in coarse blocks, H.264",
        lambda target: drawings.pixelated(target.option == BACKGROUND),
        options=_WHERE,
    ),
    _film(
        "colour",
        "the video with a part covered by a colour, H.264",
        lambda target: drawings.filled(target.colour, target.option == BACKGROUND),
        options=_WHERE,
        colour="000000",
    ),
    ResultKind(
        "confidence",
        "confidence in every mask, CSV with a row for each object of each frame",
        lambda target: ConfidenceWriter(target.path, target.legend, target.checked),
        suffix=".csv",
        masks=False,
        review=True,
        confidence=True,
    ),
    ResultKind(
        "events",
        "objects lost and found, swaps, black and frozen frames: a line of JSON for each",
        lambda target: EventsWriter(target.path, target.legend, target.events),
        suffix=".jsonl",
        masks=False,
        review=True,
    ),
    ResultKind(
        "report",
        "a page of HTML: confidence over time, events and the worst frames, in one file",
        lambda target: ReportWriter(
            target.path, target.legend, target.events, target.facts, target.ended
        ),
        suffix=".html",
        masks=False,
        review=True,
        confidence=True,
    ),
)
RESULTS = {kind.name: kind for kind in _KINDS}
PALETTE = RESULTS["palette"]
