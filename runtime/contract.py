"""Names, types and shapes of every tensor of the graphs: the one place that knows them.

Export takes its input names and dynamic axes from here, the runtime checks bundles against it, and
the table in docs/graphs.md is printed from it. All memory tensors are feature maps, batch first. A
number in a shape is fixed; a name may vary from call to call and agrees wherever it occurs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated

import numpy as np
from msgspec import Meta

from mavos_deploy.runtime.bundles.memory import MCA, REFERENCE, MemoryRule
from mavos_deploy.runtime.geometry import STRIDE, Size, downsampled
from mavos_deploy.words import Word

IDENTITIES = 10  # objects of one group
CHANNELS = IDENTITIES + 1  # channel 0 is the background

SHORT = "short"  # the slot of the previous frame, beside those of the long-term memory
# Type of the memory's values: the bundle's precision, or levels of 8 bits whose scales the manifest
# holds. Keys always have the bundle's precision.
VALUES = {"float": None, "int8": "uint8"}

GROUPS = "groups"  # groups of ten objects, on the batch axis
# Channels that the decoder makes labels from: all 11, or with a single group as few as are in use.
USED = "channels"
FEWEST_USED = 2  # the background and one object
# Metadata of a decoder's ONNX file: in how many bands of rows it enlarges the part of a frame that
# holds objects. 0: what it takes for labels doesn't grow with that part. Absent: in one.
BANDS_NOTE = "mavos_bands"
UNUSED_OBJECT = -1e4  # added to the logits of channels without an object; exact in float16 too
SLOT_BIAS = "slot_bias"  # the input that says which slots of the long-term memory are empty

Dim = int | str


class Precision(Word):
    """Type of feature maps and memories; frames, logits and the inputs of masks stay float32."""

    FP32 = "fp32"
    FP16 = "fp16"

    @property
    def dtype(self) -> str:
        """NumPy's name of the type."""
        return {Precision.FP32: "float32", Precision.FP16: "float16"}[self]


