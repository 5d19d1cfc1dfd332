"""The command `mavos-export`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console, tell
from mavos_deploy.cli.launch import FAILED, launch, require
from mavos_deploy.cli.notices import warn_if_untrained
from mavos_deploy.cli.verify import compare, verdict
from mavos_deploy.defaults import VIDEO
from mavos_deploy.errors import InputError
from mavos_deploy.models.variants import VARIANTS, Variant
from mavos_deploy.runtime.backends.table import open_backend
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.manifest import PARITY, Manifest, Target, replacing_bundle
from mavos_deploy.runtime.bundles.memory import MemoryRule
from mavos_deploy.runtime.contract import Precision
from mavos_deploy.runtime.geometry import Size, check_size, network_size, parse_size
from mavos_deploy.runtime.segmenter import Segmenter
from mavos_deploy.runtime.system.files import replacing

if TYPE_CHECKING:
    from mavos_deploy.export.exporter import Plan
    from mavos_deploy.export.parity import Parity

DYNAMIC = "dynamic"  # in place of a size


def variant_named(text: str) -> Variant:
    """The row of `VARIANTS` that `--variant` names.

    Raises:
        InputError: There is no such variant.
    """
    if text not in VARIANTS:
        raise InputError(f"--variant {text}: accepted are {', '.join(VARIANTS)}")
    return VARIANTS[text]


def export(
    variant: Annotated[
        Variant,
        typer.Option(
            parser=variant_named,
            metavar="NAME",
            help=f"Network of the checkpoint: {', '.join(VARIANTS)}. The files of deaot_b and "
            "deaot_l have the same keys and shapes: only their names tell which is which, and here "
            "you do.",
        ),
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The authors' checkpoint of this variant, or your own. Default: for lite and "
            "tiny the weights that ship with them; for the others untrained weights, whose masks "
            "mean nothing but whose speed and parity are real.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Frame size of the graphs in pixels, sides 16k+1 (16k with swin). `dynamic`: "
            "one set of graphs for videos of every size (not with swin), tuned for --size-for. "
            "Default: 481x849 (480x848), the 480p frame of DAVIS.",
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
            help="With --size dynamic: also export the attention in tiles for videos of WxH "
            "pixels, which is faster on a CPU; give it once for each size. Default: no tiles.",
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Number format of weights and memories. fp16 is for GPUs: norms, softmax, logits "
            "and masks stay float32; on a CPU it is slower than fp32."
        ),
    ] = Precision.FP32,
    target: Annotated[
        Target | None,
        typer.Option(
            help="Form of the attention: cpu in tiles, gpu in one piece. Both give the same masks; "
            "each is faster on its own hardware. Default: cpu; gpu with fp16 or --size dynamic."
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="What the long-term memory keeps beside the first annotated frame. mca: one slot "
            "that every written frame is merged into (MAVOS alone). latest: the latest written "
            "frame. lvos:L, such as lvos:6: the two newest and the first L - 2 written frames. "
            "annotations: later annotated frames, and no others. Default: the authors' or the "
            "nearest bounded one: mca for MAVOS, annotations for deaot_t, _s and _b, latest for "
            "the other DeAOT variants.",
        ),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="With memory annotations: annotated frames that fit; beyond them the latest late "
            "one is replaced. Each costs time in every frame; 1 refuses later annotations. "
            "Default: 2.",
        ),
    ] = None,
    memory_gap: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Frames between two writes to long-term memory; not with memory annotations. "
            "Default: 10 for MAVOS; 5 for DeAOT, as its authors run DeAOT-L (MAVOS' authors: 10).",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The bundle's folder. Default: <variant>-<HxW>[-fp16] here, with the "
            "memory behind it where one was asked for.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    no_verify: Annotated[
        bool,
        typer.Option(
            "--no-verify", help="Skip the comparison with PyTorch; a wrong graph stays unnoticed."
        ),
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Export a checkpoint as a verified bundle of ONNX graphs.

    The graphs are compared with PyTorch. The bundle is written whole or not at all; one that fails
    the comparison isn't kept, and the exit code is 1. --json prints the manifest.
    """
    modules = ("torch", "onnx", "onnxscript", *(() if no_verify else ("onnxruntime",)))
    require(*modules, extra="export,cpu")
    from mavos_deploy.export.exporter import Plan, record_parity, write_bundle
    from mavos_deploy.export.networks import network_of
    from mavos_deploy.models.checkpoint import check_there

    say = Console(json=as_json, quiet=quiet)
    dynamic = size == DYNAMIC
    if slots is not None and memory is None:
        memory = variant.memory
    plan = Plan(
        variant,
        _plan_size(None if dynamic else size, size_for, variant.align_corners),
        memory_gap,
        (target or (Target.GPU if dynamic or precision is Precision.FP16 else Target.CPU)).value,
        precision.value,
        dynamic,
        _video_sizes(tiled_for or (), variant.align_corners),
        MemoryRule.named(memory, slots) if memory is not None else None,
    )
    if checkpoint is not None:
        check_there(checkpoint)
    folder = output or Path(_name(plan))
    with replacing_bundle(folder, overwrite) as temporary:
        say.line(_announced(plan, checkpoint))
        manifest = write_bundle(
            plan, checkpoint, temporary, lambda line: say.line(f"  {line}"), helped=True
        )
        if not no_verify:
            network = network_of(manifest, checkpoint)
            written = Bundle.open(temporary)
            with Segmenter(written, open_backend(written)) as segmenter:
                parity = compare(say, segmenter, network)
            if not parity.passed:
                _report_failure(say, parity)
                raise typer.Exit(FAILED)
            manifest = record_parity(temporary, manifest, parity.summary())
            _write_parity(temporary, parity)
    _finish(say, folder, manifest, verified=not no_verify)


