"""Finds the products of attention in the graph of a step, as this release exports them."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from mavos_deploy.errors import BundleError
from mavos_deploy.runtime.bundles.quantisation import SCORES
from mavos_deploy.runtime.contract import GraphName

# Graphs that a part of attention changes: they compute it, or read or write the memory's values.
CHANGED = {
    "memory": (GraphName.STEP, GraphName.MEMORY_WRITE, GraphName.MEMORY_UPDATE),
    "self": (GraphName.STEP,),
    SCORES: (GraphName.STEP,),
}
# Operations between a memory and its product; they work the same on any type.
MOVES = ("Concat", "Reshape", "Slice")
# The module of an attention, which the exporter noted in the names of its nodes.
MODULE = re.compile(r"layers\.(\d+)\.(long_term|short_term|self)_attn/")
PARTS = {"long_term": "memory", "short_term": "memory", "self": "self"}

Constant = Callable[[str, object], str]  # adds a constant by a name of its own, and gives the name


@dataclass(frozen=True)
class Product:
    """One product of values [B, C, M] and transposed weights [B, M, N].

    Attributes:
        part: Part of attention, one of `quantisation.ATTENTIONS`.
        block: Number of the block.
        softmax: Node that gives the weights, [B, N, M].
        transpose: Node that transposes them.
        product: Node that multiplies.
    """

    part: str
    block: int
    softmax: NodeProto
    transpose: NodeProto
    product: NodeProto

    @property
    def values(self) -> str:
        """Name of the values."""
        return str(self.product.input[0])


def memory_block(tensor: str) -> int | None:
    """The block that a tensor holds remembered values of; None for other inputs and outputs."""
    stem, _, number = tensor.rpartition("_")
    if stem != "value" and (not stem.endswith("_value") or stem == "visual_value"):
        return None
    return int(number)


def self_values(model: ModelProto) -> list[str]:
    """Names of the step's tensors [B, C, M] that self-attention reads as values, block by block.

    Raises:
        BundleError: The attention is not in the form that this release exports.
    """
    found = {p.block: p.values for p in find_products(model) if p.part == "self"}
    return [found[block] for block in sorted(found)]


def find_products(model: ModelProto) -> list[Product]:
    """The products of weights and values in a step, in the order of computation.

    Raises:
        BundleError: The attention is not in the form that this release exports.
    """
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    makers = {name: node for node in model.graph.node for name in node.output}
    inputs = {value.name for value in model.graph.input}
    found = []
    for softmax in model.graph.node:
        if softmax.op_type != "Softmax":
            continue
        (transpose,) = _only(readers, softmax, "Transpose")
        (product,) = _only(readers, transpose, "MatMul")
        if product.input[1] != transpose.output[0]:
            raise _unknown_form(softmax)
        module = MODULE.search(softmax.name)
        if module is None:
            raise _unknown_form(softmax)
        part, block = PARTS[module[2]], int(module[1])
        sources = set(_sources(product.input[0], makers))
        moved = sources <= inputs and {memory_block(name) for name in sources} == {block}
        if part == "memory" and not moved:
            raise _unknown_form(softmax)
        found.append(Product(part, block, softmax, transpose, product))
    blocks = {memory_block(name) for name in inputs} - {None}
    expected = {(part, block) for part in PARTS.values() for block in blocks}
    if {(p.part, p.block) for p in found} != expected:
        raise BundleError(
            f"{GraphName.STEP} lacks an attention that this release exports; export the bundle "
            "again"
        )
    return found


def _only(readers: Mapping[str, list[NodeProto]], node: NodeProto, kind: str) -> list[NodeProto]:
    following = readers.get(node.output[0], [])
    if len(following) != 1 or following[0].op_type != kind:
        raise _unknown_form(node)
    return following


def _unknown_form(node: NodeProto) -> BundleError:
    return BundleError(
        f"{GraphName.STEP}: the attention at {node.name} is not in the form that this "
        "release exports; export the bundle again"
    )


def _sources(name: str, makers: Mapping[str, NodeProto]) -> Iterator[str]:
    """The tensors that a tensor's data is moved from, without arithmetic."""
    node = makers.get(name)
    if node is None or node.op_type not in MOVES:
        yield name
        return
    for source in node.input if node.op_type == "Concat" else node.input[:1]:
        yield from _sources(source, makers)


def constants_of(model: ModelProto) -> Constant:
    """Make a function that adds constants to a graph, each once."""
    taken = {tensor.name for tensor in model.graph.initializer}
    added: set[str] = set()

    def constant(name: str, value: object) -> str:
        name = f"attention_{name}"
        if name not in added:
            assert name not in taken, name
            added.add(name)
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    return constant