class GraphName(Word):
    """The graphs, in the order of a frame's way through them; each is the stem of its file.

    A bundle whose memory merges nothing has no `memory_update`, `decoder_one` is for GPUs, and
    `elstt_step_one` for memories that annotated frames alone enter. The segmenter chooses between
    these two and the graphs that serve all videos, with the same results.
    """

    ENCODER = "encoder"
    STEP = "elstt_step"  # the one whose attention may be in tiles
    STEP_ONE = "elstt_step_one"  # for videos of which nothing but the reference is in long memory
    DECODER = "decoder"
    DECODER_ONE = "decoder_one"  # for videos with a single group of objects
    MEMORY_WRITE = "memory_write"
    MEMORY_UPDATE = "memory_update"


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output.

    Attributes:
        name: Name in the ONNX file.
        dtype: NumPy's name of its type.
        shape: Fixed extents as numbers, open ones by their names.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def shape_at(self, **extents: int) -> tuple[int, ...]:
        """The shape with numbers in place of names.

        Args:
            extents: Numbers for the names, such as `groups=2`; names that the shape lacks may be
                among them. The function `extents` makes them for a call.
        """
        return tuple(
            extents[extent] if isinstance(extent, str) else extent for extent in self.shape
        )

    def bytes_at(self, **extents: int) -> int:
        """Bytes of the tensor; arguments as in `shape_at`."""
        return prod(self.shape_at(**extents)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class GraphSpec:
    """One graph.

    Attributes:
        name: The graph.
        when: When the segmenter runs it.
        inputs: Inputs in the order of the exported signature.
        outputs: Outputs in the order of the exported signature.
    """

    name: GraphName
    when: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def takes(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether inputs of these shapes, by name, fit all extents that are fixed."""
        return all(
            isinstance(wanted, str) or wanted == extent
            for tensor in self.inputs
            for wanted, extent in zip(tensor.shape, shapes[tensor.name], strict=True)
        )


@dataclass(frozen=True)
class Dimensions:
    """The sizes of the network that the tensors depend on.

    Attributes:
        features: Channels of the encoder's maps at strides 4, 8 and 16.
        embedding: Width of the visual and of the identity branch.
        key: Width of queries and keys.
        value: Width of the values of each branch.
        blocks: Gated propagation blocks; bundles of releases that knew MAVOS alone don't say it.
    """

    features: tuple[int, int, int]
    embedding: int
    key: int
    value: int
    blocks: Annotated[int, Meta(ge=1, le=64)] = 3


def extents(groups: int, output: Size, channels: int = CHANNELS) -> dict[str, int]:
    """The extents that vary from call to call, for `TensorSpec.shape_at`.

    Args:
        groups: Groups of ten objects.
        output: Height and width of the video, in pixels.
        channels: Channels that labels are made from.
    """
    height, width = output
    return {GROUPS: groups, USED: channels, "output_height": height, "output_width": width}


def memory_names(blocks: int, slot: str = "") -> list[str]:
    """Names of a slot's tensors, keys before values; without a slot those of a single frame."""
    prefix = f"{slot}_" if slot else ""
    return [f"{prefix}{part}_{block}" for part in ("key", "value") for block in range(blocks)]


def memory_specs(specs: Mapping[str, GraphSpec]) -> dict[str, TensorSpec]:
    """The tensors of a video's memory by name: keys and values of every slot.

    Args:
        specs: The graphs, from `graph_specs`.
    """
    beside = ("embedding", SLOT_BIAS)
    return {s.name: s for s in specs[GraphName.STEP].inputs if s.name not in beside}


def state_bytes(specs: Mapping[str, GraphSpec], groups: int = 1) -> int:
    """Bytes of a video's memory once no two of its slots are one tensor any more.

    Args:
        specs: The graphs at the size of the video in the network, from `graph_specs`.
        groups: Groups of ten objects.
    """
    return sum(spec.bytes_at(groups=groups) for spec in memory_specs(specs).values())


def output_shapes(
    spec: GraphSpec, inputs: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of a graph's outputs by name.

    Args:
        spec: The graph.
        inputs: Shapes of its inputs by name.
    """
    found = {
        extent: size
        for tensor in spec.inputs
        for extent, size in zip(tensor.shape, inputs[tensor.name], strict=True)
        if isinstance(extent, str)
    }
    for axis in ("height", "width"):
        if axis in found:
            for stride in (4, 8, STRIDE):
                found.setdefault(f"{axis}_{stride}", downsampled(found[axis], stride))
    return {tensor.name: tensor.shape_at(**found) for tensor in spec.outputs}


def graph_specs(
    dimensions: Dimensions,
    size: Size | None,
    precision: str = "fp32",
    memory_values: str = "float",
    memory: MemoryRule = MCA,
    decoder_one: bool = False,
    step_one: bool = False,
) -> dict[str, GraphSpec]:
    """The graphs in the order of a frame's way through them.

    Args:
        dimensions: The network's sizes.
        size: Height and width of frames in pixels; None leaves them open.
        precision: Type of feature maps and memories, a `Precision`.
        memory_values: Type of the memory's values, a key of `VALUES`.
        memory: Rule of the long-term memory.
        decoder_one: Whether there is a decoder for a single group, too.
        step_one: Whether there is a step that reads the reference and no other slot, too.

    Returns:
        Specifications by graph name.
    """
    d, real = dimensions, Precision(precision).dtype
    height, width = size or ("height", "width")

    def at(stride: int) -> tuple[Dim, Dim]:
        if size is None:
            return f"height_{stride}", f"width_{stride}"
        return downsampled(size[0], stride), downsampled(size[1], stride)

    def maps(name: str, channels: int, first: int = 0, dtype: str = real) -> list[TensorSpec]:
        shape = (GROUPS, channels, *at(STRIDE))
        return [TensorSpec(f"{name}_{i}", dtype, shape) for i in range(first, d.blocks)]

    def remembered(name: str) -> list[TensorSpec]:
        return maps(name, 2 * d.value, dtype=VALUES[memory_values] or real)

    frame = TensorSpec("frame", "float32", (1, height, width, 3))
    features = [
        TensorSpec(f"feature_{stride}x", real, (1, channels, *at(stride)))
        for stride, channels in zip((4, 8, 16), d.features, strict=True)
    ]
    embedding = TensorSpec("embedding", real, (1, d.embedding, *at(STRIDE)))
    decoder_embedding = TensorSpec(
        "decoder_embedding", real, (GROUPS, 2 * d.embedding, *at(STRIDE))
    )
    keys, written = maps("key", d.key), remembered("value")
    visual_values = maps("visual_value", d.value)
    identity_queries = maps("identity_query", d.embedding, first=1)
    input_labels = TensorSpec("input_labels", "uint8", (GROUPS, height, width))
    memories = [
        spec
        for slot in (*memory.names, SHORT)
        for spec in (*maps(f"{slot}_key", d.key), *remembered(f"{slot}_value"))
    ]
    bias = [TensorSpec(SLOT_BIAS, "float32", (GROUPS, memory.slots))] if memory.has_bias else []
    dynamic = [spec for spec in memories if spec.name.startswith("dynamic_")]
    output = ("output_height", "output_width")
    graphs = [
        GraphSpec(
            GraphName.ENCODER,
            "every frame, once for all groups",
            (frame,),
            (*features, embedding),
        ),
        GraphSpec(
            GraphName.STEP,
            "every frame",
            (embedding, *bias, *memories),
            (decoder_embedding, *keys, *visual_values, *identity_queries),
        ),
        GraphSpec(
            GraphName.DECODER,
            "every frame",
            (
                decoder_embedding,
                *features,
                TensorSpec("object_mask", "float32", (GROUPS, USED)),
                TensorSpec("row_weights", "float32", (output[0], at(4)[0])),
                TensorSpec("column_weights", "float32", (output[1], at(4)[1])),
                TensorSpec("row_index", "int32", (height,)),
                TensorSpec("column_index", "int32", (width,)),
            ),
            (
                TensorSpec("logits", "float32", (GROUPS, CHANNELS, *at(4))),
                TensorSpec("labels", "uint8", (1, *output)),
                input_labels,
            ),
        ),
        GraphSpec(
            GraphName.MEMORY_WRITE,
            "every frame, once its labels are known",
            (input_labels, *visual_values, *identity_queries),
            tuple(written),
        ),
    ]
    if memory.merges:
        first_update = TensorSpec("first_update", "int32", (GROUPS,))
        update = GraphSpec(
            GraphName.MEMORY_UPDATE,
            "every memory-gap frames",
            (first_update, *keys, *written, *dynamic),
            (*maps("updated_key", d.key), *remembered("updated_value")),
        )
        graphs.append(update)
    specs = {graph.name: graph for graph in graphs}
    if step_one:
        step = specs[GraphName.STEP]
        read = (f"{REFERENCE}_", f"{SHORT}_", embedding.name)
        specs[GraphName.STEP_ONE] = GraphSpec(
            GraphName.STEP_ONE,
            "every frame until a second one is in the long-term memory, in place of `elstt_step`",
            tuple(tensor for tensor in step.inputs if tensor.name.startswith(read)),
            step.outputs,
        )
    if decoder_one:
        specs[GraphName.DECODER_ONE] = _for_one_group(specs[GraphName.DECODER])
    return {name: specs[name] for name in GraphName if name in specs}


def _for_one_group(decoder: GraphSpec) -> GraphSpec:
    """The decoder for a single group, whose labels are made from all channels."""
    fixed: dict[Dim, Dim] = {GROUPS: 1, USED: CHANNELS}

    def of_one(tensors: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(tensor.name, tensor.dtype, tuple(fixed.get(e, e) for e in tensor.shape))
            for tensor in tensors
        )

    return GraphSpec(
        GraphName.DECODER_ONE,
        "every frame of a video with one group of objects, in place of `decoder`",
        of_one(decoder.inputs),
        of_one(decoder.outputs),
    )
