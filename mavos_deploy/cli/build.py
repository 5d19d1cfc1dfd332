"""The command `mavos-build`; it needs TensorRT, but neither PyTorch nor ONNX."""

import json
from dataclasses import asdict
from enum import Enum
from math import prod
from pathlib import Path
from typing import Annotated

import typer

from mavos_deploy.cli.console import out, warn, warn_if_untrained
from mavos_deploy.cli.launch import launch
from mavos_deploy.errors import InputError
from mavos_deploy.export.build_engines import BuildRequest, BuiltEngine, build_engines
from mavos_deploy.export.engine_shapes import ShapeLimits
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import CHANNELS
from mavos_deploy.runtime.engines import Flags, Hardware, capability_pair
from mavos_deploy.runtime.geometry import LARGEST_SIDE, parse_size

LOGIT_BYTES = 4 * CHANNELS  # of a pixel and a group, in float32
MUCH_MEMORY = 2 << 30  # bytes


class Library(str, Enum):
    """TensorRT libraries."""

    AUTO = "auto"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt_rtx"


def build(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, as mavos-export writes it.")],
    library: Annotated[
        Library,
        typer.Option(
            help="tensorrt builds for this machine's GPU; tensorrt_rtx for any GeForce or RTX GPU, "
            "also where there is none. Default: tensorrt where it and the GPU are there, else "
            "tensorrt_rtx."
        ),
    ] = Library.AUTO,
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
            help="Groups of ten objects the engines take at most. Device memory grows with it.",
        ),
    ] = 4,
    best_groups: Annotated[
        int, typer.Option(min=1, metavar="N", help="Groups that kernels are chosen for.")
    ] = 1,
    max_output: Annotated[
        str,
        typer.Option(
            metavar="HxW",
            help="Largest video, in pixels, whose masks the decoder makes; device memory grows "
            "with it.",
        ),
    ] = "1080x1920",
    memory_limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="MIB",
            help="Scratch memory that a kernel may use. Default: all of the GPU's.",
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
            help="Let other GPUs load the engines: those of the same compute capability, or all "
            "from 8.0 on. They may be slower. Not for tensorrt_rtx."
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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the engines as JSON, and no progress.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")
    ] = False,
) -> None:
    """Build TensorRT engines of a bundle's graphs and put them into the bundle.

    What is up to date is kept. The bundle changes when all builds are done: an error or Ctrl-C
    leaves it as it was.
    """
    largest = parse_size(max_output, called="--max-output")
    if max(largest) > LARGEST_SIDE:
        raise InputError(f"--max-output {max_output}: sides end at {LARGEST_SIDE} pixels")
    limits = ShapeLimits(max_groups, best_groups, largest)
    request = BuildRequest(
        library=library.value,
        capabilities=_capabilities(compute_capability),
        limits=limits,
        flags=Flags(tf32, version_compatible, hardware_compatible, memory_limit),
        timing_cache=timing_cache,
        jobs=jobs,
    )
    opened = Bundle.open(bundle)
    warn_if_untrained(opened.manifest)
    if opened.manifest.target == "cpu":
        warn(
            "this bundle was exported with --target cpu, whose attention in tiles makes many small "
            "kernels; export with --target gpu for engines"
        )
    held = LOGIT_BYTES * prod(limits.largest_output(opened.manifest)) * max_groups
    if held > MUCH_MEMORY:
        warn(
            f"a decoder for {max_groups} groups and videos of {max_output} holds {held / 1e9:.0f} "
            "GB of logits, several times over; give smaller --max-groups or --max-output"
        )
    results = build_engines(opened, request, _silent if quiet or as_json else _print)
    if as_json:
        out.print(json.dumps([_described(result) for result in results], indent=2))
    elif not quiet:
        built = sum(result.built for result in results)
        out.print(f"{built} engines built, {len(results) - built} up to date, in {bundle}")


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


def _print(result: BuiltEngine) -> None:
    engine = result.engine
    done = f"built in {result.seconds:.1f} s" if result.built else "up to date"
    out.print(
        f"  {engine.graph}, {engine.library} {engine.version}, compute capability "
        f"{engine.capability}: {result.size / 1e6:.1f} MB, {done}"
    )


def _described(result: BuiltEngine) -> dict[str, object]:
    return {
        **asdict(result.engine),
        "built": result.built,
        "seconds": round(result.seconds, 3),
        "bytes": result.size,
    }


def _silent(result: BuiltEngine) -> None:
    del result


def main() -> None:
    """Entry point of `mavos-build`."""
    launch({"build": build}, "mavos-build")
