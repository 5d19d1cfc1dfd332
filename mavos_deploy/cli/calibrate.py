"""The command `mavos-calibrate`; it needs onnx and ONNX Runtime, but not PyTorch."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console, one_by_one
from mavos_deploy.cli.launch import FAILED, forbid, launch, require
from mavos_deploy.cli.notices import warn_if_tiled, warn_if_untrained, warn_without_plots
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.bundles.bundle import Bundle
from mavos_deploy.runtime.bundles.manifest import replacing_bundle
from mavos_deploy.runtime.bundles.quantisation import SCORES, GraphKind, NumberType
from mavos_deploy.runtime.contract import GraphName
from mavos_deploy.runtime.system.machine import describe_machine

if TYPE_CHECKING:
    from rich.table import Table

    from mavos_deploy.calibration.calibrate import CalibrationReport, CalibrationRequest
    from mavos_deploy.runtime.datasets.sequences import Dataset

# Without these, x86 processors add pairs of uint8 x int8 products in 16 bits, which can overflow.
EXACT_PRODUCTS = ("avx512_vnni", "avx_vnni", "asimd")
CHOOSING = (
    *("layout", "split", "sequences", "frames", "kind", "number", "max_drop", "float_attention"),
    *("recordings", "seed", "threads"),
)  # options without a meaning where a choice is repeated


def calibrate(
    context: typer.Context,
    bundle: options.BundleFolder,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of a data set with clips of the kind to be segmented, and masks of the "
            "first frames at least. Every other clip is held out, to measure on. Needed unless "
            "--replay is given.",
        ),
    ] = None,
    layout: options.LayoutName = None,
    split: options.Split = None,
    sequences: options.Sequences = None,
    frames: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Frames to use of each clip at most. More take longer; 6 memory gaps pass every "
            "stage of the memory.",
        ),
    ] = 60,
    kind: Annotated[
        GraphKind,
        typer.Option(
            "--for",
            help="cpu: graphs for ONNX Runtime on a CPU. openvino: graphs for OpenVINO on a CPU. "
            "tensorrt: graphs for mavos-build. A bundle made for one is of no use to the others.",
        ),
    ] = GraphKind.CPU,
    number: Annotated[
        NumberType,
        typer.Option(
            "--type",
            help="Number format of the quantised layers. fp8 needs --for tensorrt and compute "
            "capability 8.9 or later.",
        ),
    ] = NumberType.INT8,
    max_drop: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="DROP",
            help="Largest accepted loss of J&F on the held-out clips, 0 to 1.",
        ),
    ] = 0.005,
    float_attention: Annotated[
        bool,
        typer.Option(
            "--float-attention",
            help="Keep attention in float, so that saved states also load in the fp32 bundle. "
            "Always so with --for tensorrt.",
        ),
    ] = False,
    recordings: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the recorded inputs of the graphs; recordings in it are used again. "
            "Default: a temporary folder.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Seed of the choice of recorded samples. Default: 0, or the seed of --recordings.",
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="Instead of --data: repeat the choice in the manifest of this quantised bundle. "
            "The graphs come out the same.",
        ),
    ] = None,
    threads: options.Threads = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the quantised bundle. Default: <bundle>-<type>, with -openvino or "
            "-tensorrt after it, here.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Quantise a bundle within a budget of lost J&F.

    Starts from a bundle in fp32, and reports cost and gain. Exits with 1, and writes nothing, where
    no choice within the budget makes the bundle faster. --json prints the report; with --replay the
    manifest.
    """
    if (data is None) == (replay is None):
        raise InputError("give either --data, to choose, or --replay, to repeat a choice")
    if replay is not None:
        forbid(context, *CHOOSING, because="is for choosing, and --replay repeats a choice")
    if number is NumberType.FP8 and kind.on_cpu:
        raise InputError("--type fp8 is for GPUs; give --for tensorrt with it")
    if kind is GraphKind.TENSORRT:
        because = "has no effect with --for tensorrt, which always keeps attention in float"
        forbid(context, "float_attention", because=f"{because}; leave it out")
    require("onnx", "ml_dtypes", "onnxruntime", extra="calibrate,cpu")
    if kind is GraphKind.OPENVINO:
        require("openvino", extra="openvino")
    from mavos_deploy.calibration.calibrate import CalibrationRequest
    from mavos_deploy.calibration.quantised_bundle import check_source
    from mavos_deploy.runtime.datasets.opening import open_dataset

    say = Console(json=as_json, quiet=quiet)
    opened = Bundle.open(bundle)
    check_source(opened)
    warn_if_untrained(say, opened.manifest)
    if replay is not None:
        _replay(say, opened, replay, output, overwrite)
        return
    assert data is not None
    suffix = str(number) if kind is GraphKind.CPU else f"{number}-{kind}"
    folder = output or Path(f"{bundle.resolve().name}-{suffix}")
    request = CalibrationRequest(
        kind=kind,
        number=number,
        max_drop=max_drop,
        most_frames=frames,
        seed=seed,
        threads=threads,
        attention=not float_attention,
    )
    dataset = open_dataset(data, layout, split, options.names_of(sequences))
    for note in dataset.notes:
        say.note(note)
    with replacing_bundle(folder, overwrite) as temporary:
        report = _calibrate(say, opened, dataset, request, temporary, recordings)
        _warn(say, report, opened)
        _report(say, report)
        if not report.worth_it:
            raise typer.Exit(FAILED)
    say.line(f"wrote {folder}")


