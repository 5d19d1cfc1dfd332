"""The tracker, and its states after some masks, kept on disk within a budget."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.protocol import VideoSegmenter
from mavos_deploy.runtime.system.files import replacing

SUFFIX = ".safetensors"
IN_MEMORY = 3  # states that are held beside the files
LARGEST_SHARE = 4  # a state that takes more than this part of the budget is not written


@dataclass(frozen=True)
class Tracker:
    """A segmenter whose states can be kept.

    Attributes:
        segmenter: The segmenter.
        identity: Tells apart segmenters that make different masks; fit for a folder's name.
        dump: A state as the content of a file, with more metadata.
        load: A state out of a file.
        options: Options of `mavos-run` with which it makes the same masks.
        bundle: Path of the bundle.
        rest: Gives memory back that only the next frame needs.
    """

    segmenter: VideoSegmenter[Any, Any]
    identity: str
    dump: Callable[[Any, Mapping[str, str]], bytes]
    load: Callable[[Path], Any]
    options: tuple[str, ...] = ()
    bundle: str = "BUNDLE"
    rest: Callable[[], None] = lambda: None


class States:
    """States by the version of the mask that they follow. One thread uses it at a time.

    Args:
        folder: Folder of the files, of one tracker.
        budget: Bytes that they may take.
        tracker: Writes and reads states.
        newest: The newest version of a mask; states of later ones, whose masks were lost, are
            removed: their versions will be given to other masks.
    """

    def __init__(self, folder: Path, budget: int, tracker: Tracker, newest: int) -> None:
        self._folder = folder
        self._budget = budget
        self._tracker = tracker
        self._recent: OrderedDict[int, Any] = OrderedDict()
        self._sizes: dict[int, int] = {}
        if folder.is_dir():
            for file in folder.glob(f"*{SUFFIX}"):
                if file.stem.isdigit():
                    self._sizes[int(file.stem)] = file.stat().st_size
        for version in [held for held in self._sizes if held > newest]:
            self._drop(version)

    @property
    def versions(self) -> set[int]:
        """Versions with a state."""
        return self._sizes.keys() | self._recent.keys()

    def get(self, version: int) -> Any:  # noqa: ANN401  # the tracker's own type
        """The state after a mask; None where there is none, or its file can't be used any more."""
        if version in self._recent:
            return self._recent[version]
        if version not in self._sizes:
            return None
        try:
            return self._tracker.load(self._path(version))
        except InputError:  # it is made again from an earlier one, or from the keyframe
            self._drop(version)
            return None

    def remember(self, version: int, state: Any) -> None:  # noqa: ANN401
        """Hold a state in memory, for going on at once."""
        self._recent[version] = state
        self._recent.move_to_end(version)
        while len(self._recent) > IN_MEMORY:
            self._recent.popitem(last=False)

    def keep(self, version: int, state: Any) -> None:  # noqa: ANN401
        """Write a state, and make room for it.

        Raises:
            InputError: The disk is full.
        """
        if version in self._sizes:
            return
        content = self._tracker.dump(state, {})
        if len(content) * LARGEST_SHARE > self._budget:
            return
        while sum(self._sizes.values()) + len(content) > self._budget:
            self._drop(self._densest())
        with replacing(self._path(version), follow=False) as temporary:
            temporary.write_bytes(content)
        self._sizes[version] = len(content)

    def _densest(self) -> int:
        """The version whose neighbours are closest, so that gaps stay even."""
        held = sorted(self._sizes)
        if len(held) < 3:
            return held[0]
        gaps = [(held[i + 1] - held[i - 1], held[i]) for i in range(1, len(held) - 1)]
        return min(gaps)[1]

    def _drop(self, version: int) -> None:
        self._path(version).unlink(missing_ok=True)
        self._sizes.pop(version, None)

    def _path(self, version: int) -> Path:
        return self._folder / f"{version}{SUFFIX}"
