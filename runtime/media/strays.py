"""Tells masks that lie among a video's frames from the frames."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.reading import read_regular
from mavos_deploy.records import LARGEST
from mavos_deploy.runtime.media.pictures import FORMATS, MASK_SUFFIXES, mode_of, open_image

MODES_OF_IDS = ("P", "1", "L")  # of pictures that may hold ids, as no picture in colours does
MASK_WORDS = frozenset(
    ("mask", "masks", "label", "labels", "annotation", "annotations", "seg", "segmentation")
)
# Words that, too, tell masks where each has the number of a frame.
WORDS_BESIDE = MASK_WORDS | frozenset(
    (
        *("alpha", "ann", "anno", "depth", "disparity", "flow", "groundtruth", "gt", "ids"),
        *("instance", "instances", "matte", "mattes", "normals", "panoptic", "semantic", "trimap"),
    )
)
FEW = 64  # values of pixels, that is colours or levels, up to which a picture looks like a mask
FLAT = 0.9  # share of pixels equal to their neighbour from which a picture looks drawn
LOOKED_INTO = 8  # pictures of one kind whose pixels are looked at
ROWS = 256  # rows of a picture that are looked at
LISTED = 5  # names that a line gives before it only counts
LABELME = re.compile(rb'"shapes"\s*:')  # in JSON that is read in place of the pictures beside it


class _Verdict(IntEnum):
    FRAME = 0
    SAID = 1  # a frame, but not in silence
    MASK = 2
    UNSURE = 3


@dataclass(frozen=True)
class _Look:
    """The pixels of a picture.

    Attributes:
        values: Number of colours or levels.
        flat: Share of pixels that are equal to their neighbour, 0 to 1.
    """

    values: int
    flat: float

    @property
    def few(self) -> bool:
        return self.values <= FEW

    @property
    def drawn(self) -> bool:
        return self.few or self.flat >= FLAT


class _Usual:
    """Frames as most of a folder are, which the others are compared with."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    @cached_property
    def in_colours(self) -> bool:
        return mode_of(self.files[0], FORMATS) not in (None, *MODES_OF_IDS)

    @cached_property
    def look(self) -> _Look | None:
        """The richest of a few, since some frame of a video may be black; None if none opens."""
        found = [look for file in _spread(self.files, 3) if (look := _look(file)) is not None]
        if not found:
            return None
        return _Look(max(look.values for look in found), min(look.flat for look in found))

    @cached_property
    def pattern(self) -> Path | None:
        """A pattern that these names match and names of other kinds don't; None for none."""
        parts = [re.split(r"([0-9]+)", file.name.removesuffix(file.suffix)) for file in self.files]
        before, after = parts[0][0], parts[0][-1] + self.files[0].suffix
        alike = len({file.suffix for file in self.files}) == 1 and "%" not in before + after
        if not alike or any(len(part) != 3 for part in parts):
            return None
        widths = {len(digits) for _, digits, _ in parts}
        if len(widths) == 1:
            number = f"%0{widths.pop()}d"
        elif not any(digits.startswith("0") and digits != "0" for _, digits, _ in parts):
            number = "%d"
        else:
            return None
        return self.files[0].parent / f"{before}{number}{after}"


def without_given(files: list[Path], masks: Path | None) -> list[Path]:
    """The files that are no given mask, be it the same file or a copy of it.

    Pictures in a folder with labelme's files are none: its masks are these files.

    Args:
        files: Files among which masks may lie.
        masks: The mask that was given, or the folder of masks; None for none.
    """
    if masks is None or not masks.exists():
        return files
    given = [masks]
    if masks.is_dir():
        found = [file for file in masks.iterdir() if not file.name.startswith(".")]
        given = [file for file in found if file.suffix.lower() in MASK_SUFFIXES]
        if given and any(map(_is_labelme, found)):
            return files
    by_size: dict[int, list[Path]] = {}
    for file in filter(Path.is_file, given):
        by_size.setdefault(file.stat().st_size, []).append(file)

    @cache
    def contents(size: int) -> set[bytes | None]:
        return {_digest(file) for file in by_size[size]} - {None}

    def is_given(file: Path) -> bool:
        if not file.is_file() or (size := file.stat().st_size) not in by_size:
            return False
        return any(map(file.samefile, by_size[size])) or _digest(file) in contents(size)

    return [file for file in files if not is_given(file)]