def _plan_size(size: str | None, size_for: str | None, align_corners: bool) -> Size:
    if size is not None and size_for is not None:
        raise InputError("--size and --size-for exclude each other; give one of them")
    if size is not None:
        usual = network_size(*VIDEO, align_corners)
        return check_size(*parse_size(size, called="--size", example=usual), align_corners)
    if size_for is not None:
        return _video_size(size_for, "--size-for", align_corners)
    return network_size(*VIDEO, align_corners)


def _video_size(text: str, option: str, align_corners: bool) -> Size:
    return network_size(*parse_size(text, "WxH", option), align_corners)


def _video_sizes(texts: Sequence[str], align_corners: bool) -> tuple[Size, ...]:
    """The sizes of `--tiled-for`, each once."""
    return tuple(dict.fromkeys(_video_size(text, "--tiled-for", align_corners) for text in texts))


def _size_text(plan: "Plan") -> str:
    return DYNAMIC if plan.dynamic else f"{plan.size[0]}x{plan.size[1]}"


def _name(plan: "Plan") -> str:
    """The folder's name where none is given."""
    suffix = "" if plan.precision == Precision.FP32.value else f"-{plan.precision}"
    if plan.memory not in (None, MemoryRule.named(plan.variant.memory)):
        suffix += f"-{plan.rule}".replace(":", "")
    return f"{plan.variant.name}-{_size_text(plan)}{suffix}"


def _announced(plan: "Plan", checkpoint: Path | None) -> str:
    from mavos_deploy.models.checkpoint import shipped_weights

    source = checkpoint or shipped_weights(plan.variant)
    what = source.name if source else "untrained weights"
    at = "any size" if plan.dynamic else _size_text(plan)
    return (
        f"exporting {plan.variant.name} at {at} in {plan.precision} with {what} and memory "
        f"{plan.rule}"
    )


def _report_failure(say: Console, parity: "Parity") -> None:
    say.result(parity.to_dict())
    if not say.json:
        tell(verdict(parity))
        tell("nothing was written; to look closer, export with --no-verify and run mavos-verify")


def _write_parity(folder: Path, parity: "Parity") -> None:
    with replacing(folder / PARITY, follow=False) as temporary:
        temporary.write_text(json.dumps(parity.to_dict(), indent=2) + "\n", encoding="utf-8")


def _finish(say: Console, folder: Path, manifest: Manifest, verified: bool) -> None:
    say.result(json.loads(manifest.to_json()))
    if verified and manifest.parity:
        worst = max(manifest.parity["worst_relative_error"].values())
        say.line(
            f"verified against PyTorch: worst error {worst:.1e} of a tensor's range, "
            f"{manifest.parity['worst_agreement']:.3%} of mask pixels equal"
        )
    else:
        say.line("not verified (--no-verify)")
    say.line(f"wrote {folder}")
    warn_if_untrained(say, manifest)


def main() -> None:
    """Entry point of `mavos-export`."""
    launch({"export": export}, "mavos-export")
