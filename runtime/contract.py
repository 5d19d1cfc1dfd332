"""Names, types and shapes of every tensor of the five graphs: the one place that knows them.

Export takes its input names and dynamic axes from here, the runtime checks bundles against it, and
the table in docs/graphs.md is printed from it. All memory tensors are feature maps, batch first. A
number in a shape is fixed; a name may vary from call to call and agrees wherever it occurs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from mavos_deploy.runtime.geometry import STRIDE, downsampled

BLOCKS = 3  # gated propagation blocks
IDENTITIES = 10  # objects of one group
CHANNELS = IDENTITIES + 1  # channel 0 is the background

# Type of feature maps and memories. Frames, logits and what masks are made from stay float32.
PRECISIONS = {"fp32": "float32", "fp16": "float16"}
SLOTS = ("reference", "dynamic", "short")  # of the memory
# What the values of the memory are: of the bundle's precision, or levels of 8 bits whose scales
# the manifest holds. Keys are always of the bundle's precision.
VALUES = {"float": None, "int8": "uint8"}

GROUPS = "groups"  # groups of ten objects, on the batch axis
# Channels that the decoder makes labels from: all 11, or with a single group as few as are in use.
USED = "channels"
FEWEST_USED = 2  # of them: the background and one object
STEP = "elstt_step"  # the graph whose attention may be in tiles
UNUSED_OBJECT = -1e4  # added to the logits of channels without an object; exact in float16 too

Dim = int | str


@dataclass(frozen=True)
class TensorSpec:
    """One graph input or output."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]


@dataclass(frozen=True)
class GraphSpec:
    """One graph.

    Attributes:
        name: Also the stem of its file.
        when: When the segmenter runs it.
        inputs: In the order of the exported signature.
        outputs: Likewise.
    """

    name: str
    when: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Dimensions:
    """What of the network the tensors depend on.

    Attributes:
        features: Channels of the encoder's maps at strides 4, 8 and 16.
        embedding: Width of the visual and of the identity branch.
        key: Width of queries and keys.
        value: Width of the values of each branch.
    """

    features: tuple[int, int, int]
    embedding: int
    key: int
    value: int


def memory_names(slot: str = "") -> list[str]:
    """Names of a slot's tensors, keys before values; without a slot those of a single frame."""
    prefix = f"{slot}_" if slot else ""
    return [f"{prefix}{part}_{block}" for part in ("key", "value") for block in range(BLOCKS)]


def tensor_bytes(spec: TensorSpec, **extents: int) -> int:
    """Bytes of a tensor.

    Args:
        spec: Of the tensor.
        extents: Of the names in its shape, such as `groups=2`.
    """
    shape = [extents[extent] if isinstance(extent, str) else extent for extent in spec.shape]
    return prod(shape) * np.dtype(spec.dtype).itemsize


def state_bytes(specs: Mapping[str, GraphSpec], groups: int = 1) -> int:
    """Bytes of a video's memory once no two of its slots are one tensor any more.

    Args:
        specs: What `graph_specs` gives for a size.
        groups: Of ten objects.
    """
    memories = {name for slot in SLOTS for name in memory_names(slot)}
    inputs = specs[STEP].inputs
    return sum(tensor_bytes(spec, groups=groups) for spec in inputs if spec.name in memories)


def output_shapes(
    spec: GraphSpec, inputs: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of a graph's outputs.

    Args:
        spec: Of the graph.
        inputs: Shapes of its inputs, by name.
    """
    extents = {
        extent: size
        for tensor in spec.inputs
        for extent, size in zip(tensor.shape, inputs[tensor.name], strict=True)
        if isinstance(extent, str)
    }
    for axis in ("height", "width"):
        if axis in extents:
            for stride in (4, 8, STRIDE):
                extents.setdefault(f"{axis}_{stride}", downsampled(extents[axis], stride))
    return {
        tensor.name: tuple(extents[e] if isinstance(e, str) else e for e in tensor.shape)
        for tensor in spec.outputs
    }


def graph_specs(
    dimensions: Dimensions,
    size: tuple[int, int] | None,
    precision: str = "fp32",
    values: str = "float",
) -> dict[str, GraphSpec]:
    """The five graphs in the order of a frame's way through them.

    Args:
        dimensions: Of the network.
        size: Height and width of frames in pixels; None leaves them open.
        precision: One of `PRECISIONS`.
        values: Of the memory, one of `VALUES`.

    Returns:
        Specifications by graph name.
    """
    d, real = dimensions, PRECISIONS[precision]
    height, width = size or ("height", "width")

    def at(stride: int) -> tuple[Dim, Dim]:
        if size is None:
            return f"height_{stride}", f"width_{stride}"
        return downsampled(size[0], stride), downsampled(size[1], stride)

    def maps(
        name: str, channels: int, blocks: range = range(BLOCKS), dtype: str = real
    ) -> list[TensorSpec]:
        shape = (GROUPS, channels, *at(STRIDE))
        return [TensorSpec(f"{name}_{i}", dtype, shape) for i in blocks]

    def remembered(name: str) -> list[TensorSpec]:
        return maps(name, 2 * d.value, dtype=VALUES[values] or real)

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
    identity_queries = maps("identity_query", d.embedding, range(1, BLOCKS))
    input_labels = TensorSpec("input_labels", "uint8", (GROUPS, height, width))
    memories = [
        spec
        for slot in SLOTS
        for spec in (*maps(f"{slot}_key", d.key), *remembered(f"{slot}_value"))
    ]
    dynamic = [spec for spec in memories if spec.name.startswith("dynamic")]
    output = ("output_height", "output_width")
    graphs = (
        GraphSpec(
            "encoder",
            "every frame, once for all groups",
            (frame,),
            (*features, embedding),
        ),
        GraphSpec(
            STEP,
            "every frame",
            (embedding, *memories),
            (decoder_embedding, *keys, *visual_values, *identity_queries),
        ),
        GraphSpec(
            "decoder",
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
            "memory_write",
            "every frame, once its labels are known",
            (input_labels, *visual_values, *identity_queries),
            tuple(written),
        ),
        GraphSpec(
            "memory_update",
            "every memory-gap frames",
            (TensorSpec("first_update", "int32", (GROUPS,)), *keys, *written, *dynamic),
            (*maps("updated_key", d.key), *remembered("updated_value")),
        ),
    )
    return {graph.name: graph for graph in graphs}