def _is_labelme(file: Path) -> bool:
    if file.suffix.lower() != ".json":
        return False
    try:
        return LABELME.search(read_regular(file, LARGEST)) is not None
    except (InputError, OSError):
        return False  # told when it is read as masks


def _digest(file: Path) -> bytes | None:
    """A digest of a file's content; None where it is empty or can't be read."""
    try:
        content = file.read_bytes()
    except OSError:
        return None  # told when it is read as a picture
    return sha256(content).digest() if content else None


def without_strays(source: str, files: list[Path]) -> tuple[list[Path], list[str]]:
    """Tell the frames among pictures that aren't all alike.

    Pictures whose names are built otherwise than most, or hold a word such as `mask`, are looked
    into, and one picture of another kind than all others. Masks have few colours, or areas of one
    colour, where frames don't.

    Args:
        source: Name of the source, for messages.
        files: Pictures in the order of frames.

    Returns:
        The frames, and lines that say what was left out, or taken although it is named unlike
        the others.

    Raises:
        InputError: It isn't clear whether a picture is a mask or a frame.
    """
    plain = [file for file in files if not _has_word(file.stem)] or files
    shape, count = Counter(_shape(file) for file in plain).most_common(1)[0]
    named_alike = count > len(plain) / 2 and count > 1
    usual = _Usual([file for file in plain if _shape(file) == shape] if named_alike else plain)
    numbered_alike: list[_Usual] = []
    clear = True
    if not named_alike:
        numbered_alike, clear = _numbered_alike(plain)
        usual = numbered_alike[0] if numbered_alike else usual
    others = {_shape(one.files[0]) for one in numbered_alike[1:]}
    taken = set(usual.files)
    kinds: dict[tuple[str, str], list[Path]] = {}
    for file in files:
        if file not in taken:
            kinds.setdefault((_shape(file), file.suffix.lower()), []).append(file)
    stems = {file.stem for file in plain}
    found: dict[Path, _Verdict] = {}
    for alike in kinds.values():
        verdict = _verdict_of(alike, usual, stems)
        if _shape(alike[0]) in others:
            verdict = _verdict_beside(alike, usual, verdict, clear)
        found |= dict.fromkeys(alike, verdict)
    for file in _of_another_kind(usual.files) if named_alike or numbered_alike else ():
        rest = _Usual([other for other in usual.files if other != file])
        if _is_mask_like(file, rest):
            found[file] = _Verdict.UNSURE

    def those(verdict: _Verdict) -> list[Path]:
        return [file for file in files if found.get(file) == verdict]

    if unsure := those(_Verdict.UNSURE):
        rest = _Usual([file for file in usual.files if file not in unsure])
        raise InputError(_unsure(source, unsure, rest))
    notes = []
    if masks := those(_Verdict.MASK):
        many = len(masks) > 1
        notes.append(
            f"{listed(masks)} of {source} {'look like masks' if many else 'looks like a mask'} "
            f"among frames of another kind and name, and {'are' if many else 'is'} left out; give "
            "--masks its path to use it, or, if it is a frame, name it like the others and save "
            "it as they are"
        )
    if said := those(_Verdict.SAID):
        advice = f", or give {usual.pattern}" if usual.pattern else ""
        notes.append(
            f"{listed(said)} of {source} {'are' if said[1:] else 'is'} named unlike the other "
            f"frames, and taken as {'frames' if said[1:] else 'a frame'}; move what is none out "
            f"of the folder{advice}"
        )
    frames = [file for file in files if found.get(file) != _Verdict.MASK]
    if len(alike_kinds := [one for one in numbered_alike if one.files[0] in frames]) > 1:
        notes.append(_several(source, alike_kinds))
    return frames, notes


