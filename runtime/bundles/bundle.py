"""The bundle: a folder with a manifest, the graphs, and hashes that tie them together."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from mavos_deploy.errors import BackendError, BundleError, InputError
from mavos_deploy.hashing import file_sha256
from mavos_deploy.reading import open_regular
from mavos_deploy.runtime.bundles.engines import Engine, Library, Misfit, Why, choose
from mavos_deploy.runtime.bundles.manifest import EXPORT, MANIFEST, GraphFile, Manifest
from mavos_deploy.runtime.bundles.onnx_file import refuse_external_data
from mavos_deploy.runtime.bundles.quantisation import SCORES
from mavos_deploy.runtime.bundles.sealed import can_seal, sealed
from mavos_deploy.runtime.contract import GraphName, GraphSpec
from mavos_deploy.runtime.geometry import Size, check_size, parse_size

T = TypeVar("T")
EXAMPLE = "`mavos-export --variant lite --size 241x433` makes lite-241x433"  # for errors


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

        Args:
            path: Its folder.

        Raises:
            BundleError: The folder is no bundle, of another format version, incomplete, or altered
                since it was written.
        """
        path = Path(path)
        file = path / MANIFEST
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise BundleError(
                f"{path} {what}; give a bundle's folder, as mavos-export writes it; {EXAMPLE}"
            )
        try:
            bundle = cls(path, Manifest.read(file))
        except FileNotFoundError:
            raise BundleError(f"{path} is not a bundle: it holds no {MANIFEST}") from None
        bundle._check_levels()
        bundle._check_contract()
        for graph in bundle.manifest.files:
            bundle.check(graph.file, graph.sha256)
        bundle._check_nothing_else()
        return bundle

    @property
    def specs(self) -> dict[str, GraphSpec]:
        """The contract of its graphs, by name."""
        return self.manifest.specs_at(None if self.manifest.dynamic else self.manifest.size)

    def graph_path(self, graph: str) -> Path:
        """The file of a graph."""
        return self.path / self.manifest.graphs[graph].file

    def graph(self, graph: str) -> bytes:
        """The ONNX file of a graph; see `content`."""
        return self.content(self.graph_path(graph))

    def files(self, graph: str) -> list[tuple[Path, GraphSpec]]:
        """Files that run a graph, each with its contract; the last one takes all shapes."""
        special = list(self.tiled.values()) if graph == GraphName.STEP else []
        return [*special, (self.graph_path(graph), self.specs[graph])]

    def bytes_of(self, graph: str) -> int:
        """Bytes of a graph's file; 0 where it is gone, which `content` refuses."""
        path = self.graph_path(graph)
        return path.stat().st_size if path.is_file() else 0

    def content(self, path: Path) -> bytes:
        """The ONNX file at a path of `files`, checked as it is read: what is checked is what runs.

        Args:
            path: See `files`.

        Raises:
            BundleError: The file is missing, altered, lies outside of the bundle, or refers to
                another file.
        """
        graph = next(graph for graph in self.manifest.files if self.path / graph.file == path)
        content = self.read(graph.file, graph.sha256)
        refuse_external_data(content, str(path))
        return content

    @contextmanager
    def checked(self, path: Path) -> Iterator[str | bytes]:
        """The ONNX file at a path of `files` for a library to open; what is checked is what runs.

        Args:
            path: See `files`.

        Yields:
            Name of a copy that nobody can change, which is there as long as the block lasts; the
            content, where no such copy can be made.

        Raises:
            BundleError: See `content`.
        """
        if not path.is_file() or not can_seal(path.stat().st_size):
            yield self.content(path)
            return
        graph = next(graph for graph in self.manifest.files if self.path / graph.file == path)
        with (
            self._inside(graph.file, EXPORT, open_regular) as file,
            sealed(
                file,
                lambda found: self._compare(graph.file, graph.sha256, found, EXPORT),
                lambda content: refuse_external_data(content, str(path)),
            ) as name,
        ):
            yield name

    @property
    def tiled(self) -> dict[Size, tuple[Path, GraphSpec]]:
        """Files and contract of `Manifest.tiled` by height and width in the network."""
        found = {}
        for text, graph in self.manifest.tiled.items():
            size = parse_size(text)
            found[size] = self.path / graph.file, self.manifest.specs_at(size)[GraphName.STEP]
        return found

    def engine(
        self, graph: str, library: str, version: str, capability: str, gpu: str | None = None
    ) -> Engine:
        """The engine of a graph for a library and a GPU; `plan` reads it.

        Args:
            graph: Name of the graph.
            library: The library that is to load the engine, a `Library`.
            version: Release of that library.
            capability: Compute capability of the GPU, such as `8.6`.
            gpu: Name of the GPU; None accepts an engine that was built on another model.

        Raises:
            BackendError: No engine is for this library, release or GPU, or the graph has changed
                since it was built; the message names the command that builds one.
        """
        found = choose(
            self.manifest.engines,
            graph=graph,
            graph_sha256=self.manifest.graphs[graph].sha256,
            library=library,
            version=version,
            capability=capability,
            gpu=gpu,
        )
        build = self._build_command(library, capability)
        which = f"{self.path}: the engine of {graph} was built"
        match found:
            case Engine():
                return found
            case Misfit(Why.CAPABILITY, engines):
                built = ", ".join(engine.capability for engine in engines) or "none at all"
                raise BackendError(
                    f"{self.path} has no {library} engine of {graph} for compute capability "
                    f"{capability} (built for: {built}); run {build}"
                )
            case Misfit(Why.VERSION, (engine,)):
                loaded = f"{engine.version} and can't be loaded by {version}"
                raise BackendError(f"{which} by {library} {loaded}; run {build}")
            case Misfit(Why.GRAPH):
                raise BackendError(f"{which} from another {graph}.onnx; run {build}")
            case Misfit(Why.GPU, (engine,)):
                raise BackendError(
                    f"{which} on {engine.gpu}, with kernels for that, and this is {gpu}; run "
                    f"{build} here, or there with --hardware-compatible ampere-plus"
                )
        raise AssertionError(found)

    def plan(self, engine: Engine) -> bytes:
        """The plan of an engine of the manifest, checked to be what was built.

        Raises:
            BundleError: The plan is missing, altered, or lies outside of the bundle.
        """
        build = self._build_command(engine.library, engine.capability)
        remedy = f"run {build}, with the options that it was built with"
        return self.read(engine.file, engine.sha256, remedy)

    def _build_command(self, library: str, capability: str) -> str:
        command = f"mavos-build {self.path} --library {library}"
        if library == Library.TENSORRT_RTX:
            command += f" --compute-capability {capability}"
        return command

    def check(self, relative: str, sha256: str) -> None:
        """Check that a file of the manifest lies in the bundle and is the one that was made.

        Args:
            relative: Path in the bundle, with forward slashes.
            sha256: SHA-256 of the file that was made.

        Raises:
            BundleError: The file is missing, altered, or lies outside of the bundle.
        """
        self._compare(relative, sha256, self._inside(relative, EXPORT, file_sha256), EXPORT)

    def read(self, relative: str, sha256: str, remedy: str = EXPORT) -> bytes:
        """The content of a file of the manifest, checked; see `check`.

        Args:
            relative: See `check`.
            sha256: See `check`.
            remedy: Advice about a file that is missing or altered.

        Raises:
            BundleError: See `check`.
        """
        content = self._inside(relative, remedy, Path.read_bytes)
        self._compare(relative, sha256, hashlib.sha256(content).hexdigest(), remedy)
        return content

    def _inside(self, relative: str, remedy: str, read: Callable[[Path], T]) -> T:
        """Read a file, unless it lies outside of the bundle, not even through a link."""
        parts = PurePosixPath(relative).parts
        inside = parts and ".." not in parts and not PurePosixPath(relative).is_absolute()
        path = self.path / relative
        try:
            if not inside or not path.resolve().is_relative_to(self.path.resolve()):
                raise BundleError(f"{self.path}: `{relative}` lies outside of the bundle; refused")
            if not path.is_file():
                raise BundleError(f"{self.path}: {relative} is missing; {remedy}")
            return read(path)
        except (OSError, ValueError, RuntimeError) as error:  # not a file name, a loop of links
            raise BundleError(f"{self.path}: {relative!r} can't be read ({error})") from None

    def _compare(self, relative: str, sha256: str, found: str, remedy: str) -> None:
        if found != sha256:
            raise BundleError(
                f"{self.path}: {relative} is not the file that was made (its SHA-256 differs); "
                f"{remedy}"
            )

    def _check_contract(self) -> None:
        """Refuse graphs whose tensors are not those of the contract."""
        manifest = self.manifest
        for name, spec in self.specs.items():
            if name not in manifest.graphs:
                raise BundleError(f"{self.path}: the manifest has no graph `{name}`")
            self._check_tensors(manifest.graphs[name], name, spec)
        if manifest.tiled and not manifest.dynamic:
            raise BundleError(f"{self.path}: `tiled` is for bundles of any size; {EXPORT}")
        for text, graph in manifest.tiled.items():
            try:
                size = check_size(*parse_size(text), manifest.align_corners)
            except InputError as error:
                raise BundleError(f"{self.path}: `tiled`: {error}; {EXPORT}") from None
            step = manifest.specs_at(size)[GraphName.STEP]
            self._check_tensors(graph, f"{step.name} at {text}", step)

    def _check_tensors(self, graph: GraphFile, name: str, spec: GraphSpec) -> None:
        for given, expected in ((graph.inputs, spec.inputs), (graph.outputs, spec.outputs)):
            if given != expected:
                pairs = zip(given, expected, strict=False)
                different = next((e.name for g, e in pairs if g != e), "their number")
                raise BundleError(
                    f"{self.path}: graph `{name}` departs from the contract at {different}; "
                    f"{EXPORT} with this release"
                )

    def _check_levels(self) -> None:
        """Refuse scales of attention that don't fit the memory's channels."""
        quantisation, dimensions = self.manifest.quantisation, self.manifest.dimensions
        wanted = [2 * dimensions.value] * dimensions.blocks
        for part, blocks in (quantisation.attention if quantisation else {}).items():
            found = [levels.channels for levels in blocks]
            if part == SCORES and not found:
                continue
            if found != wanted:
                raise BundleError(
                    f"{self.path}: `quantisation` has scales of {found} channels for {part} "
                    f"attention, where {len(wanted)} blocks of {wanted[0]} are needed; run "
                    "mavos-calibrate again"
                )

    def _check_nothing_else(self) -> None:
        """Refuse files beside the graphs: a graph could read its weights from there, unhashed."""
        known = {(self.path / graph.file).resolve() for graph in self.manifest.files}
        for folder in {path.parent for path in known}:
            for path in folder.iterdir():
                if path.resolve() not in known:
                    raise BundleError(
                        f"{self.path}: {path.name} stands beside the graphs, but not in the "
                        f"manifest; remove it, or {EXPORT}"
                    )
