"""The folders and metadata of each layout."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from mavos_deploy.errors import InputError
from mavos_deploy.reading import read_regular
from mavos_deploy.records import LARGEST, read
from mavos_deploy.runtime.datasets.sequences import (
    LAST_FRAME_COUNTS,
    Layout,
    Problem,
    VideoSequence,
    listed,
)
from mavos_deploy.runtime.media.folders import IMAGE_SUFFIXES, in_order, natural_order
from mavos_deploy.runtime.objects import VOID

DAVIS_RESOLUTION = "480p"  # as in the published figures
LONGEST_NAME = 240  # bytes of a name; with an ending, a file's may have 255
ONE_PICTURE = "one picture for each frame"
ALL_FRAMES = "_all_frames"  # suffix of YouTube-VOS's folders with every frame, not each fifth


def _by_list(
    layout: Layout, root: Path, split: str, problems: list[Problem]
) -> list[VideoSequence]:
    """Sequences of a layout like DAVIS: a list for each split, and a folder for each resolution."""
    annotations, images = root / "Annotations", root / "JPEGImages"
    resolution = _resolution(root)
    lists = lists_of(layout, root)
    file = lists / f"{split}.txt"
    if file.is_file():
        names = _read_names(file)
    elif lists.is_dir():
        there = listed(sorted(path.stem for path in lists.glob("*.txt"))) or "none"
        raise InputError(f"{file} does not exist; the splits of this data set are: {there}")
    else:
        names = [folder.name for folder in subfolders(annotations / resolution)]
    return _sequences_by_folder(
        layout, names, images / resolution, annotations / resolution, True, problems
    )


def lists_of(layout: Layout, root: Path) -> Path:
    """The folder with the lists of a data set's splits, existing or not."""
    lists = root / "ImageSets"
    if layout is Layout.VISOR:
        return lists / "2022"
    if layout is Layout.DAVIS:
        return lists / "2017"
    own = [lists / name for name in (DAVIS_RESOLUTION, "1080p", "2016")]
    return next((folder for folder in own if folder.is_dir()), own[0])


def _mose(root: Path, split: str, problems: list[Problem]) -> list[VideoSequence]:
    folder = split_folder(root, split)
    if folder is None:
        raise InputError(f"{root}: no folder {split}/Annotations; give another --split")
    annotations = folder / "Annotations"
    names = [sequence.name for sequence in subfolders(annotations)]
    return _sequences_by_folder(
        Layout.MOSE, names, folder / "JPEGImages", annotations, True, problems
    )


def _long_time_video(root: Path, split: str, problems: list[Problem]) -> list[VideoSequence]:
    file = root / "ImageSets" / f"{split}.txt"
    annotations = root / "Annotations"
    names = _read_names(file) if file.is_file() else [f.name for f in subfolders(annotations)]
    return _sequences_by_folder(
        Layout.LONG_TIME_VIDEO, names, root / "JPEGImages", annotations, False, problems
    )


def _sequences_by_folder(
    layout: Layout,
    names: list[str],
    images_in: Path,
    annotations_in: Path,
    dense: bool,
    problems: list[Problem],
) -> list[VideoSequence]:
    """Sequences of a layout without metadata; dense ones have an annotation in every frame."""
    sequences, last_counts = [], LAST_FRAME_COUNTS[layout]
    for name in names:
        folder = annotations_in / name
        try:
            images = files_in(images_in / name, IMAGE_SUFFIXES)
            annotations = files_in(folder, (".png",), images)
        except InputError as error:
            problems.append(Problem(name, None, str(error), ONE_PICTURE))
            continue
        if not annotations:
            problems.append(Problem(name, None, f"no annotation in {folder}", "one PNG per frame"))
            continue
        if images and (stray := [stem for stem in annotations if stem not in images]):
            found = f"annotations without a frame: {listed(stray)}"
            problems.append(Problem(name, stray[0], found, "a picture of the same name"))
        stems = images if dense and images else annotations
        expected = tuple(stem for stem in stems if not images or stem in images)
        sequences.append(VideoSequence(name, images, annotations, expected, None, last_counts))
    return sequences


