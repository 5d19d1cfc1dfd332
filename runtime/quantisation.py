"""What a bundle says of its quantisation: enough to make the same graphs again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TARGETS = ("cpu", "tensorrt")  # forms of the quantised graphs, one for each library
TYPES = {"cpu": ("int8",), "tensorrt": ("int8", "fp8")}  # of products, by target
METHODS = ("minmax", "percentile", "entropy")  # ways to choose ranges

Range = tuple[float, float]  # lowest and highest value that a quantised tensor can take


@dataclass(frozen=True)
class Quantisation:
    """How graphs were quantised. Memories, inputs and outputs keep the bundle's precision.

    Attributes:
        target: One of `TARGETS`: `cpu` has uint8 activations, `tensorrt` symmetric ones.
        type: Of the products, one of `TYPES[target]`.
        method: How the ranges were chosen, one of `METHODS`.
        groups: Quantised groups of layers by graph.
        ranges: Of every quantised activation, by graph and tensor.
        sources: SHA-256 of the graphs that were quantised, by graph.
        data: SHA-256 over the recordings that the ranges come from.
        seed: That chose what was recorded.
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
        compared=_typed(data["compared"], dict),
    )
    if entry.type not in TYPES.get(entry.target, ()) or entry.method not in METHODS:
        raise ValueError(f"{entry.target} {entry.type} {entry.method}")
    return entry


def _range(limits: object) -> Range:
    low, high = _typed(limits, list)
    return float(low), float(high)


def _typed(value: object, kind: type) -> Any:  # noqa: ANN401
    if type(value) is not kind:
        raise TypeError(f"{value!r:.40} is not of type {kind.__name__}")
    return value
