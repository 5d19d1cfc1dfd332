"""Opens a benchmark data set: finds its layout and its sequences.

docs/eval.md shows the folders of each layout and the sources of their protocols.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.datasets.burst import burst, burst_file
from mavos_deploy.runtime.datasets.layouts import (
    DAVIS_RESOLUTION,
    FINDERS,
    lists_of,
    metadata_file,
    split_folder,
    splits_of,
    subfolders,
    synonyms,
    videos_of,
)
from mavos_deploy.runtime.datasets.sequences import Dataset, Layout, Problem, listed, missing

DEFAULT_SPLIT = "val"


def open_dataset(
    path: Path,
    layout: Layout | None = None,
    split: str | None = None,
    names: Iterable[str] | None = None,
) -> Dataset:
    """Find the sequences of a data set.

    Args:
        path: Its folder; for YouTube-VOS and LVOS also the folder of one split.
        layout: Arrangement of its folders; None detects it.
        split: Name such as val, train or test-dev; val and valid mean the same. None takes val, or
            the only one that a data set of DAVIS 2016, MOSE or VISOR has, and a note says so.
        names: Sequences to take; None takes all.

    Returns:
        The sequences, with the faults of their files. Masks are not read yet.

    Raises:
        InputError: No folder, no known layout, no such split or sequence, or unusable metadata.
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder; give the folder of a data set")
    if split is not None and (not split or split != Path(split).name):
        raise InputError(f"split {split!r}: give the name of a split, such as val")
    if layout is None:
        layout = detect_layout(path, split or DEFAULT_SPLIT)
    split, notes = _split_of(path, layout, split)
    problems: list[Problem] = []
    finder = burst if layout is Layout.BURST else FINDERS[layout]
    sequences = finder(path, split, problems)
    if names is not None:
        wanted = list(dict.fromkeys(names))
        known = [s.name for s in sequences] + [p.sequence for p in problems if p.sequence]
        if unknown := [name for name in wanted if name not in known]:
            raise InputError(
                f"{path} has no sequence {unknown[0]} in its split {split}; it has "
                f"{listed(dict.fromkeys(known))}"
            )
        sequences = [sequence for sequence in sequences if sequence.name in wanted]
        problems = [p for p in problems if p.sequence is None or p.sequence in wanted]
    if not sequences:
        why = f" ({problems[0]})" if problems else ""
        raise InputError(f"{path}: no sequence of the split {split} can be used{why}")
    dataset = Dataset(path, layout, split, tuple(sequences), tuple(problems), notes)
    if dataset.reference_only:
        return dataset
    for sequence in sequences:
        if lost := [stem for stem in sequence.expected if stem not in sequence.annotations]:
            problems.append(
                Problem(sequence.name, lost[0], missing(lost, "annotation"), "one for each frame")
            )
    return replace(dataset, problems=tuple(problems))


def _split_of(path: Path, layout: Layout, named: str | None) -> tuple[str, tuple[str, ...]]:
    """The split to take, and a note where none is named and it is not the usual one."""
    split = named or DEFAULT_SPLIT
    if layout not in (Layout.DAVIS_2016, Layout.VISOR, Layout.MOSE):
        return split, ()
    there = splits_of(layout, path)
    if len(there) != 1 or set(there) & set(synonyms(split)):
        return split, ()
    if named is not None:
        raise InputError(f"{path} has no split {split}; it has {there[0]}")
    return there[0], (f"{path} has no split {split}; {there[0]} is its only one, and is taken",)


def detect_layout(path: Path, split: str = DEFAULT_SPLIT) -> Layout:
    """Tell a data set's layout from its folders.

    Args:
        path: Its folder.
        split: Name of the split that is wanted.

    Raises:
        InputError: None of the layouts fits, or the metadata can't be read.
    """
    by_list = (Layout.DAVIS, Layout.VISOR, Layout.DAVIS_2016)
    if found_lists := [known for known in by_list if lists_of(known, path).is_dir()]:
        return found_lists[0]
    if (path / "Annotations" / DAVIS_RESOLUTION).is_dir():
        return Layout.DAVIS
    folder = split_folder(path, split)
    if folder is not None and (found := metadata_file(folder, split)):
        for _, objects in videos_of(found):
            for entry in objects.values():
                if isinstance(entry, dict) and "frame_range" in entry:
                    return Layout.LVOS
                if isinstance(entry, dict) and "frames" in entry:
                    return Layout.YOUTUBE_VOS
        raise InputError(
            f"{found}: no object has `frames` (YouTube-VOS) or `frame_range` (LVOS); give another "
            "folder, or force a layout with --layout"
        )
    if splits_of(Layout.MOSE, path):
        return Layout.MOSE
    if burst_file(path, split) is not None:
        return Layout.BURST
    annotations = path / "Annotations"
    if annotations.is_dir() and any(next(f.glob("*.png"), None) for f in subfolders(annotations)):
        return Layout.LONG_TIME_VIDEO
    raise InputError(
        f"{path} has none of the known layouts for the split {split}: ImageSets/2017, 480p or 2022 "
        f"(davis, davis-2016, visor), {split}/meta.json (youtube-vos, lvos), {split}/Annotations "
        f"(mose), {split}/all_classes.json (burst), or Annotations/<sequence>/*.png "
        "(long-time-video); give the folder that holds them, or another --split"
    )
