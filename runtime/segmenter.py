"""The tracker: chains the graphs of a bundle over the frames of a video.

docs/graphs.md explains the chain and why five static graphs are enough. The order of a frame is the
authors': logits, bilinear to the video's size, argmax, nearest to the network's size, identity,
memory.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.protocol import Backend, Tensor
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND, open_backend
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import (
    BLOCKS,
    FEWEST_USED,
    SLOTS,
    GraphName,
    memory_names,
    memory_specs,
)
from mavos_deploy.runtime.geometry import FloatImage, Size
from mavos_deploy.runtime.objects import (
    Labels,
    groups_for,
    number_objects,
    object_mask,
    own_ids,
    split_groups,
)
from mavos_deploy.runtime.protocol import About, RgbFrame, check_frame, check_labels, check_state
from mavos_deploy.runtime.resize import PreparedFrame, interpolation, resize_frame
from mavos_deploy.runtime.state import (
    State,
    load_state,
    save_state,
    with_new_groups,
    without_idle_groups,
    without_objects,
)

AnyFrame = RgbFrame | FloatImage | PreparedFrame
Tensors = dict[str, Tensor]
KEPT_SIZES = 4  # video sizes whose interpolation matrices a segmenter keeps


@dataclass(frozen=True, eq=False)
class Observation:
    """The prediction for a frame that isn't in the memory yet.

    Attributes:
        features: The encoder's outputs.
        step: The outputs of the blocks.
        decoded: The decoder's outputs.
        backend: The backend that holds these tensors.
    """

    features: Tensors
    step: Tensors
    decoded: Tensors
    backend: Backend

    @cached_property
    def labels(self) -> Labels:
        """Internal ids at the video's size, uint8 [H, W]; waits for the backend."""
        labels: Labels = self.backend.download(self.decoded["labels"])[0]
        return labels


