"""Videos over a Ray cluster on this machine, one of whose workers is killed in mid-run."""

import hashlib
import inspect
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from mavos_deploy.errors import BackendError, BundleError, InputError, MavosError
from mavos_deploy.runtime import Bundle
from mavos_deploy.runtime.bundles.engines import Engine, Flags, Library
from mavos_deploy.runtime.datasets.opening import open_dataset
from mavos_deploy.runtime.datasets.prediction import OutputError
from mavos_deploy.runtime.datasets.results import Results, Settings, content_of
from mavos_deploy.runtime.jobs.crew import segment_all
from mavos_deploy.runtime.jobs.ray_cluster import (
    RayCluster,
    RayWorker,
    _Actor,
    check_address,
    files_of,
    places_of,
)
from mavos_deploy.runtime.jobs.worker import (
    OwnProcess,
    SequenceError,
    Setup,
    Worker,
    WorkerDiedError,
)
from tests.made_sequences import write_clips

if os.environ.get("MAVOS_REQUIRE_RAY") and find_spec("ray") is None:
    raise ImportError("ray is missing, and MAVOS_REQUIRE_RAY asks for it")

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="ray is not installed; pip install 'mavos-deploy[ray]'"
)
NAMES = [f"video-{index:02d}" for index in range(24)]


@pytest.fixture
def cluster(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    """A cluster of two cores, with a worker on each."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # or Ray writes a token to the home folder
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setattr("mavos_deploy.runtime.jobs.ray_cluster.usable_processors", lambda: 2)
    before = signal.getsignal(signal.SIGTERM)
    with RayCluster("local", Setup(tiny, "onnxruntime-cpu", 1, False)) as started:
        assert signal.getsignal(signal.SIGTERM) is before
        yield started


@needs_ray
def test_24_videos_with_a_killed_worker_give_the_bytes_of_one_process(
    cluster: RayCluster, tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clips(tmp_path / "DAVIS", NAMES, (64, 96), 3)
    # Paths of one folder here and of another one in the actors, if they stay relative.
    monkeypatch.chdir(tmp_path)
    data = open_dataset(Path("DAVIS"))
    opener = partial(OwnProcess, Setup(tiny, "onnxruntime-cpu", 1, False))
    segment_all(data.sequences, Results(Path("one"), False), opener, 1, lambda done: None)

    workers: list[RayWorker] = []
    pids: list[int] = []

    def open_worker() -> Worker:
        workers.append(cluster.open_worker())
        return workers[-1]

    def on_frames(done: int) -> None:
        pid = workers[0].pid
        if done >= 8 * 3 and not pids and pid is not None:
            pids.append(pid)
            os.kill(pid, signal.SIGKILL)

    assert cluster.places == 2
    outcome = segment_all(
        data.sequences, Results(Path("many"), False), open_worker, cluster.places, on_frames
    )
    assert len(pids) == 1
    assert len(workers) == 3
    assert outcome.failed == ()
    written = [
        {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*.*")}
        for folder in ("one", "many")
    ]
    assert len(written[0]) == 24 * (3 + 1)
    assert written[0] == written[1]


@needs_ray
@pytest.mark.slow  # Ray takes up to a minute to notice a lost node
@pytest.mark.parametrize("videos", [2, 12])
def test_a_node_that_is_killed_costs_no_video_and_no_byte(
    tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, videos: int
) -> None:
    """Two nodes on this machine; one's raylet is killed with all that it started."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    data = open_dataset(write_clips(tmp_path / "DAVIS", NAMES[:videos], (64, 96), 3))
    setup = Setup(tiny, "onnxruntime-cpu", 1, False)
    one, many = tmp_path / "one", tmp_path / "many"
    segment_all(data.sequences, Results(one, False), partial(OwnProcess, setup), 1, print)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    lost: list[int] = []
    try:
        nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()

        def on_frames(done: int) -> None:
            if done >= 3 and not lost:
                lost.append(done)
                nodes.remove_node(nodes.worker_nodes.copy().pop(), allow_graceful=False)

        with RayCluster(nodes.address, setup) as cluster:
            assert cluster.places == 2
            outcome = segment_all(
                data.sequences, Results(many, False), cluster.open_worker, cluster.places, on_frames
            )
    finally:
        nodes.shutdown()
    assert lost
    assert outcome.failed == ()
    written = [
        {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.*")}
        for folder in (one, many)
    ]
    assert len(written[0]) == videos * (3 + 1)
    assert written[0] == written[1]


def test_a_worker_does_not_wait_for_room_on_a_node_that_was_lost() -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 1.0}} for _ in range(2)]
    asked = SimpleNamespace(remote=lambda: "reference")
    library = SimpleNamespace(nodes=lambda: nodes, kill=lambda actor: None)
    library.wait = lambda references, timeout: ([], references)
    cluster = RayCluster.__new__(RayCluster)
    actor = SimpleNamespace(remote=lambda: SimpleNamespace(ready=asked))
    vars(cluster).update(places=2, _need=(1, 0), _open=[])
    vars(cluster).update(_ray=library, _actor=actor, _arguments=())
    first, second = cluster.open_worker(), cluster.open_worker()
    cluster.check_room()
    nodes[1]["Alive"] = False
    with pytest.raises(BackendError, match="room for 2 workers, and has room for 1 now"):
        second.ready()
    second.close()
    cluster.check_room()
    first.close()


