"""The manifest: what a bundle says of itself, and its JSON.

A new field is one line of `Manifest`. One with a default may be absent, so that older bundles open.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from mavos_deploy.errors import BundleError, InputError, MavosError
from mavos_deploy.records import advice, decode, encode, read
from mavos_deploy.runtime.bundles.engines import Engine
from mavos_deploy.runtime.bundles.memory import MCA, MemoryRule
from mavos_deploy.runtime.bundles.quantisation import Quantisation
from mavos_deploy.runtime.contract import (
    Dimensions,
    GraphName,
    GraphSpec,
    Precision,
    TensorSpec,
    graph_specs,
)
from mavos_deploy.runtime.geometry import Size, check_size, network_size
from mavos_deploy.runtime.system.files import replacing, replacing_directory
from mavos_deploy.words import Word

MANIFEST = "manifest.json"
PARITY = "parity.json"  # the whole comparison with PyTorch, beside the manifest
FORMAT_VERSION = 1  # raised whenever an older runtime would misread a bundle

EXPORT = "export the bundle again"
# What to do about a part of the manifest that can't be read; for all others it is `EXPORT`.
REMEDIES = {
    "engines": "remove the entry and run mavos-build again",
    "quantisation": "run mavos-calibrate again",
}
# A list of numbers as `json.dumps` lays it out; no string holds a line break.
_NUMBERS = re.compile(r"\[\n\s*([-+.\deE]+(?:,\n\s*[-+.\deE]+)*)\n\s*\]")


class Target(Word):
    """Device that graphs are written for: their short-term attention is in tiles or in one piece.

    Both forms run on both, with the same results.
    """

    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True)
class GraphFile:
    """A graph's file in the bundle.

    Attributes:
        file: Relative path with forward slashes.
        sha256: SHA-256 of the file.
        inputs: Names, types and shapes of the inputs, as in the contract.
        outputs: Names, types and shapes of the outputs, as in the contract.
    """

    file: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        variant: Name of the network.
        weights_source: File name of the checkpoint, or `synthetic`.
        weights_sha256: SHA-256 of the checkpoint file.
        trained: False where no checkpoint was given; masks are then meaningless.
        height: Height of frames in the network, in pixels. A bundle for any size (`dynamic`) is
            tuned for it.
        width: Width of frames in the network, in pixels; as for `height`.
        align_corners: How the network resizes. True: frame sides are 16k + 1. False: 16k.
        dimensions: Channel counts of the network.
        memory_gap: Frames between two writes to the long-term memory; None where annotated frames
            alone enter it.
        precision: Type of memories and feature maps, and of the arithmetic unless that is
            quantised. The memory's values may be levels instead, see `memory_values`.
        target: Device that the graphs are written for.
        graphs: Files by graph name.
        parity: Summary of the comparison with PyTorch; None where none was made.
        tools: Versions of the programs that made the bundle.
        engines: TensorRT plans that `mavos-build` added.
        dynamic: Whether the graphs take frames of any size, each video at the authors' size for it.
        quantisation: What `mavos-calibrate` quantised; None where the graphs are as exported.
        tiled: For a bundle for any size: files of `elstt_step` with its attention in tiles, by the
            one size in the network, `HxW`, that each takes. CPUs run them for videos of that size.
        memory: Rule of the long-term memory, and its slots.
    """

    variant: str
    weights_source: str
    weights_sha256: str
    trained: bool
    height: int
    width: int
    align_corners: bool
    dimensions: Dimensions
    memory_gap: Annotated[int, Meta(ge=1)] | None
    precision: Precision
    target: Target
    graphs: dict[str, GraphFile]
    parity: dict[str, Any] | None = None
    tools: dict[str, str]
    engines: tuple[Engine, ...] = ()
    dynamic: bool = False
    quantisation: Quantisation | None = None
    tiled: dict[str, GraphFile] = field(default_factory=dict)
    memory: MemoryRule = MCA

    def __post_init__(self) -> None:
        try:
            check_size(*self.size, self.align_corners)
        except InputError as error:
            raise ValueError(str(error)) from None
        if self.memory.at_gaps == (self.memory_gap is None):
            wanted = "a number" if self.memory.at_gaps else "null"
            raise ValueError(f"`memory_gap` is {wanted} with memory {self.memory}")

    @property
    def files(self) -> tuple[GraphFile, ...]:
        """All files of graphs."""
        return *self.graphs.values(), *self.tiled.values()

    @property
    def arithmetic(self) -> str:
        """Type that the coarsest products are computed in: `int8`, `fp8`, or the precision."""
        return self.quantisation.number if self.quantisation else self.precision

    @property
    def memory_values(self) -> str:
        """Type of the memory's values, a key of `contract.VALUES`."""
        rounded = self.quantisation is not None and "memory" in self.quantisation.attention
        return "int8" if rounded else "float"

    @property
    def size(self) -> Size:
        """Height and width in pixels that the graphs take, or are tuned for where they take any."""
        return self.height, self.width

    @property
    def write_every(self) -> int:
        """Frames for each write to the long-term memory in a mean; 1 where there are none."""
        return self.memory_gap or 1

    def input_size(self, video: Size) -> Size:
        """Height and width in pixels that a video's frames have in the network.

        This is `size` for every video, unless the bundle is for any size.

        Args:
            video: Height and width of the video's own frames, in pixels.

        Raises:
            InputError: The frames are too small or too narrow for any token.
        """
        return network_size(*video, self.align_corners) if self.dynamic else self.size

    def specs_at(self, size: Size | None) -> dict[str, GraphSpec]:
        """The contract of the graphs.

        Args:
            size: Height and width of frames in the network, in pixels; None leaves them open.
        """
        return graph_specs(
            self.dimensions,
            size,
            self.precision,
            self.memory_values,
            self.memory,
            decoder_one=GraphName.DECODER_ONE in self.graphs,
            step_one=GraphName.STEP_ONE in self.graphs,
        )

    @property
    def identity(self) -> str:
        """SHA-256 that is equal for bundles whose states fit each other, whatever their target."""
        dimensions = encode(self.dimensions)
        dimensions.pop("blocks", None)  # releases that knew MAVOS alone didn't say it
        parts: list[object] = [
            self.variant,
            self.weights_sha256,
            "dynamic" if self.dynamic else self.size,
            self.align_corners,
            dimensions,
            self.memory_gap,
            self.precision,
        ]
        if self.memory != MCA:
            parts.append([self.dimensions.blocks, encode(self.memory)])
        if self.quantisation is not None and self.memory_values == "int8":
            # A level means nothing without its scale.
            parts.append([encode(levels) for levels in self.quantisation.attention["memory"]])
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of the manifest file: indented, with each list of numbers on one line."""
        text = json.dumps(encode(self, FORMAT_VERSION), indent=2, allow_nan=False)
        return _NUMBERS.sub(lambda numbers: f"[{' '.join(numbers[1].split())}]", text) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> "Manifest":
        """Read and check a manifest.

        Args:
            text: Content of the file.
            name: Name of the file, for errors.

        Raises:
            BundleError: The text is no manifest or one of another format, or a field is missing, of
                the wrong type or out of its range.
        """
        return decode(cls, text, partial(_unfit, name), FORMAT_VERSION)

    @classmethod
    def read(cls, file: Path) -> "Manifest":
        """Read and check the manifest in a file.

        Raises:
            FileNotFoundError: There is no such file.
            BundleError: It can't be read, or see `from_json`.
        """
        return read(cls, file, partial(_unfit, str(file)), FORMAT_VERSION)


def _unfit(name: str, reason: str) -> BundleError:
    do = next((do for part, do in REMEDIES.items() if f"`{part}" in reason), None)
    end = advice(reason, do or EXPORT) or (f", or {do}" if do else "")
    return BundleError(f"{name} is not a manifest of this release: {reason}{end}")


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a manifest of ours, whatever its version and the files beside it."""
    try:
        data = read(dict, folder / MANIFEST, MavosError)
    except (OSError, MavosError):
        return False
    return {"format_version", "graphs"} <= data.keys()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write or replace the manifest of a bundle's folder."""
    with replacing(folder / MANIFEST, follow=False) as temporary:
        temporary.write_text(manifest.to_json(), encoding="utf-8")


@contextmanager
def replacing_bundle(folder: Path, overwrite: bool) -> Iterator[Path]:
    """Write a bundle under a temporary name; see `replacing_directory`.

    Args:
        folder: The bundle's folder.
        overwrite: Replace the bundle that is there.

    Yields:
        The temporary folder, beside `folder`.

    Raises:
        InputError: The folder holds no bundle, or `replacing_directory` refuses it.
    """
    if folder.is_dir() and any(folder.iterdir()) and not is_bundle(folder):
        raise InputError(f"{folder} holds no bundle, so it is not replaced; choose another folder")
    with replacing_directory(folder, overwrite) as temporary:
        yield temporary
