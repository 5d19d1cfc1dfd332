"""Folders that one run fills: locked while it lasts, and watched, so that no file is lost."""

import os
from collections.abc import Callable
from pathlib import Path

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.system.files import writing
from mavos_deploy.runtime.system.left_overs import clear_left_overs, is_left_over
from mavos_deploy.runtime.system.locks import HeldError, Lock, holder

LOCK = ".mavos-lock"  # name of the lock in a folder, while a run fills it


def locked(path: Path, refusal: Callable[[Path, str], InputError]) -> Lock:
    """Make a folder, lock it, and clear away what a killed process left of files in it.

    Args:
        path: The folder; made with its parents where it is missing.
        refusal: Makes the error where another process holds it, from the folder and a text that
            names the process.

    Raises:
        InputError: It is held, or can't be made or written to.
    """
    try:
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            lock = Lock(path / LOCK)
    except HeldError as error:
        raise refusal(path, error.holder) from None
    try:
        with writing(path):  # what others are writing beside the results stays
            clear_left_overs(path)
    except BaseException:
        lock.remove()
        raise
    return lock


class FolderGoneError(InputError):
    """A folder that was removed, moved or emptied while a run wrote to it."""


class HeldFolder:
    """A folder that one run fills. Use it in a `with` block, or call `close`.

    Args:
        path: The folder; made with its parents where it is missing. It may be a link.

    Raises:
        InputError: Another run fills it, or it can't be made or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = locked(path, _refusal)

    def check(self) -> None:
        """Refuse to go on when the folder is no longer the one that was locked.

        Raises:
            FolderGoneError: It, or the lock in it, was removed or replaced.
        """
        if not self._lock.in_place():
            raise FolderGoneError(
                f"{self.path} was removed or replaced during the run; leave the folder and its "
                f"{LOCK} alone until the run has ended"
            )

    def check_files(self, suffix: str, count: int) -> None:
        """Check that as many files are there as were written.

        Args:
            suffix: Ending of their names, such as `.png`.
            count: Number of files that were written.

        Raises:
            FolderGoneError: The folder or some of the files are gone.
        """
        self.check()
        with os.scandir(self.path) as entries:
            names = [e.name for e in entries if e.name.endswith(suffix)]
        present = sum(not name.startswith(".") for name in names)
        if present < count:
            raise FolderGoneError(
                f"{count - present} of {count} files in {self.path} were removed during the run; "
                "run it again"
            )

    def close(self) -> None:
        """Free the folder for others. Safe to call twice."""
        self._lock.remove()

    def __enter__(self) -> "HeldFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_free(path: Path) -> None:
    """Refuse a folder that another run fills just now.

    Raises:
        InputError: One does.
    """
    if found := holder(path / LOCK):
        raise _refusal(path, found)


def is_own(path: Path) -> bool:
    """Whether a name in a folder is a lock or a left-over of a run, and no result."""
    return path.name == LOCK or is_left_over(path)


def _refusal(path: Path, found: str) -> InputError:
    return InputError(
        f"{path} is being written to by {found}; wait until it has ended, or choose another folder"
    )
