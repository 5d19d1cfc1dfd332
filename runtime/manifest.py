"""What a bundle says of itself: the manifest and its JSON."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mavos_deploy.errors import BundleError, InputError
from mavos_deploy.runtime.contract import (
    PRECISIONS,
    Dimensions,
    GraphName,
    GraphSpec,
    TensorSpec,
    graph_specs,
)
from mavos_deploy.runtime.engines import Engine, parse_engine
from mavos_deploy.runtime.geometry import check_size, network_size
from mavos_deploy.runtime.quantisation import Quantisation, parse_quantisation
from mavos_deploy.runtime.system.files import replacing

MANIFEST = "manifest.json"
TARGETS = ("cpu", "gpu")  # forms of the short-term attention
FORMAT_VERSION = 1  # raised whenever an older runtime would misread a bundle
T = TypeVar("T")


@dataclass(frozen=True)
class GraphFile:
    """A graph's file in the bundle.

    Attributes:
        file: Relative path with forward slashes.
        sha256: Of the file.
        inputs: Names, types and shapes, as in the contract.
        outputs: Likewise.
    """

    file: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        variant: Name of the network.
        weights_source: File name of the checkpoint, or `synthetic`.
        weights_sha256: Of the checkpoint file.
        trained: False where no checkpoint was given; masks are then meaningless.
        height: Of frames, in pixels; of those that a bundle for any size is tuned for.
        width: Likewise.
        align_corners: How the network resizes; also says that sides are 16k + 1 and not 16k.
        dimensions: Channel counts.
        memory_gap: Frames between two writes to the long-term memory.
        precision: Of memories and feature maps, and of the arithmetic unless it is quantised; the
            memory's values may be levels instead, see `values`.
        target: Which form of the attention the graphs hold.
        graphs: Files by graph name.
        parity: Summary of the comparison with PyTorch; None where it was not made.
        tools: Versions of what made the bundle.
        engines: TensorRT plans that `mavos-build` added.
        dynamic: Whether the graphs take frames of any size, each video at the authors' size for it.
        quantisation: What `mavos-calibrate` quantised; None where the graphs are as exported.
        tiled: In a bundle for any size, `elstt_step` with its attention in tiles for videos of one
            size in the network, `HxW`, each; CPUs take it for them.
    """

    variant: str
    weights_source: str
    weights_sha256: str
    trained: bool
    height: int
    width: int
    align_corners: bool
    dimensions: Dimensions
    memory_gap: int
    precision: str
    target: str
    graphs: dict[str, GraphFile]
    parity: dict[str, Any] | None = None
    tools: dict[str, str] = field(default_factory=dict)
    engines: tuple[Engine, ...] = ()
    dynamic: bool = False
    quantisation: Quantisation | None = None
    tiled: dict[str, GraphFile] = field(default_factory=dict)

    @property
    def files(self) -> tuple[GraphFile, ...]:
        """All files of graphs."""
        return *self.graphs.values(), *self.tiled.values()

    @property
    def arithmetic(self) -> str:
        """What the coarsest products are computed in: `int8`, `fp8`, or the precision."""
        return self.quantisation.type if self.quantisation else self.precision

    @property
    def values(self) -> str:
        """What the memory's values are, one of `contract.VALUES`."""
        rounded = self.quantisation is not None and "memory" in self.quantisation.attention
        return "int8" if rounded else "float"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of frames in the network, in pixels; see `input_size` for `dynamic`."""
        return self.height, self.width

    def input_size(self, video: tuple[int, int]) -> tuple[int, int]:
        """Height and width that a video's frames have in the network, in pixels.

        Args:
            video: Height and width of its frames, in pixels.

        Raises:
            InputError: The frames are too small or too narrow for any token.
        """
        return network_size(*video, self.align_corners) if self.dynamic else self.size

    def specs_at(self, size: tuple[int, int]) -> dict[str, GraphSpec]:
        """The contract of the graphs with frames of a size in the network."""
        return graph_specs(self.dimensions, size, self.precision, self.values)

    @property
    def identity(self) -> str:
        """Equal for bundles whose states fit each other, whatever their target is."""
        parts: list[object] = [
            self.variant,
            self.weights_sha256,
            "dynamic" if self.dynamic else self.size,
            self.align_corners,
            asdict(self.dimensions),
            self.memory_gap,
            self.precision,
        ]
        if self.quantisation is not None and self.values == "int8":
            # A level means nothing without its scale.
            parts.append([asdict(levels) for levels in self.quantisation.attention["memory"]])
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of the manifest file."""
        data = {"format_version": FORMAT_VERSION, **asdict(self)}
        return _NUMBERS.sub(_on_one_line, json.dumps(data, indent=2)) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> "Manifest":
        """Parse and check a manifest.

        Args:
            text: Of the file.
            name: What to call it in errors.

        Raises:
            BundleError: Not a manifest, of a newer format, or something is missing or of the
                wrong kind.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"{name} is not valid JSON ({error}); export the bundle again"
            ) from None
        if not isinstance(data, dict):
            raise BundleError(f"{name} is not a manifest; export the bundle again")
        version = _get(data, "format_version", int, name)
        if version != FORMAT_VERSION:
            newer = version > FORMAT_VERSION
            raise BundleError(
                f"{name} has format version {version}, this release reads {FORMAT_VERSION}; "
                + ("update mavos-deploy" if newer else "export the bundle again")
            )
        sizes = _get(data, "dimensions", dict, name)
        features = _get(sizes, "features", list, name)
        if len(features) != 3 or not all(isinstance(f, int) for f in features):
            raise BundleError(f"{name}: `features` must be three channel counts, not {features}")
        graphs = _get(data, "graphs", dict, name)
        parity = None if data.get("parity") is None else _get(data, "parity", dict, name)
        tiled = _get(data, "tiled", dict, name) if "tiled" in data else {}
        manifest = cls(
            **{key: _get(data, key, kind, name) for key, kind in _PLAIN_FIELDS.items()},
            dimensions=Dimensions(
                (features[0], features[1], features[2]),
                *(_get(sizes, key, int, name) for key in ("embedding", "key", "value")),
            ),
            graphs={key: _graph_file(key, value, name) for key, value in graphs.items()},
            parity=parity,
            tools=_get(data, "tools", dict, name),
            engines=_engines(data, name),
            dynamic=_get(data, "dynamic", bool, name) if "dynamic" in data else False,
            quantisation=_quantisation(data, name),
            tiled={
                key: _graph_file(f"{GraphName.STEP} at {key}", tiled[key], name) for key in tiled
            },
        )
        try:
            check_size(*manifest.size, manifest.align_corners)
        except InputError as error:
            raise BundleError(f"{name}: {error}; export the bundle again") from None
        for what, accepted in (("precision", tuple(PRECISIONS)), ("target", TARGETS)):
            if (given := getattr(manifest, what)) not in accepted:
                raise BundleError(
                    f"{name}: {what} {given!r:.40} is unknown to this release, which reads "
                    f"{', '.join(accepted)}; update mavos-deploy"
                )
        if manifest.memory_gap < 1:
            raise BundleError(
                f"{name}: `memory_gap` is {manifest.memory_gap}, not 1 or more; export the bundle "
                "again"
            )
        return manifest


# A list of numbers as `json.dumps` lays it out; no string holds a line break.
_NUMBERS = re.compile(r"\[\n\s*([-+.\deE]+(?:,\n\s*[-+.\deE]+)*)\n\s*\]")


def _on_one_line(numbers: re.Match[str]) -> str:
    return f"[{', '.join(part.strip() for part in numbers[1].split(','))}]"


_PLAIN_FIELDS: dict[str, type] = {
    "variant": str,
    "weights_source": str,
    "weights_sha256": str,
    "trained": bool,
    "height": int,
    "width": int,
    "align_corners": bool,
    "memory_gap": int,
    "precision": str,
    "target": str,
}


def _get(data: Mapping[str, Any], key: str, kind: type[T], name: str) -> T:
    value = data.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        got = "missing" if key not in data else f"{value!r:.40}, not of type {kind.__name__}"
        raise BundleError(f"{name}: `{key}` is {got}; export the bundle again")
    return value


def _graph_file(graph: str, data: object, name: str) -> GraphFile:
    if not isinstance(data, dict):
        raise BundleError(f"{name}: graph `{graph}` is not described; export the bundle again")
    tensors = {}
    for side in ("inputs", "outputs"):
        try:
            tensors[side] = tuple(
                TensorSpec(str(t["name"]), str(t["dtype"]), tuple(t["shape"]))
                for t in _get(data, side, list, name)
            )
        except (KeyError, TypeError):
            raise BundleError(
                f"{name}: the {side} of graph `{graph}` are not described as tensors; "
                "export the bundle again"
            ) from None
    file, sha256 = _get(data, "file", str, name), _get(data, "sha256", str, name)
    return GraphFile(file, sha256, tensors["inputs"], tensors["outputs"])


def _engines(data: Mapping[str, Any], name: str) -> tuple[Engine, ...]:
    """Entries of `mavos-build`; bundles that it never saw have none."""
    if "engines" not in data:
        return ()
    try:
        return tuple(parse_engine(entry) for entry in _get(data, "engines", list, name))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{name}: an entry of `engines` is not one of this release ({error!s:.60}); remove the "
            "entry and run mavos-build again"
        ) from None


def _quantisation(data: Mapping[str, Any], name: str) -> Quantisation | None:
    """What `mavos-calibrate` wrote; other bundles have nothing there."""
    if data.get("quantisation") is None:
        return None
    try:
        return parse_quantisation(_get(data, "quantisation", dict, name))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{name}: `quantisation` is not an entry of this release ({error!s:.60}); run "
            "mavos-calibrate again"
        ) from None


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a manifest of ours, whatever its version and the files beside it."""
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and {"format_version", "graphs"} <= data.keys()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write or replace the manifest of a bundle's folder."""
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_text(manifest.to_json(), encoding="utf-8")
