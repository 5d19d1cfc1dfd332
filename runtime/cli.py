"""The command `mavos-run`, and how every command starts and fails."""

import io
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mavos_deploy import __version__
from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.runtime.backend import (
    AUTO,
    BACKENDS,
    DEFAULT_BACKEND,
    Backend,
    choose_backend,
    open_backend,
)
from mavos_deploy.runtime.bundle import Bundle, Manifest
from mavos_deploy.runtime.sequences import Layout

if TYPE_CHECKING:
    from mavos_deploy.runtime.segmenter import Segmenter
    from mavos_deploy.runtime.triton.client import RemoteSegmenter, Served

FAILED_CHECK = 1
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells expect

# Plain output: no wrapping that breaks paths, no colours of our own choosing in log files, and
# nothing in a path is taken for markup or the name of an emoji.
out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="CPU threads. Default: all this process may use."),
]
BackendOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help=f"What runs the graphs: {', '.join(BACKENDS)}. openvino-cpu computes in bfloat16 "
        "where the processor can, which is faster and less exact. One that can't be used is an "
        f"error, never replaced by another. {AUTO} takes the first that works here and is as "
        "exact, and says which and why.",
    ),
]
LayoutOption = Annotated[
    Layout | None,
    typer.Option(help="How the data set's folders are arranged. Default: found out."),
]
SplitOption = Annotated[
    str, typer.Option(metavar="NAME", help="Part of the data set; val and valid are the same.")
]
SequencesOption = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Only these sequences. Default: all of the split."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Segment in N processes, which share the CPU threads and take one sequence after "
        "another. Default: in this one.",
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Segment each N-th sequence of the sorted names, from the I-th on; I goes from 1 to "
        "N. For jobs that share one results folder.",
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Segment on a Ray cluster: local starts one here, auto finds the one that runs here; "
        "or HOST:PORT or ray://HOST:PORT.",
    ),
]


class Fit(str, Enum):
    """What to do with frames whose aspect ratio is not the bundle's."""

    REFUSE = "refuse"
    STRETCH = "stretch"


