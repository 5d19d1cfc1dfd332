"""Videos over workers: each is done once, failures are tried again and reported, bytes agree."""

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mavos_deploy.errors import BackendError, InputError
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.datasets.prediction import (
    OutputError,
    Predicted,
    digest,
    segment_sequence,
)
from mavos_deploy.runtime.datasets.results import Results, Settings
from mavos_deploy.runtime.datasets.sequences import Dataset, VideoSequence
from mavos_deploy.runtime.jobs.crew import segment_all
from mavos_deploy.runtime.jobs.worker import (
    OwnProcess,
    Setup,
    Worker,
    WorkerDiedError,
)
from tests.made_sequences import contents

SIZE = (64, 96)
NAMES = ["e", "b", "d", "a", "c", "f"]
SETTINGS = Settings("bundle", "tiny", True, "onnxruntime-cpu", "fp32", False)
OnFrame = Callable[[], None]


class Fake:
    """A worker without a network; what it does to a sequence is given by the sequence's name."""

    opened = 0

    def __init__(self, behaviour: dict[str, list[Exception]], settings: Settings) -> None:
        Fake.opened += 1
        self._behaviour = behaviour
        self._settings = settings
        self.closed = False

    def ready(self) -> Settings:
        if planned := self._behaviour.get("ready"):
            raise planned.pop()
        return self._settings

    def segment(self, sequence: VideoSequence, folder: Path, on_frame: OnFrame) -> Predicted:
        assert not self.closed
        on_frame()
        (folder / "00000.png").write_bytes(sequence.name.encode())
        if planned := self._behaviour.get(sequence.name):
            raise planned.pop()
        for _ in list(sequence.images)[1:]:
            on_frame()
        return Predicted(digest(sequence), ("00000",), (), (), ())

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[], Worker]]:
    """Makes what opens workers with planned failures."""
    monkeypatch.setattr(Fake, "opened", 0)

    def make(
        behaviour: dict[str, list[Exception]], settings: Settings = SETTINGS
    ) -> Callable[[], Worker]:
        return lambda: Fake(behaviour, settings)

    return make


@pytest.mark.parametrize("places", [1, 3])
def test_what_fails_is_tried_again_then_reported_and_the_rest_is_finished(
    data: Dataset, tmp_path: Path, fake: Callable[..., Callable[[], Worker]], places: int
) -> None:
    behaviour: dict[str, list[Exception]] = {
        "a": [WorkerDiedError("killed")],
        "b": [MemoryError("bad"), RuntimeError("bad")],
        "c": [BackendError("last"), BackendError("second"), BackendError("first")],
    }
    done: list[int] = []
    outcome = segment_all(
        data.sequences, Results(tmp_path / "o", False), fake(behaviour), places, done.append
    )
    assert outcome.failed == ("c",)
    assert list(outcome.predicted) == NAMES
    (problem,) = outcome.problems
    assert (problem.sequence, problem.frame) == ("c", None)
    assert problem.found == "not segmented, 3 tries failed; the last one: last"
    assert sorted(contents(tmp_path / "o")) == sorted(
        f"{name}/{file}" for name in "abdef" for file in ("00000.png", "run.json")
    )
    assert done[-1] == 5 * 4
    # A fresh one in place of each that failed, unless nothing was waiting any more.
    assert Fake.opened == 6 if places == 1 else Fake.opened <= places + 6


@pytest.mark.parametrize("places", [1, 3])
def test_a_sequence_that_nobody_can_segment_is_reported_at_once_and_its_worker_goes_on(
    data: Dataset, tmp_path: Path, fake: Callable[..., Callable[[], Worker]], places: int
) -> None:
    planned: list[Exception] = [InputError("never"), InputError("too small")]
    outcome = segment_all(
        data.sequences, Results(tmp_path / "o", False), fake({"c": planned}), places, print
    )
    assert outcome.failed == ("c",)
    assert [problem.found for problem in outcome.problems] == ["not segmented: too small"]
    assert len(planned) == 1
    assert Fake.opened <= places  # none was opened in another's place


class Broken(Fake):
    """Fails at every sequence, at once."""

    tried = 0

    def segment(self, sequence: VideoSequence, folder: Path, on_frame: OnFrame) -> Predicted:
        self.tried += 1
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


