"""The PyTorch tracker: the authors' loop over a clip, and the oracle of every parity check.

It is written to be compared with upstream, not to be fast: a memory that grows frame by frame, a
reference pass of its own, one engine for each group of ten objects, and results merged by soft
aggregation. The runtime computes the same masks in another way, so that a mistake in one of them
shows as a difference.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mavos_deploy.models.long_term import LongTerm
from mavos_deploy.models.mavos import Features, Mavos
from mavos_deploy.models.propagation import Projection
from mavos_deploy.models.variants import CHANNELS, IDENTITIES

UNUSED = -1e10  # logit of identities that no object has, as upstream in float32

MCA = LongTerm("mca")

Labels = NDArray[np.uint8]


@dataclass
class Memory:
    """Keys and values of one or more frames for one block.

    Attributes:
        key: Keys, [1, Ck, M].
        value: Visual and identity halves of the values, [1, 2 Cv, M].
    """

    key: Tensor
    value: Tensor

    def frames(self, places: list[int], tokens: int, axis: int) -> "Memory":
        """Some of the frames, whose tokens lie along an axis."""
        where = [slice(place * tokens, (place + 1) * tokens) for place in places]
        return Memory(
            *(
                torch.cat([tensor[(*[slice(None)] * axis, part)] for part in where], axis)
                for tensor in (self.key, self.value)
            )
        )

    def before(self, other: "Memory", axis: int) -> "Memory":
        """These frames and others behind them."""
        return Memory(
            torch.cat([self.key, other.key], axis), torch.cat([self.value, other.value], axis)
        )


@dataclass
class GroupEngine:
    """Memory and life cycle of one group of ten objects (upstream AOTEngine, DeAOTEngine).

    Attributes:
        token_axis: Axis of the memories' tensors that tokens lie on.
        memory: Rule of the long-term memory.
        long_term: Long-term memory of each block, newest frame first and the reference last: M = N
            tokens after the first annotation, and N more with every frame that the rule adds.
        short_term: The previous frame's memory of each block, N tokens.
        objects: Number of the group's identities in use.
        step: Frames since the group's start.
        last_update: The step of the last write to the long-term memory.
        projections: Projections of the latest pass, not yet in memory.
        decoder_embedding: Output of the blocks in the latest pass, [1, 2 C, h, w].
        logits: Logits of the latest ordinary pass, [1, 11, H / 4, W / 4], before unused channels
            are masked.
    """

    token_axis: ClassVar[int] = 2
    network: Mavos
    memory_gap: int | None
    memory: LongTerm = MCA
    long_term: list[Memory] = field(default_factory=list)
    short_term: list[Memory] = field(default_factory=list)
    objects: int = 0
    step: int = 0
    last_update: int = 0
    projections: list[Projection] = field(default_factory=list)
    decoder_embedding: Tensor | None = None
    logits: Tensor | None = None

    def reference_pass(self, features: Features, labels: Tensor, objects: int) -> None:
        """Take a frame with its labels, [1, H, W] at the input size, 0..10."""
        embedding = self.network.embed_identity(labels)
        visual, identity = features.embedding, None
        self.projections = []
        fresh = []
        for block in self.network.blocks:
            projection = block.project(visual, identity)
            value = block.write(projection.value, projection.identity_query, embedding)
            visual, identity = block(
                visual,
                identity,
                projection,
                (projection.key.flatten(2), value.flatten(2)),
                (projection.key, value),
            )
            self.projections.append(projection)
            fresh.append(Memory(projection.key.flatten(2), value.flatten(2)))
        self.decoder_embedding = self.network.join(visual, identity)
        self._begin(features, fresh, objects)

    def ordinary_pass(self, features: Features) -> None:
        """Read the memories for a frame whose labels aren't known."""
        self.step += 1
        height, width = features.embedding.shape[-2:]
        self.decoder_embedding, self.projections = self.network.propagate(
            features.embedding,
            [(memory.key, memory.value) for memory in self.long_term],
            [
                (m.key.unflatten(2, (height, width)), m.value.unflatten(2, (height, width)))
                for m in self.short_term
            ],
        )
        self.logits = self.network.decode(self.decoder_embedding, features)

    def memory_write(self, features: Features, labels: Tensor) -> None:
        """Remember the latest pass with its final labels, [1, H, W] at the input size, 0..10."""
        embedding = self.network.embed_identity(labels)
        written = []
        for block, projection in zip(self.network.blocks, self.projections, strict=True):
            value = block.write(projection.value, projection.identity_query, embedding)
            written.append(Memory(projection.key.flatten(2), value.flatten(2)))
        self._remember(features, written)

    def masked_logits(self) -> Tensor:
        """Logits with unused identities suppressed, [1, 11, H / 4, W / 4]."""
        assert self.logits is not None
        masked = self.logits.clone()
        masked[:, self.objects + 1 :] = UNUSED
        return masked

    def _begin(self, features: Features, fresh: list[Memory], objects: int) -> None:
        """Take the memory of a reference frame."""
        self.objects = objects
        if self.long_term:
            self._update_long_term(fresh, features)
        else:
            self.long_term = fresh
        self.short_term = fresh
        self.last_update = self.step

    def _remember(self, features: Features, written: list[Memory]) -> None:
        """Take the memory of an ordinary frame."""
        self.short_term = written
        if not self.memory.at_gaps:
            return
        assert self.memory_gap is not None
        if self.step - self.last_update >= self.memory_gap:
            self._update_long_term(written, features)
            self.last_update = self.step

    def _update_long_term(self, new: list[Memory], features: Features) -> None:
        """Put a frame in front of what stays (upstream update_long_term_memory)."""
        if self.memory.slots == 1:
            return
        tokens = features.embedding.shape[-2:].numel()
        held = self.long_term[0].key.shape[self.token_axis] // tokens
        kept = self.memory.kept(held)
        if self.memory.rule == "mca" and held > 1:
            newest = [memory.frames([0], tokens, self.token_axis) for memory in self.long_term]
            new = self._merge(new, newest, features)
        self.long_term = [
            fresh.before(old.frames(kept, tokens, self.token_axis), self.token_axis)
            for fresh, old in zip(new, self.long_term, strict=True)
        ]

    def _merge(self, new: list[Memory], dynamic: list[Memory], features: Features) -> list[Memory]:
        """Merge a frame into the dynamic slot by MCA, block by block."""
        grid = tuple(features.embedding.shape[-2:])
        merged = []
        for mca, fresh, old in zip(self.network.memory_modules, new, dynamic, strict=True):
            maps = (fresh.key, fresh.value, old.key, old.value)
            key, value = mca(*(tokens.unflatten(2, grid) for tokens in maps))
            merged.append(Memory(key.flatten(2), value.flatten(2)))
        return merged


