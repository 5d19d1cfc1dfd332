"""Runs the server of a project until it is ended."""

import ctypes
import socket
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.studio.guard import Door
from mavos_deploy.runtime.studio.server import application
from mavos_deploy.runtime.studio.studio import Studio

M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3  # of mallopt in glibc's malloc.h
ARENAS = 2
LARGE = 1 << 20  # bytes of a block that the system gives and takes back by itself
WAIT = 2  # seconds for requests under way when the server ends


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on an address of this machine.

    Args:
        host: The address.
        port: The port; 0 takes a free one.

    Raises:
        InputError: It is taken, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        if hasattr(socket, "SO_REUSEADDR"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
            sock.listen()
        except OSError as error:
            raise InputError(
                f"can't listen on {host}, port {port} ({error.strerror or error}); give another "
                "--port, or an address of this machine as --host"
            ) from None
        yield sock


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