def _numbered_alike(files: list[Path]) -> tuple[list[_Usual], bool]:
    """Kinds of names that have the same numbers, where none is that of most: masks beside frames.

    Returns:
        The kinds, the one that is most like frames first; none where there is one alone or their
        numbers differ. And whether names and colours tell frames from the others.
    """
    kinds: dict[str, list[Path]] = {}
    for file in files:
        kinds.setdefault(_shape(file), []).append(file)
    found = [_Usual(alike) for alike in kinds.values() if len(alike) > 1]
    numbers = [{_numbers(file) for file in one.files} for one in found]
    if len(found) < 2 or any(not own <= max(numbers, key=len) for own in numbers):
        return [], True

    def ahead(one: _Usual, other: _Usual) -> int:
        own, others = (set(_words(kind.files[0].stem)) for kind in (one, other))
        shorter = (own < others) - (others < own)
        words = _is_beside(other.files[0]) - _is_beside(one.files[0])
        return shorter + words + one.in_colours - other.in_colours

    for place, one in enumerate(found):
        rest = found[:place] + found[place + 1 :]
        if all(ahead(one, other) > 0 for other in rest):
            return [one, *rest], True
    return sorted(found, key=lambda one: (_is_beside(one.files[0]), not one.in_colours)), False


def _verdict_of(alike: list[Path], usual: _Usual, stems: set[str]) -> _Verdict:
    """The verdict on files whose names and endings are alike, but unlike those of most."""
    if all(_goes_with(file.stem, stems) for file in alike):
        return _Verdict.MASK
    verdicts = {_verdict(file, usual) for file in _spread(alike, LOOKED_INTO)}
    if len(verdicts) > 1 and _Verdict.MASK in verdicts:
        return _Verdict.UNSURE
    return max(verdicts)


def _verdict_beside(alike: list[Path], usual: _Usual, verdict: _Verdict, clear: bool) -> _Verdict:
    """The verdict on files with the numbers of frames: masks of these, or another camera."""
    word = _is_beside(alike[0]) and not _is_beside(usual.files[0])
    if verdict in (_Verdict.FRAME, _Verdict.SAID) and not word:
        return _Verdict.FRAME
    looks = [_look(file) for file in _spread(alike, LOOKED_INTO)]
    flat = all(look is not None and look.few and look.flat >= FLAT for look in looks)
    # A camera's pictures may be grey, beside another's in colours.
    return verdict if clear and verdict == _Verdict.MASK and (word or flat) else _Verdict.UNSURE


def _verdict(file: Path, usual: _Usual) -> _Verdict:
    """The verdict on a picture that is named unlike most."""
    of_ids = file.suffix.lower() == ".png" and mode_of(file, FORMATS) in MODES_OF_IDS
    if of_ids and usual.in_colours:
        return _Verdict.MASK
    look, others = _look(file), usual.look
    if look is None or others is None:
        return _Verdict.FRAME  # told when it is read
    if look.values > 1 and look.few and not others.few:
        return _Verdict.MASK
    if _has_word(file.stem):
        return _Verdict.UNSURE
    if look.values > 1 and look.flat >= FLAT > others.flat:
        return _Verdict.UNSURE
    if re.search(r"[0-9]", file.stem):
        return _Verdict.FRAME  # of another camera, perhaps
    return _Verdict.UNSURE if look.values > 1 and look.drawn else _Verdict.SAID


def _of_another_kind(files: list[Path]) -> list[Path]:
    """The pictures, named like all others, that their endings or modes tell from them."""
    kinds: dict[str, list[Path]] = {}
    for file in files:
        suffix = file.suffix.lower()
        kind = "lossless" if suffix in MASK_SUFFIXES else "other"
        kinds.setdefault(kind if kind == "other" else suffix, []).append(file)
    odd = [alike[0] for alike in kinds.values() if len(alike) == 1]
    if len(files) > 2 and len(kinds) == 2 and len(odd) == 1:
        return odd
    if len(files) > 2 and len(kinds) == 1 and files[0].suffix.lower() == ".png":
        modes = [mode_of(file, FORMATS) for file in files[:2]]
        if modes[0] in MODES_OF_IDS and modes[1] not in (None, *MODES_OF_IDS):
            return files[:1]
    return []


