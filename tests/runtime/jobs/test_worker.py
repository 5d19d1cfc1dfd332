"""An error in the middle of a sequence: whose fault it is, and in which words it is told."""

import pytest

from mavos_deploy.errors import BackendError, InputError
from mavos_deploy.runtime.datasets.prediction import OutputError
from mavos_deploy.runtime.jobs.worker import SequenceError, WorkerDiedError, failure, reason


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        pytest.param(InputError("too small"), SequenceError, "too small", id="sequence"),
        pytest.param(OutputError("disk full"), OutputError, "disk full", id="disk"),
        pytest.param(WorkerDiedError("signal 9"), WorkerDiedError, "signal 9", id="died"),
        pytest.param(BackendError("CUDA error"), WorkerDiedError, "CUDA error", id="backend"),
        pytest.param(
            RuntimeError("CUDA\nerror"), WorkerDiedError, "RuntimeError: CUDA error", id="foreign"
        ),
    ],
)
def test_only_a_bad_sequence_leaves_the_worker_at_work(
    error: Exception, kind: type[Exception], said: str
) -> None:
    found = failure(error)
    assert type(found) is kind
    assert str(found) == reason(error) == said
