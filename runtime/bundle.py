"""The bundle: a folder with a manifest, the graphs, and hashes that tie them together."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mavos_deploy.errors import BackendError, BundleError, InputError
from mavos_deploy.hashing import file_sha256
from mavos_deploy.runtime.contract import BLOCKS, GraphName, GraphSpec, graph_specs
from mavos_deploy.runtime.engines import Engine
from mavos_deploy.runtime.geometry import check_size, parse_size
from mavos_deploy.runtime.manifest import MANIFEST, Manifest

PARITY = "parity.json"


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

    def files(self, graph: str) -> list[tuple[Path, GraphSpec]]:
        """Files that run a graph, each with its contract; the last one takes all shapes."""
        special = list(self.tiled.values()) if graph == GraphName.STEP else []
        return [*special, (self.graph_path(graph), self.specs[graph])]

    @property
    def tiled(self) -> dict[tuple[int, int], tuple[Path, GraphSpec]]:
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
            step = manifest.specs_at(size)[GraphName.STEP]
            specs.append((graph, f"{step.name} at {text}", step))
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
