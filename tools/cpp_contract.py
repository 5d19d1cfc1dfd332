"""Writes the contract of the graphs as a C++ header, from the one contract in Python.

    python tools/cpp_contract.py            write runtime/cpp/src/contract.h
    python tools/cpp_contract.py --check    fail if it is not current

The contract is evaluated with marked sizes, so that the header holds rules such as "twice the width
of the values", not the numbers of one network.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from mavos_deploy.runtime import contract, geometry, objects, state
from mavos_deploy.runtime.bundles import manifest, quantisation
from mavos_deploy.runtime.contract import Dimensions, GraphSpec, Precision, TensorSpec

HEADER = Path(__file__).resolve().parents[1] / "runtime/cpp/src/contract.h"

# Primes beyond every fixed extent, so that a product shows its factors.
MARKED = Dimensions(features=(1009, 1013, 1019), embedding=1021, key=1031, value=1033)
MARKS = {
    1009: "feature_4x",
    1013: "feature_8x",
    1019: "feature_16x",
    1021: "embedding",
    1031: "key",
    1033: "value",
}
Row = tuple[str, str, tuple[tuple[str, int], ...], bool]  # name, type, extents, one for each block


def extent(dim: int | str) -> tuple[str, int]:
    """The name of an extent and its factor; a number has no name."""
    if isinstance(dim, str):
        return dim, 1
    for prime, name in MARKS.items():
        if dim % prime == 0:
            return name, dim // prime
    return "", dim


def rows(
    single: Sequence[TensorSpec], half: Sequence[TensorSpec], levels: Sequence[TensorSpec]
) -> Iterator[Row]:
    """The rows of a graph's inputs or outputs, those of all blocks in one.

    Args:
        single: Tensors of a float32 bundle.
        half: The same of a float16 bundle.
        levels: The same of a bundle with a memory in levels.
    """
    each = []
    for tensor, other, rounded in zip(single, half, levels, strict=True):
        kind = tensor.dtype
        if rounded.dtype != tensor.dtype:
            kind = "memory_values"
        elif other.dtype != tensor.dtype:
            kind = "real"
        match = re.fullmatch(r"(\w+_)(\d+)", tensor.name)
        block = match is not None and tensor.shape[0] == contract.GROUPS
        name, number = (match[1], int(match[2])) if match and block else (tensor.name, 0)
        each.append((name, kind, tuple(extent(dim) for dim in tensor.shape), block, number))
    for (name, kind, shape, block), same in groupby(each, key=lambda row: row[:4]):
        numbers = [row[4] for row in same]
        if block:
            first = numbers[0]
            assert numbers == list(range(first, contract.BLOCKS)), name
            yield f"{name}{first}", kind, shape, True
        else:
            yield name, kind, shape, False


def literal(row: Row) -> str:
    """A row in C++."""
    name, kind, shape, block = row
    number = int(name.rpartition("_")[2]) if block else -1
    stem = name.rpartition("_")[0] + "_" if block else name
    extents = ", ".join(f'{{"{called}", {factor}}}' for called, factor in shape)
    return f'    {{"{stem}", Kind::{kind}, {number}, {len(shape)}, {{{{{extents}}}}}}},'


def header() -> str:
    """The text of the header."""
    forms = [("fp32", "float"), ("fp16", "float"), ("fp32", "int8")]
    specs = [contract.graph_specs(MARKED, None, precision, values) for precision, values in forms]
    lines = [
        "// Written by tools/cpp_contract.py from mavos_deploy.runtime.contract; do not edit.",
        "#pragma once",
        "",
        "#include <array>",
        "#include <cstddef>",
        "#include <cstdint>",
        "",
        "namespace mavos::contract {",
        "",
    ]
    numbers = {
        "kBlocks": contract.BLOCKS,
        "kIdentities": contract.IDENTITIES,
        "kChannels": contract.CHANNELS,
        "kFewestUsed": contract.FEWEST_USED,
        "kVoid": objects.VOID,
        "kStride": geometry.STRIDE,
        "kLongestSide": geometry.LONGEST_SIDE,
        "kMaxPixels": geometry.MAX_PIXELS,
        "kHighestLevel": quantisation.HIGHEST_LEVEL,
        "kManifestVersion": manifest.FORMAT_VERSION,
        "kStateVersion": state.FORMAT_VERSION,
    }
    lines += [f"inline constexpr int64_t {name} = {value};" for name, value in numbers.items()]
    lines += [f"inline constexpr float kUnusedObject = {contract.UNUSED_OBJECT:.1f}F;"]
    texts = {"kManifest": manifest.MANIFEST, "kMetadata": state.METADATA}
    lines += [f'inline constexpr const char* {name} = "{text}";' for name, text in texts.items()]
    slots = ", ".join(f'"{slot}"' for slot in contract.SLOTS)
    lines += [
        f"inline constexpr std::array<const char*, {len(contract.SLOTS)}> kSlots = {{{slots}}};",
        "",
        "// `real` is the bundle's precision, `memory_values` that or the type of its levels.",
        "enum class Kind { float32, int32, uint8, real, memory_values };",
        f'inline constexpr const char* kLevels = "{contract.VALUES["int8"]}";',
    ]
    lines += [
        f'inline constexpr const char* kReal{p.upper()} = "{Precision(p).dtype}";'
        for p in Precision
    ]
    lines += [
        "",
        "struct Extent {",
        "  const char* name;  // empty for a number, which is the factor then",
        "  int64_t factor;",
        "};",
        "",
        "struct Row {",
        "  const char* name;     // without its number where there is one tensor for each block",
        "  Kind kind;",
        "  int first_block;      // -1 for a single tensor",
        "  size_t rank;",
        "  std::array<Extent, 4> shape;",
        "};",
        "",
        "struct Graph {",
        "  const char* name;",
        "  const Row* inputs;",
        "  size_t input_count;",
        "  const Row* outputs;",
        "  size_t output_count;",
        "};",
        "",
    ]
    graphs = []
    for name in specs[0]:
        own = [spec[name] for spec in specs]
        graphs.append(f'    {{"{name}", {_tables(name, own, lines)}}},')
    lines += [f"inline constexpr std::array<Graph, {len(graphs)}> kGraphs = {{{{", *graphs, "}};"]
    return "\n".join([*lines, "", "}  // namespace mavos::contract", ""])


def _tables(name: str, specs: list[GraphSpec], lines: list[str]) -> str:
    """Add a graph's tables to the lines, and return the fields that refer to them."""
    fields = []
    for side in ("inputs", "outputs"):
        table = list(rows(*(getattr(spec, side) for spec in specs)))
        label = f"k_{name}_{side}"
        lines += [f"inline constexpr std::array<Row, {len(table)}> {label} = {{{{"]
        lines += [*map(literal, table), "}};", ""]
        fields.append(f"{label}.data(), {label}.size()")
    return ", ".join(fields)


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it differs")
    check: bool = parser.parse_args().check
    if check:
        if HEADER.read_text(encoding="utf-8") == header():
            return 0
        print(f"{HEADER} is not current; run python tools/cpp_contract.py", file=sys.stderr)
        return 1
    HEADER.write_text(header(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
