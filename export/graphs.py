"""The graphs as modules with flat tensor signatures, in the order of `runtime.contract`."""

from itertools import chain
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mavos_deploy.export.labels import labels
from mavos_deploy.export.soft_aggregation import soft_aggregation
from mavos_deploy.models.mavos import Features, Mavos
from mavos_deploy.models.tokens import TokenPropagation
from mavos_deploy.models.variants import CHANNELS, IDENTITIES
from mavos_deploy.runtime.bundles.manifest import Target
from mavos_deploy.runtime.contract import BANDS_NOTE, GraphName, GraphSpec


class Graph(nn.Module):
    """A graph over a shared network.

    Attributes:
        notes: What the ONNX file says of itself, beside what the contract says.
    """

    notes: ClassVar[dict[str, str]] = {}

    def __init__(self, network: Mavos) -> None:
        super().__init__()
        self.network = network


class Encoder(Graph):
    """Encodes a frame."""

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        """Encode a frame, float32 [1, H, W, 3], RGB 0..255; see `Mavos.encode`."""
        f = self.network.encode(frame)
        return f.feature_4x, f.feature_8x, f.feature_16x, f.embedding


class ElsttStep(Graph):
    """Reads the slots of the long-term memory, and the short-term memory.

    All slots are always read. Up to two need no bias: until the second is written it holds a copy
    of the reference, and attention over a duplicated token set equals attention over the set.
    """

    def forward(self, embedding: Tensor, *memories: Tensor) -> tuple[Tensor, ...]:
        """Read a frame for all groups.

        Args:
            embedding: Embedding of the frame, [1, C, h, w].
            *memories: With more than two slots, a bias [B, slots] that says which are empty; then
                keys and values of each slot by block.
        """
        blocks = self.network.variant.blocks
        bias, memories = memories[: len(memories) % 2], memories[len(memories) % 2 :]
        parts = [memories[i : i + blocks] for i in range(0, len(memories), blocks)]
        (*keys, short_key), (*values, short_value) = parts[::2], parts[1::2]
        groups = short_key[0].shape[0]
        return self.read(
            embedding.expand(groups, -1, -1, -1),
            [
                (_joined([k[i] for k in keys]), _joined([v[i] for v in values]))
                for i in range(blocks)
            ],
            list(zip(short_key, short_value, strict=True)),
            _for_tokens(bias[0], short_key[0]) if bias else None,
        )

    def read(
        self,
        embedding: Tensor,
        long_term: list[tuple[Tensor, Tensor]],
        short_term: list[tuple[Tensor, Tensor]],
        long_term_bias: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """Make the graph's outputs in their order; for the arguments see `Mavos.propagate`."""
        decoder_embedding, projections = self.network.propagate(
            embedding, long_term, short_term, long_term_bias
        )
        return (
            decoder_embedding,
            *(p.key for p in projections),
            *(p.value for p in projections),
            *(p.identity_query for p in projections if p.identity_query is not None),
        )


class TokenStep(ElsttStep):
    """The step in a form for GPUs, which computes over tokens between its maps."""

    def __init__(self, network: Mavos) -> None:
        super().__init__(network)
        self.propagation = TokenPropagation(network)

    def read(
        self,
        embedding: Tensor,
        long_term: list[tuple[Tensor, Tensor]],
        short_term: list[tuple[Tensor, Tensor]],
        long_term_bias: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """Make the same outputs as `ElsttStep.read`."""
        decoder_embedding, *projections = self.propagation(
            embedding, long_term, short_term, long_term_bias
        )
        return decoder_embedding, *chain.from_iterable(projections)


def _joined(slots: list[Tensor]) -> Tensor:
    """The tokens of all slots, the reference last: [B, C, h, w] each to [B, C, slots * N]."""
    flat = [slot.flatten(2) for slot in slots]
    return torch.cat([*flat[1:], flat[0]], 2) if len(flat) > 1 else flat[0]


def _for_tokens(bias: Tensor, key: Tensor) -> Tensor:
    """A bias of slots [B, slots] as one of the tokens that `_joined` gives, [B, 1, slots * N]."""
    tokens = key.shape[-2] * key.shape[-1]
    ordered = torch.cat([bias[:, 1:], bias[:, :1]], 1)
    return ordered[:, :, None].expand(-1, -1, tokens).flatten(1)[:, None]


class Decoder(Graph):
    """Makes logits, and from them the label map at the output size.

    Upsampling is a product with interpolation matrices that the caller makes for the output size,
    so the graph is free of it and needs no shape tensors. Pixels come before channels, which keeps
    softmax and argmax on the last axis.
    """

    def forward(
        self,
        decoder_embedding: Tensor,
        feature_4x: Tensor,
        feature_8x: Tensor,
        feature_16x: Tensor,
        object_mask: Tensor,
        row_weights: Tensor,
        column_weights: Tensor,
        row_index: Tensor,
        column_index: Tensor,
    ) -> tuple[Tensor, ...]:
        """Decode all groups and merge them by soft aggregation (one group: plain argmax).

        `object_mask` [B, channels] is 0 for channels in use and -1e4 for others; with one group
        the last ones may be left out, and are not upsampled then. `row_index` and `column_index`
        say which row and column of the label map each one of the input size takes.
        """
        features = Features(feature_4x, feature_8x, feature_16x, feature_16x)
        logits = self.network.decode(decoder_embedding, features)
        used = logits[:, : object_mask.shape[1]] + object_mask[:, :, None, None]
        merged = self.merged(used, row_weights, column_weights)
        groups = logits.shape[0]
        nearest = self.nearest(merged, row_index, column_index).to(torch.int32)
        first = torch.arange(groups, dtype=torch.int32, device=merged.device) * IDENTITIES
        own = nearest[None] - first[:, None, None]
        own = torch.where((own > 0) & (own <= IDENTITIES), own, torch.zeros_like(own))
        return logits, merged[None].to(torch.uint8), own.to(torch.uint8)

    def merged(self, logits: Tensor, row_weights: Tensor, column_weights: Tensor) -> Tensor:
        """Labels [H, W] of the logits of all groups [B, channels, h, w]."""
        # Logits at the output size, [B, channels, H, W].
        return soft_aggregation(row_weights @ (logits @ column_weights.transpose(0, 1)))

    def nearest(self, merged: Tensor, row_index: Tensor, column_index: Tensor) -> Tensor:
        """The labels [H, W] at some rows and columns."""
        return merged.index_select(0, row_index).index_select(1, column_index)


class BandedDecoder(Decoder):
    """The decoder in a form for CPUs; `export.labels` says how it makes labels."""

    notes: ClassVar[dict[str, str]] = {BANDS_NOTE: "0"}

    def merged(self, logits: Tensor, row_weights: Tensor, column_weights: Tensor) -> Tensor:
        """Labels as those of `Decoder.merged`, uint8."""
        found: Tensor = labels(logits, row_weights, column_weights)
        return found

    def nearest(self, merged: Tensor, row_index: Tensor, column_index: Tensor) -> Tensor:
        """The labels [H, W] at some rows and columns; Gather is slow to copy one byte at a time."""
        rows = merged.index_select(0, row_index)
        return rows.gather(1, column_index.to(torch.int64).expand(rows.shape[0], -1))


class DecoderOne(Graph):
    """Makes logits and labels of a single group, in a form for GPUs.

    A running maximum over logits that are resized where they are needed becomes one kernel, which
    holds nothing at the output size but the labels. Soft aggregation of one group changes no
    maximum.
    """

    def forward(
        self,
        decoder_embedding: Tensor,
        feature_4x: Tensor,
        feature_8x: Tensor,
        feature_16x: Tensor,
        object_mask: Tensor,
        row_weights: Tensor,
        column_weights: Tensor,
        row_index: Tensor,
        column_index: Tensor,
    ) -> tuple[Tensor, ...]:
        """Decode as `Decoder` does; of the weights only the shapes count, the output's size."""
        features = Features(feature_4x, feature_8x, feature_16x, feature_16x)
        logits = self.network.decode(decoder_embedding, features)
        full = F.interpolate(
            logits + object_mask[:, :, None, None],
            size=(row_weights.shape[0], column_weights.shape[0]),
            mode="bilinear",
            align_corners=self.network.variant.align_corners,
        )
        best = full[0, 0]
        labels = torch.zeros_like(best, dtype=torch.int32)
        for channel in range(1, CHANNELS):
            larger = full[0, channel] > best
            best = torch.where(larger, full[0, channel], best)
            labels = torch.where(larger, torch.full_like(labels, channel), labels)
        own = labels.index_select(0, row_index).index_select(1, column_index)
        return logits, labels[None].to(torch.uint8), own[None].to(torch.uint8)


class MemoryWrite(Graph):
    """Completes a frame's values with the identity of its objects."""

    def forward(self, input_labels: Tensor, *projections: Tensor) -> tuple[Tensor, ...]:
        """Make the values of each block.

        Args:
            input_labels: Labels of each group, uint8 [B, H, W].
            *projections: Visual values of each block, then the identity queries.
        """
        blocks = self.network.variant.blocks
        visual_values, identity_queries = projections[:blocks], (None, *projections[blocks:])
        # TensorRT lets uint8 feed nothing but a cast; OpenVINO compares floats faster than ints.
        embedding = self.network.embed_identity(input_labels.float())
        triples = zip(self.network.blocks, visual_values, identity_queries, strict=True)
        return tuple(block.write(value, query, embedding) for block, value, query in triples)


class MemoryUpdate(Graph):
    """A frame enters the dynamic slot: a copy at a group's first update, MCA from then on."""

    def forward(self, first_update: Tensor, *memories: Tensor) -> tuple[Tensor, ...]:
        """Make the new dynamic slot.

        Args:
            first_update: 1 for groups whose first update this is, else 0, int32 [B].
            *memories: New keys, new values, dynamic keys and dynamic values of each block.
        """
        blocks = self.network.variant.blocks
        slots = [memories[i : i + blocks] for i in range(0, len(memories), blocks)]
        first = (first_update > 0)[:, None, None, None]
        updated = [
            mca(key, value, dynamic_key, dynamic_value)
            for mca, key, value, dynamic_key, dynamic_value in zip(
                self.network.memory_modules, *slots, strict=True
            )
        ]
        keys = [torch.where(first, slots[0][i], updated[i][0]) for i in range(blocks)]
        values = [torch.where(first, slots[1][i], updated[i][1]) for i in range(blocks)]
        return *keys, *values


GRAPHS: dict[str, type[Graph]] = {
    GraphName.ENCODER: Encoder,
    GraphName.STEP: ElsttStep,
    GraphName.STEP_ONE: ElsttStep,
    GraphName.DECODER: Decoder,
    GraphName.DECODER_ONE: DecoderOne,
    GraphName.MEMORY_WRITE: MemoryWrite,
    GraphName.MEMORY_UPDATE: MemoryUpdate,
}

# Forms that take the place of these where a bundle is for CPUs.
FOR_CPUS: dict[str, type[Graph]] = {GraphName.DECODER: BandedDecoder}

# Forms that take the place of these where a float16 bundle is for GPUs.
HALF_FOR_GPUS: dict[str, type[Graph]] = {
    GraphName.STEP: TokenStep,
    GraphName.STEP_ONE: TokenStep,
}


def form_of(spec: GraphSpec, target: str) -> type[Graph]:
    """The module class that exports a graph for a target.

    Args:
        spec: Specification of the graph; its tensors tell the precision.
        target: `cpu` or `gpu`.
    """
    half = any(tensor.dtype == "float16" for tensor in (*spec.inputs, *spec.outputs))
    for_gpus = HALF_FOR_GPUS if half else {}
    forms = FOR_CPUS if target == Target.CPU else for_gpus
    return forms.get(spec.name, GRAPHS[spec.name])