def run(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="[BUNDLE] INPUT",
            help="Bundle folder, as mavos-export writes it (not with --server), and a video file, "
            "folder of images, camera number or stream address (rtsp://...); with --dataset the "
            "folder of a data set.",
        ),
    ],
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE_OR_DIR",
            help="Palette PNG of the first frame, or a folder of <frame stem>.png in which later "
            "files add objects (frames of a video are named 00000, 00001, ...). Needed, but not "
            "with --dataset.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Segment on a Triton server with a repository of mavos-triton, instead of here. "
            "Its gRPC port, 8001 where nothing else was said.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for a palette PNG of every frame, at the frame's own size and with the "
            "ids of the input masks; with --dataset for a folder of them for each sequence. "
            "Default: <input name>-masks here.",
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(metavar="FILE.mp4", help="Also write the video with coloured objects, H.264."),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N frames. Default: all.")
    ] = None,
    every: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Take each N-th frame; files keep their numbers."),
    ] = 1,
    fit: Annotated[
        Fit,
        typer.Option(
            help="Frames are resized to the bundle's size. One whose aspect ratio differs by more "
            "than 5% is refused; with `stretch` it is distorted, and masks get worse."
        ),
    ] = Fit.REFUSE,
    threads: ThreadsOption = None,
    backend: BackendOption = DEFAULT_BACKEND,
    dataset: Annotated[
        bool,
        typer.Option(
            "--dataset",
            help="INPUT is a data set (DAVIS, YouTube-VOS, LVOS, Long-Time Video): segment all of "
            "its sequences, given each object's first mask, and keep what is finished already.",
        ),
    ] = False,
    layout: LayoutOption = None,
    split: SplitOption = "val",
    sequences: SequencesOption = None,
    workers: WorkersOption = None,
    shard: ShardOption = None,
    ray: RayOption = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace the masks in the output folder, and the overlay."
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a summary as JSON, and no progress.")
    ] = False,
) -> None:
    """Segment the objects of one video, given their masks in its first frame, or of a data set.

    Writes a palette PNG for every frame. Ctrl-C stops early and leaves whole files.
    """
    from mavos_deploy.runtime.frames import open_frames
    from mavos_deploy.runtime.masks import MaskSource
    from mavos_deploy.runtime.run import check_fit, prepare_output, segment_video
    from mavos_deploy.runtime.segmenter import Segmenter

    of_a_video = {
        "--masks": masks is not None,
        "--server": server is not None,
        "--overlay": overlay is not None,
        "--max-frames": max_frames is not None,
        "--every": every != 1,
    }
    of_a_dataset = {
        "--layout": layout is not None,
        "--split": split != "val",
        "--sequences": sequences is not None,
        "--workers": workers is not None,
        "--shard": shard is not None,
        "--ray": ray is not None,
    }
    for option, given in (of_a_video if dataset else of_a_dataset).items():
        if given:
            raise InputError(
                f"{option} is for a single video; leave it out with --dataset"
                if dataset
                else f"{option} is for data sets; add --dataset, or leave it out"
            )
    if dataset:
        from mavos_deploy.runtime.dataset_cli import Distribution, run_dataset

        if len(paths) != 2:
            raise InputError(f"got {len(paths)} paths; give a bundle and a data set")
        run_dataset(
            Path(paths[0]),
            Path(paths[1]),
            output,
            layout=layout,
            split=split,
            sequences=sequences,
            distribution=Distribution.parse(workers, shard, ray, overwrite),
            fit=fit,
            threads=threads,
            backend=backend,
            overwrite=overwrite,
            quiet=quiet,
            as_json=as_json,
        )
        return
    if masks is None:
        raise InputError(
            "--masks is missing; give the first frame's mask or a folder of masks, or --dataset "
            "where the input is a data set with masks of its own"
        )
    bundle, source = _split_paths(paths, server)
    folder = output or Path(f"{_stem(source)}-masks")
    if overlay is not None and overlay.suffix.lower() != ".mp4":
        raise InputError(f"--overlay {overlay}: the name must end in .mp4")
    inputs = (masks,) if "://" in source else (masks, Path(source))
    make_output = prepare_output(folder, overlay, overwrite, inputs)
    opened = Bundle.open(bundle) if bundle is not None else None
    with (
        open_frames(source, every, max_frames) as frames,
        _segmenter(opened, server, threads, backend) as segmenter,
        progress("segmenting", frames.length, shown=not (quiet or as_json)) as advance,
    ):
        about = _about(segmenter)
        check_fit(about.input_size(frames.size), frames, fit is Fit.STRETCH)
        warn_if_untrained(about)
        if isinstance(segmenter, Segmenter):
            warn_if_inexact(
                segmenter.backend.name, segmenter.backend.arithmetic, segmenter.bundle.manifest
            )
        summary = segment_video(
            segmenter,
            frames,
            MaskSource(masks, frames.size),
            folder,
            overlay,
            make_output=make_output,
            on_frame=advance,
        )
    if summary.ignored_masks:
        warn(
            f"{summary.ignored_masks} later masks bring no new object and were not used; the "
            "first frame's mask and masks with new objects are"
        )
    if summary.unused_masks:
        names = summary.unused_masks
        warn(
            f"{len(names)} masks belong to no frame of this run: {', '.join(names[:5])}"
            + (", ..." if names[5:] else "")
        )
    if as_json:
        out.print(
            json.dumps(
                {
                    "output": str(folder) if summary.frames else None,
                    "overlay": str(overlay) if overlay and summary.frames else None,
                    "frames": summary.frames,
                    "objects": summary.objects,
                    "added": summary.added,
                    "seconds": round(summary.seconds, 3),
                    "fps": round(summary.fps, 3),
                    "interrupted": summary.interrupted,
                    "backend": _backend_name(segmenter),
                    "trained": about.trained,
                }
            )
        )
    elif not quiet and not summary.frames:
        out.print("interrupted before the first mask; nothing was written")
    elif not quiet:
        also = f" and {overlay}" if overlay else ""
        out.print(
            f"{summary.frames} masks of {len(summary.objects)} objects in {folder}{also}, "
            f"{summary.fps:.2f} frames/s"
        )
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)


def _split_paths(paths: list[str], server: str | None) -> tuple[Path | None, str]:
    """The bundle, unless a server has it, and the input."""
    if server is not None and len(paths) == 1:
        return None, paths[0]
    if server is None and len(paths) == 2:
        return Path(paths[0]), paths[1]
    raise InputError(
        f"got {len(paths)} paths; give a bundle and an input, or --server HOST:PORT and an input"
    )


