"""The tracker: chains the graphs of a bundle over the frames of a video.

docs/graphs.md explains the chain and why five static graphs are enough. The order of a frame is the
authors': logits, bilinear to the video's size, argmax, nearest to the network's size, identity,
memory.
"""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.five_graphs import FiveGraphs, Tensors, in_slot
from mavos_deploy.runtime.backends.protocol import (
    Array,
    Backend,
    FetchingBackend,
    RestingBackend,
    Tensor,
)
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND, open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.contract import SHORT
from mavos_deploy.runtime.geometry import FloatImage, Size
from mavos_deploy.runtime.objects import (
    Count,
    Labels,
    groups_for,
    ids_of,
    merge_annotation,
    number_objects,
    own_ids,
)
from mavos_deploy.runtime.protocol import (
    About,
    Enqueued,
    RgbFrame,
    check_frame,
    check_labels,
    check_state,
)
from mavos_deploy.runtime.resize import PreparedFrame, forget_buffers, resize_frame
from mavos_deploy.runtime.review.confidence import Review, review_given
from mavos_deploy.runtime.review.seen import EnqueuedFrame, Seen
from mavos_deploy.runtime.state import (
    State,
    load_state,
    save_state,
    with_new_groups,
    with_write,
    without_idle_groups,
    without_objects,
)
from mavos_deploy.runtime.system.machine import return_freed_memory

AnyFrame = RgbFrame | FloatImage | PreparedFrame


