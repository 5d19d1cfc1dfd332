"""Writes bundles: a network becomes graphs and a manifest."""

import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path

from mavos_deploy.errors import CheckpointError, InputError, MavosError, one_line, shortage
from mavos_deploy.export.onnx_graphs import export_graph
from mavos_deploy.hashing import file_sha256
from mavos_deploy.models.checkpoint import Weights, load_network
from mavos_deploy.models.half import half_precision
from mavos_deploy.models.mavos import Mavos
from mavos_deploy.models.variants import Variant
from mavos_deploy.runtime.bundles.manifest import GraphFile, Manifest, Target, write_manifest
from mavos_deploy.runtime.bundles.memory import MemoryRule, Rule
from mavos_deploy.runtime.contract import (
    Dimensions,
    GraphName,
    GraphSpec,
    Precision,
    graph_specs,
)
from mavos_deploy.runtime.geometry import Size, check_size, grid
from mavos_deploy.runtime.system.child import Child, ChildDiedError
from mavos_deploy.runtime.system.processors import usable_processors

CPU_TILE = (8, 18)  # tokens; the fastest of several tried on a CPU at 481x849
HELPER = "the export's second process"
TOOLS = ("mavos-deploy", "torch", "onnx", "onnxscript", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Plan:
    """Network, size and form of an export.

    Attributes:
        variant: The network.
        size: Height and width of frames in pixels, as the variant's rule allows.
        memory_gap: Frames between two writes to the long-term memory; None for the variant's, or
            where the memory has none.
        target: `cpu`: short-term attention in tiles, which saves a fifth of a frame's arithmetic;
            `gpu`: in one piece, which makes fewer and larger kernels.
        dynamic: Whether the graphs take frames of any size; they are then tuned for `size`.
        precision: `fp32`, or `fp16` for weights, feature maps and memories in float16, with norms,
            softmax, logits and masks in float32.
        tiled: Frame sizes for which a dynamic bundle gets the step with its attention in tiles,
            too, for CPUs.
        memory: Rule of the long-term memory; None for the variant's.
    """

    variant: Variant
    size: Size
    memory_gap: int | None
    target: str
    precision: str = "fp32"
    dynamic: bool = False
    tiled: tuple[Size, ...] = ()
    memory: MemoryRule | None = None

    def __post_init__(self) -> None:
        check_size(*self.size, self.variant.align_corners)
        self._check_memory()
        for given, called, words in (
            (self.target, "target", list(Target)),
            (self.precision, "precision", list(Precision)),
        ):
            if given not in words:
                raise InputError(f"{called} {given!r}; accepted are {' and '.join(words)}")
        if self.dynamic and self.target != Target.GPU:
            raise InputError(
                "tiles of the attention are cut for one size; with --size dynamic it is in one "
                "piece, --target gpu, on CPUs too"
            )
        if self.dynamic and not self.variant.any_size:
            raise InputError(
                f"{self.variant.name} divides frames into windows that are cut for one size; "
                "export it with --size HxW or --size-for WxH"
            )
        if self.tiled and not (self.dynamic and self.precision == Precision.FP32):
            raise InputError(
                "--tiled-for is for fp32 bundles of any size, on CPUs; give it with "
                "--size dynamic, and without --precision fp16"
            )
        for size in self.tiled:
            check_size(*size, self.variant.align_corners)

    def _check_memory(self) -> None:
        variant, gap = self.variant, self.memory_gap
        if gap is not None and gap < 1:
            raise InputError(f"memory gap {gap}: it must be 1 frame or more")
        if self.rule.rule is Rule.MCA and not variant.has_mca:
            plain = ", ".join(rule for rule in Rule if rule not in (Rule.MCA, Rule.LVOS))
            raise InputError(
                f"--memory mca: {variant.name} has no modulated cross-attention, which is MAVOS' "
                f"own; take one of {plain} and lvos:L, such as lvos:6, or leave --memory out for "
                f"{variant.memory}"
            )
        if gap is not None and not self.rule.at_gaps:
            raise InputError(
                f"--memory-gap has no effect with memory {self.rule}, which annotated frames alone "
                "enter; leave it out, or take --memory latest"
            )

    @property
    def rule(self) -> MemoryRule:
        """Rule of the long-term memory."""
        return self.memory or MemoryRule.named(self.variant.memory)

    @property
    def gap(self) -> int | None:
        """Frames between two writes to the long-term memory; None where the rule has none."""
        return (self.memory_gap or self.variant.memory_gap) if self.rule.at_gaps else None

    @property
    def tile(self) -> tuple[int, int] | None:
        """Tile of the short-term attention in tokens; None for one piece."""
        return None if self.target == Target.GPU else tile_for(self.size)

    def specs_at(self, size: Size | None) -> dict[str, GraphSpec]:
        """The contract of the graphs for frames of a size in the network; None leaves it open."""
        dimensions = dimensions_of(self.variant)
        return graph_specs(
            dimensions,
            size,
            self.precision,
            memory=self.rule,
            decoder_one=self.target == Target.GPU,
            step_one=self.rule.often_alone and not self.tiled,  # which are faster than it, on CPUs
        )


def tile_for(size: Size) -> tuple[int, int]:
    """Tile of the short-term attention on CPUs in tokens, evened out over the grid of a size."""
    height, width = (
        ceil(tokens / max(1, round(tokens / side)))
        for tokens, side in zip(grid(size), CPU_TILE, strict=True)
    )
    return height, width


def dimensions_of(variant: Variant) -> Dimensions:
    """The contract's view of a variant."""
    feature_4x, feature_8x, feature_16x, _ = variant.features
    return Dimensions(
        (feature_4x, feature_8x, feature_16x),
        variant.embedding,
        variant.key,
        variant.value,
        variant.blocks,
    )


def write_bundle(
    plan: Plan,
    checkpoint: Path | None,
    folder: Path,
    report: Callable[[str], None],
    *,
    helped: bool = False,
) -> Manifest:
    """Export a network.

    Args:
        plan: Network, size and form of the export.
        checkpoint: File of the weights; None for shipped or synthetic, untrained ones.
        folder: An existing, empty folder that becomes the bundle.
        report: Called with a line for each graph.
        helped: Whether a second process writes half of the graphs where there are two processors.
            It is spawned, so Python imports the caller's main module there. PyTorch and the network
            are then in memory twice.

    Returns:
        The manifest as written, without parity.

    Raises:
        CheckpointError: The checkpoint doesn't fit, or its weights don't fit the precision.
        MavosError: The second process failed.
    """
    network, weights = _load(plan, checkpoint)
    (folder / "graphs").mkdir()
    jobs = _jobs(plan)
    files: dict[str, GraphFile] = {}

    def written(stem: str) -> None:
        path, spec = _path(folder, stem), jobs[stem].spec
        file = f"graphs/{path.name}"
        files[stem] = GraphFile(file, file_sha256(path), spec.inputs, spec.outputs)
        report(f"{stem}: {path.stat().st_size / 1e6:.1f} MB")

    stems = list(jobs)
    helped = helped and usable_processors() > 1
    own = stems[: len(stems) - len(stems) // 2] if helped else stems
    others = stems[len(own) :]
    with ExitStack() as stack:
        if others:
            given = plan, checkpoint, weights.sha256, folder, others
            child = stack.enter_context(Child(HELPER, _help, *given))
        for stem in own:
            _write(jobs[stem], stem, plan, checkpoint, network, folder)
            written(stem)
            while others and child.connection.poll():
                written(_told(child, others))
        while others:
            written(_told(child, others))
    manifest = Manifest(
        variant=plan.variant.name,
        weights_source=weights.source,
        weights_sha256=weights.sha256,
        trained=weights.trained,
        height=plan.size[0],
        width=plan.size[1],
        align_corners=plan.variant.align_corners,
        dimensions=dimensions_of(plan.variant),
        memory_gap=plan.gap,
        memory=plan.rule,
        precision=Precision(plan.precision),
        target=Target(plan.target),
        graphs={stem: files[stem] for stem, job in jobs.items() if job.tiled_for is None},
        tools=_tools(),
        dynamic=plan.dynamic,
        tiled={_text(size): files[_tiled(size)] for size in plan.tiled},
    )
    write_manifest(folder, manifest)
    return manifest


@dataclass(frozen=True)
class _Job:
    """A graph that is to be written.

    Attributes:
        spec: Its specification.
        tiled_for: Frame size that its attention is cut for; None for the plan's own.
    """

    spec: GraphSpec
    tiled_for: Size | None = None


def _jobs(plan: Plan) -> dict[str, _Job]:
    """The graphs by the stems of their files."""
    specs = plan.specs_at(None if plan.dynamic else plan.size)
    jobs = {str(name): _Job(spec) for name, spec in specs.items()}
    for size in plan.tiled:
        jobs[_tiled(size)] = _Job(plan.specs_at(size)[GraphName.STEP], size)
    return jobs


def _tiled(size: Size) -> str:
    return f"{GraphName.STEP}-{_text(size)}"


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _path(folder: Path, stem: str) -> Path:
    return folder / "graphs" / f"{stem}.onnx"


def _load(plan: Plan, checkpoint: Path | None) -> tuple[Mavos, Weights]:
    network, weights = load_network(plan.variant, checkpoint, plan.tile)
    return half_precision(network) if plan.precision == Precision.FP16 else network, weights


def _write(
    job: _Job, stem: str, plan: Plan, checkpoint: Path | None, network: Mavos, folder: Path
) -> None:
    if job.tiled_for:
        network, _ = load_network(plan.variant, checkpoint, tile_for(job.tiled_for))
    export_graph(network, job.spec, _path(folder, stem), plan.target)


def _help(
    connection: Connection,
    plan: Plan,
    checkpoint: Path | None,
    sha256: str,
    folder: Path,
    stems: Sequence[str],
) -> None:
    """Write graphs, and send the stem of each that is written, or the error that came instead."""
    try:
        network, weights = _load(plan, checkpoint)
        if weights.sha256 != sha256:
            raise CheckpointError(f"{checkpoint} was changed while it was exported; export again")
        jobs = _jobs(plan)
        for stem in stems:
            _write(jobs[stem], stem, plan, checkpoint, network, folder)
            connection.send(stem)
    except (MavosError, OSError) as error:
        with suppress(BrokenPipeError):  # the first process has gone
            connection.send(error)
    except Exception as error:
        if (advice := shortage(error)) is None:
            raise
        connection.send(MavosError(f"{one_line(error) or type(error).__name__}; {advice}"))


def _told(child: Child, others: list[str]) -> str:
    """Wait for a graph of the second process, which is no longer one of the others then."""
    try:
        stem: str = child.result()
    except ChildDiedError as died:
        raise MavosError(f"{died}; `taskset -c 0` before the command needs one process") from None
    others.remove(stem)
    return stem


def record_parity(folder: Path, manifest: Manifest, parity: dict[str, object]) -> Manifest:
    """Add the summary of a comparison with PyTorch to a bundle's manifest."""
    manifest = replace(manifest, parity=parity)
    write_manifest(folder, manifest)
    return manifest


def _tools() -> dict[str, str]:
    tools = {"python": platform.python_version()}
    for name in TOOLS:
        try:
            tools[name] = version(name)
        except PackageNotFoundError:
            continue
    return tools
