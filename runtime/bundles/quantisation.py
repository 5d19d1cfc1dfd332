"""What a bundle says of its quantisation: enough to make the same graphs again."""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from mavos_deploy.words import Word

LARGEST = float(np.finfo(np.float32).max)
Finite = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
Range = tuple[Finite, Finite]  # lowest and highest value that a quantised tensor can take

# What attention reads: the memory's values, which are rounded when they are written, or the
# frame's own, rounded on the way.
ATTENTIONS = ("memory", "self")
# A third part, for OpenVINO: the products of queries and keys. It has no levels; the ranges of its
# factors are among those of the step.
SCORES = "scores"
# Values have 7 bits. A product of two with two int8 weights then fits in 16 bits, in which x86
# processors without VNNI add pairs, so that the integers are the same on every processor.
HIGHEST_LEVEL = 127


class GraphKind(Word):
    """Kind of quantised graphs: a graph of one kind does not run where the other is meant for."""

    CPU = "cpu"  # uint8 activations, for ONNX Runtime on a CPU
    OPENVINO = "openvino"  # symmetric activations and float results, for OpenVINO on a CPU
    TENSORRT = "tensorrt"  # symmetric activations, for TensorRT engines

    @property
    def on_cpu(self) -> bool:
        """Whether such graphs are for a CPU, where they can be timed and attend in integers."""
        return self is not GraphKind.TENSORRT

    @property
    def attentions(self) -> tuple[str, ...]:
        """The parts of attention that such graphs may compute in integers."""
        if self is GraphKind.OPENVINO:
            return (*ATTENTIONS, SCORES)
        return ATTENTIONS if self.on_cpu else ()


class NumberType(Word):
    """Number format of the factors of quantised products."""

    INT8 = "int8"
    FP8 = "fp8"


class RangeMethod(Word):
    """How ranges were chosen from recorded values; this release only makes `minmax` ones itself."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"


TYPES = {
    GraphKind.CPU: (NumberType.INT8,),
    GraphKind.OPENVINO: (NumberType.INT8,),
    GraphKind.TENSORRT: tuple(NumberType),
}


@dataclass(frozen=True)
class Levels:
    """How the values of one block's attention are rounded, each channel with its own scale.

    A value is `scale * (level - zero_point)`, with levels from 0 to `HIGHEST_LEVEL` as uint8.

    Attributes:
        scale: One float32 number above 0 for each channel.
        zero_point: The level of 0 in each channel.
    """

    scale: tuple[Annotated[float, Meta(gt=0, le=LARGEST)], ...]
    zero_point: tuple[Annotated[int, Meta(ge=0, le=HIGHEST_LEVEL)], ...]

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.zero_point):
            raise ValueError(
                f"scales of {len(self.scale)} channels and zero points of {len(self.zero_point)}, "
                "expected one of each for every channel"
            )

    @property
    def channels(self) -> int:
        """Number of channels of the values."""
        return len(self.scale)

    def rounded(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The nearest levels of values [groups, channels, h, w], computed as the graphs do."""
        scale, zero = self._columns()
        levels: NDArray[np.float32] = np.rint(values / scale) + zero
        return np.clip(levels, 0, HIGHEST_LEVEL).astype(np.uint8)

    def restored(self, levels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The values of levels [groups, channels, h, w]."""
        scale, zero = self._columns()
        values: NDArray[np.float32] = (levels.astype(np.float32) - zero) * scale
        return values

    def _columns(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scale, zero = np.array(self.scale, np.float32), np.array(self.zero_point, np.float32)
        return scale[:, None, None], zero[:, None, None]


class Quantisation(msgspec.Struct, frozen=True, rename={"kind": "target", "number": "type"}):
    """How graphs were quantised.

    Inputs and outputs keep the bundle's precision, but for the values of the memory where
    `attention` holds `memory`: these are levels. A manifest calls `kind` `target` and `number`
    `type`, hence a Struct: a dataclass can't name a key otherwise than its field.

    Attributes:
        kind: Kind of the graphs, which says where they run.
        number: Number format of the products, one of `TYPES[kind]`.
        method: How the ranges were chosen.
        groups: Quantised groups of layers by graph.
        ranges: Range of every quantised activation, by graph and tensor.
        sources: SHA-256 of the graphs that were quantised, by graph.
        data: SHA-256 over the recordings that the ranges come from.
        seed: Seed that chose what was recorded.
        attention: Levels of each block, by the member of `GraphKind.attentions` that is computed
            in integers; none for `SCORES`.
        compared: Result of the comparison with the unquantised bundle.
    """

    kind: GraphKind
    number: NumberType
    method: RangeMethod
    groups: dict[str, tuple[str, ...]]
    ranges: dict[str, dict[str, Range]]
    sources: dict[str, str]
    data: str
    seed: int
    # Absent in bundles of releases that left attention in float.
    attention: dict[str, tuple[Levels, ...]] = {}
    compared: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if self.number not in TYPES[self.kind]:
            raise ValueError(f"{self.number} graphs for {self.kind} are unknown to this release")
        known = self.kind.attentions or ATTENTIONS
        if unknown := self.attention.keys() - set(known):
            raise ValueError(
                f"attention {min(unknown)!r:.40} is unknown to this release, which reads "
                f"{', '.join(known)}"
            )
        if self.attention and not self.kind.attentions:
            raise ValueError(f"attention in integers, which graphs for {self.kind} don't have")
