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
from mavos_deploy.runtime.bundles import manifest, memory, quantisation
from mavos_deploy.runtime.bundles.memory import MCA, MemoryRule, Rule
from mavos_deploy.runtime.contract import Dimensions, GraphName, Precision, TensorSpec

HEADER = Path(__file__).resolve().parents[1] / "runtime/cpp/src/contract.h"

# Primes beyond every fixed extent, so that a product shows its factors.
MARKED = Dimensions(features=(1009, 1013, 1019), embedding=1021, key=1031, value=1033)
MARKED_SLOTS = MemoryRule(Rule.LVOS, 61)
MARKS = {
    61: "slots",
    1009: "feature_4x",
    1013: "feature_8x",
    1019: "feature_16x",
    1021: "embedding",
    1031: "key",
    1033: "value",
}
# The name, without what differs between blocks and slots; type; extents; first block, or -1 for a
# single tensor; whether there is one for each slot.
Row = tuple[str, str, tuple[tuple[str, int], ...], int, bool]
Graphs = dict[str, tuple[list[Row], list[Row]]]


def extent(dim: int | str) -> tuple[str, int]:
    """The name of an extent and its factor; a number has no name."""
    if isinstance(dim, str):
        return dim, 1
    for prime, name in MARKS.items():
        if dim % prime == 0:
            return name, dim // prime
    return "", dim


def rows(forms: Sequence[Sequence[TensorSpec]], slots: Sequence[str]) -> Iterator[Row]:
    """The rows of a graph's inputs or outputs, those of all blocks in one.

    Args:
        forms: Tensors of a float32 bundle, of a float16 one, and of one with a memory in levels.
        slots: Names of the memory's slots where the tensors of each have the same rows; empty where
            they don't, and a slot's name is part of its tensors' names.
    """
    each = []
    for tensor, half, levels in zip(*forms, strict=True):
        kind = tensor.dtype
        if levels.dtype != kind:
            kind = "memory_values"
        elif half.dtype != kind:
            kind = "real"
        match = re.fullmatch(r"(\w+_)(\d+)", tensor.name)
        name, block = (match[1], int(match[2])) if match else (tensor.name, -1)
        slot = next((slot for slot in slots if name.startswith(f"{slot}_")), None)
        stem = name.removeprefix(f"{slot}_") if slot else name
        each.append((slot, stem, kind, tuple(extent(dim) for dim in tensor.shape), block))
    seen: dict[str, list[Row]] = {}
    for (slot, stem, kind, shape), same in groupby(each, key=lambda row: row[:4]):
        blocks = [row[4] for row in same]
        assert blocks in ([-1], list(range(blocks[0], MARKED.blocks))), stem
        row = (stem, kind, shape, blocks[0], slot is not None)
        if slot is None:
            assert not seen
            yield row
        else:
            seen.setdefault(slot, []).append(row)
    assert list(seen) == list(slots)
    for own in seen.values():
        assert own == seen[slots[0]]
    if seen:
        yield from seen[slots[0]]


def evaluate(rule: MemoryRule) -> Graphs:
    """The rows of all graphs by name, inputs and outputs, with a rule of the memory."""
    forms = [("fp32", "float"), ("fp16", "float"), ("fp32", "int8")]
    specs = [
        contract.graph_specs(MARKED, None, precision, values, rule, True)
        for precision, values in forms
    ]
    slots = (*rule.names, contract.SHORT)
    return {
        str(name): (
            list(rows([own[name].inputs for own in specs], slots if name == "elstt_step" else ())),
            list(rows([own[name].outputs for own in specs], ())),
        )
        for name in specs[0]
    }


def evaluate_all() -> Graphs:
    """The rows for every rule: each graph and tensor that any rule has.

    The C++ code leaves out what the bundle's rule doesn't have, `slot_bias` and `memory_update`.
    """
    marked, mca = evaluate(MARKED_SLOTS), evaluate(MCA)
    without = {**mca, "elstt_step": evaluate(MemoryRule(Rule.LATEST))["elstt_step"]}
    assert without == mca
    inputs, outputs = marked["elstt_step"]
    fewer = [row for row in inputs if row[0] != contract.SLOT_BIAS]
    assert (fewer, outputs) == mca["elstt_step"]
    assert marked == {
        **{name: mca[name] for name in marked},
        "elstt_step": (inputs, outputs),
    }
    assert mca.keys() - marked.keys() == {GraphName.MEMORY_UPDATE}
    return {**mca, "elstt_step": (inputs, outputs)}


def literal(row: Row) -> str:
    """A row in C++."""
    name, kind, shape, block, slots = row
    extents = ", ".join(f'{{"{called}", {factor}}}' for called, factor in shape)
    each = "true" if slots else "false"
    return f'    {{"{name}", Kind::{kind}, {block}, {each}, {len(shape)}, {{{{{extents}}}}}}},'


def header() -> str:
    """The text of the header."""
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
        "kBlocks": MARKED.blocks,
        "kMostBlocks": 64,
        "kIdentities": contract.IDENTITIES,
        "kChannels": contract.CHANNELS,
        "kFewestUsed": contract.FEWEST_USED,
        "kVoid": objects.VOID,
        "kStride": geometry.STRIDE,
        "kLongestSide": geometry.LONGEST_SIDE,
        "kMaxPixels": geometry.MAX_PIXELS,
        "kHighestLevel": quantisation.HIGHEST_LEVEL,
        "kMostSlots": memory.MOST_SLOTS,
        "kExactCopies": memory.EXACT_COPIES,
        "kFewestLvos": memory.FEWEST_LVOS,
        "kManifestVersion": manifest.FORMAT_VERSION,
        "kStateVersion": state.FORMAT_VERSION,
    }
    lines += [f"inline constexpr int64_t {name} = {value};" for name, value in numbers.items()]
    floats = {"kUnusedObject": contract.UNUSED_OBJECT, "kEmptySlot": memory.EMPTY}
    lines += [f"inline constexpr float {name} = {value:.1f}F;" for name, value in floats.items()]
    texts = {
        "kManifest": manifest.MANIFEST,
        "kMetadata": state.METADATA,
        "kReference": memory.REFERENCE,
        "kShort": contract.SHORT,
        "kSlotBias": contract.SLOT_BIAS,
        "kBandsNote": contract.BANDS_NOTE,
        "kStep": str(GraphName.STEP),
        "kStepOne": str(GraphName.STEP_ONE),
        "kDecoder": str(GraphName.DECODER),
        "kDecoderOne": str(GraphName.DECODER_ONE),
        "kMemoryUpdate": str(GraphName.MEMORY_UPDATE),
    }
    lines += [f'inline constexpr const char* {name} = "{text}";' for name, text in texts.items()]
    lines += [
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
        "  const char* name;     // without its slot and its block, where there are several",
        "  Kind kind;",
        "  int first_block;      // -1 for a single tensor",
        "  bool each_slot;",
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
    for name, sides in evaluate_all().items():
        fields = []
        for side, table in zip(("inputs", "outputs"), sides, strict=True):
            label = f"k_{name}_{side}"
            lines += [f"inline constexpr std::array<Row, {len(table)}> {label} = {{{{"]
            lines += [*map(literal, table), "}};", ""]
            fields.append(f"{label}.data(), {label}.size()")
        graphs.append(f'    {{"{name}", {", ".join(fields)}}},')
    lines += [f"inline constexpr std::array<Graph, {len(graphs)}> kGraphs = {{{{", *graphs, "}};"]
    return "\n".join([*lines, "", "}  // namespace mavos::contract", ""])


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
