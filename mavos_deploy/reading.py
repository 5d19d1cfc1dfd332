"""Opens files that are read, and refuses what no regular file is: a pipe would hang a command."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class UnfitFileError(OSError):
    """A path that leads to no regular file, or to one of too many bytes."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, at once also where the path is a pipe.

    Args:
        path: The file; links are followed.

    Raises:
        UnfitFileError: It is a folder, pipe, device or socket.
        OSError: It can't be opened.
    """
    # A pipe would be waited for, if it were opened as open() does.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        kind = stat.S_IFMT(os.fstat(number).st_mode)
        if kind == stat.S_IFDIR:
            raise IsADirectoryError(f"it is {KINDS[kind]}, not a file")
        if kind != stat.S_IFREG:
            raise UnfitFileError(f"it is {KINDS.get(kind, 'no file')}, not a regular file")
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_regular(path: Path, limit: int) -> bytes:
    """Read a file whole.

    Args:
        path: The file; links are followed.
        limit: Bytes that it may have. Nothing is read of one with more.

    Raises:
        UnfitFileError: It has more bytes, or is no regular file.
        OSError: It can't be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # It may grow while it is read.
        content = b"" if size > limit else file.read(limit + 1)
    if (longer := max(size, len(content))) > limit:
        raise UnfitFileError(f"it has {longer} bytes; the limit is {limit}")
    return content