def _is_mask_like(file: Path, usual: _Usual) -> bool:
    look, others = _look(file), usual.look
    if look is None or others is None or file.suffix.lower() not in MASK_SUFFIXES:
        return False
    return look.few and look.values > 1 and look.flat >= FLAT and not others.few


def _unsure(source: str, files: list[Path], usual: _Usual) -> str:
    many = len(files) > 1
    pattern = usual.pattern
    matched = any(
        _shape(file) == _shape(usual.files[0]) and file.suffix == usual.files[0].suffix
        for file in files
    )
    advice = f" or give {pattern}" if pattern is not None and not matched else ""
    return (
        f"{listed(files)} of {source} {'look' if many else 'looks'} unlike the frames there, and "
        f"may be {'masks' if many else 'a mask'}; move {'them' if many else 'it'} out of the "
        f"folder{advice} if so, and else name {'them' if many else 'it'} like the other frames and "
        f"save {'them' if many else 'it'} in the same format and colours"
    )


def _several(source: str, kinds: list[_Usual]) -> str:
    """A line on frames of several names with the same numbers."""
    names = listed(one.pattern or f"{one.files[0].name} and so on" for one in kinds)
    pattern = next((f", or give {one.pattern}" for one in kinds if one.pattern), "")
    return (
        f"{source} holds pictures with the same numbers under several names ({names}), all taken "
        f"as frames of one video; if they are several, give each a folder of its own{pattern}"
    )


def _look(file: Path) -> _Look | None:
    """The pixels of a picture; None where it can't be read."""
    try:
        image = open_image(file, as_mask=True)
        if image.mode not in (*MODES_OF_IDS, "I;16"):
            image = image.convert("RGB")
    except (InputError, ValueError, OSError):  # LAB isn't converted by every Pillow
        return None
    pixels = np.asarray(image)
    pixels = pixels[:: max(1, len(pixels) // ROWS)].astype(np.uint32)
    if pixels.ndim == 3:
        pixels = (pixels[..., 0] << 16) + (pixels[..., 1] << 8) + pixels[..., 2]
    same = pixels[:, 1:] == pixels[:, :-1]
    return _Look(len(np.unique(pixels)), float(same.mean()) if same.size else 1.0)


def _shape(file: Path) -> str:
    return re.sub(r"[0-9]+", "#", file.stem)


def _numbers(file: Path) -> tuple[str, ...]:
    return tuple(digits.lstrip("0") for digits in re.findall(r"[0-9]+", file.stem))


def _words(stem: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", stem.lower())


def _has_word(stem: str) -> bool:
    """Whether a name is that of a mask: `mask_00000`, `frame_00000_mask` or `labels`."""
    return not MASK_WORDS.isdisjoint(_words(stem))


def _is_beside(file: Path) -> bool:
    return not WORDS_BESIDE.isdisjoint(_words(file.stem))


def _goes_with(stem: str, stems: set[str]) -> bool:
    """Whether a name is that of a frame with a word such as `mask` behind it."""
    found = re.fullmatch(r"(.+?)[ ._-]*([^\W\d_]+)[ ._-]*[0-9]*", stem)
    return found is not None and found[2].lower() in MASK_WORDS and found[1] in stems


def _spread(files: list[Path], count: int) -> list[Path]:
    """Some of the files, evenly spaced, with the first and the last one."""
    if len(files) <= count:
        return files
    return [files[round(place)] for place in np.linspace(0, len(files) - 1, count)]


def listed(found: Iterable[Path | str]) -> str:
    """Names of files in a line: the first ones, and how many more there are."""
    names = [Path(file).name for file in found]
    more = f" and {len(names) - LISTED} more" if names[LISTED:] else ""
    return ", ".join(names[:LISTED]) + more
