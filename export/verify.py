"""Compares the exported graphs with the PyTorch tracker, tensor by tensor and mask by mask."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mavos_deploy.calibration.float_memory import FloatMemory
from mavos_deploy.errors import InputError
from mavos_deploy.evaluation.metrics import score_labels
from mavos_deploy.evaluation.scenes.clip import iter_clip
from mavos_deploy.export.parity import (
    LIMITS,
    ClipComparison,
    Difference,
    Limits,
    Parity,
    difference,
)
from mavos_deploy.export.verify_clips import clips_of, default_objects, shortest_clip
from mavos_deploy.models.long_term import LongTerm
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.tracker import Memory, Tracker
from mavos_deploy.runtime.bundles.manifest import Manifest
from mavos_deploy.runtime.bundles.memory import EMPTY
from mavos_deploy.runtime.contract import SHORT, SLOT_BIAS, GraphName, memory_names
from mavos_deploy.runtime.geometry import Size
from mavos_deploy.runtime.objects import Labels, object_mask, split_groups
from mavos_deploy.runtime.resize import interpolation, resize_frame
from mavos_deploy.runtime.segmenter import Segmenter

FILLING = 7.0  # of empty slots; zeros would hide a bias that is missing

Array = NDArray[Any]


def verify(
    segmenter: Segmenter,
    network: Mavos,
    frames: int | None = None,
    objects: int | None = None,
    on_frame: Callable[[int], None] = lambda done: None,
) -> Parity:
    """Compare a bundle with PyTorch on made-up clips.

    A clip goes past two memory updates by MCA: the late object's frame is the first, since the
    long-term memory has been written once before it. In a memory without MCA it goes on until a
    frame leaves it.

    Args:
        segmenter: Segmenter with the bundle under test.
        network: PyTorch network with the bundle's own weights.
        frames: Length of a clip; None for the shortest that reads a second update.
        objects: Objects in the first frame; one more joins later, or is there too where the memory
            takes none later. None takes ten, so that the late one opens a second group, or one
            where the frame has no room for so many.
        on_frame: Called with the number of frames that are done.

    Raises:
        InputError: Too few frames to read all kinds of memory.
    """
    manifest = segmenter.bundle.manifest
    least = shortest_clip(manifest)
    frames = least if frames is None else frames
    if frames < least:
        if manifest.memory_gap is None:
            raise InputError(
                f"{frames} frames never read an object that joins; at least {least} are needed"
            )
        update = "the second memory update" if manifest.memory.slots == 2 else "a full memory"
        raise InputError(
            f"{frames} frames never read {update}; at a memory gap of {manifest.memory_gap} at "
            f"least {least} are needed"
        )
    objects = objects or default_objects(manifest)
    done = count(1)
    clips = [
        compare_clip(segmenter, network, size, frames, first, lambda: on_frame(next(done)))
        for size, first in clips_of(segmenter.bundle, objects)
    ]
    traits = segmenter.backend.traits
    return Parity(
        LIMITS[traits.arithmetic],
        traits.name,
        frames,
        objects + 1,
        tuple(clips),
        manifest.memory,
        GraphName.DECODER_ONE in manifest.graphs,
        GraphName.STEP_ONE in manifest.graphs,
    )


def compare_clip(
    segmenter: Segmenter,
    network: Mavos,
    size: Size,
    frames: int,
    objects: int,
    on_frame: Callable[[], None] = lambda: None,
) -> ClipComparison:
    """Compare on one clip.

    Args:
        segmenter: Segmenter with the bundle under test.
        network: PyTorch network with the bundle's own weights.
        size: Height and width of the clip's frames, in pixels.
        frames: Length of the clip.
        objects: Objects in the first frame; one more joins later.
        on_frame: Called after each frame.
    """
    manifest = segmenter.bundle.manifest
    expected, actual = [], []
    differences: list[Difference] = []
    agreement, updates = [], []
    rule = LongTerm(manifest.memory.rule, manifest.memory.slots)
    tracker = Tracker(network, size, manifest.memory_gap, memory=rule)
    state = None
    for index, (frame, annotation) in enumerate(_clip(size, frames, objects, manifest)):
        resized = torch.from_numpy(resize_frame(frame, *manifest.input_size(size)))
        check = _GraphCheck(segmenter, tracker, index, differences)
        wanted, updated = _teacher_forced(check, resized, annotation)
        if updated:
            updates.append(index)
        if state is None:
            assert annotation is not None
            labels, state = annotation, segmenter.start(frame, annotation)
        else:
            labels, state = segmenter.step(frame, state, annotation)
            agreement.append(float(np.mean(labels == wanted)))
        expected.append(wanted)
        actual.append(labels)
        on_frame()
    scores = score_labels(np.stack(expected), np.stack(actual), range(1, objects + 2))
    return ClipComparison(
        video=f"{size[0]}x{size[1]}",
        groups=state.groups if state else 0,
        memory_updates=tuple(updates),
        differences=tuple(differences),
        agreement=tuple(agreement),
        scores=tuple(scores.values()),
    )


def _clip(
    size: Size, frames: int, objects: int, manifest: Manifest
) -> Iterator[tuple[NDArray[np.uint8], Labels | None]]:
    """Frames with the annotations of the first one and of the late object's.

    A memory of one slot takes no object later, so there all are in the first frame.
    """
    late = manifest.write_every + 2
    joins = int(manifest.memory.slots > 1)
    objects += 1 - joins
    clip = iter_clip(*size, frames, objects=objects, late_objects=joins, late_frame=late)
    for index, (frame, labels) in enumerate(clip):
        if index == 0:
            yield frame, labels
        elif joins and index == late:
            yield frame, np.where(labels > objects, labels, 0).astype(np.uint8)
        else:
            yield frame, None


def _teacher_forced(
    check: "_GraphCheck", resized: Tensor, annotation: Labels | None
) -> tuple[Labels, bool]:
    """Advance the PyTorch tracker and run every graph on the inputs that PyTorch had.

    Returns:
        The frame's labels by PyTorch, whose ids are internal ids already, and whether the frame
        entered a long-term memory that had been written to before.
    """
    tracker = check.tracker
    long_before = [list(group.long_term) for group in tracker.groups]
    short_before = [list(group.short_term) for group in tracker.groups]
    if check.frame == 0:
        assert annotation is not None
        labels = tracker.start(resized, annotation)
        check.encoder(resized)
        check.reference_pass(labels)
        return labels, False
    labels = tracker.predict(resized)
    check.encoder(resized)
    check.step(long_before, short_before)
    check.decoder(labels)
    if annotation is None:
        tracker.remember(labels)
        check.memory_write(labels)
    else:
        labels = tracker.annotate(labels, annotation)
        check.reference_pass(labels)
    return labels, check.memory_update(long_before)


@dataclass
class _GraphCheck:
    """Runs the graphs of one frame on PyTorch's tensors.

    Attributes:
        segmenter: Segmenter with the bundle under test.
        tracker: PyTorch tracker; each check runs right after the tracker did the same.
        frame: Index of the frame.
        differences: List to add the compared outputs to.
    """

    segmenter: Segmenter
    tracker: Tracker
    frame: int
    differences: list[Difference]

    @property
    def _manifest(self) -> Manifest:
        return self.segmenter.bundle.manifest

    @property
    def _tokens(self) -> int:
        height, width = self._features()["embedding"].shape[-2:]
        return int(height * width)

    def encoder(self, resized: Tensor) -> None:
        self._run(GraphName.ENCODER, {"frame": resized[None].numpy()}, self._features())

    def step(self, long: list[list[Memory]], short: list[list[Memory]]) -> None:
        """The step with these memories, which the groups have by block."""
        inputs = {
            "embedding": self._features()["embedding"],
            **self._long_term(long),
            **self._memory(SHORT, short),
        }
        alone = all(group[0].key.shape[-1] == self._tokens for group in long)
        graphs = [GraphName.STEP]
        if alone and GraphName.STEP_ONE in self.segmenter.bundle.specs:
            graphs.append(GraphName.STEP_ONE)
        for graph in graphs:
            self._run(graph, inputs, self._step_outputs())

    def reference_pass(self, labels: Labels) -> None:
        """The reference pass is an ordinary step that reads the frame's own memory everywhere."""
        fresh = [group.short_term for group in self.tracker.groups]
        self.step(fresh, fresh)
        self.memory_write(labels)

    def decoder(self, labels: Labels) -> None:
        groups = self.tracker.groups
        visible = sum(group.objects for group in groups)
        size = self._manifest.input_size(self.tracker.size)
        inputs = {
            **self._features(),
            "decoder_embedding": _rows(g.decoder_embedding for g in groups),
            "object_mask": object_mask(visible, len(groups), frozenset()),
            **interpolation(self.tracker.size, size, self._manifest.align_corners),
        }
        graphs = [GraphName.DECODER]
        if len(groups) == 1 and GraphName.DECODER_ONE in self.segmenter.bundle.specs:
            graphs.append(GraphName.DECODER_ONE)
        for graph in graphs:
            got = self._run(graph, inputs, {"logits": _rows(g.logits for g in groups)})
            got_labels = got["labels"][0]
            self._compare(graph, "labels", got_labels, labels, self._limits.labels)
            own = split_groups(got_labels, len(groups), size)
            self._compare(graph, "input_labels", got["input_labels"], own, 0.0)

    def memory_write(self, labels: Labels) -> None:
        groups = self.tracker.groups
        size = self._manifest.input_size(self.tracker.size)
        written = self._memory("", [group.short_term for group in groups])
        inputs = {"input_labels": split_groups(labels, len(groups), size), **self._step_outputs()}
        wanted = {name: written[name] for name in written if name.startswith("value")}
        self._run(GraphName.MEMORY_WRITE, inputs, wanted)

    def memory_update(self, long_before: list[list[Memory]]) -> bool:
        """Compare if MCA ran in this frame, and say whether the memory was written to again."""
        groups = self.tracker.groups[: len(long_before)]
        changed = [
            group.long_term[0].key is not before[0].key
            for group, before in zip(groups, long_before, strict=True)
        ]
        tokens = groups[0].short_term[0].key.shape[-1]
        merged = [before[0].key.shape[-1] > tokens for before in long_before]
        if not (all(changed) and any(merged)):
            return False
        if not self._manifest.memory.merges:
            return True
        inputs = {
            "first_update": np.array([not m for m in merged], np.int32),
            **self._memory("", [group.short_term for group in groups]),
            **self._memory("dynamic", long_before),
        }
        after = self._memory("updated", [group.long_term for group in groups])
        self._run(GraphName.MEMORY_UPDATE, inputs, after)
        return True

    def _run(
        self, graph: str, available: Mapping[str, Array], wanted: dict[str, Array]
    ) -> dict[str, Any]:
        backend = FloatMemory(self.segmenter.backend, self.segmenter.bundle)
        specs = backend.specs[graph].inputs
        given = {s.name: available[s.name].astype(s.dtype, copy=False) for s in specs}
        outputs = backend.run(graph, {name: backend.upload(a) for name, a in given.items()})
        got = {name: backend.download(tensor) for name, tensor in outputs.items()}
        for name, expected in wanted.items():
            self._compare(graph, name, np.asarray(got[name]), expected, self._limits.tensors)
        return got

    @property
    def _limits(self) -> Limits:
        return LIMITS[self.segmenter.backend.traits.arithmetic]

    def _compare(self, graph: str, tensor: str, got: Array, want: Array, limit: float) -> None:
        self.differences.append(difference((graph, tensor, self.frame), got, want, limit))

    def _features(self) -> dict[str, Array]:
        features = self.tracker.features
        assert features is not None
        names = ("feature_4x", "feature_8x", "feature_16x", "embedding")
        return {name: getattr(features, name).numpy() for name in names}

    def _step_outputs(self) -> dict[str, Array]:
        groups = self.tracker.groups
        outputs = {"decoder_embedding": _rows(g.decoder_embedding for g in groups)}
        for i in range(self._manifest.dimensions.blocks):
            projections = [group.projections[i] for group in groups]
            outputs[f"key_{i}"] = _rows(p.key for p in projections)
            outputs[f"visual_value_{i}"] = _rows(p.value for p in projections)
            if i:  # block 0 has none
                outputs[f"identity_query_{i}"] = _rows(p.identity_query for p in projections)
        return outputs

    def _long_term(self, groups: list[list[Memory]]) -> dict[str, Array]:
        """The long-term memory in slots: the reference first, then the bank, newest first."""
        rule, tokens = self._manifest.memory, self._tokens
        held = [group[0].key.shape[-1] // tokens for group in groups]
        tensors = self._memory(rule.names[0], groups, [count - 1 for count in held])
        for place, slot in enumerate(rule.names[1:]):
            # Without a bias an empty slot holds a copy of the reference.
            places = [
                place if place < count - 1 else (None if rule.has_bias else count - 1)
                for count in held
            ]
            tensors.update(self._memory(slot, groups, places))
        if rule.has_bias:
            empty = np.arange(rule.slots) >= np.array(held)[:, None]
            tensors[SLOT_BIAS] = np.where(empty, np.float32(EMPTY), np.float32(0))
        return tensors

    def _memory(
        self, slot: str, groups: list[list[Memory]], places: Sequence[int | None] | None = None
    ) -> dict[str, Array]:
        """One frame of each group's memory as maps of a slot.

        Args:
            slot: Name of the slot; empty for none.
            groups: Memories of each group by block.
            places: For each group, the frame's place in the bank; None for an empty slot. Without
                places each group's first frame.
        """
        height, width = self._features()["embedding"].shape[-2:]
        blocks = range(self._manifest.dimensions.blocks)

        def maps(part: str, block: int) -> Array:
            rows = []
            for group, place in zip(groups, places or [0] * len(groups), strict=True):
                bank: Tensor = getattr(group[block], part)
                first = (place or 0) * self._tokens
                frame = bank[..., first : first + self._tokens]
                rows.append(frame if place is not None else torch.full_like(frame, FILLING))
            return torch.cat(rows).reshape(len(rows), -1, height, width).numpy()

        tensors = [maps(part, block) for part in ("key", "value") for block in blocks]
        return dict(zip(memory_names(len(blocks), slot), tensors, strict=True))


def _rows(tensors: Iterable[Tensor | None]) -> Array:
    """One tensor of every group, on the batch axis."""
    return torch.cat([tensor for tensor in tensors if tensor is not None]).numpy()
