"""A worker in a process of its own says what is wrong, and ends when it can't go on."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from mavos_deploy.errors import BackendError, InputError
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.datasets.prediction import (
    OutputError,
    Predicted,
)
from mavos_deploy.runtime.datasets.results import Results, Settings
from mavos_deploy.runtime.datasets.sequences import Dataset
from mavos_deploy.runtime.jobs.crew import segment_all
from mavos_deploy.runtime.jobs.local_process import LocalProcess, _serve, threads_each
from mavos_deploy.runtime.jobs.worker import (
    OwnProcess,
    SequenceError,
    Setup,
    Worker,
    WorkerDiedError,
)
from tests.made_sequences import contents


@pytest.mark.parametrize(
    ("error", "kind", "ends"),
    [
        pytest.param(MemoryError("out"), WorkerDiedError, True, id="memory"),
        pytest.param(BackendError("CUDA error"), WorkerDiedError, True, id="backend"),
        pytest.param(InputError("too small"), SequenceError, False, id="sequence"),
        pytest.param(OutputError("the disk is full"), OutputError, False, id="disk"),
    ],
)
def test_a_process_says_why_and_ends_unless_the_sequence_is_the_reason(
    tiny: Bundle,
    data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[Exception],
    ends: bool,
) -> None:
    def fail(*args: object, **kwargs: object) -> Predicted:
        raise error

    monkeypatch.setattr("mavos_deploy.runtime.jobs.worker.segment_sequence", fail)
    ours, theirs = multiprocessing.Pipe()
    arguments = (theirs, Setup(tiny, "onnxruntime-cpu", 1, False))
    thread = threading.Thread(target=_serve, args=arguments)
    thread.start()
    assert isinstance(ours.recv(), Settings)
    ours.send((data.sequences[0], Path("nowhere")))
    answer = ours.recv()
    assert type(answer) is kind
    assert str(error) in str(answer)
    thread.join(timeout=20 if ends else 0.1)
    assert thread.is_alive() is not ends
    ours.close()
    thread.join(timeout=20)
    assert not thread.is_alive()


def test_a_worker_says_why_it_cannot_run_the_bundle(tiny: Bundle, data: Dataset) -> None:
    with pytest.raises(BackendError, match="backend 'none' is unknown"):
        segment_all(
            data.sequences,
            Results(Path("nowhere"), False),
            partial(LocalProcess, Setup(tiny, "none", 1, False)),
            2,
            print,
        )
    assert not Path("nowhere").exists()


def test_threads_are_divided_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mavos_deploy.runtime.jobs.local_process.usable_processors", lambda: 9)
    assert [threads_each(workers) for workers in (1, 2, 4, 20)] == [9, 4, 2, 1]


@pytest.fixture(scope="module")
def alone(
    data: Dataset, tiny: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What one process writes."""
    folder: Path = tmp_path_factory.mktemp("alone")
    opener = partial(OwnProcess, Setup(tiny, "onnxruntime-cpu", 1, False))
    outcome = segment_all(data.sequences, Results(folder, False), opener, 1, lambda done: None)
    assert outcome.failed == ()
    return contents(folder)


def test_two_processes_write_the_bytes_of_one_and_a_killed_one_loses_nothing(
    data: Dataset, tiny: Bundle, alone: dict[str, bytes], tmp_path: Path
) -> None:
    workers: list[LocalProcess] = []
    killed = threading.Event()

    def opener() -> Worker:
        workers.append(LocalProcess(Setup(tiny, "onnxruntime-cpu", 1, False)))
        return workers[-1]

    def on_frames(done: int) -> None:
        if done >= 6 and not killed.is_set():
            killed.set()
            os.kill(workers[0].pid, signal.SIGKILL)

    outcome = segment_all(data.sequences, Results(tmp_path / "o", False), opener, 2, on_frames)
    assert killed.is_set()
    assert len(workers) == 3
    assert outcome.failed == ()
    assert contents(tmp_path / "o") == alone
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid, 0)


def _gone(group: int) -> bool:
    """Whether a group of processes ends; multiprocessing's own helper takes a moment."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_an_interrupt_ends_all_workers_and_leaves_whole_folders(
    data: Dataset, tiny: Bundle, alone: dict[str, bytes], tmp_path: Path
) -> None:
    """In a session of its own; the signal reaches all of its processes, as from a terminal."""
    # A background shell makes its children ignore Ctrl-C.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from mavos_deploy.cli.batch import main; main()"
    command = [sys.executable, "-c", code, *map(str, (tiny.path, data.path)), "--output", "o"]
    process = subprocess.Popen(
        [*command, "--workers", "2", "--threads", "1"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    out = tmp_path / "o"
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not any(out.glob("[a-f]/run.json")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert _gone(process.pid)
    found = contents(out)
    whole = {name.split("/")[0] for name in found}
    assert 0 < len(whole) < len(data.sequences)
    assert found == {name: file for name, file in alone.items() if name.split("/")[0] in whole}