class Segmenter:
    """Segments objects through videos with one bundle; several videos may interleave.

        segmenter = Segmenter.open("mobilenet-481x849")
        state = segmenter.start(first_frame, first_labels)
        for frame in frames:
            labels, state = segmenter.step(frame, state)

    It is a `VideoSegmenter` (runtime/protocol.py), and so is the client of a server.

    Args:
        bundle: The opened bundle.
        backend: A backend that has loaded the bundle's graphs.
    """

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.bundle = bundle
        self.backend = backend
        self._specs = bundle.specs
        self._identity = bundle.manifest.identity
        self._output: dict[tuple[Size, Size], Tensors] = {}

    @classmethod
    def open(
        cls, path: str | Path, threads: int | None = None, backend: str = DEFAULT_BACKEND
    ) -> "Segmenter":
        """Open a bundle and load its graphs.

        Args:
            path: The bundle's folder.
            threads: CPU threads to use; None takes all that this process may.
            backend: A name of the table in runtime/backends/table.py.

        Raises:
            BundleError: The bundle is incomplete or altered.
            BackendError: The backend's name is unknown, or its library is missing, refuses a graph
                or can't use this machine.
        """
        bundle = Bundle.open(path)
        if not bundle.manifest.trained:
            warnings.warn(
                f"{path} was exported without a checkpoint: its weights are untrained and its "
                "masks mean nothing",
                UserWarning,
                stacklevel=2,
            )
        return cls(bundle, open_backend(bundle, threads, backend))

    @property
    def about(self) -> About:
        """The bundle and the backend, for messages and reports."""
        traits, it = self.backend.traits, self.bundle.manifest
        return About(traits.name, it.variant, it.trained, traits.arithmetic, it.arithmetic)

    def input_size(self, video: Size) -> Size:
        """Height and width in the network of a video's frames; see `Manifest.input_size`."""
        return self.bundle.manifest.input_size(video)

    def prepare(self, frame: AnyFrame) -> PreparedFrame:
        """Check a frame and resize it, which `start` and `step` otherwise do themselves.

        Args:
            frame: RGB, uint8 or float32 in 0..255, [H, W, 3], any size; a prepared one is given
                back.

        Raises:
            InputError: Shape or type is off, or it was prepared for another bundle's size.
        """
        if isinstance(frame, PreparedFrame):
            size = self.input_size(frame.size)
            if frame.resized.shape[:2] != size:
                height, width = frame.resized.shape[:2]
                raise InputError(
                    f"a frame prepared for a bundle of {height}x{width}; this one is "
                    f"{size[0]}x{size[1]}, so prepare it with this segmenter"
                )
            return frame
        check_frame(frame)
        own = frame.shape[0], frame.shape[1]
        return PreparedFrame(own, resize_frame(frame, *self.input_size(own)))

    def start(self, frame: AnyFrame, labels: Labels) -> State:
        """Begin a video with its reference frame; see `VideoSegmenter.start`."""
        prepared = self.prepare(frame)
        check_labels(labels, prepared.size, first=True)
        ids, internal = number_objects((), labels)
        empty = State(self._identity, prepared.size, self.input_size(prepared.size), ids)
        return self._reference(self._encode(prepared), internal, empty)

    def step(
        self, frame: AnyFrame, state: State, annotation: Labels | None = None
    ) -> tuple[Labels, State]:
        """Segment the next frame of a video; see `VideoSegmenter.step`.

        The given state stays valid. A frame with an annotation becomes a reference.

        Raises:
            InputError: Shapes or types are off, or the state is of another bundle.
            BackendError: The inference library failed.
        """
        check_state(state, State)
        prepared = self.prepare(frame)
        if annotation is not None:
            check_labels(annotation, prepared.size)
        observation = self.observe(prepared, state)
        if annotation is None or not annotation.any():
            # Labels last: on a GPU the whole frame is enqueued before anything is waited for.
            following = self.remember(observation, state)
            return own_ids(state.ids, observation.labels), following
        ids, annotated = number_objects(state.ids, annotation)
        back = state.removed & set(np.unique(annotated).tolist())
        merged = np.where(annotated > 0, annotated, observation.labels)
        following = replace(state, ids=ids, removed=state.removed - back, frame=state.frame + 1)
        following = self._reference(observation.features, merged, following)
        return own_ids(ids, merged), without_idle_groups(following, self.backend)

    def observe(self, frame: AnyFrame, state: State) -> Observation:
        """Predict a frame's labels without remembering it; the first half of `step`."""
        if state.bundle != self._identity:
            raise InputError("the state belongs to another bundle; start the video with this one")
        prepared = self.prepare(frame)
        if prepared.size != state.size:
            given, wanted = ("x".join(map(str, size)) for size in (prepared.size, state.size))
            raise InputError(
                f"frame of {given} in a video of {wanted}; all frames of a video have one size"
            )
        features = self._encode(prepared)
        step = self._run(GraphName.STEP, features, state.memory)
        mask = object_mask(state.visible, state.groups, state.removed)
        if self.backend.traits.any_shape and state.groups == 1:
            mask = mask[:, : max(FEWEST_USED, np.flatnonzero(mask[0] == 0)[-1] + 1)]
        decoded = self._run(
            GraphName.DECODER,
            features,
            step,
            {"object_mask": self.backend.upload(mask)},
            self.interpolation(state.size, state.input_size),
        )
        return Observation(features, step, decoded, self.backend)

    def remember(
        self, observation: Observation, state: State, labels: Labels | None = None
    ) -> State:
        """Write an observed frame to memory; the second half of `step`.

        Args:
            observation: The frame, observed with this state.
            state: The state before the frame.
            labels: Internal ids at the video's size to remember in place of the predicted ones.
        """
        own = observation.decoded
        if labels is not None:
            own = self._input_labels(labels, state.groups, state)
        written = self._write(observation.step, own)
        memory = {**state.memory, **_renamed(written, "short")}
        since_update, updated = state.since_update + 1, state.updated
        if since_update >= self.bundle.manifest.memory_gap:
            memory.update(self._updated_dynamic(written, state.memory, updated))
            since_update, updated = 0, (True,) * state.groups
        following = replace(state, frame=state.frame + 1, memory=memory)
        return replace(following, since_update=since_update, updated=updated)

    def remove(self, state: State, ids: Iterable[int]) -> State:
        """Stop following objects; see `VideoSegmenter.remove`.

        A group of ten whose objects are all gone leaves the memory, and costs nothing from then on.
        """
        return without_objects(state, set(ids), self.backend)

    def end(self, state: State) -> None:
        """Say that a video is over; nothing is held for it here, unlike on a server."""

    def save(self, state: State, path: str | Path) -> None:
        """Write a state to a file, for `load` with the same bundle or a sibling of it.

        Raises:
            InputError: The file can't be written.
        """
        save_state(state, Path(path), self.backend)

    def load(self, path: str | Path) -> State:
        """Read a state that `save` wrote, perhaps on another backend.

        Raises:
            InputError: Not a state, damaged, or of another bundle.
        """
        return load_state(Path(path), self.backend, self.bundle)

    def warm_up(self, frame: AnyFrame | None = None, labels: Labels | None = None) -> None:
        """Run every graph, so that compilers and allocators rest before the first video.

        Args:
            frame: A frame of the size to come; None for a black one of the bundle's own size.
            labels: As many objects as are to come; None for a single one.
        """
        if frame is None:
            frame = np.zeros((*self.bundle.manifest.size, 3), np.uint8)
        prepared = self.prepare(frame)
        if labels is None:
            labels = np.zeros(prepared.size, np.uint8)
            labels[: prepared.size[0] // 2] = 1
        _, state = self.step(prepared, self.start(prepared, labels))
        # As if the memory had been written before, and were to be updated after the next frame.
        gap = self.bundle.manifest.memory_gap
        state = replace(state, since_update=gap - 1, updated=(True,) * state.groups)
        self.step(prepared, state)

    def interpolation(self, size: Size, input_size: Size) -> Tensors:
        """The decoder's inputs for a size of video, as `resize.interpolation` makes them."""
        if (size, input_size) not in self._output:
            while len(self._output) >= KEPT_SIZES:
                self._output.pop(next(iter(self._output)))
            arrays = interpolation(size, input_size, self.bundle.manifest.align_corners)
            self._output[size, input_size] = {
                name: self.backend.upload(array) for name, array in arrays.items()
            }
        return self._output[size, input_size]

    def close(self) -> None:
        """Free the backend; states of this segmenter can't be used any more."""
        self.backend.close()

    def __enter__(self) -> "Segmenter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _encode(self, frame: PreparedFrame) -> Tensors:
        return self._run(GraphName.ENCODER, {"frame": self.backend.upload(frame.resized[None])})

    def _reference(self, features: Tensors, labels: Labels, state: State) -> State:
        """Make a frame with known labels the reference of new groups and news to older ones.

        After pass i of the ordinary step and memory write, the memories of the first i blocks are
        those of the frame itself.
        """
        visible = int(labels.max())
        groups = max(state.groups, groups_for(visible))
        own = self._input_labels(labels, groups, state)
        fresh = self._blank(groups, state.input_size)
        for _ in range(BLOCKS):
            slots = {k: v for slot in SLOTS for k, v in _renamed(fresh, slot).items()}
            fresh = self._write(self._run(GraphName.STEP, features, slots), own)
        memory = {**state.memory, **_renamed(fresh, "short")}
        if groups > state.groups:
            for slot in ("reference", "dynamic"):
                memory.update(with_new_groups(state, _renamed(fresh, slot), self.backend))
        new = (False,) * (groups - state.groups)
        if state.groups:
            memory.update(self._updated_dynamic(fresh, memory, state.updated + new))
        updated = (True,) * state.groups + new
        return replace(state, visible=visible, since_update=0, updated=updated, memory=memory)

    def _write(self, step: Mapping[str, Tensor], own_labels: Mapping[str, Tensor]) -> Tensors:
        """Keys and completed values of a frame, `key_i` and `value_i`."""
        values = self._run(GraphName.MEMORY_WRITE, step, own_labels)
        return {name: values.get(name, step.get(name)) for name in memory_names()}

    def _updated_dynamic(
        self, new: Mapping[str, Tensor], memory: Mapping[str, Tensor], updated: tuple[bool, ...]
    ) -> Tensors:
        """The dynamic slot after a frame has entered it: a copy at first, MCA from then on."""
        if not any(updated):
            return _renamed(new, "dynamic")
        first = np.array([not u for u in updated], np.int32)
        dynamic = {"first_update": self.backend.upload(first)}
        merged = self._run(GraphName.MEMORY_UPDATE, new, memory, dynamic)
        pairs = zip(memory_names("dynamic"), memory_names("updated"), strict=True)
        return {dynamic: merged[updated] for dynamic, updated in pairs}

    def _run(self, graph: GraphName, *sources: Mapping[str, Tensor]) -> Tensors:
        """Run a graph with the inputs it wants out of several dictionaries."""
        available = {name: tensor for source in sources for name, tensor in source.items()}
        inputs = {spec.name: available[spec.name] for spec in self._specs[graph].inputs}
        return self.backend.run(graph, inputs)

    def _input_labels(self, labels: Labels, groups: int, state: State) -> Tensors:
        """Known labels at the network's size, in place of the decoder's."""
        split = split_groups(labels, groups, state.input_size)
        return {"input_labels": self.backend.upload(split)}

    def _blank(self, groups: int, input_size: Size) -> Tensors:
        """Memory to start the passes of a reference frame from; any finite values would do."""
        specs = memory_specs(self.bundle.manifest.specs_at(input_size))
        blank = {}
        for name, slot in zip(memory_names(), memory_names(SLOTS[0]), strict=True):
            shape = specs[slot].shape_at(groups=groups)
            blank[name] = self.backend.upload(np.zeros(shape, specs[slot].dtype))
        return blank


def _renamed(memory: Mapping[str, Tensor], slot: str) -> Tensors:
    """`key_i` and `value_i` as the tensors of a slot."""
    return {f"{slot}_{name}": tensor for name, tensor in memory.items()}
