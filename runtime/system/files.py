"""Files and folders that appear whole or not at all, and the folder for caches."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mavos_deploy.errors import InputError

_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file grew past the size that is allowed here",
}
_NO_ACCESS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "its folder does not exist",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENOTEMPTY: "a folder of that name appeared meanwhile",
    errno.ENAMETOOLONG: "the name is too long",
}


def cache_folder() -> Path:
    """The project's folder within the user's cache folder, for files that can be made again.

    Source: XDG Base Directory Specification.

    Raises:
        InputError: There is no such folder, as for a user without a home.
    """
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "mavos-deploy"
    try:
        return Path.home() / ".cache" / "mavos-deploy"
    except RuntimeError:
        raise InputError(
            "this user has no home folder to keep caches in; let XDG_CACHE_HOME name a folder"
        ) from None


@contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turn a failed write inside the block into one line that names the target.

    Args:
        path: The file or folder being written, as the user knows it.
        temporary: The file or folder under its temporary name. Access errors that name a path
            outside of it belong to something else and pass through; without it none do.

    Raises:
        InputError: The disk is full, or the place can't be written to.
    """
    try:
        yield
    except OSError as error:
        code = error.errno or 0
        elsewhere = temporary is not None and not str(error.filename or temporary).startswith(
            str(temporary)
        )
        reason = _NO_ROOM.get(code) or (None if elsewhere else _NO_ACCESS.get(code))
        if reason is None:
            raise
        raise InputError(f"cannot write {path}: {reason}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name and rename it when the block succeeds.

    Missing parent folders are created. A link is followed, so that the link itself stays.

    Args:
        path: The file to create or replace.

    Yields:
        A path in the same folder with the same suffix. The block must create it.

    Raises:
        InputError: The path is a folder, the disk is full, or the place can't be written to. The
            temporary file is removed and an older file at `path` is untouched, as after any error.
    """
    target = path.resolve()
    if target.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give the name of a file")
    with writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target, "part")
    try:
        with writing(path, temporary):
            yield temporary
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_directory(path: Path, overwrite: bool, marker: str | None = None) -> Iterator[Path]:
    """Fill a folder under a temporary name and rename it when the block succeeds.

    An older folder is moved aside and removed only after the new one has its name.

    Args:
        path: The folder to create.
        overwrite: Replace an existing folder.
        marker: A file that an existing folder must hold before it may be replaced (an empty folder
            always may), so that a slip of the keyboard does not delete a home folder.

    Yields:
        The temporary folder, beside `path`.

    Raises:
        InputError: The path exists and `overwrite` is off, it is not a folder, it lacks the marker,
            the disk is full, or the place can't be written to. The temporary folder is removed and
            the older folder is untouched, as after any error or Ctrl-C.
    """
    target = path.resolve()
    if target.exists():
        if not target.is_dir():
            raise InputError(f"{path} exists and is not a folder; choose another name")
        if not overwrite:
            raise InputError(f"{path} exists; pass --overwrite to replace it")
        if marker and any(target.iterdir()) and not (target / marker).exists():
            raise InputError(
                f"{path} holds no {marker}, so it is not replaced; choose another folder"
            )
    temporary = _beside(target, "part")
    try:
        with writing(path):
            temporary.mkdir(parents=True)
        with writing(path, temporary):
            yield temporary
        with writing(path):
            _swap(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _swap(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    old = _beside(target, "old")
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path, label: str) -> Path:
    """A hidden name in the same folder, with the same suffix, that nothing else uses."""
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}.{label}{path.suffix}")