def _sequences_by_metadata(
    layout: Layout, root: Path, split: str, problems: list[Problem]
) -> list[VideoSequence]:
    folder = split_folder(root, split)
    file = metadata_file(folder, split) if folder is not None else None
    if folder is None or file is None:
        raise InputError(
            f"{root}: no meta.json for the split {split} of a data set of layout {layout.value}; "
            "give its folder or the folder of the split, or another --split"
        )
    images_in, annotations_in = folder / "JPEGImages", folder / "Annotations"
    if split.endswith(ALL_FRAMES):
        images_in = folder.with_name(folder.name + ALL_FRAMES) / "JPEGImages"
    sequences, last_counts = [], LAST_FRAME_COUNTS[layout]
    for name, objects in videos_of(file):
        try:
            images = files_in(images_in / name, IMAGE_SUFFIXES)
            annotations = files_in(annotations_in / name, (".png",), images)
        except InputError as error:
            problems.append(Problem(name, None, str(error), ONE_PICTURE))
            continue
        try:
            if not annotations:
                raise InputError(f"no annotation in {annotations_in / name}")
            spans = {
                _object_id(key): _span(layout, entry, images or annotations)
                for key, entry in objects.items()
            }
            named = {stem for span in spans.values() for stem in span}
            places = _places(images_in / name, images, named)
        except InputError as error:
            what = f"an entry in {file.name} and masks as {layout.value} has them"
            problems.append(Problem(name, None, str(error), what))
            continue
        in_time = {key: _sorted(span, places) for key, span in spans.items()}
        expected = _sorted(named, places)
        if images and (lost := [stem for stem in expected if stem not in images]):
            found = f"frames of {file.name} without a picture: {listed(lost)}"
            problems.append(Problem(name, lost[0], found, f"pictures in {images_in / name}"))
        first, last = places[expected[0]], places[expected[-1]]
        images = {k: v for k, v in images.items() if first <= places[k] <= last}
        sequences.append(VideoSequence(name, images, annotations, expected, in_time, last_counts))
    return sequences


Finder = Callable[[Path, str, list[Problem]], list[VideoSequence]]
FINDERS: dict[Layout, Finder] = {
    Layout.DAVIS: partial(_by_list, Layout.DAVIS),
    Layout.DAVIS_2016: partial(_by_list, Layout.DAVIS_2016),
    Layout.YOUTUBE_VOS: partial(_sequences_by_metadata, Layout.YOUTUBE_VOS),
    Layout.LVOS: partial(_sequences_by_metadata, Layout.LVOS),
    Layout.LONG_TIME_VIDEO: _long_time_video,
    Layout.MOSE: _mose,
    Layout.VISOR: partial(_by_list, Layout.VISOR),
}


# Files


def _resolution(root: Path) -> str:
    there = [folder.name for folder in subfolders(root / "Annotations")]
    if DAVIS_RESOLUTION in there:
        return DAVIS_RESOLUTION
    if len(there) == 1:
        return there[0]
    raise InputError(
        f"{root / 'Annotations'}: no folder {DAVIS_RESOLUTION}; found {listed(there) or 'nothing'}"
    )


def _read_names(file: Path) -> list[str]:
    try:
        lines = read_regular(file, LARGEST).decode().splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{file} can't be read ({error})") from None
    names = list(dict.fromkeys(_sequence_in(line) for line in lines if line.strip()))
    for name in names:
        _check_name(name, file)
    return names


def _sequence_in(line: str) -> str:
    """The sequence that a line of a list names: by itself, or in the path of a picture."""
    picture = line.split()[0]
    parts = Path(picture).parts
    return parts[-2] if len(parts) > 2 and Path(picture).suffix else line.strip()


def _check_name(name: str, file: Path) -> None:
    if not is_name(name):
        raise InputError(f"{file}: {name!r:.60} is not the name of a sequence's folder")


def is_name(text: str) -> bool:
    """Whether a text may name a file: names become those of results, so none may lead elsewhere."""
    plain = text == Path(text).name and not text.startswith(".") and "\0" not in text
    return text != "" and plain and len(os.fsencode(text)) <= LONGEST_NAME


def subfolders(path: Path) -> list[Path]:
    """Visible folders in a folder, sorted; none where it does not exist."""
    if not path.is_dir():
        return []
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def files_in(
    folder: Path, suffixes: tuple[str, ...], frames: Iterable[str] = ()
) -> dict[str, Path]:
    """Files by stem in the order of frames; see `in_order`.

    Args:
        folder: Where they lie; it may be missing.
        suffixes: Endings of their names.
        frames: Stems of the video's frames in their order, where that is known.

    Raises:
        InputError: Two files have one stem, or the order isn't clear from their names.
    """
    found: dict[str, Path] = {}
    visible = [f for f in folder.iterdir() if not f.name.startswith(".")] if folder.is_dir() else []
    files = sorted((f for f in visible if f.suffix.lower() in suffixes), key=natural_order)
    if places := {stem: place for place, stem in enumerate(frames)}:
        ordered = sorted(files, key=lambda file: places.get(file.stem, len(places)))
    else:
        ordered = in_order(str(folder), files)
    for file in ordered:
        if other := found.get(file.stem):
            raise InputError(
                f"{folder} holds {other.name} and {file.name}, two pictures of one frame; remove "
                "one of them"
            )
        found[file.stem] = file
    return found


