"""The tracker: chains the graphs of a bundle over the frames of a video.

The order of a frame is the authors': logits, bilinear to the video's size, argmax, nearest to the
network's size, identity, memory. Two identities make five static graphs enough: attention over a
duplicated reference equals attention over the reference, so the dynamic slot starts as a copy of
it; and a reference frame is the ordinary step and memory write, repeated once for every block,
because after pass i the memories of the first i blocks are those of the frame itself.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.protocol import Backend, Tensor
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND, open_backend
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import (
    BLOCKS,
    FEWEST_USED,
    IDENTITIES,
    SLOTS,
    GraphName,
    memory_names,
    memory_specs,
)
from mavos_deploy.runtime.geometry import FloatImage, Size, downsampled
from mavos_deploy.runtime.objects import (
    VOID,
    Labels,
    groups_for,
    number_objects,
    object_mask,
    own_ids,
    split_groups,
)
from mavos_deploy.runtime.resize import bilinear_matrix, nearest_index, resize_frame
from mavos_deploy.runtime.state import State, load_state, save_state

Frame = NDArray[np.uint8] | NDArray[np.float32]
Tensors = dict[str, Tensor]
KEPT_SIZES = 4  # video sizes whose interpolation matrices a segmenter keeps


@dataclass(frozen=True, eq=False)
class PreparedFrame:
    """A checked frame at the network's size; `Segmenter.prepare` makes it.

    Attributes:
        size: Height and width of the frame that it was made from, in pixels.
        resized: float32, shape (H, W, 3) at the network's size, values 0..255 and a little beyond.
    """

    size: Size
    resized: FloatImage


@dataclass(frozen=True, eq=False)
class Observation:
    """What one frame and a state give before the frame is written to memory.

    Attributes:
        features: The encoder's outputs.
        step: The blocks' outputs.
        decoded: The decoder's outputs.
        backend: That they belong to.
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

    Args:
        bundle: Opened.
        backend: With the bundle's graphs.
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
            threads: Of the CPU; None takes all that this process may use.
            backend: A name of `runtime.backend.BACKENDS`.

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

    def prepare(self, frame: Frame | PreparedFrame) -> PreparedFrame:
        """Check a frame and resize it, which `start` and `step` otherwise do themselves.

        Unlike all else of a segmenter, it may run in another thread while a step runs.

        Args:
            frame: RGB, uint8 or float32 in 0..255, [H, W, 3], any size; a prepared one is given
                back.

        Raises:
            InputError: Shape or type is off, or it was prepared for another bundle's size.
        """
        manifest = self.bundle.manifest
        if isinstance(frame, PreparedFrame):
            size = manifest.input_size(frame.size)
            if frame.resized.shape[:2] != size:
                height, width = frame.resized.shape[:2]
                raise InputError(
                    f"a frame prepared for a bundle of {height}x{width}; this one is "
                    f"{size[0]}x{size[1]}, so prepare it with this segmenter"
                )
            return frame
        _check_frame(frame)
        own = frame.shape[0], frame.shape[1]
        return PreparedFrame(own, resize_frame(frame, *manifest.input_size(own)))

    def start(self, frame: Frame | PreparedFrame, labels: Labels) -> State:
        """Begin a video with its reference frame.

        Args:
            frame: RGB, uint8 or float32 in 0..255, [H, W, 3], any size, or what `prepare` made of
                it.
            labels: The frame's objects by their ids, uint8 [H, W]; 0 is the background.

        Returns:
            The state after this frame; its masks are `labels`.

        Raises:
            InputError: Shapes or types are off, or nothing is labelled.
        """
        prepared = self.prepare(frame)
        _check_labels(labels, prepared.size)
        if not labels.any():
            raise InputError("the first frame's labels hold no object; every pixel is 0")
        ids, internal = number_objects((), labels)
        empty = State(
            bundle=self._identity,
            size=prepared.size,
            input_size=self.bundle.manifest.input_size(prepared.size),
            ids=ids,
            visible=0,
            removed=frozenset(),
            frame=0,
            since_update=0,
            updated=(),
            memory={},
        )
        return self._reference(self._encode(prepared), internal, empty)

    def step(
        self, frame: Frame | PreparedFrame, state: State, annotation: Labels | None = None
    ) -> tuple[Labels, State]:
        """Segment the next frame of a video.

        Args:
            frame: Of the video's size; otherwise as in `start`.
            state: From the previous frame.
            annotation: Labels that are known for this frame, for new objects above all; they
                override the prediction where they aren't 0, and the frame becomes a reference.

        Returns:
            The frame's labels by the objects' ids, uint8 [H, W], and the state after it. The
            given state stays valid.

        Raises:
            InputError: Shapes or types are off.
            BackendError: The inference library failed.
        """
        if not isinstance(state, State):
            raise InputError(
                f"state of type {type(state).__name__}; expected what `start` or the previous "
                "`step` returned (`labels, state = segmenter.step(...)`)"
            )
        prepared = self.prepare(frame)
        if annotation is not None:
            _check_labels(annotation, prepared.size)
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
        return own_ids(ids, merged), self._pruned(following)

    def add(self, frame: Frame, state: State, labels: Labels) -> tuple[Labels, State]:
        """`step` with the labels of new objects, which makes the frame a reference.

        Args:
            frame: As in `step`.
            state: From the previous frame.
            labels: Of the new objects by their ids; elsewhere 0, which keeps the prediction.

        Raises:
            InputError: Shapes or types are off.
            BackendError: The inference library failed.
        """
        return self.step(frame, state, labels)

    def end(self, state: State) -> None:
        """Say that a video is over. Here nothing is held for it; a server's client frees a place.

        Args:
            state: Its latest one.
        """
        del state

    def remove(self, state: State, ids: Iterable[int]) -> State:
        """Stop following objects; their pixels go to what is next likely there.

        A group of ten whose objects are all gone leaves the memory, and costs nothing from then on.

        Args:
            state: To remove from.
            ids: The video's own ids.

        Raises:
            InputError: An id that isn't being followed.
        """
        ids = set(ids)
        if unknown := sorted(ids - set(state.objects)):
            raise InputError(
                f"no object {unknown[0]} to remove; the video has {sorted(state.objects)}"
            )
        internal = {i for i, own in enumerate(state.ids, 1) if own in ids}
        return self._pruned(replace(state, removed=state.removed | internal))

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

    def observe(self, frame: Frame | PreparedFrame, state: State) -> Observation:
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
        if self.backend.any_shape and state.groups == 1:
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
            observation: Made with this state.
            state: Before the frame.
            labels: Internal ids at the video's size to remember in place of the predicted ones.
        """
        own = observation.decoded
        if labels is not None:
            own = {"input_labels": self._split(labels, state.groups, state.input_size)}
        written = self._write(observation.step, own)
        memory = {**state.memory, **_renamed(written, "short")}
        since_update, updated = state.since_update + 1, state.updated
        if since_update >= self.bundle.manifest.memory_gap:
            memory.update(self._updated_dynamic(written, state.memory, updated))
            since_update, updated = 0, (True,) * state.groups
        return replace(
            state,
            frame=state.frame + 1,
            since_update=since_update,
            updated=updated,
            memory=memory,
        )

    def interpolation(self, size: Size, input_size: Size) -> Tensors:
        """The decoder's inputs that say how label maps of a size come from logits, and go back.

        Args:
            size: Of the video's frames.
            input_size: Of frames in the network.
        """
        if (size, input_size) not in self._output:
            tensors: dict[str, NDArray[np.generic]] = {}
            for axis, name in enumerate(("row", "column")):
                tensors[f"{name}_weights"] = bilinear_matrix(
                    downsampled(input_size[axis], 4),
                    size[axis],
                    self.bundle.manifest.align_corners,
                )
                tensors[f"{name}_index"] = nearest_index(size[axis], input_size[axis])
            while len(self._output) >= KEPT_SIZES:
                self._output.pop(next(iter(self._output)))
            self._output[size, input_size] = {k: self.backend.upload(v) for k, v in tensors.items()}
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
        """Make a frame with known labels the reference of new groups and news to older ones."""
        visible = int(labels.max())
        groups = max(state.groups, groups_for(visible))
        own = {"input_labels": self._split(labels, groups, state.input_size)}
        fresh: Mapping[str, Tensor] = self._blank(groups, state.input_size)
        for _ in range(BLOCKS):
            slots = {k: v for slot in SLOTS for k, v in _renamed(fresh, slot).items()}
            fresh = self._write(self._run(GraphName.STEP, features, slots), own)
        memory = {**state.memory, **_renamed(fresh, "short")}
        if groups > state.groups:
            for slot in ("reference", "dynamic"):
                memory.update(self._grown(state, slot, fresh))
        if state.groups:
            added = (False,) * (groups - state.groups)
            memory.update(self._updated_dynamic(fresh, memory, state.updated + added))
        return replace(
            state,
            visible=visible,
            since_update=0,
            updated=(True,) * state.groups + (False,) * (groups - state.groups),
            memory=memory,
        )

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

    def _grown(self, state: State, slot: str, fresh: Mapping[str, Tensor]) -> Tensors:
        """A slot with the frame's own memory in the rows of groups that are new."""
        grown = _renamed(fresh, slot)
        if not state.groups:
            return grown
        for name in grown:
            old = self.backend.download(state.memory[name])
            new = self.backend.download(grown[name])[state.groups :]
            grown[name] = self.backend.upload(np.concatenate([old, new]))
        return grown

    def _pruned(self, state: State) -> State:
        """Without the groups whose objects are all removed; one group always stays."""
        for group in reversed(range(state.groups)):
            members = range(group * IDENTITIES + 1, (group + 1) * IDENTITIES + 1)
            known = [i for i in members if i <= len(state.ids)]
            if state.groups > 1 and state.removed.issuperset(known):
                state = self._drop_group(state, group)
        return state

    def _drop_group(self, state: State, group: int) -> State:
        members = range(group * IDENTITIES + 1, (group + 1) * IDENTITIES + 1)

        def moved(internal: int) -> int:
            return internal - IDENTITIES if internal > members[-1] else internal

        def without(tensor: Tensor) -> Tensor:
            return self.backend.upload(np.delete(self.backend.download(tensor), group, axis=0))

        last = group == state.groups - 1
        return replace(
            state,
            ids=tuple(own for i, own in enumerate(state.ids, 1) if i not in members),
            removed=frozenset(moved(i) for i in state.removed if i not in members),
            visible=group * IDENTITIES if last else moved(state.visible),
            updated=tuple(u for i, u in enumerate(state.updated) if i != group),
            memory={name: without(tensor) for name, tensor in state.memory.items()},
        )

    def _run(self, graph: GraphName, *sources: Mapping[str, Tensor]) -> Tensors:
        """Run a graph with the inputs it wants out of several dictionaries."""
        available = {name: tensor for source in sources for name, tensor in source.items()}
        inputs = {spec.name: available[spec.name] for spec in self._specs[graph].inputs}
        return self.backend.run(graph, inputs)

    def _split(self, labels: Labels, groups: int, input_size: Size) -> Tensor:
        return self.backend.upload(split_groups(labels, groups, input_size))

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


def _check_frame(frame: Frame) -> None:
    if not isinstance(frame, np.ndarray):
        raise InputError(
            f"frame of type {type(frame).__name__}; expected a NumPy array, RGB [height, width, 3]"
        )
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype not in (np.uint8, np.float32):
        raise InputError(
            f"frame of shape {list(frame.shape)} and type {frame.dtype}; expected RGB "
            "[height, width, 3] as uint8 or float32 in 0..255"
        )
    if frame.dtype == np.float32 and not np.isfinite(frame).all():
        raise InputError("the frame holds values that aren't finite; they would stay in the memory")


def _check_labels(labels: Labels, size: Size) -> None:
    if not isinstance(labels, np.ndarray):
        raise InputError(
            f"labels of type {type(labels).__name__}; expected a NumPy array, uint8 [height, width]"
        )
    if labels.dtype != np.uint8 or labels.shape != size:
        raise InputError(
            f"labels of shape {list(labels.shape)} and type {labels.dtype}; expected uint8 of the "
            f"frame's size, {list(size)}"
        )
    if void := np.count_nonzero(labels == VOID):
        raise InputError(
            f"{void} pixels of the labels are {VOID}, which marks void in DAVIS; set them to 0, or "
            "to the id of their object"
        )
