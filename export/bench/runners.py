"""Runners that a bench times: a bundle on a backend, or PyTorch."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.export.bench.ways import Way
from mavos_deploy.runtime.backends.protocol import Backend, Tensor, WatchedBackend
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import memory_specs
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.resize import PreparedFrame, resize_frame
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.state import State


class Runner(Protocol):
    """One way to segment, with the memory of one video.

    Attributes:
        name: Name in reports, which says how the runner computes.
    """

    name: str

    @property
    def graph_seconds(self) -> Mapping[str, float]:
        """Time of the latest step in each graph; empty where there are no graphs."""

    def start(self, frame: PreparedFrame, labels: Labels) -> None:
        """Begin the video with a frame and its labels."""

    def step(self, frame: PreparedFrame) -> None:
        """Segment the next frame, from resized pixels to labels, and remember it."""

    def warm_up(self, frame: PreparedFrame, labels: Labels) -> None:
        """Run everything once that a video may need; `start` begins anew."""

    def memory_bytes(self) -> int:
        """Bytes of the video's memory."""

    def close(self) -> None:
        """Free the runner's memory and libraries."""


class TimedBackend(WatchedBackend):
    """A backend that notes how long each graph takes.

    Attributes:
        seconds: Time in each graph since the dict was replaced; empty for a backend that only
            enqueues its work.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.seconds: dict[str, float] = {}

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`."""
        started = time.perf_counter()
        outputs = super().run(graph, inputs)
        if self.traits.enqueues:
            return outputs
        took = time.perf_counter() - started
        self.seconds[graph] = self.seconds.get(graph, 0.0) + took
        return outputs


class BackendRunner:
    """A bundle on a backend."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.backend = TimedBackend(backend)
        self.segmenter = Segmenter(bundle, self.backend)
        self.name = self.backend.traits.name
        self.graph_seconds: dict[str, float] = {}
        self._state: State | None = None

    def start(self, frame: PreparedFrame, labels: Labels) -> None:
        """See `Runner.start`."""
        self._state = self.segmenter.start(frame, labels)

    def step(self, frame: PreparedFrame) -> None:
        """See `Runner.step`."""
        assert self._state is not None
        self.backend.seconds = self.graph_seconds = {}
        _, self._state = self.segmenter.step(frame, self._state)

    def warm_up(self, frame: PreparedFrame, labels: Labels) -> None:
        """See `Runner.warm_up`."""
        self.segmenter.warm_up(frame, labels)

    def memory_bytes(self) -> int:
        """See `Runner.memory_bytes`."""
        assert self._state is not None
        specs = memory_specs(self.segmenter.bundle.manifest.specs_at(self._state.input_size))
        held = {id(tensor): specs[name] for name, tensor in self._state.memory.items()}
        return sum(spec.bytes_at(groups=self._state.groups) for spec in held.values())

    def close(self) -> None:
        """See `Runner.close`."""
        self.segmenter.close()


@dataclass(frozen=True)
class Subject:
    """A backend or a way of PyTorch to measure, in a form that another process can take.

    Attributes:
        way: A way of running the PyTorch network, or the name of a backend.
        bundle: Folder of the bundle.
        checkpoint: File of the weights, for PyTorch; None where the bundle's weights ship or are
            untrained.
        threads: CPU threads; None takes all that the process may use.
    """

    way: Way | str
    bundle: Path
    checkpoint: Path | None
    threads: int | None

    @property
    def name(self) -> str:
        """Name of the way or of the backend."""
        return self.way if isinstance(self.way, str) else self.way.name

    def open(self) -> Runner:
        """Load the graphs or the network.

        Raises:
            MavosError: The bundle, the backend or the checkpoint can't be used.
        """
        bundle = Bundle.open(self.bundle)
        if isinstance(self.way, str):
            return BackendRunner(bundle, open_backend(bundle, self.threads, self.way))
        from mavos_deploy.export.bench.torch_runner import TorchRunner

        return TorchRunner(bundle.manifest, self.checkpoint, self.threads, self.way)


def made_clip(bundle: Bundle, frames: int, objects: int) -> Iterator[tuple[PreparedFrame, Labels]]:
    """A made-up clip at a bundle's size, the same for every runner; frames with their labels.

    Args:
        bundle: Opened bundle.
        frames: Length of the clip.
        objects: Number of objects in the first frame.
    """
    size = video_size(bundle.manifest.size)
    in_network = bundle.manifest.input_size(size)
    for frame, labels in iter_clip(*size, frames, objects=objects):
        yield PreparedFrame(size, resize_frame(frame, *in_network)), labels


def video_size(size: Size) -> Size:
    """An even size next to a bundle's, which H.264 takes and the bundle maps to its own."""
    return size[0] - size[0] % 2, size[1] - size[1] % 2


def warm_up(runners: Iterable[Runner], bundle: Bundle, objects: int) -> None:
    """Let every runner run once everything that a video may need, so that nothing compiles later.

    Args:
        runners: Runners of the bundle.
        bundle: Opened bundle.
        objects: Number of objects in the first frame.
    """
    frame, labels = next(made_clip(bundle, 1, objects))
    for runner in runners:
        runner.warm_up(frame, labels)