def _places(folder: Path, images: Iterable[str], named: Iterable[str]) -> dict[str, int]:
    """The place of each stem in the order of frames, which is that of the pictures."""
    pictures = dict.fromkeys(images)
    ordered = [
        file.stem
        for file in in_order(str(folder), (Path(f"{stem}.png") for stem in {*pictures, *named}))
    ]
    if [stem for stem in ordered if stem in pictures] != list(pictures):
        ordered = [*pictures, *(stem for stem in ordered if stem not in pictures)]
    return {stem: place for place, stem in enumerate(ordered)}


def _sorted(stems: Iterable[str], places: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(stems, key=places.__getitem__))


def split_folder(root: Path, split: str) -> Path | None:
    """The folder of a split, which may be the root itself."""
    for name in synonyms(split.removesuffix(ALL_FRAMES)):
        if (root / name / "Annotations").is_dir():
            return root / name
    return root if (root / "Annotations").is_dir() else None


def splits_of(layout: Layout, root: Path) -> list[str]:
    """Names of a data set's splits, as far as its folders tell."""
    if layout is Layout.MOSE:
        return [f.name for f in subfolders(root) if (f / "Annotations").is_dir()]
    lists = lists_of(layout, root)
    return sorted(path.stem for path in lists.glob("*.txt")) if lists.is_dir() else []


def synonyms(split: str) -> tuple[str, ...]:
    """Names that mean the same split."""
    return {"val": ("val", "valid"), "valid": ("valid", "val")}.get(split, (split,))


def metadata_file(folder: Path, split: str) -> Path | None:
    """The metadata file of a split under one of its usual names; None where there is none."""
    names = [f"{name}_meta.json" for name in synonyms(split.removesuffix(ALL_FRAMES))]
    files = [folder / name for name in (*names, "meta.json")]
    files += sorted(f for f in folder.glob("*_meta.json") if "expression" not in f.name)
    return next((file for file in files if file.exists()), None)


@dataclass(frozen=True)
class _Video:
    objects: Annotated[dict[str, Any], Meta(min_length=1)]  # entries of either layout, see `_span`


@dataclass(frozen=True)
class _Metadata:
    videos: Annotated[dict[str, _Video], Meta(min_length=1)]


def videos_of(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """Sequences of a metadata file, sorted, each with its objects' entries.

    Raises:
        InputError: The file can't be read, or is no list of videos.
    """

    def fail(reason: str) -> InputError:
        expected = "{'videos': {name: {'objects': {id: ...}}}}"
        return InputError(f"{file} lists no videos as in {expected}: {reason}; get it again")

    try:
        videos = read(_Metadata, file, fail).videos
    except FileNotFoundError as error:
        raise InputError(f"{file} can't be read ({error}); get it again") from None
    for name in videos:
        _check_name(name, file)
    return sorted((name, video.objects) for name, video in videos.items())


def _object_id(key: str) -> int:
    if not key.isascii() or not key.isdigit() or len(key) > 3 or not 0 < int(key) < VOID:
        raise InputError(f"object id {key!r:.20}: ids go from 1 to {VOID - 1}")
    return int(key)


def _span(layout: Layout, entry: object, stems: Mapping[str, Path]) -> tuple[str, ...]:
    """Stems of the frames that an object is annotated in, as its metadata say, in any order."""
    if not isinstance(entry, dict):
        raise InputError(f"an object's entry is {entry!r:.40}")
    if layout is Layout.YOUTUBE_VOS:
        frames = entry.get("frames")
        named = isinstance(frames, list) and all(type(f) is str and is_name(f) for f in frames)
        if not isinstance(frames, list) or not frames or not named:
            raise InputError(f"an object's `frames` are {frames!r:.40}")
        return tuple(dict.fromkeys(frames))
    given = entry.get("frame_range")
    try:
        start, end = int(given["start"]), int(given["end"])  # type: ignore[index]
        span = tuple(stem for stem in stems if start <= int(stem) <= end)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"an object's `frame_range` is {given!r:.60}") from None
    if not span or int(span[0]) != start:
        raise InputError(f"an object starts at frame {start}, which is not there")
    return span
