"""Files and folders that appear whole or not at all, and the folder for caches."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.system.interrupts import deferred_interrupts
from mavos_deploy.runtime.system.left_overs import Token, clear_left_overs
from mavos_deploy.runtime.system.locks import Lock

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
    errno.EISDIR: "a folder has that name",
    errno.ELOOP: "a link stands in its place, and is not followed",
    errno.ESTALE: "its folder was removed on the file server",
    errno.EIO: "the disk or its connection failed",
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
def replacing(path: Path, follow: bool = True) -> Iterator[Path]:
    """Write a file under a temporary name and rename it when the block succeeds.

    Missing parent folders are created. What a killed process left of the same file is removed.

    Args:
        path: The file to create or replace.
        follow: Whether a link at `path` is followed, so that the link itself stays. That is for
            names that a user typed; in folders of ours a link is replaced, so that nobody who may
            write there can lead the file elsewhere.

    Yields:
        An empty file in the same folder with the same suffix. The block must fill it.

    Raises:
        InputError: The path is a folder, the disk is full, or the place can't be written to. The
            temporary file is removed and an older file at `path` is untouched, as after any error.
    """
    target = path.resolve() if follow else path.parent.resolve() / path.name
    if target.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give the name of a file")
    with writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        clear_left_overs(target.parent, target.name)
    temporary = Token().path(target, "part")
    lock: Lock | None = None
    try:
        with writing(path, temporary):
            # The lock on the file itself tells others that it is no left-over.
            lock = Lock(temporary, new=True)
            yield temporary
            if sys.platform == "win32":  # where an open file can't be renamed
                lock.close()
            temporary.replace(target)
    except BaseException:
        if lock is not None:
            lock.close()  # before the file is removed, which Windows wants
        with suppress(OSError):  # the reason is the error before
            temporary.unlink(missing_ok=True)
        raise
    lock.close()


@contextmanager
def new_file(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Write a file of a run's own folder under a temporary name, and rename it at the end.

    Neither the folder nor a link at the path is made or followed: a link is replaced, so that
    nobody who may write to the folder can lead the file elsewhere.

    Args:
        path: The file to create or replace.
        mode: Who may read and write it, less what the process's umask takes away.

    Yields:
        The open file.

    Raises:
        InputError: The folder is gone, the disk is full, or the place can't be written to. The
            temporary file is removed and an older file at `path` is untouched, as after any error.
    """
    temporary = Token().path(path, "part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        with writing(path, temporary):
            with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
                yield file
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_directory(path: Path, overwrite: bool, marker: str | None = None) -> Iterator[Path]:
    """Fill a folder under a temporary name and rename it when the block succeeds.

    An older folder is moved aside and removed only after the new one has its name. What a killed
    process left of the same folder is removed.

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
    with writing(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        clear_left_overs(target.parent, target.name)
    if target.exists():
        if not target.is_dir():
            raise InputError(f"{path} exists and is not a folder; choose another name")
        if marker and any(target.iterdir()) and not (target / marker).exists():
            raise InputError(
                f"{path} holds no {marker}, so it is not replaced; choose another folder"
            )
        if not overwrite:
            raise InputError(f"{path} exists; pass --overwrite to replace it")
    token = Token()
    temporary = token.path(target, "part")
    with writing(path):
        lock = Lock(token.path(target, "lock"), new=True)
    try:
        with writing(path):
            temporary.mkdir()
        with writing(path, temporary):
            yield temporary
        with deferred_interrupts(), writing(path):
            _swap(temporary, target, token)
    finally:
        with deferred_interrupts():  # one in here would leave the lock
            shutil.rmtree(temporary, ignore_errors=True)  # has another name by now, if all is well
            lock.remove()


def _swap(new: Path, target: Path, token: Token) -> None:
    if not target.exists():
        new.rename(target)
        return
    old = token.path(target, "old")
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