def _segmenter(
    bundle: Bundle | None, server: str | None, threads: int | None, backend: str
) -> "Segmenter | RemoteSegmenter":
    from mavos_deploy.runtime.segmenter import Segmenter
    from mavos_deploy.runtime.triton.client import RemoteSegmenter

    if bundle is not None:
        return Segmenter(bundle, open_named(bundle, threads, backend))
    assert server is not None
    if threads is not None or backend != DEFAULT_BACKEND:
        raise InputError("--threads and --backend are the server's own; leave them out with it")
    return RemoteSegmenter(server)


def _backend_name(segmenter: "Segmenter | RemoteSegmenter") -> str:
    from mavos_deploy.runtime.segmenter import Segmenter

    return segmenter.backend.name if isinstance(segmenter, Segmenter) else "triton"


def _about(segmenter: "Segmenter | RemoteSegmenter") -> "Manifest | Served":
    """What is known of the bundle, here or on the server."""
    from mavos_deploy.runtime.segmenter import Segmenter

    return segmenter.bundle.manifest if isinstance(segmenter, Segmenter) else segmenter.served


def _stem(source: str) -> str:
    """A folder name out of a path, a camera number or an address."""
    if "://" in source:
        return "stream"
    name = Path(source).resolve()
    return f"camera{source}" if source.isdigit() and not name.exists() else name.stem


def warn(message: str) -> None:
    """Print a line that must not be missed, even with --quiet."""
    err.print(f"warning: {message}")


def warn_if_untrained(manifest: "Manifest | Served") -> None:
    """Say once that masks of untrained weights mean nothing."""
    if not manifest.trained:
        warn(
            f"UNTRAINED WEIGHTS: this {manifest.variant} bundle was exported without a checkpoint; "
            "its masks mean nothing (docs/checkpoints.md says where to get one)"
        )


def warn_if_inexact(backend: str, arithmetic: str, manifest: Manifest) -> None:
    """Say once that a backend computes in less than the bundle's precision."""
    if arithmetic != manifest.arithmetic:
        warn(
            f"{backend} computes in {arithmetic}, and this bundle is "
            f"{manifest.arithmetic}: masks differ a little from those of {DEFAULT_BACKEND}"
        )


def open_named(bundle: Bundle, threads: int | None, name: str) -> Backend:
    """The backend of a command line's `--backend`; what `auto` takes is said in one line."""
    if name != AUTO:
        return open_backend(bundle, threads, name)
    backend, refused = choose_backend(bundle, threads)
    reasons = "; ".join(one_line_of(name, reason) for name, reason in refused.items())
    err.print(
        f"backend {backend.name}, the first in order of preference that works here"
        + (f"; not {reasons}" if reasons else "")
    )
    return backend


def one_line_of(name: str, reason: str) -> str:
    """A backend with the reason that it can't be used, which mostly begins with its name."""
    return f"{name} ({' '.join(reason.removeprefix(f'{name}: ').split())})"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f} frames/s" if task.speed else "")


@contextmanager
def progress(what: str, total: int | None, shown: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere; yields what to call with the count done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    shown = shown and err.is_terminal
    with Progress(*columns, console=err, disable=not shown, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"mavos-deploy {__version__}")
        raise typer.Exit


def launch(commands: dict[str, Callable[..., None]], name: str) -> None:
    """Run a command line and exit: 0 success, 1 a failed check, 2 bad usage or input.

    A container's SIGTERM ends a command as Ctrl-C does, with 130.

    Args:
        commands: Functions by name; a single one becomes the program itself.
        name: Of the program.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    for command, function in commands.items():
        app.command(command)(_interruptible(function, name))
    if len(commands) > 1:

        @app.callback()
        def program(
            version: Annotated[
                bool, typer.Option("--version", callback=_version, is_eager=True)
            ] = False,
        ) -> None:
            """MAVOS video object segmentation as verified ONNX graphs."""

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name may hold what it can't encode
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        result: Any = app(prog_name=name, standalone_mode=True)
    except MavosError as error:
        err.print(f"{name}: error: {' '.join(str(error).splitlines())}")
        sys.exit(BAD_INPUT)
    except OSError as error:  # what nothing foresaw: too long a name, a device that fails
        err.print(f"{name}: error: {error}")
        sys.exit(BAD_INPUT)
    sys.exit(result or 0)


def _interruptible(function: Callable[..., None], name: str) -> Callable[..., None]:
    """A command that says that it was interrupted; typer would end it without a word."""

    @wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            err.print(f"{name}: interrupted")
            raise typer.Exit(INTERRUPTED) from None

    return command


def main() -> None:
    """Entry point of `mavos-run`."""
    launch({"run": run}, "mavos-run")
