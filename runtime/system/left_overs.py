"""Temporary names, and the removal of what a killed process left under them."""

import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mavos_deploy.runtime.system.locks import Lock

# A file is written as `part`. A folder is filled as `part` beside a `lock`, and the folder that it
# replaces is called `old` meanwhile.
_NAME = re.compile(
    r"\.(?P<stem>.+)\.(?P<token>[0-9a-f]{8})\.(?P<label>part|old|lock)(?P<suffix>\.[^.]+)?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """A random part of hidden names, which nothing else uses.

    Attributes:
        text: Eight hex digits.
    """

    text: str = field(default_factory=lambda: secrets.token_hex(4))

    def path(self, target: Path, label: str) -> Path:
        """A hidden name in the same folder with the same suffix.

        Args:
            target: The file or folder that is to be.
            label: `part`, `old` or `lock`.
        """
        return target.with_name(f".{target.stem}.{self.text}.{label}{target.suffix}")


def is_left_over(path: Path) -> bool:
    """Whether a name is one of a temporary file or folder, of a process that runs or was killed."""
    return _NAME.fullmatch(path.name) is not None


def clear_left_overs(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left in a folder; what others are writing just now stays.

    A folder that was moved aside when the process was killed gets its name back.

    Args:
        folder: An existing folder.
        name: Name of the file or folder whose left-overs are meant; None for all.
    """
    with os.scandir(folder) as entries:
        hidden = [entry.name for entry in entries if entry.name.startswith(".")]
    for entry in sorted(hidden):
        match = _NAME.fullmatch(entry)
        if match is None or name not in (None, f"{match['stem']}{match['suffix'] or ''}"):
            continue
        path = folder / entry
        if match["label"] == "lock" or (match["label"] == "part" and _is_plain_file(path)):
            _clear(path, match)


def _clear(path: Path, match: re.Match[str]) -> None:
    with suppress(OSError):  # held by another process, gone, or not ours to remove
        if not _is_plain_file(path):
            return
        lock = Lock(path)
        try:
            if match["label"] == "lock":
                _clear_folder(path, match)
        finally:
            lock.remove()


def _clear_folder(lock: Path, match: re.Match[str]) -> None:
    """Undo a folder that was not finished."""
    target = lock.with_name(f"{match['stem']}{match['suffix'] or ''}")
    token = Token(match["token"])
    old = token.path(target, "old")
    if old.is_dir() and not old.is_symlink():
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)
    part = token.path(target, "part")
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