class Slow(Fake):
    """Takes a while for every sequence."""

    def segment(self, sequence: VideoSequence, folder: Path, on_frame: OnFrame) -> Predicted:
        time.sleep(0.2)
        return super().segment(sequence, folder, on_frame)


@pytest.mark.parametrize("places", [1, 4])
def test_a_broken_worker_takes_one_sequence_and_is_replaced(
    data: Dataset, tmp_path: Path, places: int
) -> None:
    broken = Broken({}, SETTINGS)
    opened: list[Fake] = [broken]

    def opener() -> Worker:
        opened.append(Slow({}, SETTINGS))
        return opened[-1] if len(opened) > 2 else broken

    outcome = segment_all(data.sequences, Results(tmp_path / "o", False), opener, places, print)
    assert outcome.failed == ()
    assert (broken.tried, broken.closed) == (1, True)
    assert len(contents(tmp_path / "o")) == 2 * len(NAMES)


def test_this_process_opens_the_bundle_again_after_an_error(
    data: Dataset, tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[object] = []

    def sticky(segmenter: object, *args: Any, **kwargs: Any) -> Predicted:  # noqa: ANN401
        used.append(segmenter)
        if segmenter is used[0]:
            raise RuntimeError("CUDA error")
        return segment_sequence(segmenter, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("mavos_deploy.runtime.jobs.worker.segment_sequence", sticky)
    opener = partial(OwnProcess, Setup(tiny, "onnxruntime-cpu", 1, False))
    outcome = segment_all(data.sequences[:2], Results(tmp_path / "o", False), opener, 1, print)
    assert outcome.failed == ()
    assert len(used) == 3
    assert len(set(map(id, used))) == 2


@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.parametrize("own", [True, False], ids=["the-record", "a-mask"])
def test_results_that_cannot_be_written_end_the_run(
    data: Dataset, tmp_path: Path, places: int, own: bool
) -> None:
    tried: list[str] = []

    class Full(Fake):
        def segment(self, sequence: VideoSequence, folder: Path, on_frame: OnFrame) -> Predicted:
            tried.append(sequence.name)
            if not own:
                raise OutputError("cannot write o: the disk is full")
            shutil.rmtree(folder)
            return Predicted("", (), (), (), ())

    with pytest.raises(InputError, match="cannot write"):
        segment_all(
            data.sequences,
            Results(tmp_path / "o", False),
            lambda: Full({}, SETTINGS),
            places,
            print,
        )
    assert len(tried) == len(set(tried)) <= places
    assert contents(tmp_path / "o") == {}


def deaths(count: int) -> dict[str, list[Exception]]:
    """Of workers that start."""
    return {"ready": [WorkerDiedError("signal 9") for _ in range(count)]}


@pytest.mark.parametrize(
    "unable",
    [
        pytest.param(deaths(100), id="dies"),
        pytest.param({"ready": [BackendError("signal 9") for _ in range(100)]}, id="refuses"),
    ],
)
def test_a_worker_that_cannot_start_leaves_the_others_at_work(
    data: Dataset, tmp_path: Path, unable: dict[str, list[Exception]]
) -> None:
    opened: list[Fake] = []

    def opener() -> Worker:
        opened.append(Fake(unable, SETTINGS) if opened else Slow({}, SETTINGS))
        return opened[-1]

    with pytest.warns(UserWarning, match="could not start, and the others go on.*signal 9") as said:
        outcome = segment_all(data.sequences, Results(tmp_path / "o", False), opener, 4, print)
    assert len(said) == 1
    assert outcome.failed == ()
    assert len(contents(tmp_path / "o")) == 2 * len(NAMES)
    assert all(worker.closed for worker in opened)


def test_an_idle_worker_takes_what_a_dead_one_leaves(data: Dataset, tmp_path: Path) -> None:
    """The first one dies at its sequence when the second one has nothing to do any more."""
    first_began, second_is_done = threading.Event(), threading.Event()
    second: list[threading.Thread] = []

    class Dying(Fake):
        def segment(self, sequence: VideoSequence, folder: Path, on_frame: OnFrame) -> Predicted:
            first_began.set()
            second_is_done.wait(20)
            second[0].join(20)
            raise WorkerDiedError("signal 9")

    class Quick(Fake):
        def segment(self, sequence: VideoSequence, folder: Path, on_frame: OnFrame) -> Predicted:
            first_began.wait(20)  # or it might take both sequences
            done = super().segment(sequence, folder, on_frame)
            second.append(threading.current_thread())
            second_is_done.set()
            return done

    workers = iter([Dying({}, SETTINGS), Quick({}, SETTINGS)])
    unable = Fake(deaths(100), SETTINGS)
    with pytest.warns(UserWarning, match="could not start"):
        outcome = segment_all(
            data.sequences[:2],
            Results(tmp_path / "o", False),
            lambda: next(workers, unable),
            2,
            print,
        )
    assert outcome.failed == ()


@pytest.mark.filterwarnings("ignore:a worker could not start")
@pytest.mark.parametrize("places", [1, 3])
def test_the_run_ends_when_no_worker_is_left(data: Dataset, tmp_path: Path, places: int) -> None:
    workers = iter([Broken({}, SETTINGS) for _ in range(places)])
    unable = Fake(deaths(100), SETTINGS)
    with pytest.raises(BackendError, match=r"3 workers died while they started.*signal 9"):
        segment_all(
            data.sequences,
            Results(tmp_path / "o", False),
            lambda: next(workers, unable),
            places,
            print,
        )
    assert contents(tmp_path / "o") == {}


def test_workers_that_die_while_they_start_end_the_run(
    data: Dataset, tmp_path: Path, fake: Callable[..., Callable[[], Worker]]
) -> None:
    with pytest.raises(BackendError, match=r"3 workers died while they started.*signal 9"):
        segment_all(data.sequences, Results(tmp_path / "o", False), fake(deaths(5)), 2, print)
    assert not (tmp_path / "o").exists()


def test_workers_that_would_compute_differently_end_the_run(data: Dataset, tmp_path: Path) -> None:
    other = replace(SETTINGS, backend="openvino-cpu-bf16", arithmetic="bf16")
    opened = iter([Slow({}, SETTINGS), Fake({}, other)])
    with pytest.raises(BackendError, match="openvino-cpu-bf16 in bf16, another one with onnx"):
        segment_all(data.sequences, Results(tmp_path / "o", False), lambda: next(opened), 2, print)


def test_finished_sequences_are_kept_and_half_finished_ones_are_done_again(
    data: Dataset, tmp_path: Path, fake: Callable[..., Callable[[], Worker]]
) -> None:
    out = tmp_path / "o"
    assert segment_all(data.sequences, Results(out, False), fake({}), 2, print).kept == ()
    (out / "b/00000.png").unlink()
    (out / ".d.0123.part").mkdir()  # of a process that was killed
    times = {name: (out / name).stat().st_mtime_ns for name in NAMES}
    outcome = segment_all(data.sequences, Results(out, False), fake({}), 2, print)
    assert outcome.kept == tuple(name for name in NAMES if name != "b")
    assert {n for n in NAMES if (out / n).stat().st_mtime_ns != times[n]} == {"b"}
    stretched = fake({}, replace(SETTINGS, stretch=True))
    assert segment_all(data.sequences, Results(out, False), stretched, 1, print).kept == ()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"bundle": "other"}, "holds the results of another bundle", id="bundle"),
        pytest.param({"backend": "b"}, "another backend, onnxruntime-cpu in fp32", id="backend"),
        pytest.param({"arithmetic": "bf16"}, "another backend", id="arithmetic"),
    ],
)
def test_results_of_other_settings_are_refused_unless_overwritten(
    data: Dataset,
    tmp_path: Path,
    fake: Callable[..., Callable[[], Worker]],
    changed: dict[str, Any],
    said: str,
) -> None:
    out = tmp_path / "o"
    segment_all(data.sequences[:2], Results(out, False), fake({}), 1, print)
    before = contents(out)
    other = fake({}, replace(SETTINGS, **changed))
    with pytest.raises(InputError, match=said):
        segment_all(data.sequences, Results(out, False), other, 1, print)
    assert contents(out) == before
    outcome = segment_all(data.sequences[1:], Results(out, True), other, 1, print)
    assert outcome.kept == ()
    assert sorted(folder.name for folder in out.iterdir()) == sorted(NAMES[1:])