@dataclass(frozen=True, eq=False)
class Observation:
    """The prediction for a frame that isn't in the memory yet.

    Attributes:
        features: The encoder's outputs.
        step: The outputs of the blocks.
        decoded: The decoder's outputs.
        seen: Labels and logits, for the host.
    """

    features: Tensors
    step: Tensors
    decoded: Tensors
    seen: Seen

    @property
    def labels(self) -> Labels:
        """See `Seen.labels`."""
        return self.seen.labels

    @property
    def logits(self) -> NDArray[np.float32]:
        """See `Seen.logits`."""
        return self.seen.logits


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
        count: Rule by which a later annotation decides about objects that are known already.
    """

    def __init__(self, bundle: Bundle, backend: Backend, count: Count = Count.FOLLOWED) -> None:
        self.bundle = bundle
        self.backend = backend
        self.count = count
        self._fetching = backend if isinstance(backend, FetchingBackend) else None
        self._graphs = FiveGraphs(bundle, backend)
        self._identity = bundle.manifest.identity

    @classmethod
    def open(
        cls,
        path: str | Path,
        threads: int | None = None,
        backend: str = DEFAULT_BACKEND,
        count: Count = Count.FOLLOWED,
    ) -> "Segmenter":
        """Open a bundle and load its graphs.

        Args:
            path: The bundle's folder.
            threads: CPU threads to use; None takes all that this process may.
            backend: A name of the table in runtime/backends/table.py.
            count: Rule by which a later annotation decides about objects that are known already.

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
        return cls(bundle, open_backend(bundle, threads, backend), count)

    @property
    def about(self) -> About:
        """The bundle and the backend, for messages and reports."""
        traits, it = self.backend.traits, self.bundle.manifest
        return About(traits.name, it.variant, it.trained, traits.arithmetic, it.arithmetic)

    def input_size(self, video: Size) -> Size:
        """Height and width in the network of a video's frames; see `Manifest.input_size`."""
        return self.bundle.manifest.input_size(video)

    def prepare(self, frame: AnyFrame) -> PreparedFrame:
        """Check a frame, resize and encode it, which `start` and `step` otherwise do themselves.

        It may run in another thread while a step runs. A backend whose encoder can't run beside
        other graphs leaves it to them. The frame holds its features until they take them.

        Args:
            frame: RGB, uint8 or float32 in 0..255, [H, W, 3], any size; a prepared one is given
                back.

        Raises:
            InputError: Shape or type is off, or it was prepared for another bundle's size.
            BackendError: The inference library failed.
        """
        prepared = self.check(frame)
        if prepared is not frame and self.backend.traits.concurrent:
            prepared.features, prepared.encoder = self._graphs.encode(prepared), self.backend
        return prepared

    def check(self, frame: AnyFrame) -> PreparedFrame:
        """Check a frame and resize it, and leave the rest of `prepare` to its step.

        Args:
            frame: As in `prepare`.

        Raises:
            InputError: As `prepare` does.
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
        size = self.input_size(own)
        return PreparedFrame(own, frame if own == size else resize_frame(frame, *size))

    def start(self, frame: AnyFrame, labels: Labels) -> State:
        """Begin a video with its reference frame; see `VideoSegmenter.start`."""
        prepared = self.check(frame)
        check_labels(labels, prepared.size, first=True)
        ids, internal = number_objects((), labels)
        empty = State(self._identity, prepared.size, self.input_size(prepared.size), ids)
        state = self._reference(self._features(prepared), internal, empty)
        return replace(state, review=Review(review_given(labels, ids, prepared.resized)))

    def step(
        self, frame: AnyFrame, state: State, annotation: Labels | None = None
    ) -> tuple[Labels, State]:
        """Segment the next frame of a video; see `VideoSegmenter.step`.

        The given state stays valid. A frame with an annotation becomes a reference. Pixels that
        were predicted for the annotated objects are erased first, and no other object changes,
        unless `count` is the authors' rule. Whole runs may take frames by `enqueue` instead.

        Raises:
            InputError: Shapes or types are off, or the state is of another bundle.
            BackendError: The inference library failed.
            PoisonedError: The state's memory holds NaN or infinite values.
        """
        check_state(state, State)
        prepared = self.check(frame)
        if annotation is not None:
            check_labels(annotation, prepared.size)
        if annotation is None or not annotation.any():
            return self.enqueue(prepared, state).result()
        self._check_room(state)
        observation = self.observe(prepared, state)
        ids, annotated = number_objects(state.ids, annotation)
        back = state.removed & set(ids_of(annotated))
        merged = merge_annotation(observation.labels, annotated, self.count)
        following = replace(state, ids=ids, removed=state.removed - back, frame=state.frame + 1)
        judged = observation.seen.judged(prepared, state).objects
        following = self._reference(observation.features, merged, following, observation.step)
        labels = own_ids(ids, merged)
        given = review_given(labels, ids_of(annotation), prepared.resized)
        following = replace(following, review=Review({**judged, **given}))
        return labels, without_idle_groups(following, self.backend)

    @property
    def runs_ahead(self) -> bool:
        """See `EnqueuingSegmenter.runs_ahead`."""
        return self._fetching is not None

    def enqueue(self, frame: AnyFrame, before: State | Enqueued[State]) -> EnqueuedFrame:
        """Begin to segment a video's next frame; see `EnqueuingSegmenter.enqueue`.

        A backend that can't fetch has done the work when this returns.
        """
        earlier = before if isinstance(before, EnqueuedFrame) else None
        state = before if earlier is None else earlier.state
        check_state(state, State)
        assert isinstance(state, State)
        prepared = self.check(frame)
        seen, written = self._observe_and_write(prepared, state)
        # Memory before labels: on a GPU the whole frame is enqueued before anything is waited for.
        following = self._following(written, state)
        return EnqueuedFrame(seen, prepared, following, earlier or state.review)

    def _observe_and_write(self, frame: PreparedFrame, state: State) -> tuple[Seen, Tensors]:
        """Predict a frame's labels and what is remembered of it.

        The frame's other tensors are free when this returns: an update takes most of the memory
        that a video without later masks ever needs, and they would lie beside it.
        """
        observation = self.observe(frame, state)
        return observation.seen, self._write(observation, state)

    def observe(self, frame: AnyFrame, state: State) -> Observation:
        """Predict a frame's labels without remembering it; the first half of `step`."""
        if state.bundle != self._identity:
            raise InputError("the state belongs to another bundle; start the video with this one")
        prepared = self.check(frame)
        if prepared.size != state.size:
            given, wanted = ("x".join(map(str, size)) for size in (prepared.size, state.size))
            raise InputError(
                f"frame of {given} in a video of {wanted}; all frames of a video have one size"
            )
        features = self._features(prepared)
        step = self._graphs.step(features, state)
        decoded = self._graphs.decode(features, step, state)
        labels, logits = (self._reader(decoded[name]) for name in ("labels", "logits"))
        return Observation(features, step, decoded, Seen(labels, logits))

    def _features(self, frame: PreparedFrame) -> Tensors:
        """The encoder's outputs for a frame: those that `prepare` left in it, or new ones.

        They are taken, so that nothing holds them once the frame needs them no more.
        """
        features, frame.features = frame.features, None
        if features is not None and frame.encoder is self.backend:
            return features
        return self._graphs.encode(frame)

    def _reader(self, tensor: Tensor) -> Callable[[], Array]:
        """Brings a tensor to the host; a backend that can begins now, beside what follows."""
        if self._fetching is not None:
            return self._fetching.fetch(tensor).read
        return partial(self.backend.download, tensor)

    def remember(
        self, observation: Observation, state: State, labels: Labels | None = None
    ) -> State:
        """Write an observed frame to memory; the second half of `step`.

        Args:
            observation: The frame, observed with this state.
            state: The state before the frame.
            labels: Internal ids at the video's size to remember in place of the predicted ones.
        """
        return self._following(self._write(observation, state, labels), state)

    def _write(
        self, observation: Observation, state: State, labels: Labels | None = None
    ) -> Tensors:
        """Keys and values of an observed frame with its predicted labels, or with others."""
        own = observation.decoded
        if labels is not None:
            own = self._graphs.known_labels(labels, state.groups, state.input_size)
        return self._graphs.write(observation.step, own)

    def _following(self, written: Tensors, state: State) -> State:
        """The state after a frame whose keys and values were written."""
        memory = {**state.memory, **in_slot(SHORT, written)}
        following = replace(state, frame=state.frame + 1, since_update=state.since_update + 1)
        gap = self.bundle.manifest.memory_gap
        if gap is not None and following.since_update >= gap:
            memory.update(self._graphs.update(written, state, state.groups))
            following = with_write(following)
        return replace(following, memory=memory)

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
        prepared = self.check(frame)
        if labels is None:
            labels = np.zeros(prepared.size, np.uint8)
            labels[: prepared.size[0] // 2] = 1
        _, state = self.step(prepared, self.start(prepared, labels))
        # As if the memory had been written before, and were to be written after the next frame.
        gap = self.bundle.manifest.write_every
        state = replace(state, since_update=gap - 1, updated=(1,) * state.groups)
        self.step(prepared, state)

    def rest(self) -> None:
        """Give memory back that only the next frame needs, and which it takes again."""
        if isinstance(self.backend, RestingBackend):
            self.backend.rest()
        forget_buffers()
        return_freed_memory()

    def close(self) -> None:
        """Free the backend; states of this segmenter can't be used any more."""
        self.backend.close()

    def __enter__(self) -> "Segmenter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_room(self, state: State) -> None:
        """Say what a memory that keeps annotated frames drops for another one."""
        rule = self.bundle.manifest.memory
        if all(rule.has_room(entered) for entered in state.updated):
            return
        advice = f"export the bundle with --memory annotations --slots {rule.slots + 1} or more"
        if rule.slots == 1:
            raise InputError(
                f"{self.bundle.path} keeps the first annotated frame alone, so a mask on a later "
                f"one would be forgotten after a frame; {advice}"
            )
        warnings.warn(
            f"the memory of {self.bundle.path} is full of annotated frames ({rule.slots}), so this "
            f"one replaces the latest late one; to keep more, {advice}",
            UserWarning,
            stacklevel=3,
        )

    def _reference(
        self, features: Tensors, labels: Labels, state: State, seen: Tensors | None = None
    ) -> State:
        """Make a frame with known labels the reference of new groups and news to older ones.

        Args:
            features: Outputs of the encoder for the frame.
            labels: Its internal ids.
            state: The state before it.
            seen: Outputs of the step for it, in the groups of `state`, if there are.
        """
        visible = int(labels.max())
        if self.count is Count.FOLLOWED:
            visible = max(visible, state.visible)
        groups = max(state.groups, groups_for(visible))
        own = self._graphs.known_labels(labels, groups, state.input_size)
        same = seen if groups == state.groups else None
        fresh = self._graphs.settle(features, own, groups, state.input_size, same)
        memory = {**state.memory, **in_slot(SHORT, fresh)}
        if groups > state.groups:
            for slot in self.bundle.manifest.memory.names:
                memory.update(with_new_groups(state, in_slot(slot, fresh), self.backend))
        following = replace(state, visible=visible, memory=memory, since_update=0)
        if state.groups:
            memory.update(self._graphs.update(fresh, following, groups))
            following = with_write(following)
        new = (0,) * (groups - state.groups)
        return replace(following, updated=following.updated + new, memory=memory)
