"""The command `mavos-build`; it needs TensorRT, but neither PyTorch nor ONNX."""

from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.launch import launch
from mavos_deploy.cli.notices import warn_if_tiled, warn_if_untrained
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.engines import Flags, Hardware, Library, capability_pair
from mavos_deploy.runtime.contract import CHANNELS
from mavos_deploy.runtime.geometry import LARGEST_SIDE, parse_size

if TYPE_CHECKING:
    from mavos_deploy.export.build_engines import BuiltEngine
    from mavos_deploy.export.engine_shapes import ShapeLimits

AUTO = "auto"  # in place of a library
LOGIT_BYTES = 4 * CHANNELS  # of a pixel and a group, in float32
MUCH_MEMORY = 2 << 30  # bytes


def library_named(text: str) -> str:
    """A value of `--library`, checked.

    Raises:
        InputError: There is no such library.
    """
    accepted = (AUTO, *map(str, Library))
    if text not in accepted:
        raise InputError(f"--library {text}: accepted are {', '.join(accepted)}")
    return text


def build(
    bundle: options.BundleFolder,
    library: Annotated[
        str,
        typer.Option(
            parser=library_named,
            metavar="NAME",
            help="tensorrt builds for this machine's GPU; tensorrt_rtx for any GeForce or RTX GPU, "
            "also where there is none. auto takes tensorrt where it and its GPU are there and no "
            "other GPU is asked for, else tensorrt_rtx.",
        ),
    ] = AUTO,
    compute_capability: Annotated[
        str | None,
        typer.Option(
            metavar="X.Y,...",
            help="GPUs to build for, by compute capability: 7.5 RTX 20, 8.6 RTX 30, 8.9 RTX 40, "
            "12.0 RTX 50. Default: this machine's GPU.",
        ),
    ] = None,
    max_groups: Annotated[
        int,
        typer.Option(
            min=1,
            max=26,
            metavar="N",
            help="Most groups of ten objects that the engines take. Device memory grows with it.",
        ),
    ] = 4,
    best_groups: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Number of groups that the engines are fastest for; others run, too.",
        ),
    ] = 1,
    max_output: Annotated[
        str,
        typer.Option(
            metavar="HxW",
            help="Largest video, in pixels, whose masks the decoder makes. Device memory grows "
            "with it.",
        ),
    ] = "1080x1920",
    memory_limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="MIB",
            help="Scratch memory that a kernel may use, in MiB. Default: all of the GPU's.",
        ),
    ] = None,
    tf32: Annotated[
        bool,
        typer.Option(
            "--tf32",
            help="Let float32 products round their factors to 10 bits: faster, off by 1e-3.",
        ),
    ] = False,
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible",
            help="Let later TensorRT releases load the engines. They may be slower. Not for "
            "tensorrt_rtx.",
        ),
    ] = False,
    hardware_compatible: Annotated[
        Hardware,
        typer.Option(
            help="Other GPUs that may load the engines: none, those of the same compute "
            "capability, or all from 8.0 on. The engines may be slower. Not for tensorrt_rtx."
        ),
    ] = Hardware.NONE,
    timing_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for kernel timings, which make later builds faster; one file for each "
            "TensorRT release, GPU and driver. Default: mavos-deploy in the user's cache folder. "
            "Not for tensorrt_rtx.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Engines built at a time. Default: 1 with tensorrt, whose timings would disturb "
            "each other; one for each processor with tensorrt_rtx.",
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Build a bundle's TensorRT engines.

    The engines are put into the bundle; those that are up to date are kept. The bundle changes when
    all builds are done: an error or Ctrl-C leaves it as it was. --json prints a list of engines.
    """
    from mavos_deploy.export.build_engines import BuildRequest, build_engines
    from mavos_deploy.export.engine_shapes import ShapeLimits

    say = Console(json=as_json, quiet=quiet)
    largest = parse_size(max_output, called="--max-output")
    if max(largest) > LARGEST_SIDE:
        raise InputError(f"--max-output {max_output}: sides end at {LARGEST_SIDE} pixels")
    limits = ShapeLimits(max_groups, best_groups, largest)
    request = BuildRequest(
        library=None if library == AUTO else Library(library),
        capabilities=_capabilities(compute_capability),
        limits=limits,
        flags=Flags(tf32, version_compatible, hardware_compatible, memory_limit),
        timing_cache=timing_cache,
        jobs=jobs,
    )
    opened = Bundle.open(bundle)
    warn_if_untrained(say, opened.manifest)
    warn_if_tiled(say, opened.manifest)
    _warn_of_memory(say, opened, limits)
    results = build_engines(opened, request, lambda result: say.line(_told(result)))
    say.result([_described(result) for result in results])
    built = sum(result.built for result in results)
    say.line(f"{built} engines built, {len(results) - built} up to date, in {bundle}")


def _warn_of_memory(say: Console, bundle: Bundle, limits: "ShapeLimits") -> None:
    held = LOGIT_BYTES * prod(limits.largest_output(bundle.manifest)) * limits.max_groups
    if held > MUCH_MEMORY:
        height, width = limits.max_output
        say.warn(
            f"a decoder for {limits.max_groups} groups and videos of {height}x{width} holds "
            f"{held / 1e9:.0f} GB of logits, several times over; give smaller --max-groups or "
            "--max-output"
        )


def _capabilities(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    parts = tuple(part.strip() for part in text.split(","))
    for part in parts:
        try:
            capability_pair(part)
        except ValueError as error:
            raise InputError(
                f"--compute-capability {text}: {error}, or several with commas between them"
            ) from None
    return parts


def _told(result: "BuiltEngine") -> str:
    engine = result.engine
    done = f"built in {result.seconds:.1f} s" if result.built else "up to date"
    return (
        f"  {engine.graph}, {engine.library} {engine.version}, compute capability "
        f"{engine.capability}: {result.size / 1e6:.1f} MB, {done}"
    )


def _described(result: "BuiltEngine") -> dict[str, Any]:
    return {
        **asdict(result.engine),
        "built": result.built,
        "seconds": round(result.seconds, 3),
        "bytes": result.size,
    }


def main() -> None:
    """Entry point of `mavos-build`."""
    launch({"build": build}, "mavos-build")
