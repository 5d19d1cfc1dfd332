"""Runs the server of a project until it is ended."""

import ctypes
import errno
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import uvicorn

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio.guard import Door
from mavos_deploy.runtime.studio.server import application
from mavos_deploy.runtime.studio.studio import Studio

M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3  # of mallopt in glibc's malloc.h
ARENAS = 2
LARGE = 1 << 18  # bytes of a block that the system gives and takes back by itself
NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
WAIT = 2  # seconds for requests under way when the server ends


@contextmanager
def listening(host: str, port: int | None, last: int = 0) -> Iterator[socket.socket]:
    """Listen on an address of this machine.

    Args:
        host: The address.
        port: The port; 0 takes a free one. None takes the last one where it is free.
        last: Port of the server before; 0 for none.

    Raises:
        InputError: The port is taken or reserved, or the host is no address of this machine.
    """
    tried = [port] if port is not None else [last, 0] if last else [0]
    with ExitStack() as opened:
        for each in tried:
            try:
                sock = opened.enter_context(_bound(host, each))
                break
            except (OSError, UnicodeError) as error:  # the latter for what no name looks like
                code = getattr(error, "errno", None)
                if each == tried[-1] or code not in (errno.EADDRINUSE, errno.EACCES):
                    raise _refusal(host, each, error) from None
        yield sock


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens."""
    if not host:  # would be all addresses
        raise OSError(errno.EADDRNOTAVAIL, "it is empty")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # where it would let two servers have one port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


def _refusal(host: str, port: int, error: OSError | UnicodeError) -> InputError:
    if isinstance(error, UnicodeError | socket.gaierror) or error.errno in NO_ADDRESS:
        return InputError(
            f"--host {host!r} is no address of this machine ({_reason(error)}); give 127.0.0.1 for "
            "this machine alone, 0.0.0.0 for all its addresses, or one that its network cards have"
        )
    if error.errno == errno.EADDRINUSE:
        advice = "another program listens there; give another --port, or 0 for a free one"
    elif error.errno == errno.EACCES:
        advice = "it is reserved for the system; give --port 1024 or a higher one, or 0 for any"
    else:
        advice = _reason(error)
    return InputError(f"can't listen on port {port} of {host}: {advice}")


def _reason(error: OSError | UnicodeError) -> str:
    words = error.strerror if isinstance(error, OSError) else "it can't be a name"
    return (words or str(error)).lower()


def share_memory() -> None:
    """Let freed pictures go back to the system; glibc keeps them for each thread otherwise."""
    with suppress(OSError, AttributeError):  # other libraries have no such settings
        library = ctypes.CDLL(None)
        library.mallopt(M_ARENA_MAX, ARENAS)
        library.mallopt(M_MMAP_THRESHOLD, LARGE)


def serve(studio: Studio, door: Door, sock: socket.socket, page: str | None) -> None:
    """Serve a project until Ctrl-C.

    Args:
        studio: The project.
        door: Who may come in.
        sock: A socket that listens.
        page: Address to open in a browser; None for none.
    """
    config = uvicorn.Config(
        application(studio, door),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=1 << 16,
        timeout_graceful_shutdown=WAIT,
        lifespan="off",
    )
    if page is not None:
        threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()
    uvicorn.Server(config).run(sockets=[sock])
