"""BURST as published: masks as COCO's run lengths in one JSON file for each split."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from msgspec import Meta

from mavos_deploy.errors import InputError
from mavos_deploy.reading import read_regular
from mavos_deploy.records import decode
from mavos_deploy.runtime.datasets.layouts import files_in, is_name, synonyms
from mavos_deploy.runtime.datasets.sequences import (
    LAST_FRAME_COUNTS,
    EncodedMask,
    Layout,
    Problem,
    VideoSequence,
    listed,
)
from mavos_deploy.runtime.media.folders import IMAGE_SUFFIXES
from mavos_deploy.runtime.objects import VOID

FIRST_ONLY = "first_frame_annotations"  # file of sets whose truth is kept on a server
LARGEST = 1 << 30  # bytes of a file

Side = Annotated[int, Meta(ge=1, le=8192)]


@dataclass(frozen=True)
class _Mask:
    rle: str


@dataclass(frozen=True)
class _Sequence:
    dataset: str
    seq_name: str
    height: Side
    width: Side
    annotated_image_paths: list[str]
    segmentations: list[dict[str, _Mask]]


@dataclass(frozen=True)
class _Burst:
    sequences: Annotated[list[_Sequence], Meta(min_length=1)]


def burst_file(root: Path, split: str) -> Path | None:
    """The annotation file of a split; None where there is none."""
    for name in synonyms(split):
        for folder in (root / name, root / "annotations" / name, root / "annotations"):
            for stem in ("all_classes", name, FIRST_ONLY):
                if folder.name in (name, "annotations") and (folder / f"{stem}.json").is_file():
                    return folder / f"{stem}.json"
    return None


def burst(root: Path, split: str, problems: list[Problem]) -> list[VideoSequence]:
    """Find the sequences of a split.

    Args:
        root: Folder of the data set.
        split: Name of the split.
        problems: Gets an entry for each sequence that can't be used.

    Raises:
        InputError: There is no such split, or its file can't be read.
    """
    file = burst_file(root, split)
    if file is None:
        raise InputError(
            f"{root}: no {split}/all_classes.json or {split}/{split}.json; give another --split"
        )

    def fail(reason: str) -> InputError:
        return InputError(f"{file} is no annotation file of BURST: {reason}; get it again")

    try:
        content = read_regular(file, LARGEST)
    except OSError as error:
        raise fail(f"it can't be read ({error})") from None
    found = []
    for entry in decode(_Burst, content, fail).sequences:
        name = f"{entry.dataset}_{entry.seq_name}"
        try:
            found.append(_sequence(name, entry, root, split, file))
        except InputError as error:
            expected = f"an entry in {file.name} as BURST has them"
            problems.append(Problem(name, None, str(error), expected))
    return found


def _sequence(name: str, entry: _Sequence, root: Path, split: str, file: Path) -> VideoSequence:
    if not is_name(name) or not is_name(entry.seq_name) or not is_name(entry.dataset):
        raise InputError(f"{name!r:.60} is not the name of a sequence's folder")
    stems = [PurePosixPath(path).stem for path in entry.annotated_image_paths]
    if len(stems) != len(entry.segmentations) or len(set(stems)) < len(stems) or not stems:
        raise InputError(f"{len(entry.segmentations)} masks of {len(set(stems))} pictures")
    ids = _ids({key for masks in entry.segmentations for key in masks})
    size = entry.height, entry.width
    encoded = {
        stem: EncodedMask(size, {ids[key]: mask.rle for key, mask in masks.items()})
        for stem, masks in zip(stems, entry.segmentations, strict=True)
    }
    first_only = file.stem == FIRST_ONLY
    if first_only:
        stems = [stem for stem in stems if encoded[stem].runs]
    if not any(mask.runs for mask in encoded.values()):
        raise InputError("no mask of an object")
    images = _images(root, split, entry)
    if images and (lost := [stem for stem in stems if stem not in images]):
        raise InputError(f"pictures are missing: {listed(lost)}")
    order = list(images)
    if order:
        places = [order.index(stem) for stem in stems]
        order = order[min(places) : None if first_only else max(places) + 1]
    spans = None
    if first_only:
        starts = {i: stem for stem, mask in reversed(encoded.items()) for i in mask.runs}
        spans = {i: (stem,) for i, stem in starts.items()}
    return VideoSequence(
        name,
        {stem: images[stem] for stem in order},
        dict.fromkeys(stems, file),
        tuple(stems),
        spans,
        LAST_FRAME_COUNTS[Layout.BURST],
        encoded,
    )


def _ids(keys: set[str]) -> dict[str, int]:
    """Ids of tracks: their own numbers where a label map holds all of them, else in order."""
    if not all(key.isascii() and key.isdigit() and len(key) < 10 for key in keys):
        raise InputError(f"tracks {listed(sorted(keys))}, which are no numbers")
    numbers = sorted(keys, key=int)
    if len(numbers) >= VOID:
        raise InputError(f"{len(numbers)} tracks; the limit is {VOID - 1}")
    if all(0 < int(key) < VOID for key in numbers):
        return {key: int(key) for key in numbers}
    return {key: place for place, key in enumerate(numbers, 1)}


def _images(root: Path, split: str, entry: _Sequence) -> dict[str, Path]:
    """Pictures of a sequence by their stems; none where they aren't there."""
    for name in (*synonyms(split), ""):
        for frames in (root / "frames", root):
            folder = frames / name / entry.dataset / entry.seq_name
            if files := files_in(folder, IMAGE_SUFFIXES):
                return files
    return {}
