"""Print docs/graphs.md: the tensors of the graphs, from the contract that the code checks.

python docs/print_graphs.py > docs/graphs.md
"""

from collections.abc import Iterator
from itertools import groupby

from mavos_deploy.export.exporter import dimensions_of
from mavos_deploy.models.variants import VARIANTS
from mavos_deploy.runtime.contract import Dimensions, TensorSpec, graph_specs

HEADER = """\
# The five graphs

<!-- Written by `python docs/print_graphs.py > docs/graphs.md`; edit that file, not this one. -->

A bundle holds five ONNX graphs, or four where the long-term memory merges nothing: every bundle
of DeAOT, see [below](#deaot-and-other-memories). One for GPUs (`--target gpu`) has `decoder_one`
besides. Their names, types and shapes are the contract between export and runtime:
`mavos-export` takes its input names from it, and a bundle that departs from it is refused when it
is opened. The tables below are printed from the same place, `runtime/contract.py`.

All memory is feature maps, batch first. In a shape, a number is fixed. `groups` is the number of
groups of ten objects. `channels` is the number of channels, of 11, that labels are made from: all
of them with two or more groups, and with one group at least those in use, so that a CPU does not
upsample unused channels. The two vary within a video as objects come and go. `output_height` and
`output_width` are the video's own size and may differ from video to video. The others are fixed
when a bundle is exported; in a bundle for [any size](export.md#any-size) they vary as well:

| name | meaning |
|---|---|
| `height`, `width` | the bundle's frame size, 16k + 1 on each side (16k with swin) |
| `height_4`, `width_4` | `height` and `width` divided by 4, rounded up; `_8` and `_16` likewise |
| `real` | float32 in a bundle of precision `fp32`, float16 in one of `fp16` |
| `remembered` | `real`, or uint8 in a bundle whose [memory is int8](calibrate.md#attention) |
"""

CHAIN = """\
## How the segmenter chains them

A state of MAVOS holds three memories, each with a key and a value for each of the three blocks: the
`reference` frame, the `dynamic` summary of the frames since, and the `short`-term memory of the
previous frame. One ordinary frame:

1. `encoder` turns the frame into features, once for all groups.
2. `elstt_step` reads the three memories and gives the decoder's input, and the frame's own keys
   and visual values.
3. `decoder` gives logits, the label map at the video's size, and the same labels resized back to
   the network's size. The order is the authors': logits, bilinear to the video's size, argmax,
   nearest to the network's size. The segmenter passes the interpolation as two matrices and two
   index lists, so one graph serves videos of every size. Soft aggregation of a single group
   changes no maximum, so it is left out there. In a bundle for CPUs `decoder` has a branch for one
   group, which upsamples only where a border runs: a pixel between four logits with the same
   largest channel has that label. A bundle for GPUs has
   `decoder_one`: of the matrices it takes the sizes alone, and a running maximum over logits that
   are resized where they are needed is one kernel, where the general form has eleven.
4. `memory_write` adds the identities of the labels to the visual values. The keys of step 2 and
   these values are the next short-term memory.
5. Every memory-gap frames, `memory_update` (modulated cross-attention, MCA) merges the new
   short-term memory into the dynamic one.

Four facts make five static graphs enough, and the result equal to the authors' code up to float
rounding:

- **The dynamic memory starts as a copy of the reference.** The authors' long-term memory is one
  frame long at first and two later. Attention over a reference that stands there twice equals
  attention over it once, because softmax halves each weight and the sum adds them again. So every
  shape is static from the first frame on.
- **The first update copies.** The authors' first long-term write stores the frame as it is; MCA
  starts with the second. While no group has been written, the segmenter copies and does not run
  `memory_update` at all. In a batch where some groups are at their first write and others are not,
  `first_update` is 1 for the former, and the graph passes their new memory through.
- **A reference frame needs no graph of its own.** A frame with known labels attends to its own
  memory in every block. The segmenter runs `elstt_step` and `memory_write` once for each block,
  feeding the result back into all memories. After pass i the memories of the first i blocks are
  right, whatever the first pass started from, so after three passes of three blocks all are right.
  A frame that is annotated later was segmented first, and that step is its first pass, unless the
  annotation brings a new group.
- **The new long-term entry is the short-term memory just written.** No second computation of it
  exists.

An object that joins later makes its frame a reference frame as well. Existing groups receive it in
their dynamic memory; a group that is new receives it as its permanent reference.

More than ten objects: groups of ten consecutive internal ids lie on the batch axis, the encoder
still runs once, and the decoder merges the groups by the authors' soft aggregation. `object_mask`
adds -10000 to the logits of channels that hold no object and 0 to the others; float16 holds that
number exactly, and softmax turns it into exactly 0.

In the form for CPUs, the decoder upsamples and merges sixteen bands of rows one after another, each
from the few rows of logits around it, so that only one of them is in memory at the output size.
Labels of a single group of at most 262,144 pixels are made in one piece. Larger ones are made where
borders run or, where borders are many, in bands, one channel after another. All ways give the same
labels, but where two channels are equal to within rounding. They need matrices as `interpolation`
makes them: each row of the video is made of one row of logits or of two neighbours, and a later row
not of earlier ones. `mavos_bands` in the file's metadata is 0: the memory for labels doesn't grow
with the objects. Files of earlier exports, whose decoder enlarged the rectangle around the objects,
have the number of bands there.

One thing to know when calling the graphs without the segmenter: outputs named `updated_*` go into
inputs named `dynamic_*`, and `key_i` with `value_i` into `short_*`.

## DeAOT and other memories

The tables above are those of MAVOS with its own memory, `mca`. What differs follows from two
entries of the manifest, `dimensions.blocks` and `memory`; [models.md](models.md) says what they
mean for masks and speed.

- **Blocks.** The number at the end of a tensor's name is that of its block, from 0 to
  `dimensions.blocks` - 1: one block in deaot_t, two in deaot_s, three in all others. There is no
  `identity_query` of block 0. A reference frame takes as many passes as there are blocks.
- **Channels** of a DeAOT variant are those of the MAVOS variant with its encoder: mobilenet for
  deaot_t, _s, _b and _l, resnet50 for r50_deaot_l, swin_base for swinb_deaot_l.
- **Slots.** The long-term memory has `memory.slots` slots. Slot 0 is `reference`, a group's first
  annotated frame, for ever. A second is `dynamic`; with more than two they are `dynamic1`,
  `dynamic2` and so on, and each has `<slot>_key_<block>` and `<slot>_value_<block>`.
- **Bias.** With more than two slots, `elstt_step` takes `slot_bias` [groups, slots], float32, as
  its second input: 0 for slots that hold a frame, -10000 for empty ones. It is added to every
  score of the slot's tokens. Groups fill at different times, so each has a row of its own. The
  numbers in empty slots must be finite; the segmenter keeps copies of the reference there. With
  one or two slots there is no such input: a copy of the reference in the second changes nothing.
- **One slot for one annotation.** A bundle with memory `annotations` has `elstt_step_one` beside
  `elstt_step`: the same without the slots behind the reference. The segmenter runs it until an
  annotated frame enters another slot, with the same results; at 481x849 it saves deaot_t 6.5 of 58
  GFLOP a frame.
- **Writes.** But for `mca` there is no `memory_update`: a frame enters a slot as `memory_write`
  left it, by its tensors taking the place of the slot's. `latest` writes to slot 1. `annotations`
  fills slot after slot with annotated frames, and once all are full replaces the last. `lvos:L`
  fills slots 1 to L - 2, then writes to the last two in turns: write number n of the video,
  counted in all groups alike, goes to slot L - 1 if n is even and to slot L if it is odd.
"""


