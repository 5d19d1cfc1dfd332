"""Copies of files in memory that nobody can change, under names that libraries can open.

A library that is handed bytes keeps them beside what it makes of them; a file it reads bit by bit.
"""

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 20  # bytes that are read at once
NAMES = Path("/proc/self/fd")  # where Linux names open files


def can_seal(size: int) -> bool:
    """Whether this process may make such a copy of a file; only Linux has them.

    Args:
        size: Bytes of the file. A limit on the size of files (`ulimit -f`) is one on copies, too.
    """
    if not hasattr(os, "memfd_create") or not NAMES.is_dir():
        return False
    import resource  # which Windows lacks

    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return limit == resource.RLIM_INFINITY or size <= limit


@contextmanager
def sealed(
    file: BinaryIO, check: Callable[[str], None], look: Callable[[memoryview], None]
) -> Iterator[str]:
    """Copy a file into memory, hash the copy, and name it as long as the block lasts.

    Args:
        file: The file, at its start.
        check: Called with the copy's SHA-256; raises where that is not the expected one.
        look: Called with the copy after that; raises where its content is refused.

    Yields:
        Name of the copy.
    """
    import fcntl  # which Windows lacks

    number = os.memfd_create("graph", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        digest = hashlib.sha256()
        while block := file.read(BLOCK):
            digest.update(block)
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(number, rest) :]
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(number, fcntl.F_ADD_SEALS, seals)
        check(digest.hexdigest())
        if os.fstat(number).st_size:
            with mmap.mmap(number, 0, prot=mmap.PROT_READ) as content, memoryview(content) as view:
                look(view)
        yield str(NAMES / str(number))
    finally:
        os.close(number)
