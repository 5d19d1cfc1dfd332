"""Label maps from one format to another, and what the other one can't hold."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mavos_deploy.runtime.masks.label_maps import LabelMaps
from mavos_deploy.runtime.masks.names import numbers_in, unclear_in
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.writing import OBJECT, LabelledFrame, Legend
from mavos_deploy.runtime.media.outputs import Outputs
from mavos_deploy.runtime.media.results import ResultKind, Target, Trait
from mavos_deploy.runtime.objects import VOID, Labels, ids_of


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        frames: Frames written.
        objects: Ids in them, ascending.
        lost: One line for each thing that the format can't hold, and for each object that others
            cover wholly.
        notes: One line for each other thing about what was written.
    """

    frames: int
    objects: tuple[int, ...]
    lost: tuple[str, ...]
    notes: tuple[str, ...] = ()


class _Losses:
    """Counts of what a format can't hold."""

    def __init__(self, kind: ResultKind, by_place: bool) -> None:
        self._kind = kind
        self._by_place = by_place
        self._counts: dict[Trait, int] = {}

    def add(self, trait: Trait, count: int = 1) -> bool:
        """Count something that frames have; tells whether it is lost."""
        lost = trait not in self._kind.holds and count > 0
        if lost:
            self._counts[trait] = self._counts.get(trait, 0) + count
        return lost

    def lines(self) -> tuple[str, ...]:
        """One line for each thing that is lost."""
        return tuple(
            f"{self._kind.name} holds no {trait}: {count} {self._how(trait)}"
            for trait, count in self._counts.items()
        )

    def _how(self, trait: Trait) -> str:
        if trait is Trait.STEMS and self._by_place:
            return "are replaced by their places from 0 on, as no number in them counts up"
        return _LOST[trait]


_LOST = {
    Trait.STEMS: "are replaced by the frames' numbers",
    Trait.NAMES: "are left out",
    Trait.EMPTY: "are left out",
    Trait.VOID: "are background now",
    Trait.COLOURS: "are those of the standard palette now",
}


def convert(
    maps: LabelMaps, name: str, outputs: Outputs, on_frame: Callable[[int], None]
) -> Conversion:
    """Write label maps in another format.

    Args:
        maps: The label maps.
        name: Name of the video, which some formats write down.
        outputs: One result, of a kind that needs no pictures.
        on_frame: Called with the number of frames that are done.

    Returns:
        A summary with what was lost.

    Raises:
        InputError: A label map can't be read, or the format can't hold frames of two sizes.
    """
    (result,) = outputs.results
    stems = list(maps.frames)
    by_name = _numbers(stems)
    losses = _Losses(result.kind, by_name is None)
    numbers = by_name or {stem: place for place, stem in enumerate(stems)}
    first = next(iter(maps.frames.values()))()  # the palette is known from then on
    names = {number: word for number, word in maps.names.items() if word != OBJECT}
    losses.add(Trait.NAMES, len(names))
    palette = maps.palette()
    changed = (palette_colors(palette) != palette_colors(None)).any(axis=1)
    objects: dict[int, None] = {}
    with (
        outputs.make(),
        outputs.open(Target(Legend(name, names, palette), first.shape)) as files,
    ):
        for done, (stem, read) in enumerate(maps.frames.items(), 1):
            labels = _without_void(read(), losses)
            objects |= dict.fromkeys(i for i in ids_of(labels) if i != VOID)
            losses.add(Trait.EMPTY, int(not labels.any()))
            losses.add(Trait.STEMS, int(stem != f"{numbers[stem]:05d}"))
            files.write(LabelledFrame(numbers[stem], stem, labels))
            on_frame(done)
    losses.add(Trait.COLOURS, int(changed[list(objects)].sum()))
    found = tuple(sorted(objects))
    lost = (*maps.lost(), *losses.lines())
    return Conversion(len(maps.frames), found, lost, tuple(files.notes))


def _without_void(labels: Labels, losses: _Losses) -> Labels:
    void = labels == VOID
    if losses.add(Trait.VOID, int(np.count_nonzero(void))):
        return np.where(void, 0, labels).astype(np.uint8)
    return labels


def _numbers(stems: list[str]) -> dict[str, int] | None:
    """Numbers of frames: those in their names; None where they are unclear or don't ascend."""
    if unclear_in(stems):
        return None
    found = [number for number in numbers_in(stems).values() if number is not None]
    ascending = all(before < after for before, after in pairwise(found))
    if len(found) == len(stems) and ascending and found[-1] < 1 << 32:
        return dict(zip(stems, found, strict=True))
    return None
