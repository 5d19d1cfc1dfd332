"""Feeds and reads a bundle with int8 values in its memory in float, to compare it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mavos_deploy.runtime.backends.protocol import Backend, Tensor, WatchedBackend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.quantisation import Levels
from mavos_deploy.runtime.contract import GraphSpec


class FloatMemory(WatchedBackend):
    """Rounds values on their way into the graphs of a backend, and restores them on the way out.

    For a bundle with a float memory, it hands everything on.

    Attributes:
        specs: The graphs as they look from outside, by name.

    Args:
        backend: Backend with the bundle's graphs.
        bundle: Bundle with the scales in its manifest.
    """

    def __init__(self, backend: Backend, bundle: Bundle) -> None:
        super().__init__(backend)
        manifest, own = bundle.manifest, bundle.specs
        self.specs: dict[str, GraphSpec] = own
        self._levels: tuple[Levels, ...] = ()
        self._rounded: dict[str, set[str]] = {name: set() for name in own}
        if manifest.quantisation is None or manifest.memory_values == "float":
            return
        self._levels = manifest.quantisation.attention["memory"]
        self.specs = Bundle(bundle.path, replace(manifest, quantisation=None)).specs
        for graph, spec in self.specs.items():
            inside = (*own[graph].inputs, *own[graph].outputs)
            pairs = zip((*spec.inputs, *spec.outputs), inside, strict=True)
            self._rounded[graph] = {a.name for a, b in pairs if a.dtype != b.dtype}

    def run(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Backend.run`; values are float32."""
        outputs = super().run(graph, self.rounded(graph, inputs))
        return {
            name: self._restored(name, tensor) if name in self._rounded[graph] else tensor
            for name, tensor in outputs.items()
        }

    def rounded(self, graph: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A graph's inputs as the backend itself takes them."""
        return {
            name: self._round(name, tensor) if name in self._rounded[graph] else tensor
            for name, tensor in inputs.items()
        }

    def _round(self, name: str, tensor: Tensor) -> Tensor:
        values = np.asarray(self.download(tensor), np.float32)
        return self.upload(self._levels[_block(name)].rounded(values))

    def _restored(self, name: str, tensor: Tensor) -> Tensor:
        levels = np.asarray(self.download(tensor), np.uint8)
        return self.upload(self._levels[_block(name)].restored(levels))


def _block(name: str) -> int:
    """The number at the end of a memory's name."""
    return int(name.rpartition("_")[2])
