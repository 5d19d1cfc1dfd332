"""The command line of `mavos-run` that makes the masks of a project again, and whether it can."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mavos_deploy.runtime.masks.formats.store import StoreWriter
from mavos_deploy.runtime.masks.palette import palette_colors
from mavos_deploy.runtime.masks.writing import LabelledFrame, Legend
from mavos_deploy.runtime.media.access import Clip
from mavos_deploy.runtime.media.outputs import Wanted
from mavos_deploy.runtime.objects import ids_of, only_objects
from mavos_deploy.runtime.studio.exporting import Command
from mavos_deploy.runtime.studio.history import Now, Thing
from mavos_deploy.runtime.studio.passes import chain
from mavos_deploy.runtime.studio.states import Tracker
from mavos_deploy.runtime.studio.versions import Versions
from mavos_deploy.runtime.system.files import replacing

CONFIDENT = (
    "the masks are the same, and confidence is the one that was found when they were made; after a "
    "pause or a correction it may differ a little from that of one run"
)
AGAIN = "follow from there again, and the command gives the same"


def legend_of(things: Mapping[int, Thing], name: str) -> Legend:
    """Names and colours of objects for writers; names that nobody gave are left out."""
    colours = palette_colors(None)
    for thing in things.values():
        colours[thing.id] = list(bytes.fromhex(thing.colour[1:]))
    names = {t.id: t.name for t in things.values() if t.name != f"object {t.id}"}
    return Legend(name, names, colours.tobytes())


def write_keyframes(path: Path, now: Now, clip: Clip, versions: Versions, legend: Legend) -> None:
    """Write the keyframes as a run-length store, which `mavos-run --masks` reads.

    Raises:
        InputError: The disk is full.
    """
    with replacing(path, follow=False) as temporary, StoreWriter(temporary, legend) as store:
        for frame, version in sorted(now.keyframes.items()):
            labels = only_objects(versions.labels(version), set(now.objects))
            store.write(LabelledFrame(frame, clip.stems[frame], labels))


@dataclass(frozen=True)
class Reproduction:
    """Compares the masks of a project with those of one run.

    Attributes:
        now: What holds.
        clip: The video.
        versions: All masks.
        tracker: The tracker.
    """

    now: Now
    clip: Clip
    versions: Versions
    tracker: Tracker
    _same: dict[tuple[int, int], bool] = field(default_factory=dict)

    def command(
        self, wanted: Wanted, part: range, ids: tuple[int, ...] | None, keys: Path
    ) -> Command:
        """The command line for a result.

        Args:
            wanted: The result.
            part: Numbers of the frames to write.
            ids: Objects to write; None for all.
            keys: File of the keyframes.
        """
        first = min(self.now.keyframes, default=part[0])
        begin, end = min(first, part[0]), max(first, part[-1])
        fuses = self._fuses(part)
        fuse = fuses.pop() if len(fuses) == 1 else ""
        if fuse:  # up to a keyframe, from which one of the passes comes
            end = min((key for key in self.now.keyframes if key >= end), default=end)
        words = ["mavos-run", self.tracker.bundle, self.clip.source, "--masks", str(keys)]
        words += self.tracker.options
        if begin < first:
            words += ["--direction", "both"]
        if fuse:
            words += ["--fuse", fuse]
        if begin:
            words += ["--start", str(begin)]
        if end < self.clip.length - 1:
            words += ["--end", str(end)]
        if part[0] > begin:
            words += ["--write-from", str(part[0])]
        if ids is not None:
            words += ["--objects", ",".join(map(str, ids))]
        kind = ":".join(
            filter(None, (wanted.kind.name, ",".join(filter(None, (wanted.option, wanted.colour)))))
        )
        words += ["--write", f"{kind}={wanted.path.name}"]
        why = self._why_not(part) or (CONFIDENT if wanted.kind.confidence else "")
        if not why and end > part[-1]:
            which = "next" if fuse else "first"
            why = (
                f"the masks are the same, and the command writes frames up to the {which} "
                f"keyframe, frame {end}, as well; export up to there for the same bytes"
            )
        return Command(shlex.join(words), not why, why)

    def _why_not(self, part: range) -> str:
        """Why one run from the keyframes gives other masks; empty where it gives the same."""
        now = self.now
        missing = np.flatnonzero(now.masks[part.start : part.stop] == 0)
        if missing.size:
            return f"frame {part.start + int(missing[0])} has no mask; follow over it first"
        if not now.keyframes:
            return "no frame is a keyframe any more"
        keys = sorted(now.keyframes.items())
        first = keys[0][0]
        if len(self._fuses(part)) > 1:
            return (
                "some frames between keyframes were followed from both sides, and others were not; "
                "follow all of them the same way"
            )
        for frame in self._ends(part):
            version = int(now.masks[frame])
            found = sorted(chain(now, version, self.versions.frame_of))
            expected = [key for key in keys if key[0] <= max(frame, first)]
            run = now.run_of(version)
            if run is not None and run.fuse and self._between(frame):
                given = sorted((int(place), key) for place, key in run.corrections.items())
                found += [key for key in given if key[0] > frame][:1]
                expected = keys[: len(expected) + 1]
            if why := self._unlike(frame, version, found, expected):
                return why
        return ""

    def _between(self, frame: int) -> bool:
        """Whether a frame lies between two keyframes, and is none."""
        keys = self.now.keyframes
        return frame not in keys and min(keys, default=frame) < frame < max(keys, default=frame)

    def _fuses(self, part: range) -> set[str]:
        """How frames between keyframes were made: words of `--fuse`, or the empty one."""
        inside = [frame for frame in self._ends(part) if self._between(frame)]
        runs = (self.now.run_of(int(self.now.masks[frame])) for frame in inside)
        return {"" if run is None else run.fuse for run in runs}

    def _ends(self, part: range) -> list[int]:
        """The last frame of each stretch that one pass made without a keyframe between."""
        now = self.now
        stops = set(now.keyframes) | {key - 1 for key in now.keyframes} | {part[0], part[-1]}
        steps = np.diff(now.masks[part.start : part.stop])
        for place in np.flatnonzero(np.abs(steps) != 1):
            stops |= {part.start + int(place), part.start + int(place) + 1}
        return sorted(frame for frame in stops if frame in part)

    def _unlike(
        self,
        frame: int,
        version: int,
        found: list[tuple[int, int]],
        expected: list[tuple[int, int]],
    ) -> str:
        now, first = self.now, expected[0][0]
        run = now.run_of(version)
        while run is not None:
            if run.model != self.tracker.identity:
                return f"frame {frame} was made with another bundle or backend; {AGAIN}"
            if run.only:
                return f"frame {frame} was followed for some objects alone; one run can't do that"
            if run.kept:
                return (
                    f"frame {frame} keeps objects that were followed before, in another pass; "
                    "one run can't do that"
                )
            if set(run.objects) != set(now.objects) and set(self._given(found)) - set(now.objects):
                return f"an object was deleted after frame {frame} was made; {AGAIN}"
            if run.step != (1 if frame >= first else -1):
                return (
                    f"frame {frame} was made {'backward' if run.step < 0 else 'forward'}; {AGAIN}"
                )
            run = None if run.started else now.run_of(run.origin)
        if [f for f, _ in found] != [f for f, _ in expected]:
            late = sorted({f for f, _ in expected} ^ {f for f, _ in found})
            return (
                f"frame {frame} was made without the mask of frame {late[0]} as it is now; {AGAIN}"
            )
        for (place, given), (_, key) in zip(found, expected, strict=True):
            if not self._equal(given, key):
                return (
                    f"the mask of frame {place} was changed after frame {frame} was made; {AGAIN}"
                )
        return ""

    def _given(self, found: list[tuple[int, int]]) -> set[int]:
        return {i for _, v in found for i in ids_of(self.versions.labels(v))}

    def _equal(self, version: int, other: int) -> bool:
        if version == other:
            return True
        pair = (version, other)
        if pair not in self._same:
            known = set(self.now.objects)
            one, two = (only_objects(self.versions.labels(v), known) for v in pair)
            self._same[pair] = np.array_equal(one, two)
        return self._same[pair]


def ranges(frames: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> list[list[int]]:
    """Ranges of the places that are set, both ends included."""
    places = np.flatnonzero(frames)
    if not places.size:
        return []
    breaks = [int(i) for i in np.flatnonzero(np.diff(places) > 1)]
    starts = [0, *(i + 1 for i in breaks)]
    stops = [*breaks, len(places) - 1]
    return [[int(places[a]), int(places[b])] for a, b in zip(starts, stops, strict=True)]
