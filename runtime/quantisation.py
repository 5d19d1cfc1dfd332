"""What a bundle says of its quantisation: enough to make the same graphs again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

TARGETS = ("cpu", "tensorrt")  # forms of the quantised graphs, one for each library
TYPES = {"cpu": ("int8",), "tensorrt": ("int8", "fp8")}  # of products, by target
METHODS = ("minmax", "percentile", "entropy")  # ways to choose ranges

Range = tuple[float, float]  # lowest and highest value that a quantised tensor can take

# What attention reads: the memory's values, which are rounded when they are written, or the
# frame's own, rounded on the way.
ATTENTIONS = ("memory", "self")
# Values have 7 bits. A product of two with two int8 weights then fits in 16 bits, in which x86
# processors without VNNI add pairs, so that the integers are the same on every processor.
HIGHEST_LEVEL = 127


@dataclass(frozen=True)
class Levels:
    """How the values of one block's attention are rounded, each channel with its own scale.

    A value is `scale * (level - zero_point)`, with levels from 0 to `HIGHEST_LEVEL` as uint8.

    Attributes:
        scale: [channels], float32 numbers above 0.
        zero_point: [channels], the level of 0.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]

    @property
    def channels(self) -> int:
        """How many the values have."""
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


@dataclass(frozen=True)
class Quantisation:
    """How graphs were quantised.

    Inputs and outputs keep the bundle's precision, but for the values of the memory where
    `attention` holds `memory`: these are levels.

    Attributes:
        target: One of `TARGETS`: `cpu` has uint8 activations, `tensorrt` symmetric ones.
        type: Of the products, one of `TYPES[target]`.
        method: How the ranges were chosen, one of `METHODS`.
        groups: Quantised groups of layers by graph.
        ranges: Of every quantised activation, by graph and tensor.
        sources: SHA-256 of the graphs that were quantised, by graph.
        data: SHA-256 over the recordings that the ranges come from.
        seed: That chose what was recorded.
        attention: Levels of each block by which of `ATTENTIONS` is computed in integers.
        compared: What the comparison with the unquantised bundle found.
    """

    target: str
    type: str
    method: str
    groups: dict[str, tuple[str, ...]]
    ranges: dict[str, dict[str, Range]]
    sources: dict[str, str]
    data: str
    seed: int
    attention: dict[str, tuple[Levels, ...]] = field(default_factory=dict)
    compared: dict[str, Any] = field(default_factory=dict)


def parse_quantisation(data: Mapping[str, Any]) -> Quantisation:
    """Read the entry of a manifest.

    Raises:
        KeyError: Something is missing.
        TypeError: Something is of the wrong kind.
        ValueError: A value is unknown.
    """
    entry = Quantisation(
        target=_typed(data["target"], str),
        type=_typed(data["type"], str),
        method=_typed(data["method"], str),
        groups={
            graph: tuple(_typed(name, str) for name in _typed(names, list))
            for graph, names in _typed(data["groups"], dict).items()
        },
        ranges={
            graph: {name: _range(limits) for name, limits in _typed(tensors, dict).items()}
            for graph, tensors in _typed(data["ranges"], dict).items()
        },
        sources={
            graph: _typed(digest, str) for graph, digest in _typed(data["sources"], dict).items()
        },
        data=_typed(data["data"], str),
        seed=_typed(data["seed"], int),
        # Absent in bundles of releases that left attention in float.
        attention={
            part: tuple(_levels(_typed(block, dict)) for block in _typed(blocks, list))
            for part, blocks in _typed(data.get("attention", {}), dict).items()
        },
        compared=_typed(data["compared"], dict),
    )
    if entry.type not in TYPES.get(entry.target, ()) or entry.method not in METHODS:
        raise ValueError(f"{entry.target} {entry.type} {entry.method}")
    if not entry.attention.keys() <= set(ATTENTIONS) or (entry.attention and entry.target != "cpu"):
        raise ValueError(f"{entry.target} attention {' '.join(entry.attention)}")
    return entry


def _levels(data: Mapping[str, Any]) -> Levels:
    scale = tuple(_typed(number, float) for number in _typed(data["scale"], list))
    zero = tuple(_typed(number, int) for number in _typed(data["zero_point"], list))
    if len(scale) != len(zero) or not all(0 < number < float("inf") for number in scale):
        raise ValueError(f"scales of {len(scale)} channels and zero points of {len(zero)}")
    if not all(0 <= number <= HIGHEST_LEVEL for number in zero):
        raise ValueError(f"a zero point outside of 0 to {HIGHEST_LEVEL}")
    return Levels(scale, zero)


def _range(limits: object) -> Range:
    low, high = _typed(limits, list)
    return float(low), float(high)


def _typed(value: object, kind: type) -> Any:  # noqa: ANN401
    if type(value) is not kind:
        raise TypeError(f"{value!r:.40} is not of type {kind.__name__}")
    return value
