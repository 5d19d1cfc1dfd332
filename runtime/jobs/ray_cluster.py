"""Workers that are actors of a Ray cluster.

The bundle is sent to them and checked there, masks come back and are written here. Only the data
set must lie at the same path on every machine.
"""

import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mavos_deploy import __version__
from mavos_deploy.errors import BackendError, InputError, MavosError, one_line
from mavos_deploy.runtime.backends.table import backend_kind
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.manifest import MANIFEST
from mavos_deploy.runtime.datasets.prediction import OutputError, Predicted
from mavos_deploy.runtime.datasets.results import Settings, content_of
from mavos_deploy.runtime.datasets.sequences import VideoSequence
from mavos_deploy.runtime.jobs.worker import (
    OwnProcess,
    SequenceError,
    Setup,
    WorkerDiedError,
    failure,
    reason,
)
from mavos_deploy.runtime.system.files import writing
from mavos_deploy.runtime.system.processors import usable_processors

# Cores of one worker unless told otherwise: more of them speed one video up less than another
# worker speeds up the whole.
CORES = 4
LOCAL = "local"
ANSWER_SECONDS = 10.0  # longest time to connect to the head node
LOOK_SECONDS = 2.0  # between two looks at the nodes, while a worker starts


class RayCluster:
    """A connection to a cluster, for as long as a `with` block lasts.

    Attributes:
        places: Workers that the cluster has room for.
    """

    def __init__(self, address: str, setup: Setup) -> None:
        """Connect, and send the bundle.

        Args:
            address: `local` starts a cluster on this machine, `auto` finds one that runs here; or
                `HOST:PORT` of a head node, or `ray://HOST:PORT` of its server for clients.
            setup: Setup of each worker. Its threads are CPU cores that the cluster keeps for the
                worker; None takes four, or all of the smallest node.

        Raises:
            InputError: The address has none of these forms.
            BundleError: An engine for the backend is missing, altered, or outside of the bundle.
            BackendError: Ray is missing, no cluster answers, or none of its nodes has enough cores.
        """
        check_address(address)
        try:
            import ray
        except ImportError:
            raise BackendError(
                "--ray needs the package ray; pip install 'mavos-deploy[ray]'"
            ) from None
        sent = files_of(setup.bundle, setup.backend)
        self._ray = ray
        self._connect(address)
        try:
            nodes = self._nodes()
            cores = [int(node.get("CPU", 0)) for node in nodes]
            gpus = 1 if backend_kind(setup.backend).gpu else 0
            threads = setup.threads or min(CORES, min((n for n in cores if n), default=1))
            self._need = threads, gpus
            self._open: list[RayWorker] = []
            self.places = places_of(nodes, threads, gpus)
            if not self.places:
                need = f"{threads} CPU cores" + (" and a GPU" if gpus else "")
                raise BackendError(
                    f"--ray {address}: no node has {need} for a worker, the largest has "
                    f"{max(cores, default=0)} cores; give a smaller --threads"
                    + (", or a --backend for the CPU" if gpus else "")
                )
            # Plain values: a node with another release must get as far as to say so.
            content = content_of(setup.bundle.manifest)
            self._arguments = ray.put(sent), content, setup.backend, threads, setup.stretch
        except BaseException:
            self.close()
            raise
        self._actor = ray.remote(num_cpus=threads, num_gpus=gpus, max_restarts=0)(_Actor)

    def open_worker(self) -> "RayWorker":
        """Begin to open a worker, on whichever node has room."""
        worker = RayWorker(self._ray, self._actor.remote(*self._arguments), self)
        self._open.append(worker)
        return worker

    def closed(self, worker: "RayWorker") -> None:
        """Take note that a worker needs no room any more."""
        with suppress(ValueError):  # it was closed twice
            self._open.remove(worker)

    def check_room(self) -> None:
        """Refuse to wait for room that the cluster doesn't have any more.

        Raises:
            BackendError: Nodes were lost, and the others have fewer places than there are workers.
        """
        left = places_of(self._nodes(), *self._need)
        if left < len(self._open):
            raise BackendError(
                f"nodes of the cluster were lost: it had room for {self.places} workers, and has "
                f"room for {left} now; the same command once more does what is missing"
            )

    def _nodes(self) -> list[Mapping[str, float]]:
        """Resources of the nodes that are alive."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self._ray.shutdown()

    def _connect(self, address: str) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == LOCAL:
            options |= {"num_cpus": usable_processors(), "include_dashboard": False}
        # Ray takes SIGTERM for itself, and ends the process without tidying up.
        main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(address=address, **options)
        except SystemExit:  # its own answer to SIGTERM
            raise KeyboardInterrupt from None
        except Exception as error:  # ConnectionError, ValueError, RuntimeError and others
            raise BackendError(
                f"--ray {address}: no Ray cluster can be used there ({one_line(error)}); start one "
                "with `ray start --head`, or give local to start one for this run"
            ) from error
        finally:
            if main:
                signal.signal(signal.SIGTERM, handler)

    def __enter__(self) -> "RayCluster":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def files_of(bundle: Bundle, backend: str) -> dict[str, bytes]:
    """Contents of the files that a worker needs, by their paths within the bundle.

    Args:
        bundle: Opened bundle, whose graphs are checked therefore.
        backend: Name of the backend. One that loads engines gets all of its library, since the
            GPUs of the nodes are not known here.

    Raises:
        BackendError: The backend's name is unknown.
        BundleError: An engine is missing, altered, or outside of the bundle.
    """
    names = [MANIFEST, *(graph.file for graph in bundle.manifest.files)]
    files = {name: (bundle.path / name).read_bytes() for name in names}
    library = backend_kind(backend).engine_library
    engines = (engine for engine in bundle.manifest.engines if engine.library == library)
    return files | {engine.file: bundle.plan(engine) for engine in engines}


def places_of(nodes: Iterable[Mapping[str, float]], threads: int, gpus: int) -> int:
    """Count the workers that a cluster has room for.

    Args:
        nodes: Resources of each node, as Ray names them: `CPU`, `GPU`.
        threads: CPU cores that a worker takes.
        gpus: GPUs that a worker takes, 0 or 1.
    """
    places = 0
    for node in nodes:
        fitting = int(node.get("CPU", 0)) // threads
        places += min(fitting, int(node.get("GPU", 0))) if gpus else fitting
    return places


def check_address(address: str) -> None:
    """Refuse a malformed address, or one where nothing listens, which Ray notices after minutes.

    Raises:
        InputError: The address has none of the accepted forms.
        BackendError: Nothing can be reached there.
    """
    if address in (LOCAL, "auto"):
        return
    match = re.fullmatch(r"(?:ray://)?([^\s:/]+):(\d{1,5})", address)
    if match is None or not 0 < int(match[2]) < 1 << 16:
        raise InputError(
            f"--ray {address!r:.60}: expected local, auto, HOST:PORT or ray://HOST:PORT"
        )
    try:
        socket.create_connection((match[1], int(match[2])), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise BackendError(
            f"--ray {address}: nothing can be reached there ({one_line(error)}); give the address "
            "of a cluster's head node"
        ) from None


class RayWorker:
    """A worker in an actor. Ray starts no actor again; the crew opens a fresh one.

    Attributes:
        pid: Number of the actor's process on its own machine; None until it is ready.
    """

    def __init__(self, ray: Any, actor: Any, cluster: RayCluster) -> None:  # noqa: ANN401  # a library for some only
        self._ray = ray
        self._actor = actor
        self._cluster = cluster
        self.pid: int | None = None

    def ready(self) -> Settings:
        """See `Worker`."""
        asked = self._actor.ready.remote()
        # An actor for which no node has room waits for one, for ever if need be.
        while not self._ray.wait([asked], timeout=LOOK_SECONDS)[0]:
            self._cluster.check_room()
        version, self.pid, answer = self._ask(asked)
        if version != __version__:
            raise BackendError(
                f"a node of the cluster has mavos-deploy {version}, this machine {__version__}; "
                "install the same release on all of them"
            )
        if isinstance(answer, str):
            raise BackendError(answer)
        assert isinstance(answer, Settings)
        return answer

    def segment(
        self, sequence: VideoSequence, folder: Path, on_frame: Callable[[], None]
    ) -> Predicted:
        """See `Worker`; frames are counted all at once at the end."""
        absolute = replace(
            sequence,
            images={stem: path.absolute() for stem, path in sequence.images.items()},
            annotations={stem: path.absolute() for stem, path in sequence.annotations.items()},
        )
        answer = self._ask(self._actor.segment.remote(absolute))
        if isinstance(answer, MavosError):
            raise answer
        predicted, files = answer
        assert isinstance(predicted, Predicted)
        try:
            with writing(folder):
                for name, content in files.items():
                    (folder / name).write_bytes(content)
        except InputError as error:
            raise OutputError(str(error)) from error
        for _ in sequence.images:
            on_frame()
        return predicted

    def close(self) -> None:
        """See `Worker`."""
        self._cluster.closed(self)
        self._ray.kill(self._actor)

    def _ask(self, reference: Any) -> Any:  # noqa: ANN401  # as above
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            raise WorkerDiedError(f"the worker ended ({one_line(error)})") from None


class _Actor:
    """The part on a node. It answers with errors, since Ray wraps what is raised."""

    def __init__(
        self, files: dict[str, bytes], content: str, backend: str, threads: int, stretch: bool
    ) -> None:
        self._files = files
        self._content = content
        self._rest = backend, threads, stretch
        self._worker: OwnProcess | None = None

    def ready(self) -> tuple[str, int, Settings | str]:
        """The release and the process here, and the settings or why there are none."""
        answer: Settings | str
        files, self._files = self._files, {}  # as large as the bundle, and loaded only once
        try:
            with TemporaryDirectory(prefix="mavos-bundle-") as folder:
                for name, content in files.items():
                    path = Path(folder) / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                bundle = Bundle.open(folder)
                if content_of(bundle.manifest) != self._content:
                    raise BackendError("another bundle arrived than was sent; run it again")
                self._worker = OwnProcess(Setup(bundle, *self._rest))
                answer = self._worker.ready()
        except Exception as error:
            answer = f"{socket.gethostname()}: {reason(error)}"
        return __version__, os.getpid(), answer

    def segment(self, sequence: VideoSequence) -> tuple[Predicted, dict[str, bytes]] | MavosError:
        """The result of a sequence with its files, or why it failed."""
        assert self._worker is not None
        try:
            for path in (*sequence.images.values(), *sequence.annotations.values()):
                if not path.is_file():
                    raise WorkerDiedError(  # another node may have it
                        f"{path} is not there; the data set must lie at the same path on all nodes"
                    )
            with TemporaryDirectory(prefix="mavos-masks-") as folder:
                predicted = self._worker.segment(sequence, Path(folder), lambda: None)
                return predicted, {f.name: f.read_bytes() for f in Path(folder).iterdir()}
        except Exception as error:
            # A full disk of this node is not one of the results folder.
            kind = SequenceError if isinstance(failure(error), SequenceError) else WorkerDiedError
            return kind(f"{socket.gethostname()}: {reason(error)}")
