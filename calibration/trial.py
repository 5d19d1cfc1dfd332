"""Makes quantised graphs to try, before anything is chosen."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mavos_deploy.calibration.float_memory import FloatMemory
from mavos_deploy.calibration.quantise import FloatGraph
from mavos_deploy.calibration.quantise_products import CHANGED
from mavos_deploy.calibration.recorder import Recordings
from mavos_deploy.calibration.sensitivity import ATTENTION, Cost, Groups
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.backends.openvino_cpu import OpenVinoCpu
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.quantisation import (
    SCORES,
    GraphKind,
    Levels,
    NumberType,
    Quantisation,
    Range,
    RangeMethod,
)
from mavos_deploy.runtime.contract import GraphName
from mavos_deploy.runtime.segmenter import Segmenter

# Products of a part of attention in a block: long-term and short-term ones for the memory.
PRODUCTS = {"memory": 2, "self": 1, SCORES: 3}

Library = OnnxRuntimeCpu | OpenVinoCpu  # backends in which single graphs can be exchanged


@dataclass(frozen=True)
class Trial:
    """Makes quantised graphs and segmenters to try.

    Attributes:
        bundle: The unquantised bundle.
        plain: Backend with the bundle's graphs as they are, in the library that the quantised ones
            are for.
        graphs: The bundle's graphs by name.
        recordings: Recorded inputs of the graphs.
        ranges: Ranges of the activations, by graph and tensor.
        levels: Levels of every part of attention; empty where attention stays float.
        kind: Kind of the quantised graphs.
        number: Number format of the quantised layers.
        scratch: Folder for the graphs to try.
    """

    bundle: Bundle
    plain: Library
    graphs: dict[str, FloatGraph]
    recordings: Recordings
    ranges: dict[str, dict[str, Range]]
    levels: Mapping[str, tuple[Levels, ...]]
    kind: GraphKind
    number: NumberType
    scratch: Path

    @property
    def groups(self) -> Groups:
        """All groups that can be quantised, in the order of computation, attention last."""
        found = {name: graph.groups for name, graph in self.graphs.items() if graph.groups}
        return {**found, ATTENTION: self.kind.attentions} if self.levels else found

    def layers(self, graph: str, groups: Collection[str]) -> int:
        """The number of layers in some groups."""
        if graph == ATTENTION:
            blocks = self.bundle.manifest.dimensions.blocks
            return sum(blocks * PRODUCTS[part] for part in groups)
        return len(self.graphs[graph].chosen(groups))

    def taken(self, rows: list[Cost]) -> Groups:
        """The groups that rows of the table stand for, in the order of `groups`."""
        chosen: Groups = {}
        for name, groups in self.groups.items():
            own = [cost.group for cost in rows if cost.graph == name]
            if own:
                chosen[name] = tuple(g for g in groups if None in own or g in own)
        return chosen

    def changed(self, groups: Groups) -> tuple[str, ...]:
        """The graphs that quantising some groups changes, in the order of the contract."""
        return changed_graphs(self.graphs, groups)

    def entry(self, groups: Groups, compared: dict[str, Any] | None = None) -> Quantisation:
        """The manifest's entry of a bundle with some groups quantised.

        Args:
            groups: Groups by graph, and parts of attention.
            compared: Result of the comparison with the unquantised bundle.
        """
        layers = {name: chosen for name, chosen in groups.items() if name != ATTENTION}
        parts = groups.get(ATTENTION, ())
        needed = {
            name: self.graphs[name].needed(chosen, self.kind) for name, chosen in layers.items()
        }
        if SCORES in parts:
            step = self.graphs[GraphName.STEP]
            needed[step.name] = [*needed.get(step.name, ()), *step.factors(self.kind)]
        return Quantisation(
            kind=self.kind,
            number=self.number,
            method=RangeMethod.MINMAX,
            groups=layers,
            ranges={
                name: {tensor: self.ranges[name][tensor] for tensor in tensors}
                for name, tensors in needed.items()
            },
            sources={name: self.recordings.graphs[name] for name in self.changed(groups)},
            data=self.recordings.digest,
            seed=self.recordings.seed,
            attention={part: self.levels.get(part, ()) for part in parts},
            compared=compared or {},
        )

    def segmenter(self, groups: Groups) -> Segmenter:
        """The bundle with some groups quantised, as a segmenter."""
        return Segmenter(*self._made(groups))

    def float_memory(self, groups: Groups) -> FloatMemory:
        """The bundle with some groups quantised, as a backend that is fed and read in float."""
        bundle, backend = self._made(groups)
        return FloatMemory(backend, bundle)

    def _made(self, groups: Groups) -> tuple[Bundle, Library]:
        entry = self.entry(groups)
        bundle = Bundle(self.bundle.path, replace(self.bundle.manifest, quantisation=entry))
        backend = self.plain
        for name in self.changed(groups):
            path = self.scratch / f"{name}.onnx"
            path.write_bytes(self.graphs[name].quantised(entry))
            backend = backend.with_graph(name, path, self.kind, bundle.specs[name])
        return bundle, backend


def changed_graphs(graphs: Collection[str], groups: Groups) -> tuple[str, ...]:
    """The graphs that quantising some groups changes.

    Args:
        graphs: Names of all graphs, in the order of the contract.
        groups: Groups by graph, and parts of attention.
    """
    attended = {graph for part in groups.get(ATTENTION, ()) for graph in CHANGED[part]}
    return tuple(name for name in graphs if groups.get(name) or name in attended)
