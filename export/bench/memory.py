"""Peak memory of a process of its own."""

import multiprocessing
from collections.abc import Iterable
from contextlib import ExitStack
from multiprocessing.connection import Connection

from mavos_deploy.errors import MavosError
from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.export.bench.runners import Subject, prepare_for, video_size
from mavos_deploy.export.bench.timing import megabytes
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.system.machine import peak_bytes


def peak_memory(subjects: Iterable[Subject], objects: int) -> dict[str, float | None]:
    """The most memory that each subject needs to open and to run past an update, in megabytes.

    Raises:
        MavosError: A process ended without an answer.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit this one's memory
    peaks: dict[str, float | None] = {}
    for subject in subjects:
        ours, theirs = context.Pipe()
        process = context.Process(target=_report_peak, args=(theirs, subject, objects))
        process.start()
        theirs.close()
        try:
            peak = ours.recv()
        except EOFError:
            raise MavosError(
                f"the process that measures the memory of {subject.name} ended without an answer; "
                "the machine may be out of memory"
            ) from None
        finally:
            process.join()
        peaks[subject.name] = None if peak is None else megabytes(peak)
    return peaks


def _report_peak(pipe: Connection, subject: Subject, objects: int) -> None:
    """What the process does that measures memory."""
    with ExitStack() as stack:
        runner = subject.open()
        stack.callback(runner.close)
        bundle = Bundle.open(subject.bundle)
        size = video_size(bundle.manifest.size)
        frame, labels = next(iter_clip(*size, 1, objects=objects))
        runner.warm_up(prepare_for(bundle, frame), labels)
        pipe.send(peak_bytes())
