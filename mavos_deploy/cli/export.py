"""The commands `mavos-export` and `mavos-verify`, and the program `mavos` with all of them."""

import json
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mavos_deploy.cli.console import err, out, warn_if_untrained
from mavos_deploy.cli.launch import FAILED_CHECK, launch, require
from mavos_deploy.cli.verify import compare, verdict
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.contract import MEMORY_GAP
from mavos_deploy.runtime.geometry import Size, check_size, network_size, parse_size
from mavos_deploy.runtime.manifest import MANIFEST, PARITY, Manifest, is_bundle
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.files import replacing, replacing_directory

if TYPE_CHECKING:
    from mavos_deploy.export.parity import Parity

DEFAULT_VIDEO = (480, 854)  # the 480p frame of DAVIS
DYNAMIC = "dynamic"  # in place of a size


class VariantName(str, Enum):
    """The published networks, and `tiny`, whose weights ship with the package."""

    MOBILENET = "mobilenet"
    RESNET50 = "resnet50"
    SWIN_BASE = "swin_base"
    TINY = "tiny"


class Target(str, Enum):
    """Forms of the short-term attention."""

    CPU = "cpu"
    GPU = "gpu"


class Precision(str, Enum):
    """Types of weights, feature maps and memories."""

    FP32 = "fp32"
    FP16 = "fp16"


def export(
    variant: Annotated[VariantName, typer.Option(help="Which network.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The authors' checkpoint of this variant, or your own. Default: for tiny the "
            "weights that ship with it; for the others untrained weights, whose masks mean nothing "
            "but whose speed and parity are real.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Frame size of the graphs in pixels, sides 16k+1 (16k for swin_base). Default: "
            "481x849 (480x848), the 480p frame of DAVIS. `dynamic`: one set of graphs for videos "
            "of every size (not swin_base), tuned for --size-for.",
        ),
    ] = None,
    size_for: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="Instead of --size HxW: the size that the authors use for videos of WxH pixels.",
        ),
    ] = None,
    tiled_for: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WxH",
            help="With --size dynamic: also the attention in tiles for videos of WxH pixels, which "
            "is faster on a CPU; give it once for each size.",
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="fp16: weights and memories in float16, for GPUs; norms, softmax, logits and "
            "masks stay float32. Slower than fp32 on a CPU."
        ),
    ] = Precision.FP32,
    target: Annotated[
        Target | None,
        typer.Option(
            help="Form of the attention: cpu in tiles, gpu in one piece. Same results. Default: "
            "cpu; gpu with fp16 or --size dynamic."
        ),
    ] = None,
    memory_gap: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Frames between two long-term memory writes."),
    ] = MEMORY_GAP,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The bundle's folder. Default: <variant>-<HxW>[-fp16] here."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the bundle in the output folder.")
    ] = False,
    no_verify: Annotated[
        bool,
        typer.Option(
            "--no-verify", help="Skip the comparison with PyTorch; a wrong graph stays unnoticed."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the manifest as JSON, and no progress.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")
    ] = False,
) -> None:
    """Export a MAVOS checkpoint as a bundle of ONNX graphs, and verify it against PyTorch.

    The bundle is written whole or not at all; one that fails the comparison isn't kept.
    """
    require("torch", "onnx", "onnxscript", *(() if no_verify else ("onnxruntime",)))
    from mavos_deploy.export.exporter import Plan, record_parity, write_bundle
    from mavos_deploy.export.networks import network_of
    from mavos_deploy.models.checkpoint import shipped_weights
    from mavos_deploy.models.variants import VARIANTS

    chosen = VARIANTS[variant.value]
    dynamic = size == DYNAMIC
    plan = Plan(
        chosen,
        _plan_size(None if dynamic else size, size_for, chosen.align_corners),
        memory_gap,
        (target or (Target.GPU if dynamic or precision is Precision.FP16 else Target.CPU)).value,
        precision.value,
        dynamic,
        tuple(
            dict.fromkeys(
                _video_size(text, "--tiled-for", chosen.align_corners) for text in tiled_for or ()
            )
        ),
    )
    suffix = "" if precision is Precision.FP32 else f"-{precision.value}"
    size_text = DYNAMIC if dynamic else f"{plan.size[0]}x{plan.size[1]}"
    folder = output or Path(f"{chosen.name}-{size_text}{suffix}")
    talk = not (quiet or as_json)
    report: Callable[[str], None] = (lambda line: out.print(f"  {line}")) if talk else _silent
    if overwrite and folder.is_dir() and any(folder.iterdir()) and not is_bundle(folder):
        raise InputError(f"{folder} holds no bundle, so it is not replaced; choose another folder")
    with replacing_directory(folder, overwrite, marker=MANIFEST) as temporary:
        if talk:
            source = checkpoint or shipped_weights(chosen)
            what = source.name if source else "untrained weights"
            at = "any size" if dynamic else size_text
            out.print(f"exporting {chosen.name} at {at} in {plan.precision} with {what}")
        manifest = write_bundle(plan, checkpoint, temporary, report)
        if not no_verify:
            network = network_of(manifest, checkpoint)
            written = Bundle.open(temporary)
            with Segmenter(written, open_backend(written)) as segmenter:
                parity = compare(segmenter, network, None, None, talk)
            if not parity.passed:
                _print_failure(parity, as_json)
                raise typer.Exit(FAILED_CHECK)
            manifest = record_parity(temporary, manifest, parity.summary())
            _write_parity(temporary, parity)
    _finish(folder, manifest, talk, as_json, verified=not no_verify)


def _plan_size(size: str | None, size_for: str | None, align_corners: bool) -> Size:
    if size is not None and size_for is not None:
        raise InputError("--size and --size-for exclude each other; give one of them")
    if size is not None:
        return check_size(*parse_size(size, called="--size"), align_corners)
    if size_for is not None:
        return _video_size(size_for, "--size-for", align_corners)
    return network_size(*DEFAULT_VIDEO, align_corners)


def _video_size(text: str, option: str, align_corners: bool) -> Size:
    return network_size(*parse_size(text, "WxH", option), align_corners)


def _print_failure(parity: "Parity", as_json: bool) -> None:
    if as_json:
        out.print(json.dumps(parity.to_dict(), indent=2))
        return
    err.print(verdict(parity))
    err.print("nothing was written; to look closer, export with --no-verify and run mavos-verify")


def _write_parity(folder: Path, parity: "Parity") -> None:
    with replacing(folder / PARITY) as temporary:
        temporary.write_text(json.dumps(parity.to_dict(), indent=2) + "\n", encoding="utf-8")


def _finish(folder: Path, manifest: Manifest, talk: bool, as_json: bool, verified: bool) -> None:
    if as_json:
        out.print(manifest.to_json(), end="")
    elif talk:
        if verified and manifest.parity:
            worst = max(manifest.parity["worst_relative_error"].values())
            out.print(
                f"verified against PyTorch: worst error {worst:.1e} of a tensor's range, "
                f"{manifest.parity['worst_agreement']:.3%} of mask pixels equal"
            )
        else:
            out.print("not verified (--no-verify)")
        out.print(f"wrote {folder}")
    warn_if_untrained(manifest)


def _silent(line: str) -> None:
    del line


def main() -> None:
    """Entry point of `mavos-export`."""
    launch({"export": export}, "mavos-export")
