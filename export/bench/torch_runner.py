"""The PyTorch network as a runner of the bench: eager, compiled, or with a memory that grows."""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch

from mavos_deploy.errors import BackendError
from mavos_deploy.export.bench.published import PublishedEngine, compiled_engine
from mavos_deploy.export.bench.ways import Way
from mavos_deploy.export.networks import network_of
from mavos_deploy.models.half import half_precision
from mavos_deploy.models.long_term import LongTerm
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.tracker import GroupEngine, Tracker
from mavos_deploy.runtime.bundles.manifest import Manifest
from mavos_deploy.runtime.objects import Labels
from mavos_deploy.runtime.resize import PreparedFrame
from mavos_deploy.runtime.system.processors import usable_processors

# Frames from one entry of the growing memory to the next: TEST_LONG_TERM_MEM_GAP of DeAOT-L.
APPEND_EVERY = 5
GROWING = LongTerm("growing", None)


class TorchRunner:
    """The PyTorch network as a runner."""

    def __init__(
        self,
        manifest: Manifest,
        checkpoint: Path | None,
        threads: int | None,
        way: Way,
        device: str = "cpu",
    ) -> None:
        """Load the network of a bundle.

        Args:
            manifest: Manifest of the bundle.
            checkpoint: File that the bundle was exported from; None for shipped and for untrained
                weights.
            threads: CPU threads, for the whole process; None takes all that it may use.
            way: Form of the network, and how it is run.
            device: Device that the network runs on, by PyTorch's name.

        Raises:
            InputError: The checkpoint isn't the bundle's.
        """
        torch.set_num_threads(threads or usable_processors())
        self.name = way.name
        self.graph_seconds: Mapping[str, float] = {}
        self._way = way
        self._device = device
        network = network_of(manifest, checkpoint)
        self._network = (half_precision(network) if way.half else network).to(device)
        if way.compiled:
            self._network = compiled(self._network)
        self._engine: type[GroupEngine] = GroupEngine
        if not way.tuned:
            self._engine = compiled_engine() if way.compiled else PublishedEngine
        rule = manifest.memory
        self._memory = GROWING if way.growing else LongTerm(rule.rule, rule.slots)
        self._memory_gap = APPEND_EVERY if way.growing else manifest.memory_gap
        self._tracker: Tracker | None = None

    def start(self, frame: PreparedFrame, labels: Labels) -> None:
        """See `Runner.start`."""
        self._start(frame, labels, self._memory_gap)

    def step(self, frame: PreparedFrame) -> None:
        """See `Runner.step`."""
        assert self._tracker is not None
        labels = self._tracker.predict(torch.from_numpy(frame.resized).to(self._device))
        self._tracker.remember(labels)

    def warm_up(self, frame: PreparedFrame, labels: Labels) -> None:
        """See `Runner.warm_up`.

        At a memory gap of 2 five frames meet all that torch.compile makes code for: a short-term
        memory that is the reference itself, one that isn't, a long-term memory of two frames, and
        one that was merged.
        """
        self._start(frame, labels, 2)
        try:
            for _ in range(5):
                self.step(frame)
        except Exception as error:  # compilers' errors have no other base
            if not self._way.compiled:
                raise
            reason = " ".join(str(error).split())[:200]
            raise BackendError(
                f"torch.compile failed ({reason}); it needs a C++ compiler; leave `compiled` out"
            ) from error

    def memory_bytes(self) -> int:
        """See `Runner.memory_bytes`."""
        assert self._tracker is not None
        held = {
            tensor.data_ptr(): tensor.numel() * tensor.element_size()
            for group in self._tracker.groups
            for memory in (*group.long_term, *group.short_term)
            for tensor in (memory.key, memory.value)
        }
        return sum(held.values())

    def close(self) -> None:
        """See `Runner.close`."""
        self._tracker = None

    def _start(self, frame: PreparedFrame, labels: Labels, memory_gap: int | None) -> None:
        self._tracker = Tracker(self._network, frame.size, memory_gap, self._engine, self._memory)
        self._tracker.start(torch.from_numpy(frame.resized).to(self._device), labels)


def compiled(network: Mavos) -> Mavos:
    """A copy whose per-frame parts are compiled when they are first called."""
    network = copy.deepcopy(network)
    # The long-term memory has two lengths, and each gets code of its own.
    for name in ("encode", "propagate", "decode", "embed_identity"):
        setattr(network, name, torch.compile(getattr(network, name), dynamic=False))
    for block in network.blocks:
        write = torch.compile(block.write, dynamic=False)
        block.write = write  # type: ignore[method-assign]  # in this copy alone
    for memory_module in network.memory_modules:
        memory_module.compile(dynamic=False)
    return network