def main() -> None:
    """Print the page."""
    print("\n".join(_page()), end="")


def _page() -> Iterator[str]:
    mavos = {name: variant for name, variant in VARIANTS.items() if variant.has_mca}
    dimensions = {name: dimensions_of(variant) for name, variant in mavos.items()}
    symbols = _symbols(list(dimensions.values()))
    yield HEADER.rstrip()
    for channels, symbol in symbols.items():
        if symbol.startswith("2 "):
            continue
        each = ", ".join(f"{n} in {v}" for n, v in zip(channels, dimensions, strict=True))
        yield f"| `{symbol}` | channels: {each} |"
    yield ""
    specs = [graph_specs(d, None, decoder_one=True) for d in dimensions.values()]
    first = next(iter(dimensions.values()))
    halves = graph_specs(first, None, "fp16", decoder_one=True)
    rounded = graph_specs(first, None, memory_values="int8", decoder_one=True)
    for graph in specs[0].values():
        same = [each[graph.name] for each in specs]
        half, int8 = halves[graph.name], rounded[graph.name]
        yield f"## `{graph.name}`"
        yield ""
        yield f"Runs {graph.when}."
        yield ""
        yield "| | tensor | type | shape |"
        yield "|---|---|---|---|"
        for side in ("inputs", "outputs"):
            others = zip(getattr(half, side), getattr(int8, side), strict=True)
            kinds = {a.name: (a.dtype, b.dtype) for a, b in others}
            tensors = [
                (
                    versions[0].name,
                    _type(versions[0].dtype, *kinds[versions[0].name]),
                    _shape(versions, symbols),
                )
                for versions in zip(*(getattr(each, side) for each in same), strict=True)
            ]
            yield from _rows(side.removesuffix("s"), tensors)
        yield ""
    yield CHAIN


def _type(single: str, half: str, int8: str) -> str:
    """A tensor's type, or a name for it where it depends on the bundle."""
    if int8 != single:
        return "remembered"
    return single if half == single else "real"


def _symbols(dimensions: list[Dimensions]) -> dict[tuple[int, ...], str]:
    """Names for the channel counts that the variants don't share."""
    features = zip(*(d.features for d in dimensions), strict=True)
    symbols = {
        channels: f"channels_{stride}"
        for stride, channels in zip((4, 8, 16), features, strict=True)
    }
    for name in ("embedding", "key", "value"):
        one = tuple(getattr(d, name) for d in dimensions)
        symbols[one] = name
        symbols[tuple(2 * channels for channels in one)] = f"2 {name}"
    return symbols


def _shape(versions: tuple[TensorSpec, ...], symbols: dict[tuple[int, ...], str]) -> str:
    """The shape of one tensor in all variants, with a symbol where they differ."""
    sides = []
    for extents in zip(*(spec.shape for spec in versions), strict=True):
        if len(set(extents)) == 1:
            sides.append(str(extents[0]))
        else:
            sides.append(symbols[tuple(int(extent) for extent in extents)])
    return "[" + ", ".join(sides) + "]"


def _rows(side: str, tensors: list[tuple[str, str, str]]) -> Iterator[str]:
    """One row for each tensor; the same tensor of several blocks shares a row."""

    def kind(tensor: tuple[str, str, str]) -> tuple[str, str, str]:
        name, dtype, shape = tensor
        stem, _, number = name.rpartition("_")
        return (stem if number.isdigit() else name, dtype, shape)

    for (_, dtype, shape), group in groupby(tensors, kind):
        names = ", ".join(f"`{name}`" for name, _, _ in group)
        yield f"| {side} | {names} | {dtype} | `{shape}` |"


if __name__ == "__main__":
    main()
