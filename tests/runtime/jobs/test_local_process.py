"""A worker in a process of its own says what is wrong, and ends when it can't go on."""

import multiprocessing
import threading
from functools import partial
from pathlib import Path

import pytest

from mavos_deploy.errors import BackendError, InputError
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.prediction import OutputError, Predicted
from mavos_deploy.runtime.datasets.results import Results, Settings
from mavos_deploy.runtime.datasets.sequences import Dataset
from mavos_deploy.runtime.jobs.crew import segment_all
from mavos_deploy.runtime.jobs.local_process import LocalProcess, _serve, threads_each
from mavos_deploy.runtime.jobs.worker import SequenceError, Setup, WorkerDiedError
from tests.made_sequences import write_clips


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(write_clips(tmp_path_factory.mktemp("data") / "DAVIS", ["a"], (64, 96), 4))


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
