"""The bundle: a folder with a manifest, the graphs, and hashes that tie them together."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from mavos_deploy.errors import BackendError, BundleError, InputError
from mavos_deploy.hashing import file_sha256
from mavos_deploy.runtime.contract import (
    BLOCKS,
    PRECISIONS,
    STEP,
    Dimensions,
    GraphSpec,
    TensorSpec,
    graph_specs,
)
from mavos_deploy.runtime.engines import Engine, parse_engine
from mavos_deploy.runtime.files import replacing
from mavos_deploy.runtime.geometry import check_size, network_size, parse_size
from mavos_deploy.runtime.quantisation import Quantisation, parse_quantisation

MANIFEST = "manifest.json"
PARITY = "parity.json"
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
            tiled={key: _graph_file(f"{STEP} at {key}", tiled[key], name) for key in tiled},
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


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its manifest is well formed and every file is what the manifest says.

    Attributes:
        path: The folder.
        manifest: Its manifest.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> "Bundle":
        """Open a bundle and check it whole.

        Raises:
            BundleError: No bundle, of another format version, incomplete, or altered since it was
                written.
        """
        path = Path(path)
        file = path / MANIFEST
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise BundleError(f"{path} {what}; give a bundle's folder, as mavos-export writes it")
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise BundleError(f"{path} is not a bundle: it holds no {MANIFEST}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"{file} can't be read ({error})") from None
        manifest = Manifest.from_json(text, str(file))
        bundle = cls(path, manifest)
        bundle._check_contract()
        for graph in manifest.files:
            bundle.check_file(graph.file, graph.sha256)
        bundle._check_nothing_else()
        return bundle

    @property
    def specs(self) -> dict[str, GraphSpec]:
        """The contract of its graphs."""
        manifest = self.manifest
        size = None if manifest.dynamic else manifest.size
        return graph_specs(manifest.dimensions, size, manifest.precision, manifest.values)

    def graph_path(self, graph: str) -> Path:
        """The file of a graph."""
        return self.path / self.manifest.graphs[graph].file

    @property
    def tiled(self) -> dict[tuple[int, int], tuple[Path, GraphSpec]]:
        """Files and contract of `Manifest.tiled` by height and width in the network."""
        found = {}
        for text, graph in self.manifest.tiled.items():
            size = parse_size(text)
            found[size] = self.path / graph.file, self.manifest.specs_at(size)[STEP]
        return found

    def engine(
        self, graph: str, library: str, version: str, capability: str, gpu: str | None = None
    ) -> Engine:
        """The engine of a graph for a library and a GPU; `plan` reads it.

        Args:
            graph: Of the contract.
            library: `tensorrt` or `tensorrt_rtx`.
            version: Of the library that is to load it.
            capability: Compute capability of the GPU, such as `8.6`.
            gpu: Name of the GPU; None doesn't ask for an engine that was built on its like.

        Raises:
            BackendError: There is none for this library, release or GPU, or the graph has changed
                since; the message names the command that builds it.
        """
        build = self._build_command(library, capability)
        of_graph = [e for e in self.manifest.engines if (e.graph, e.library) == (graph, library)]
        fitting = [engine for engine in of_graph if engine.runs_on(capability)]
        if not fitting:
            built = ", ".join(engine.capability for engine in of_graph) or "none at all"
            raise BackendError(
                f"{self.path} has no {library} engine of {graph} for compute capability "
                f"{capability} (built for: {built}); run {build}"
            )
        # Of those that can be loaded the one made for this very capability and GPU comes before
        # those that are merely compatible; where none can be, that one tells why.
        engine = min(
            fitting,
            key=lambda e: (
                not (e.runs_with(version) and e.made_for(gpu)),
                e.capability != capability,
                e.gpu != gpu,
            ),
        )
        if not engine.runs_with(version):
            raise BackendError(
                f"{self.path}: the engine of {graph} was built by {library} {engine.version} and "
                f"can't be loaded by {version}; run {build}"
            )
        if engine.graph_sha256 != self.manifest.graphs[graph].sha256:
            raise BackendError(
                f"{self.path}: the engine of {graph} was built from another {graph}.onnx; "
                f"run {build}"
            )
        if not engine.made_for(gpu):
            raise BackendError(
                f"{self.path}: the engine of {graph} was built on {engine.gpu}, with kernels for "
                f"that, and this is {gpu}; run {build} here, or there with --hardware-compatible "
                "ampere-plus"
            )
        return engine

    def plan(self, engine: Engine) -> bytes:
        """The plan of an engine of the manifest, checked to be what was built.

        Raises:
            BundleError: It is missing, altered, or lies outside of the bundle.
        """
        content = b""

        def digest(path: Path) -> str:
            nonlocal content
            content = path.read_bytes()
            return hashlib.sha256(content).hexdigest()

        build = self._build_command(engine.library, engine.capability)
        remedy = f"run {build}, with the options that it was built with"
        self.check_file(engine.file, engine.sha256, remedy, digest)
        return content

    def _build_command(self, library: str, capability: str) -> str:
        command = f"mavos-build {self.path} --library {library}"
        if library == "tensorrt_rtx":
            command += f" --compute-capability {capability}"
        return command

    def _check_contract(self) -> None:
        manifest, graphs = self.manifest, self.manifest.graphs
        self._check_levels()
        specs = [(graphs.get(name), name, spec) for name, spec in self.specs.items()]
        if manifest.tiled and not manifest.dynamic:
            raise BundleError(
                f"{self.path}: `tiled` is for bundles of any size; export the bundle again"
            )
        for text, graph in manifest.tiled.items():
            try:
                size = check_size(*parse_size(text), manifest.align_corners)
            except InputError as error:
                raise BundleError(
                    f"{self.path}: `tiled`: {error}; export the bundle again"
                ) from None
            specs.append((graph, f"{STEP} at {text}", manifest.specs_at(size)[STEP]))
        for described, name, spec in specs:
            if described is None:
                raise BundleError(f"{self.path}: the manifest has no graph `{name}`")
            for given, expected in (
                (described.inputs, spec.inputs),
                (described.outputs, spec.outputs),
            ):
                if given != expected:
                    different = next(
                        (str(e.name) for g, e in zip(given, expected, strict=False) if g != e),
                        "their number",
                    )
                    raise BundleError(
                        f"{self.path}: graph `{name}` departs from the contract at {different}; "
                        "export the bundle again with this release"
                    )

    def _check_levels(self) -> None:
        quantisation, channels = self.manifest.quantisation, 2 * self.manifest.dimensions.value
        for part, blocks in (quantisation.attention if quantisation else {}).items():
            found = [levels.channels for levels in blocks]
            if found != [channels] * BLOCKS:
                raise BundleError(
                    f"{self.path}: `quantisation` has scales of {found} channels for {part} "
                    f"attention, where {BLOCKS} blocks of {channels} are needed; run "
                    "mavos-calibrate again"
                )

    def check_file(
        self,
        relative: str,
        sha256: str,
        remedy: str = "export the bundle again",
        digest: Callable[[Path], str] = file_sha256,
    ) -> None:
        """Check that a file of the manifest lies in the bundle and is the one that was made.

        Args:
            relative: To the bundle, with forward slashes.
            sha256: Of the file that was made.
            remedy: What to do about a file that is missing or altered.
            digest: Reads the file, and gives its SHA-256.

        Raises:
            BundleError: It is missing, altered, or lies outside of the bundle.
        """
        parts = PurePosixPath(relative).parts
        inside = parts and ".." not in parts and not PurePosixPath(relative).is_absolute()
        path = self.path / relative
        try:
            if not inside or not path.resolve().is_relative_to(self.path.resolve()):
                raise BundleError(f"{self.path}: `{relative}` lies outside of the bundle; refused")
            if not path.is_file():
                raise BundleError(f"{self.path}: {relative} is missing; {remedy}")
            found = digest(path)
        except (OSError, ValueError, RuntimeError) as error:  # not a file name, a loop of links
            raise BundleError(f"{self.path}: {relative!r} can't be read ({error})") from None
        if found != sha256:
            raise BundleError(
                f"{self.path}: {relative} is not the file that was made (its SHA-256 differs); "
                f"{remedy}"
            )

    def _check_nothing_else(self) -> None:
        """Refuse files beside the graphs: a graph could read its weights from there, unhashed."""
        known = {(self.path / graph.file).resolve() for graph in self.manifest.files}
        for folder in {path.parent for path in known}:
            for path in folder.iterdir():
                if path.resolve() not in known:
                    raise BundleError(
                        f"{self.path}: {path.name} stands beside the graphs, but not in the "
                        "manifest; remove it, or export the bundle again"
                    )


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
