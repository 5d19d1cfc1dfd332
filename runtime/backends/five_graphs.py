"""The graphs of a bundle on a backend, one method for each; docs/graphs.md explains them."""

from collections.abc import Mapping

import numpy as np

from mavos_deploy.runtime.backends.protocol import Backend, Tensor
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import (
    FEWEST_USED,
    SHORT,
    SLOT_BIAS,
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
        self._rule = bundle.manifest.memory
        self._blocks = bundle.manifest.dimensions.blocks
        self._backend = backend
        self._interpolation: dict[tuple[Size, Size], Tensors] = {}

    def encode(self, frame: PreparedFrame) -> Tensors:
        """Features of a frame, once for all groups of objects."""
        pixels = frame.resized[None].astype(np.float32, copy=False)
        return self._run(GraphName.ENCODER, {"frame": self._backend.upload(pixels)})

    def step(self, features: Tensors, state: State) -> Tensors:
        """The blocks' outputs for a frame and the slots of a video's memory."""
        bias: Tensors = {}
        if self._rule.has_bias:
            empty = self._rule.bias(state.updated, state.writes)
            bias[SLOT_BIAS] = self._backend.upload(empty)
        alone = not any(state.updated) and GraphName.STEP_ONE in self._specs
        graph = GraphName.STEP_ONE if alone else GraphName.STEP
        return self._run(graph, features, state.memory, bias)

    def settle(
        self,
        features: Tensors,
        labels: Tensors,
        groups: int,
        size: Size,
        seen: Tensors | None = None,
    ) -> Tensors:
        """Keys and values that a frame with known labels leaves in memory.

        After pass i of the ordinary step and memory write, the memories of the first i blocks are
        those of the frame itself, whatever they were before.

        Args:
            features: Outputs of `encode` for the frame.
            labels: The frame's `input_labels`, out of `known_labels`.
            groups: Groups of ten objects.
            size: Height and width of frames in the network, in pixels.
            seen: Outputs of `step` for the frame and as many groups, with any memory, if they are
                there; they are the first pass.
        """
        full = np.zeros((groups, self._rule.slots), np.float32)
        bias = {SLOT_BIAS: self._backend.upload(full)} if self._rule.has_bias else {}
        graph = GraphName.STEP_ONE if GraphName.STEP_ONE in self._specs else GraphName.STEP
        if seen is None:
            passes, fresh = self._blocks, self.blank(groups, size)  # any finite values would do
        else:
            passes, fresh = self._blocks - 1, self.write(seen, labels)
        for _ in range(passes):
            slots = [in_slot(slot, fresh) for slot in (*self._rule.names, SHORT)]
            fresh = self.write(self._run(graph, features, bias, *slots), labels)
        return fresh

    def decode(self, features: Tensors, step: Tensors, state: State) -> Tensors:
        """Labels of a frame, at the sizes of the video and of the network, and its logits."""
        mask = object_mask(state.visible, state.groups, state.removed)
        any_shape, one = self._backend.traits.any_shape, state.groups == 1
        if any_shape and one:
            mask = mask[:, : max(FEWEST_USED, np.flatnonzero(mask[0] == 0)[-1] + 1)]
        objects = {"object_mask": self._backend.upload(mask)}
        sizes = self._interpolate(state.size, state.input_size)
        # Where channels can't be left out, a decoder for a single group does less.
        special = one and not any_shape and GraphName.DECODER_ONE in self._specs
        graph = GraphName.DECODER_ONE if special else GraphName.DECODER
        return self._run(graph, features, step, objects, sizes)

    def write(self, step: Tensors, labels: Tensors) -> Tensors:
        """Keys and values that a frame leaves in memory, `key_i` and `value_i`.

        Args:
            step: Outputs of `step` for the frame.
            labels: The frame's `input_labels`, out of `decode` or `known_labels`.
        """
        values = self._run(GraphName.MEMORY_WRITE, step, labels)
        return {name: values.get(name, step.get(name)) for name in memory_names(self._blocks)}

    def update(self, written: Tensors, state: State, groups: int) -> Tensors:
        """The tensors of the long-term memory that change when a frame enters it.

        Args:
            written: Keys and values of the frame, out of `write`, in all groups.
            state: The state before the frame.
            groups: Groups of ten objects; those that the state doesn't have yet hold the frame in
                every slot already.
        """
        if self._rule.merges and any(state.updated):
            return self._merged(written, state, groups)
        targets = [self._rule.slot_for(entered, state.writes) for entered in state.updated]
        changed: Tensors = {}
        for target in {target for target in targets if target is not None}:
            slot = self._rule.names[target]
            rows = [group for group, other in enumerate(targets) if other == target]
            others = [group for group in range(len(targets)) if group not in rows]
            changed.update(self._entered(slot, written, state, others))
        return changed

    def _entered(self, slot: str, written: Tensors, state: State, others: list[int]) -> Tensors:
        """A slot with a frame in all groups but some, which write to another slot."""
        fresh = in_slot(slot, written)
        if not others:
            return fresh
        mixed = {}
        for name, tensor in fresh.items():
            rows = np.array(self._backend.download(tensor))
            rows[others] = self._backend.download(state.memory[name])[others]
            mixed[name] = self._backend.upload(rows)
        return mixed

    def _merged(self, written: Tensors, state: State, groups: int) -> Tensors:
        """The dynamic slot: a copy in groups that the first frame enters, MCA in the others."""
        entered = (*state.updated, *[0] * (groups - state.groups))
        first = np.array([not before for before in entered], np.int32)
        flags = {"first_update": self._backend.upload(first)}
        merged = self._run(GraphName.MEMORY_UPDATE, written, state.memory, flags)
        names = (memory_names(self._blocks, slot) for slot in (self._rule.names[1], "updated"))
        return {name: merged[output] for name, output in zip(*names, strict=True)}

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
        for name in memory_names(self._blocks):
            spec = specs[f"{SHORT}_{name}"]
            zeros[name] = self._backend.upload(np.zeros(spec.shape_at(groups=groups), spec.dtype))
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