def _replay(say: Console, bundle: Bundle, made: Path, output: Path | None, overwrite: bool) -> None:
    """Write a quantised bundle by the choice of another one."""
    from mavos_deploy.calibration.quantised_bundle import write_quantised

    repeated = Bundle.open(made).manifest.quantisation
    if repeated is None:
        raise InputError(f"{made} is not quantised, so there is no choice to repeat")
    if output is None:
        raise InputError("--replay needs --output, the folder to write")
    with replacing_bundle(output, overwrite) as temporary:
        write_quantised(bundle, repeated, temporary)
    say.result(json.loads(Bundle.open(output).manifest.to_json()))
    say.line(f"wrote {output}")


def _calibrate(
    say: Console,
    bundle: Bundle,
    dataset: "Dataset",
    request: "CalibrationRequest",
    folder: Path,
    recordings: Path | None,
) -> "CalibrationReport":
    from mavos_deploy.calibration import reports
    from mavos_deploy.calibration.calibrate import calibrate as run

    for problem in dataset.problems:
        say.warn(str(problem))
    with _bars(say) as bars, TemporaryDirectory(prefix="mavos-recordings-") as scratch:
        kept = recordings or Path(scratch) / "recordings"
        report = run(bundle, list(dataset.sequences), request, folder, kept, bars)
    if report.worth_it:
        reports.write_reports(report, folder)
        if warn_without_plots(say):
            reports.draw_plot(report, folder)
    return report


@contextmanager
def _bars(say: Console) -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """One progress bar after the other."""
    shown = ExitStack()

    def start(what: str, total: int) -> Callable[[], None]:
        shown.close()
        return one_by_one(shown.enter_context(say.progress(what, total)))

    with shown:
        yield start


def _warn(say: Console, report: "CalibrationReport", bundle: Bundle) -> None:
    for note in report.notes:
        say.note(note)
    for words in report.missing:
        say.warn(f"nothing was recorded of {words}; ranges may be too narrow for it")
    if set(report.recorded) & set(report.held_out):
        say.warn("ranges and figures come from the same clips; give two clips or more")
    if GraphName.STEP_ONE in bundle.manifest.graphs:
        say.note(
            f"{report.request.number} has no step for the reference alone, and is compared with a "
            "bundle that has; where no later frame is annotated, quantise one of one slot "
            "(mavos-export --slots 1)"
        )
    if report.request.kind is GraphKind.TENSORRT:
        warn_if_tiled(say, bundle.manifest)
    instructions = describe_machine()["instructions"]
    assert isinstance(instructions, list)
    if report.request.kind.on_cpu and not set(instructions) & set(EXACT_PRODUCTS):
        say.warn(
            "this processor has no instructions for int8 products (VNNI): it adds them in 16 bits, "
            "which takes longer and, in ONNX Runtime, can overflow; masks and times hold for "
            "processors like it only"
        )
    if report.load is not None and report.load.busy:
        say.warn("the machine was busy with other work; the times are not to be trusted")


def _report(say: Console, report: "CalibrationReport") -> None:
    say.result(report.to_dict())
    say.line(_table(report))
    for line in _verdict(report):
        if report.worth_it:
            say.line(line)
        else:
            say.fault(line)


def _table(report: "CalibrationReport") -> "Table":
    from rich.table import Table

    from mavos_deploy.calibration.reports import saved_unit

    unit, factor = saved_unit(report)
    table = Table(title="each group quantised alone", title_justify="left")
    table.add_column("graph", overflow="fold")
    table.add_column("group", overflow="fold")
    for column in ("layers", "J&F drop", "error / range", f"saved, {unit}", "chosen"):
        table.add_column(column, justify="right")
    for cost in report.costs:
        table.add_row(
            cost.graph,
            cost.group or "all",
            str(cost.layers),
            f"{cost.drop:.4f}",
            f"{cost.error:.3f}",
            f"{cost.saved * factor:.2f}",
            "yes" if report.is_chosen(cost) else "",
        )
    return table


def _verdict(report: "CalibrationReport") -> Iterator[str]:
    from mavos_deploy.calibration.sensitivity import ATTENTION

    request = report.request
    what = "J&F" if report.labelled else "agreement with fp32 masks (J&F)"
    if not report.chosen:
        yield (
            f"NOT WORTH IT: nothing saves anything at a drop of at most {request.max_drop:g} in "
            f"{what}"
        )
        return
    for graph, groups in report.chosen.items():
        rows = {cost.group: cost for cost in report.costs if cost.graph == graph}
        layers = sum(rows[group].layers for group in groups) if len(rows) > 1 else rows[None].layers
        things = "layers"
        if graph == ATTENTION:
            things = "products" if SCORES in groups else "products with values"
        whole = report.is_chosen(rows[None])
        yield (
            f"{request.number}: {graph}, {layers} of {rows[None].layers} {things}"
            + ("" if whole else f" ({', '.join(groups)})")
        )
    errors = ", ".join(f"{error:.3f} in {graph}" for graph, error in report.errors.items())
    yield f"largest error on fp32's inputs, as a share of an output's range: {errors}"
    yield (
        f"cost: {what} {report.before:.4f} to {report.after:.4f} on {len(report.held_out)} "
        f"held-out clips, a drop of {report.drop:.4f} where {request.max_drop:g} is allowed"
    )
    if report.seconds is None:
        yield "saved: not measured, for want of a GPU; mavos-bench compares the engines"
        return
    before, after = (seconds * 1000 for seconds in report.seconds)
    yield (
        f"saved: {before:.1f} to {after:.1f} ms per frame, {report.speed:.2f} times as fast as the "
        f"bundle as it is, both with {report.beside}"
    )
    if not report.worth_it:
        yield "NOT WORTH IT: it is not faster on this machine; nothing is written"
    elif report.hardly:
        yield "HARDLY WORTH IT: it saves less than a tenth of a frame's time on this machine"


def main() -> None:
    """Entry point of `mavos-calibrate`."""
    launch({"calibrate": calibrate}, "mavos-calibrate")
