"""Locks on files, which the system frees when the process that holds one ends, however it ends."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LONGEST = 300  # bytes of a lock's text
FAR = 1 << 30  # offset of the byte that Windows locks: a locked one can't be read


class HeldError(OSError):
    """A lock that another process, or another part of this one, holds.

    Attributes:
        holder: Process and machine, as messages name them.
    """

    def __init__(self, holder: str) -> None:
        super().__init__(f"{holder} holds it")
        self.holder = holder


class Lock:
    """A locked file. It is held until `close`, `remove` or the end of the process.

    File systems without locks exist; there the number of the process in the file counts, and a
    lock of another machine is taken for held.

    Args:
        path: The file; made where it is missing, and never followed where it is a link.
        new: Whether the file must not exist yet. It then stays empty, for its owner to fill.

    Raises:
        HeldError: It is held already.
        OSError: The file can't be made or opened.
    """

    def __init__(self, path: Path, new: bool = False) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | (os.O_EXCL if new else 0)
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        while True:
            self._number = os.open(path, flags, 0o666)
            try:
                if not _lock(self._number) and not new:
                    self._refuse_living()
                if self.in_place():  # the one before may have removed it while this one waited
                    break
            except BaseException:
                os.close(self._number)
                raise
            os.close(self._number)
        if not new:
            os.ftruncate(self._number, 0)
            os.lseek(self._number, 0, os.SEEK_SET)
            os.write(self._number, f"{os.getpid()} {socket.gethostname()}".encode()[:LONGEST])

    def in_place(self) -> bool:
        """Whether the file is still there under its name, so that others can see the lock."""
        with suppress(OSError):
            return os.path.samestat(os.lstat(self.path), os.fstat(self._number))
        return False

    def close(self) -> None:
        """Give the lock up; the file stays. Safe to call twice."""
        if self._number >= 0:
            number, self._number = self._number, -1
            os.close(number)

    def remove(self) -> None:
        """Give the lock up and remove the file, as far as that is possible."""
        if sys.platform == "win32":  # where an open file can't be removed
            self.close()
        elif not self.in_place():
            self.close()
            return
        with suppress(OSError):
            self.path.unlink()
        self.close()

    def _refuse_living(self) -> None:
        """Take a file for held, unless a process of this machine left it that is gone."""
        process, _, host = _read(self._number).partition(" ")
        if not process or (process == str(os.getpid()) and host == socket.gethostname()):
            return
        if host == socket.gethostname():
            try:
                os.kill(int(process), 0)
            except (ProcessLookupError, ValueError, OverflowError):
                return
            except PermissionError:
                pass
        raise HeldError(_named(f"{process} {host}"))


def holder(path: Path) -> str | None:
    """Process and machine that hold a lock, as messages name them; None where nobody does."""
    if not path.is_file() or path.is_symlink():
        return None
    try:
        Lock(path).remove()
    except HeldError as error:
        return error.holder
    except OSError:
        return None  # said when the lock itself is taken
    return None


def _lock(number: int) -> bool:
    """Lock an open file; False on a file system that has no locks.

    Raises:
        HeldError: It is locked already.
    """
    try:
        if sys.platform == "win32":
            os.lseek(number, FAR, os.SEEK_SET)
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise HeldError(_named(_read(number))) from None
    except OSError:
        return False
    return True


def _read(number: int) -> str:
    with suppress(OSError):
        os.lseek(number, 0, os.SEEK_SET)
        return os.read(number, LONGEST).decode(errors="replace")
    return ""


def _named(text: str) -> str:
    process, _, host = text.partition(" ")
    known = process.isascii() and process.isdigit() and host.isprintable() and host
    return f"process {process} on {host}" if known else "another process"