@needs_ray
def test_a_video_that_a_node_cannot_read_is_named(cluster: RayCluster, tmp_path: Path) -> None:
    data = open_dataset(write_clips(tmp_path / "DAVIS", NAMES[:2], (64, 96), 2))
    (tmp_path / "DAVIS/JPEGImages/480p/video-01/00001.jpg").unlink()
    outcome = segment_all(
        data.sequences, Results(tmp_path / "o", False), cluster.open_worker, 1, lambda done: None
    )
    assert outcome.failed == ("video-01",)
    assert "must lie at the same path on all nodes" in outcome.problems[0].found
    assert sorted(folder.name for folder in (tmp_path / "o").iterdir()) == ["video-00"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(InputError("found"), SequenceError, id="sequence"),
        pytest.param(OutputError("found"), WorkerDiedError, id="disk-of-the-node"),
        pytest.param(MemoryError("found"), WorkerDiedError, id="memory"),
    ],
)
def test_an_actor_drops_the_graphs_once_loaded_and_says_whose_fault_an_error_is(
    tiny: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[Exception],
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("mavos_deploy.runtime.jobs.worker.segment_sequence", fail)
    backend = "onnxruntime-cpu"
    actor = _Actor(files_of(tiny, backend), content_of(tiny.manifest), backend, 1, False)
    assert isinstance(actor.ready()[2], Settings)
    assert not actor._files
    data = open_dataset(write_clips(tmp_path / "DAVIS", NAMES[:1], (64, 96), 2))
    answer = actor.segment(data.sequences[0])
    assert type(answer) is kind
    assert str(answer).endswith("found")


def engine(library: str, file: str) -> Engine:
    """One whose plan is `a plan`."""
    sha256 = hashlib.sha256(b"a plan").hexdigest()
    return Engine(
        *("encoder", file, sha256, "0"),
        library=Library(library),
        version="1.7.1",
        capability="8.6",
        gpu=None,
        driver=None,
        flags=Flags(),
        profiles=(),
    )


@pytest.mark.parametrize("file", ["../x.plan", "/etc/passwd", "engines/missing.plan"])
def test_engines_are_checked_before_they_are_sent(tiny: Bundle, file: str) -> None:
    engines = (engine("tensorrt_rtx", file),)
    bundle = replace(tiny, manifest=replace(tiny.manifest, engines=engines))
    with pytest.raises(
        BundleError, match=r"outside of the bundle; refused|missing; run mavos-build"
    ):
        files_of(bundle, "tensorrt-rtx")
    graphs = {"manifest.json", *(graph.file for graph in tiny.manifest.graphs.values())}
    for backend in ("tensorrt", "onnxruntime-cuda", "onnxruntime-cpu"):
        assert files_of(bundle, backend).keys() == graphs


def test_the_engines_of_the_backend_are_sent(tiny: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny.path, folder)
    (folder / "engines").mkdir()
    (folder / "engines/a.plan").write_bytes(b"a plan")
    engines = (engine("tensorrt", "engines/a.plan"), engine("tensorrt_rtx", "engines/b.plan"))
    bundle = Bundle(folder, replace(tiny.manifest, engines=engines))
    assert files_of(bundle, "tensorrt")["engines/a.plan"] == b"a plan"


@needs_ray
def test_more_cores_than_a_node_has_are_refused(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr("mavos_deploy.runtime.jobs.ray_cluster.usable_processors", lambda: 1)
    with pytest.raises(BackendError, match="no node has 3 CPU cores for a worker, the largest has"):
        RayCluster("local", Setup(tiny, "onnxruntime-cpu", 3, False))


@pytest.mark.parametrize("address", ["", "head", "ray://head", "http://head:1", "head:0", "a:b"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="expected local, auto, HOST:PORT or ray://HOST:PORT"):
        check_address(address)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_not_there_is_named_at_once(scheme: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(BackendError, match=f"--ray {address}: nothing can be reached there"):
            check_address(address)


def test_missing_ray_is_named_with_its_extra(tiny: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MavosError, match=r"pip install 'mavos-deploy\[ray\]'"):
        RayCluster("local", Setup(tiny, "onnxruntime-cpu", None, False))


def test_a_sigterm_while_ray_starts_is_an_interrupt(
    tiny: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**options: object) -> None:
        del options
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray does
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        RayCluster("local", Setup(tiny, "onnxruntime-cpu", 1, False))
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_takes_its_cores_and_where_it_needs_one_a_gpu() -> None:
    nodes = [{"CPU": 9.0, "GPU": 1.0}, {"CPU": 4.0}, {"CPU": 16.0, "GPU": 8.0}, {}]
    assert places_of(nodes, threads=4, gpus=0) == 2 + 1 + 4
    assert places_of(nodes, threads=4, gpus=1) == 1 + 0 + 4


def test_a_node_with_another_release_is_named() -> None:
    asked = SimpleNamespace(remote=lambda: ("0.0.1", 7, "whatever it says"))
    library = SimpleNamespace(get=lambda reference: reference, exceptions=SimpleNamespace())
    library.wait = lambda references, timeout: (references, [])
    library.exceptions.RayError = RuntimeError
    worker = RayWorker(library, SimpleNamespace(ready=asked), RayCluster.__new__(RayCluster))
    with pytest.raises(
        BackendError, match=r"has mavos-deploy 0\.0\.1, .* install the same release"
    ):
        worker.ready()


def test_an_actor_is_made_of_plain_values() -> None:
    given = inspect.get_annotations(_Actor.__init__)
    assert set(given.values()) == {dict[str, bytes], str, int, bool, None}
