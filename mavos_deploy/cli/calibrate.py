"""The command `mavos-calibrate`; it needs onnx and ONNX Runtime, but not PyTorch."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mavos_deploy.cli.console import out, progress, warn, warn_if_untrained
from mavos_deploy.cli.launch import FAILED_CHECK, launch
from mavos_deploy.cli.options import ThreadsOption
from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.runtime.bundle import Bundle
from mavos_deploy.runtime.datasets.sequences import Layout
from mavos_deploy.runtime.manifest import MANIFEST, is_bundle
from mavos_deploy.runtime.system.files import replacing_directory
from mavos_deploy.runtime.system.machine import describe_machine

if TYPE_CHECKING:
    from mavos_deploy.calibration.calibrate import CalibrationReport, CalibrationRequest

# Without these, x86 processors add pairs of uint8 x int8 products in 16 bits, which can overflow.
EXACT_PRODUCTS = ("avx512_vnni", "avx_vnni", "asimd")


class Target(str, Enum):
    """Libraries that quantised graphs are written for."""

    CPU = "cpu"
    TENSORRT = "tensorrt"


class Type(str, Enum):
    """Number formats of quantised layers."""

    INT8 = "int8"
    FP8 = "fp8"


def calibrate(
    bundle: Annotated[
        Path, typer.Argument(help="Bundle folder in fp32, as mavos-export writes it.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of a data set with clips of the kind to be segmented, and masks of the "
            "first frames at least. Every other clip is held out, to measure on.",
        ),
    ] = None,
    layout: Annotated[
        Layout | None,
        typer.Option(help="How the data set's folders are arranged. Default: detected."),
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="Part of the data set.")] = "val",
    sequences: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only these sequences. Default: all of the split."),
    ] = None,
    frames: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Frames to use of each clip at most. More take longer; 6 memory gaps pass every "
            "stage of the memory.",
        ),
    ] = 60,
    target: Annotated[
        Target,
        typer.Option(
            "--for",
            help="cpu: graphs for ONNX Runtime on a CPU. tensorrt: graphs for mavos-build. A "
            "bundle made for one does not run on the other.",
        ),
    ] = Target.CPU,
    kind: Annotated[
        Type,
        typer.Option(
            "--type",
            help="Number format of the quantised layers. fp8 needs --for tensorrt and compute "
            "capability 8.9 or later.",
        ),
    ] = Type.INT8,
    max_drop: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Largest accepted loss of J&F on the held-out clips, 0 to 1."
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
    threads: ThreadsOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the quantised bundle. Default: <bundle>-<type>[-tensorrt] here.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the bundle in the output folder.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole report as JSON, and no progress.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")
    ] = False,
) -> None:
    """Quantise a bundle within a budget of lost J&F, and report cost and gain.

    Exits with 1, and writes nothing, where no choice within the budget makes the bundle faster.
    """
    if kind is Type.FP8 and target is Target.CPU:
        raise InputError("--type fp8 is for GPUs; give --for tensorrt with it")
    if (data is None) == (replay is None):
        raise InputError("give either --data, to choose, or --replay, to repeat a choice")
    if replay is not None and seed is not None:
        raise InputError("--seed chooses what is recorded, and --replay records nothing")
    _require("onnx", "ml_dtypes", "onnxruntime")
    from mavos_deploy.calibration.calibrate import CalibrationRequest
    from mavos_deploy.calibration.quantised_bundle import check_source, write_quantised

    opened = Bundle.open(bundle)
    check_source(opened)
    warn_if_untrained(opened.manifest)
    suffix = kind.value if target is Target.CPU else f"{kind.value}-{target.value}"
    repeated = Bundle.open(replay).manifest.quantisation if replay is not None else None
    if replay is not None and repeated is None:
        raise InputError(f"{replay} is not quantised, so there is no choice to repeat")
    if repeated is not None and output is None:
        raise InputError("--replay needs --output, the folder to write")
    folder = output or Path(f"{bundle.resolve().name}-{suffix}")
    if overwrite and folder.is_dir() and any(folder.iterdir()) and not is_bundle(folder):
        raise InputError(f"{folder} holds no bundle, so it is not replaced; choose another folder")
    talk = not (quiet or as_json)
    with replacing_directory(folder, overwrite, marker=MANIFEST) as temporary:
        if repeated is not None:
            write_quantised(opened, repeated, temporary)
        else:
            assert data is not None
            request = CalibrationRequest(
                target=target.value,
                type=kind.value,
                max_drop=max_drop,
                most_frames=frames,
                seed=seed,
                threads=threads,
                attention=not float_attention,
            )
            report = _calibrate(
                opened, (data, layout, split, sequences), request, temporary, recordings, talk
            )
            _warn(report, opened)
            _print(report, as_json, quiet)
            if not report.worth_it:
                raise typer.Exit(FAILED_CHECK)
    if talk:
        out.print(f"wrote {folder}")


def _calibrate(
    bundle: Bundle,
    source: tuple[Path, Layout | None, str, str | None],
    request: "CalibrationRequest",
    folder: Path,
    recordings: Path | None,
    talk: bool,
) -> "CalibrationReport":
    from mavos_deploy.calibration import reports
    from mavos_deploy.calibration.calibrate import calibrate as run
    from mavos_deploy.evaluation.tables import can_draw
    from mavos_deploy.runtime.datasets.opening import open_dataset

    path, layout, split, sequences = source
    names = None if sequences is None else [name for name in sequences.split(",") if name]
    dataset = open_dataset(path, layout, split, names)
    for problem in dataset.problems:
        warn(str(problem))
    with _bars(talk) as bars, TemporaryDirectory(prefix="mavos-recordings-") as scratch:
        kept = recordings or Path(scratch) / "recordings"
        report = run(bundle, list(dataset.sequences), request, folder, kept, bars)
    if report.worth_it:
        reports.write_reports(report, folder)
        if can_draw():
            reports.draw_plot(report, folder)
        else:
            warn("no plot: matplotlib is missing; pip install 'mavos-deploy[plot]'")
    return report


@contextmanager
def _bars(talk: bool) -> Iterator[Callable[[str, int], Callable[[], None]]]:
    """One progress bar after the other."""
    shown = ExitStack()

    def start(what: str, total: int) -> Callable[[], None]:
        shown.close()
        advance = shown.enter_context(progress(what, total, shown=talk))
        count = 0

        def done() -> None:
            nonlocal count
            count += 1
            advance(count)

        return done

    with shown:
        yield start


def _warn(report: "CalibrationReport", bundle: Bundle) -> None:
    for words in report.missing:
        warn(f"nothing was recorded of {words}; ranges may be too narrow for it")
    if set(report.recorded) & set(report.held_out):
        warn("ranges and figures come from the same clips; give two clips or more")
    if report.request.target == "tensorrt" and bundle.manifest.target == "cpu":
        warn(
            "this bundle was exported with --target cpu, whose attention in tiles makes many small "
            "kernels; export with --target gpu for engines"
        )
    instructions = describe_machine()["instructions"]
    assert isinstance(instructions, list)
    if report.request.target == "cpu" and not set(instructions) & set(EXACT_PRODUCTS):
        warn(
            "this processor adds int8 products in 16 bits, which can overflow; masks and times "
            "hold for processors like it only"
        )
    if report.load is not None and report.load.busy:
        warn("the machine was busy with other work; the times are not to be trusted")


def _print(report: "CalibrationReport", as_json: bool, quiet: bool) -> None:
    if as_json:
        out.print(json.dumps(report.to_dict(), indent=2))
    elif not quiet:
        out.print(_table(report))
        for line in _verdict(report):
            out.print(line)


def _table(report: "CalibrationReport") -> Table:
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
        whole = report.is_chosen(rows[None])
        yield (
            f"{request.type}: {graph}, {layers} of {rows[None].layers} "
            + ("products with values" if graph == ATTENTION else "layers")
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
    yield f"saved: {before:.1f} to {after:.1f} ms per frame, {report.speed:.2f} times as fast"
    if not report.worth_it:
        yield "NOT WORTH IT: it is not faster on this machine; nothing is written"


def _require(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MavosError(
            f"{' and '.join(missing)} can't be found; install what calibrating needs with "
            "pip install 'mavos-deploy[calibrate,cpu]'"
        )


def main() -> None:
    """Entry point of `mavos-calibrate`."""
    launch({"calibrate": calibrate}, "mavos-calibrate")
