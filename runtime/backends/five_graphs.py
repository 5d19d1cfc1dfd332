"""The five graphs of a bundle on a backend, one method for each; docs/graphs.md explains them."""

from collections.abc import Mapping

import numpy as np

from mavos_deploy.runtime.backends.protocol import Backend, Tensor
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import (
    FEWEST_USED,
    SLOTS,
    GraphName,
    memory_names,
    memory_specs,
)
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.objects import Labels, object_mask, split_groups
from mavos_deploy.runtime.resize import PreparedFrame, interpolation
from mavos_deploy.runtime.state import State

Tensors = dict[str, Tensor]  # by their names in the contract
KEPT_SIZES = 4  # video sizes whose interpolation matrices are kept


class FiveGraphs:
    """Runs the graphs of a bundle; tensors come and go by their names in the contract.

    Args:
        bundle: The opened bundle.
        backend: A backend that has loaded the bundle's graphs.
    """

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._manifest = bundle.manifest
        self._specs = bundle.specs
        self._backend = backend
        self._interpolation: dict[tuple[Size, Size], Tensors] = {}

    def encode(self, frame: PreparedFrame) -> Tensors:
        """Features of a frame, once for all groups of objects."""
        pixels = frame.resized[None].astype(np.float32, copy=False)
        return self._run(GraphName.ENCODER, {"frame": self._backend.upload(pixels)})

    def step(self, features: Tensors, memory: Mapping[str, Tensor]) -> Tensors:
        """The blocks' outputs for a frame and the three slots of the memory."""
        return self._run(GraphName.STEP, features, memory)

    def decode(self, features: Tensors, step: Tensors, state: State) -> Tensors:
        """Labels of a frame, at the sizes of the video and of the network, and its logits."""
        mask = object_mask(state.visible, state.groups, state.removed)
        if self._backend.traits.any_shape and state.groups == 1:
            mask = mask[:, : max(FEWEST_USED, np.flatnonzero(mask[0] == 0)[-1] + 1)]
        objects = {"object_mask": self._backend.upload(mask)}
        sizes = self._interpolate(state.size, state.input_size)
        return self._run(GraphName.DECODER, features, step, objects, sizes)

    def write(self, step: Tensors, labels: Tensors) -> Tensors:
        """Keys and values that a frame leaves in memory, `key_i` and `value_i`.

        Args:
            step: Outputs of `step` for the frame.
            labels: The frame's `input_labels`, out of `decode` or `known_labels`.
        """
        values = self._run(GraphName.MEMORY_WRITE, step, labels)
        return {name: values.get(name, step.get(name)) for name in memory_names()}

    def update(
        self, written: Tensors, memory: Mapping[str, Tensor], updated: tuple[bool, ...]
    ) -> Tensors:
        """The dynamic slot after a frame has entered it: a copy at first, MCA from then on.

        Args:
            written: The frame's keys and values, out of `write`.
            memory: The memory, with the dynamic slot as it was.
            updated: For each group, whether a frame has entered its dynamic slot before.
        """
        if not any(updated):
            return in_slot("dynamic", written)
        first = np.array([not before for before in updated], np.int32)
        flags = {"first_update": self._backend.upload(first)}
        merged = self._run(GraphName.MEMORY_UPDATE, written, memory, flags)
        pairs = zip(memory_names("dynamic"), memory_names("updated"), strict=True)
        return {name: merged[output] for name, output in pairs}

    def known_labels(self, labels: Labels, groups: int, input_size: Size) -> Tensors:
        """Labels that are known, in place of the decoder's `input_labels`.

        Args:
            labels: Internal ids, uint8 [H, W].
            groups: Groups of ten objects.
            input_size: Height and width of frames in the network, in pixels.
        """
        return {"input_labels": self._backend.upload(split_groups(labels, groups, input_size))}

    def blank(self, groups: int, input_size: Size) -> Tensors:
        """Zeros in place of a frame's keys and values, `key_i` and `value_i`."""
        specs = memory_specs(self._manifest.specs_at(input_size))
        zeros = {}
        for name, slot in zip(memory_names(), memory_names(SLOTS[0]), strict=True):
            shape = specs[slot].shape_at(groups=groups)
            zeros[name] = self._backend.upload(np.zeros(shape, specs[slot].dtype))
        return zeros

    def _interpolate(self, size: Size, input_size: Size) -> Tensors:
        """The decoder's inputs for a size of video, made once for each of the latest sizes."""
        if (size, input_size) not in self._interpolation:
            while len(self._interpolation) >= KEPT_SIZES:
                self._interpolation.pop(next(iter(self._interpolation)))
            arrays = interpolation(size, input_size, self._manifest.align_corners)
            self._interpolation[size, input_size] = {
                name: self._backend.upload(array) for name, array in arrays.items()
            }
        return self._interpolation[size, input_size]

    def _run(self, graph: GraphName, *sources: Mapping[str, Tensor]) -> Tensors:
        """Run a graph with the inputs it wants out of several dictionaries."""
        available = {name: tensor for source in sources for name, tensor in source.items()}
        inputs = {spec.name: available[spec.name] for spec in self._specs[graph].inputs}
        return self._backend.run(graph, inputs)


def in_slot(slot: str, written: Mapping[str, Tensor]) -> Tensors:
    """A frame's keys and values as a slot of the memory, such as `short_key_0`."""
    return {f"{slot}_{name}": tensor for name, tensor in written.items()}
