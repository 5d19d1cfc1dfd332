"""Shares work between this process and a copy of it, where the system can copy processes."""

import sys
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection

import torch

from mavos_deploy.errors import MavosError
from mavos_deploy.runtime.system.child import Child
from mavos_deploy.runtime.system.processors import usable_processors


def share(
    work: Callable[[int], None], count: int, done: Callable[[int], None], forks: bool
) -> None:
    """Do numbered pieces of work, two at a time if there are two processors.

    On Linux a forked child does the second half of the pieces. Elsewhere this process does them
    all: forking isn't safe there, and a spawned child would take as long to get ready as it saves.

    Args:
        work: Does a piece. It may run in the child, so it leaves its result in a file.
        count: Number of pieces.
        done: Called in this process with the number of each piece that is done.
        forks: Whether this process may be forked; if not, it does all pieces.

    Raises:
        MavosError: The child ended early, for want of memory perhaps; or what `work` raises.
    """
    if not forks or sys.platform != "linux" or usable_processors() < 2:
        for number in range(count):
            work(number)
            done(number)
        return
    own = count - count // 2
    rest = range(own, count)
    with Child("the export's second process", _do, work, rest, method="fork") as child:
        for number in range(own):
            work(number)
            done(number)
        for _ in rest:
            done(child.result())


def _do(connection: Connection, work: Callable[[int], None], numbers: Iterable[int]) -> None:
    torch.set_num_threads(1)  # the threads of PyTorch's pool stayed behind
    for number in numbers:
        try:
            work(number)
        except (MavosError, OSError) as error:
            connection.send(error)
            return
        connection.send(number)
