"""The address of a project's page, kept in the project, so that a page comes back by itself."""

import errno
import json
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from mavos_deploy import records
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.system.files import new_file

FILE = "address.json"
SECRET = 24  # random bytes of a token
LARGEST = 1 << 12  # bytes of the file
OWN_ALONE = 0o600  # its mode
OTHERS = 0o077  # bits of a mode that let others in
NEW = "pages that are still open need the new address"


def new_token() -> str:
    """A secret that nobody guesses."""
    return secrets.token_urlsafe(SECRET)


@dataclass(frozen=True)
class Address:
    """Where the last server of a project was found.

    Attributes:
        token: The secret that lets a page in.
        port: Its port; 0 before the first server.
    """

    token: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{32}$")] = field(default_factory=new_token)
    port: Annotated[int, Meta(ge=0, le=65535)] = 0


def read_address(folder: Path) -> tuple[Address, str]:
    """The address of a project's last server, or a new one.

    Args:
        folder: The project's folder.

    Returns:
        The address, and why the one that was kept isn't taken; empty where it is, or none was.
    """
    path = folder / FILE
    try:
        return _read(path), ""
    except FileNotFoundError:
        return Address(), ""
    except (InputError, OSError) as error:
        said = f"{path} is not used ({_reason(error)}), and the address is a new one; {NEW}"
        return Address(), said


def _reason(error: InputError | OSError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return "it is a link" if error.errno == errno.ELOOP else error.strerror or str(error)


def _read(path: Path) -> Address:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    number = os.open(path, flags)
    with os.fdopen(number, "rb") as file:
        if why := _open_to_others(os.fstat(number)):
            raise InputError(why)
        return records.decode(Address, file.read(LARGEST), InputError)


def _open_to_others(found: os.stat_result) -> str:
    """Why a file may not hold a secret; empty where it may."""
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        return "it is no file of its own"
    if not hasattr(os, "geteuid"):
        return "this system doesn't tell who may read it"
    if found.st_uid != os.geteuid():
        return "it belongs to another user"
    return "others may read it" if found.st_mode & OTHERS else ""


def keep_address(folder: Path, address: Address) -> str:
    """Keep the address of a project's server, where nobody but its user can read it.

    Args:
        folder: The project's folder, held by this server.
        address: The address.

    Returns:
        Why it isn't kept; empty where it is. The next server has another one then.
    """
    path = folder / FILE
    if not hasattr(os, "geteuid"):  # Windows
        return ""
    try:
        with suppress(OSError, InputError):
            if _read(path) == address:
                return ""
        with new_file(path, OWN_ALONE) as file:
            if os.fstat(file.fileno()).st_mode & OTHERS:
                raise InputError("others may read files on this file system")
            file.write(json.dumps(records.encode(address)).encode())
    except (InputError, OSError) as error:
        return f"the next start has another address ({error})"
    return ""
