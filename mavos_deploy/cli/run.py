"""The command `mavos-run`, and how every command starts and fails."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mavos_deploy.cli.console import out, progress, warn, warn_if_inexact, warn_if_untrained
from mavos_deploy.cli.launch import INTERRUPTED, launch
from mavos_deploy.cli.options import (
    BackendOption,
    Fit,
    LayoutOption,
    RayOption,
    SequencesOption,
    ShardOption,
    SplitOption,
    ThreadsOption,
    WorkersOption,
    open_named,
)
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.table import (
    DEFAULT_BACKEND,
)
from mavos_deploy.runtime.bundle import Bundle

if TYPE_CHECKING:
    from mavos_deploy.runtime.protocol import VideoSegmenter


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
    from mavos_deploy.runtime.media.frames import open_frames
    from mavos_deploy.runtime.media.masks import MaskSource
    from mavos_deploy.runtime.media.video import check_fit, prepare_output, segment_video

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
        from mavos_deploy.cli.batch import Distribution, run_dataset

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
        about = segmenter.about
        check_fit(segmenter.input_size(frames.size), frames, fit is Fit.STRETCH)
        warn_if_untrained(about)
        warn_if_inexact(about.backend, about.arithmetic, about.bundle_arithmetic)
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
                    "backend": about.backend,
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
) -> "VideoSegmenter[Any, Any]":
    from mavos_deploy.runtime.segmenter import Segmenter
    from mavos_deploy.runtime.triton.client import RemoteSegmenter

    if bundle is not None:
        return Segmenter(bundle, open_named(bundle, threads, backend))
    assert server is not None
    if threads is not None or backend != DEFAULT_BACKEND:
        raise InputError("--threads and --backend are the server's own; leave them out with it")
    return RemoteSegmenter(server)


def _stem(source: str) -> str:
    """A folder name out of a path, a camera number or an address."""
    if "://" in source:
        return "stream"
    name = Path(source).resolve()
    return f"camera{source}" if source.isdigit() and not name.exists() else name.stem


def main() -> None:
    """Entry point of `mavos-run`."""
    launch({"run": run}, "mavos-run")
