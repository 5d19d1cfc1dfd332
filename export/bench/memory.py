"""Peak memory of a process of its own."""

from collections.abc import Iterable

from mavos_deploy.export.bench.runners import Subject, warm_up
from mavos_deploy.export.bench.timing import megabytes
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.system.child import Child
from mavos_deploy.runtime.system.machine import peak_bytes


def peak_memory(subjects: Iterable[Subject], objects: int) -> list[float | None]:
    """The most memory that each subject needs to open and to run past an update.

    Args:
        subjects: Backends and ways of PyTorch, each measured in a process of its own.
        objects: Number of objects in the first frame.

    Returns:
        Megabytes for each subject; None where the system doesn't tell.

    Raises:
        MavosError: A process ended without an answer.
    """
    peaks = []
    for subject in subjects:
        name = f"the process that measures the memory of {subject.name}"
        with Child.calling(name, _peak, subject, objects) as child:
            peak = child.result()
        peaks.append(None if peak is None else megabytes(peak))
    return peaks


def _peak(subject: Subject, objects: int) -> int | None:
    runner = subject.open()
    try:
        warm_up([runner], Bundle.open(subject.bundle), objects)
        return peak_bytes()
    finally:
        runner.close()
