"""The folder of a project: one for each video, held by one server at a time."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from mavos_deploy import records
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.access import Clip
from mavos_deploy.runtime.studio.certainty import Certainty
from mavos_deploy.runtime.studio.happenings import Happenings
from mavos_deploy.runtime.studio.history import History
from mavos_deploy.runtime.studio.states import States, Tracker
from mavos_deploy.runtime.studio.versions import Versions
from mavos_deploy.runtime.system.files import replacing, writing
from mavos_deploy.runtime.system.folders import locked

SUFFIX = ".mavos"
FORMAT_VERSION = 1
PROJECT = "project.json"
IMPORT = ".import-"  # begins the names of folders of files that are being imported
BUDGET = 2 << 30  # bytes of states on disk


@dataclass(frozen=True)
class _Settings:
    """The video that a project belongs to."""

    video: str
    frames: int
    height: int
    width: int


def folder_of(source: str) -> Path:
    """The folder of a video's project: beside the video, `clip.mavos` for `clip.mp4`."""
    path = Path(source).resolve()
    return path.parent / f"{path.name if path.is_dir() else path.stem}{SUFFIX}"


class Project:
    """An open project. Use it in a `with` block, or call `close`.

    Attributes:
        folder: The folder.
        video: Name of the video that it was made for, which may have another name by now.
        versions: All masks.
        history: What was done.
        certainty: Confidence in masks that were followed.
        happenings: Events in them.
        states: States of the tracker.
    """

    def __init__(self, folder: Path, clip: Clip, tracker: Tracker, budget: int = BUDGET) -> None:
        """Open a project, or begin one.

        Args:
            folder: The folder; made where it is missing.
            clip: The video.
            tracker: The tracker whose states are kept.
            budget: Bytes that states may take.

        Raises:
            InputError: Another server has it open, it belongs to another video, a file in it is
                damaged, or it can't be written to.
        """
        self.folder = folder
        self._lock = locked(folder, _refusal)
        try:
            with writing(folder):
                for left in folder.glob(f"{IMPORT}*"):
                    shutil.rmtree(left, ignore_errors=True)
            self.video = self._check(clip)
            self.versions = Versions(folder / "masks.mavosmasks")
            self.history = History(folder / "history.jsonl", clip.length, self._frame_of)
            newest = max((r.version + r.count for r in self.history.now.runs), default=1) - 1
            if newest > len(self.versions):
                raise InputError(
                    f"{folder}: masks of frames are missing in masks.mavosmasks; copy the whole "
                    "folder again"
                )
            self.certainty = Certainty(folder / "confidence.bin", len(self.versions))
            self.happenings = Happenings(folder / "events.jsonl", len(self.versions))
            states = folder / "states"
            if states.is_dir():  # those of other trackers can't be read, and take room
                for other in states.iterdir():
                    if other.name != tracker.identity:
                        shutil.rmtree(other, ignore_errors=True)
            self.states = States(states / tracker.identity, budget, tracker, len(self.versions))
        except BaseException:
            self._lock.remove()
            raise

    def _frame_of(self, version: int) -> int | None:
        """Frame of a version; None for one that was never made."""
        return self.versions.frame_of(version) if version <= len(self.versions) else None

    def _check(self, clip: Clip) -> str:
        """Refuse the project of a video of other frames; the name of its own video."""
        own = _Settings(Path(clip.source).name, clip.length, *clip.size)
        path = self.folder / PROJECT

        def damaged(reason: str) -> InputError:
            return InputError(
                f"{path} can't be read ({reason}); move {self.folder} away to begin anew"
            )

        if not path.exists():
            if any(self.folder.glob("*.mavosmasks")):
                raise damaged("it is missing")
            with replacing(path, follow=False) as temporary:
                text = json.dumps(records.encode(own, FORMAT_VERSION), indent=2)
                temporary.write_text(text, encoding="utf-8")
            return own.video
        found = records.read(_Settings, path, damaged, FORMAT_VERSION)
        if (found.frames, found.height, found.width) != (own.frames, own.height, own.width):
            raise InputError(
                f"{self.folder} belongs to a video of {found.frames} frames of "
                f"{found.height}x{found.width}, and {clip.source} has {own.frames} of "
                f"{own.height}x{own.width}; move the folder away, or give its own video"
            )
        return found.video

    def close(self) -> None:
        """Close all files and let others open the project. Safe to call twice."""
        self.versions.close()
        self.history.close()
        self.certainty.close()
        self.happenings.close()
        self._lock.remove()

    def __enter__(self) -> "Project":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refusal(folder: Path, holder: str) -> InputError:
    return InputError(
        f"{folder} is open already: {holder} serves it; use the page of that one, or end it first"
    )
