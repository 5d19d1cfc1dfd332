"""Makes quantised graphs to try, before anything is chosen."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mavos_deploy.calibration.float_memory import FloatMemory
from mavos_deploy.calibration.quantise import Graph
from mavos_deploy.calibration.quantise_attention import CHANGED
from mavos_deploy.calibration.sensitivity import ATTENTION, Cost, Groups
from mavos_deploy.runtime.backends.onnxruntime_cpu import OnnxRuntimeCpu
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import BLOCKS
from mavos_deploy.runtime.quantisation import ATTENTIONS, Levels, Quantisation, Range
from mavos_deploy.runtime.segmenter import Segmenter

# Of a part of attention in each block: long-term and short-term for the memory.
PRODUCTS = {"memory": 2 * BLOCKS, "self": BLOCKS}

Ranges = dict[str, dict[str, Range]]


@dataclass
class Trial:
    """Makes quantised graphs and segmenters to try.

    Attributes:
        bundle: Unquantised.
        graphs: Its graphs by name.
        ranges: Of their activations.
        levels: Of every part of attention; empty where attention stays float.
        target: `cpu` or `tensorrt`.
        type: Of the products.
        plain: Backend with the graphs as they are.
        scratch: Folder for graphs.
    """

    bundle: Bundle
    graphs: dict[str, Graph]
    ranges: Ranges
    levels: Mapping[str, tuple[Levels, ...]]
    target: str
    type: str
    plain: OnnxRuntimeCpu
    scratch: Path

    @property
    def groups(self) -> Groups:
        """Everything that can be quantised, in the order of computation, attention last."""
        found = {name: graph.groups for name, graph in self.graphs.items() if graph.groups}
        return {**found, ATTENTION: ATTENTIONS} if self.levels else found

    def layers(self, graph: str, groups: Collection[str]) -> int:
        """How many layers some groups hold."""
        if graph == ATTENTION:
            return sum(PRODUCTS[part] for part in groups)
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

    def segmenter(self, groups: Groups) -> Segmenter:
        """The bundle's graphs with some groups quantised."""
        bundle, backend = self._made(groups)
        return Segmenter(bundle, backend)

    def float_memory(self, groups: Groups) -> FloatMemory:
        """The same as a backend that is fed and read in float."""
        bundle, backend = self._made(groups)
        return FloatMemory(backend, bundle)

    def _made(self, groups: Groups) -> tuple[Bundle, OnnxRuntimeCpu]:
        attention = {part: self.levels[part] for part in groups.get(ATTENTION, ())}
        # What the segmenter and the comparison read of an entry are its levels.
        entry = Quantisation(self.target, self.type, "minmax", {}, {}, {}, "", 0, attention)
        bundle = Bundle(self.bundle.path, replace(self.bundle.manifest, quantisation=entry))
        backend = self.plain
        for name in self.changed(groups):
            path = self.scratch / f"{name}.onnx"
            path.write_bytes(
                self.graphs[name].quantised(
                    groups.get(name, ()), self.ranges[name], self.target, self.type, attention
                )
            )
            backend = backend.with_graph(name, path, self.target != "cpu", bundle.specs[name])
        return bundle, backend


def changed_graphs(graphs: Collection[str], groups: Groups) -> tuple[str, ...]:
    """The graphs that quantising some groups changes.

    Args:
        graphs: Names of all, in the order of the contract.
        groups: By graph, and parts of attention.
    """
    attended = {graph for part in groups.get(ATTENTION, ()) for graph in CHANGED[part]}
    return tuple(name for name in graphs if groups.get(name) or name in attended)