class Tracker:
    """Segments one clip.

    Args:
        network: Network in evaluation mode.
        size: Height and width of the label maps, in pixels.
        memory_gap: Frames between two writes to the long-term memory; None for a rule without.
        engine: Class that follows a group of ten objects; a subclass may remember in another way.
        memory: Rule of the long-term memory.
    """

    def __init__(
        self,
        network: Mavos,
        size: tuple[int, int],
        memory_gap: int | None,
        engine: type[GroupEngine] = GroupEngine,
        memory: LongTerm = MCA,
    ) -> None:
        self.network = network
        self.device = network.pixel_mean.device
        self.size = size
        self.memory_gap = memory_gap
        self.engine = engine
        self.memory = memory
        self.groups: list[GroupEngine] = []
        self.ids: list[int] = [0]  # the annotations' value of each internal id
        self.features: Features | None = None
        self.merged: Tensor | None = None  # logits of the latest prediction at the output size

    @torch.inference_mode()
    def start(self, frame: Tensor, annotation: Labels) -> Labels:
        """Begin with a frame and its annotation; see `predict` and `annotate`."""
        self.features = self.network.encode(frame[None])
        return self._reference(self._internal(annotation))

    @torch.inference_mode()
    def predict(self, frame: Tensor) -> Labels:
        """Segment the next frame.

        Args:
            frame: Pixels, RGB 0..255, float32 [H, W, 3] at the network's input size, on its device.

        Returns:
            Internal ids at the output size, uint8.
        """
        self.features = self.network.encode(frame[None])
        for group in self.groups:
            group.ordinary_pass(self.features)
        self.merged = self._merge([group.masked_logits() for group in self.groups])
        return self.merged.softmax(1).argmax(1)[0].to("cpu", torch.uint8).numpy()

    @torch.inference_mode()
    def remember(self, labels: Labels) -> None:
        """Write the latest frame to memory with these internal ids."""
        assert self.features is not None
        for group, own in zip(self.groups, self._split(labels), strict=True):
            group.memory_write(self.features, own)

    @torch.inference_mode()
    def annotate(self, predicted: Labels, annotation: Labels) -> Labels:
        """Put an annotation over the prediction of the latest frame, and start from it anew.

        Args:
            predicted: Internal ids of the prediction.
            annotation: The annotation's own values; 0 keeps the prediction.

        Returns:
            The merged internal ids, which are the frame's result and are in memory now.
        """
        annotated = self._internal(annotation)
        merged = self._reference(np.where(annotated > 0, annotated, predicted).astype(np.uint8))
        self.remember(merged)
        return merged

    def _internal(self, annotation: Labels) -> Labels:
        """An annotation in internal ids, which count up in order of appearance."""
        self.ids += [int(v) for v in np.unique(annotation) if int(v) not in self.ids]
        internal = np.zeros_like(annotation)
        for index, value in enumerate(self.ids):
            internal[annotation == value] = index
        return internal

    def _reference(self, labels: Labels) -> Labels:
        """Start every group from the latest frame (upstream AOTInferEngine.add_reference_frame)."""
        assert self.features is not None
        # Not the number of ids known, but the largest one that is visible.
        objects = int(labels.max())
        while len(self.groups) * IDENTITIES < objects or not self.groups:
            self.groups.append(self.engine(self.network, self.memory_gap, self.memory))
        for index, own in enumerate(self._split(labels)):
            last = index == len(self.groups) - 1
            count = (objects % IDENTITIES or IDENTITIES) if last else IDENTITIES
            if objects == 0 and len(self.groups) == 1:
                count = 0
            self.groups[index].reference_pass(self.features, own, count)
        return labels

    def _split(self, labels: Labels) -> list[Tensor]:
        """Each group's labels, nearest-resized to the input size, [1, H, W] with 0..10."""
        resized = F.interpolate(
            torch.from_numpy(labels).to(self.device).float()[None, None],
            size=self._input_size(),
            mode="nearest",
        )[0].int()
        split = []
        for index in range(len(self.groups)):
            own = resized - index * IDENTITIES
            split.append(torch.where((own > 0) & (own <= IDENTITIES), own, 0))
        return split

    def _input_size(self) -> tuple[int, int]:
        assert self.features is not None
        height, width = self.features.embedding.shape[-2:]
        stride, odd = 16, self.network.variant.align_corners
        return (height - odd) * stride + odd, (width - odd) * stride + odd

    def _merge(self, logits: list[Tensor]) -> Tensor:
        """Resize to the output size, and merge more than one group by soft aggregation."""
        resized = [
            F.interpolate(
                group,
                size=self.size,
                mode="bilinear",
                align_corners=self.network.variant.align_corners,
            )
            for group in logits
        ]
        if len(resized) == 1:
            return resized[0]
        probabilities = [group.softmax(1) for group in resized]
        background = torch.stack([group[:, :1] for group in probabilities]).prod(0)
        merged = torch.cat([background, *(group[:, 1:CHANNELS] for group in probabilities)], 1)
        return torch.logit(merged.clamp(1e-5, 1 - 1e-5))
