"""The command `mavos-run`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.entry import INTERRUPTED
from mavos_deploy.cli.launch import FAILED, forbid, launch
from mavos_deploy.cli.notices import warn_if_inexact, warn_if_untrained, warn_of_masks
from mavos_deploy.cli.opening import open_segmenter
from mavos_deploy.cli.run_results import document_of, line_of
from mavos_deploy.errors import InputError, MavosError
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.runtime.bundles.bundle import EXAMPLE, Bundle
from mavos_deploy.runtime.media.passes.directions import Direction, Fuse, Passes
from mavos_deploy.runtime.media.results import PALETTE, RESULTS
from mavos_deploy.runtime.media.resume import EVERY, is_saved
from mavos_deploy.runtime.objects import Count
from mavos_deploy.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mavos_deploy.runtime.media.outputs import Wanted
    from mavos_deploy.runtime.media.resume import Resume
    from mavos_deploy.runtime.protocol import VideoSegmenter
    from mavos_deploy.runtime.state import State


def run(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="[BUNDLE] INPUT",
            help="Bundle folder, as mavos-export writes it (not with --server), and a video file, "
            "folder of images, pattern of their names ('frames/*.png', frames/%05d.png), camera "
            "number or stream address (rtsp://...).",
        ),
    ],
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE_OR_DIR",
            help="Mask of the first frame, a folder of masks named after their frames, where later "
            "ones add and correct objects (frames of a video are named 00000, 00001, ...), or an "
            "annotation file; docs/masks.md says which. Needed.",
        ),
    ] = None,
    direction: Annotated[
        Direction,
        typer.Option(
            help="forward: from the first mask to the end. backward: from the last mask to the "
            "beginning. both: forward, and backward from the first mask to the beginning."
        ),
    ] = Direction.FORWARD,
    fuse: Annotated[
        Fuse | None,
        typer.Option(
            help="Between two masks go both ways and make one result of it. nearest: of the pass "
            "whose mask is nearer. blend: for every pixel and object by distance and confidence. "
            "Implies --direction both. Default: forward alone."
        ),
    ] = None,
    count: Annotated[
        Count,
        typer.Option(
            help="Rule by which a later mask decides about the objects before it. followed: each "
            "is followed until it is removed, and those in the mask are corrected. upstream: the "
            "authors' rule, for comparisons."
        ),
    ] = Count.FOLLOWED,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Segment on a Triton server with a repository of mavos-triton. PORT is the "
            "server's gRPC port; Triton's default is 8001. Default: segment here.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for a palette PNG of every frame, at the frame's own size and with the "
            "ids of the input masks. Default: <input name>-masks here, or no such PNGs beside "
            "--write.",
        ),
    ] = None,
    write: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[:OPTION][=PATH]",
            help="Write the masks in this format, or a video made of them; give the option once "
            f"for each result. Kinds: {', '.join(RESULTS)} (docs/formats.md). Default of "
            "PATH: <input name>-<kind> here.",
        ),
    ] = None,
    objects: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Write these objects alone, by their ids; the others are followed all the same. "
            "Default: all.",
        ),
    ] = None,
    write_from: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Number of the first frame to write; those before it are segmented all the same.",
        ),
    ] = 0,
    overlay: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.mp4",
            help="Also write the video with coloured objects, H.264. Default: no overlay.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="First frame to take, whose mask is needed: its number, or a time since the first "
            "frame, such as 12.5s or 00:01:02.5. Default: the first frame.",
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="Last frame to take, told the same way. Default: all."),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N frames. Default: all.")
    ] = None,
    every: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Take each N-th frame; files keep their numbers."),
    ] = 1,
    levels: Annotated[
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help="Values that become black and white in grey frames of more than 8 bits. "
            "Default: the range of the clip.",
        ),
    ] = None,
    report: options.Report = None,
    check: options.Check = None,
    stop_below: options.StopBelow = None,
    on_loss: options.AfterLoss = options.OnLoss.CONTINUE,
    fit: options.FitMode = options.Fit.REFUSE,
    threads: options.Threads = None,
    backend: options.BackendName = DEFAULT_BACKEND,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Save the run as it goes on, and continue an earlier one that had this option and "
            "ended early. Results are the same, byte for byte, as those of one run.",
        ),
    ] = False,
    save_every: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="With --resume, save the run every N frames."),
    ] = EVERY,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Segment the objects of one video, given their first masks.

    Writes a palette PNG for every frame. Ctrl-C stops early and leaves whole files. mavos-batch
    segments all videos of a data set.
    """
    if masks is None:
        raise InputError(
            "--masks is missing; give the first frame's mask or a folder of masks, or take "
            "mavos-batch where the input is a data set with masks of its own"
        )
    say = Console(json=as_json, quiet=quiet)
    bundle, source = _split_paths(paths, server)
    if server is not None:
        because = "is the server's own; leave it out with --server"
        forbid(context, "threads", "backend", "count", because=because)
        because = "needs the state of the video, which a server keeps; leave it out with --server"
        forbid(context, "resume", because=because)
    # While graphs are opened, the modules below are imported and the first frame is read.
    opened = Bundle.open(bundle) if bundle is not None else None
    # Passes replace earlier results before any graph runs, so all graphs are open before that.
    ahead = direction is Direction.FORWARD and fuse is None
    segmenting = open_segmenter(say, opened, server, threads, backend, count, ahead=ahead)
    from mavos_deploy.cli import second_look
    from mavos_deploy.runtime.masks.source import MaskSource
    from mavos_deploy.runtime.media.frames import open_frames
    from mavos_deploy.runtime.media.levels import parse_levels
    from mavos_deploy.runtime.media.outputs import Outputs, parse_taken
    from mavos_deploy.runtime.media.part import Part, parse_place
    from mavos_deploy.runtime.media.video import check_fit, segment_video
    from mavos_deploy.runtime.review.second_look import SecondLook

    passes = _passes(context, direction, fuse, server)
    if passes is not None:
        because = "continues runs that go forward alone; leave it out with --direction and --fuse"
        forbid(context, "resume", because=because)
        because = "is for a pass forward alone; leave it out with --direction and --fuse"
        forbid(context, "check", because=because)
    if resume:
        because = "goes back over frames of one run; leave it out with --resume"
        forbid(context, "check", because=because)
        because = "would write other files than the saved run; leave it out with --resume"
        forbid(context, "objects", "write_from", because=because)
    else:
        forbid(context, "save_every", because="is for --resume; add that, or leave it out")
    results = _results(_stem(source), output, overlay, write or [])
    results = second_look.with_report(results, report)
    second_look.check_confidence(results, stop_below, resume, passes is not None)
    inputs = (masks,) if "://" in source else (masks, _place(source))
    # Only results of a run that is saved are its own.
    keep = resume and not overwrite and is_saved(results[0].path)
    taken = parse_taken(objects, write_from)
    outputs = Outputs(results, overwrite, inputs, keep, taken)
    first, last = (
        None if place is None else parse_place(place, name)
        for place, name in ((start, "--start"), (end, "--end"))
    )
    part = Part(first, last, every, max_frames)
    scale = None if levels is None else parse_levels(levels, "--levels")
    with (
        open_frames(source, part, masks=masks, levels=scale) as frames,
        segmenting as segmenter,
        say.progress("segmenting", frames.length) as advance,
    ):
        told = frames.told
        for note in (known := list(told.notes)):
            say.note(note)
        about = segmenter.about
        if (resume or check) and frames.live:
            option = "--resume" if resume else "--check"
            raise InputError(
                f"{option} reads the frames before again, and {frames.name} has them no more; "
                "leave it out, or record the video first"
            )
        check_fit(segmenter.input_size(frames.size), frames, fit is options.Fit.STRETCH)
        warn_if_untrained(say, about)
        warn_if_inexact(say, about.backend, about.arithmetic, about.bundle_arithmetic)
        annotations = MaskSource(masks, frames.size, frames.stems, told.turn, told.stored)
        saved = _saved(say, segmenter, results, save_every, overwrite) if resume else None
        facts = second_look.facts_of(about, opened, frames, masks)
        look = SecondLook(stop_below, on_loss is options.OnLoss.STOP, facts)
        try:
            summary = segment_video(
                segmenter,
                frames,
                annotations,
                outputs,
                on_frame=advance,
                resume=saved,
                passes=passes,
                check=check,
                look=look,
            )
        except MavosError:
            for line in told.damage:  # what came before
                say.warn(line)
            raise
        finally:
            for note in (*told.notes[len(known) :], *annotations.notes):
                say.note(note)
    warn_of_masks(say, summary)
    for line in (*summary.notes, *told.damage):
        say.warn(line)
    if not (summary.frames or summary.interrupted or summary.stopped):
        raise InputError(f"--write-from {write_from}: the video has no frame from there on")
    if unknown := sorted((taken.objects or set()) - {*summary.objects, *summary.added}):
        say.warn(f"--objects: no object {unknown[0]} was followed")
    notes = [*told.notes, *annotations.notes, *summary.notes]
    document = document_of(summary, results, about)
    seen = second_look.tell(say, summary, about.trained)
    say.result(document | {"notes": notes, "damaged": told.damage} | seen)
    say.line(line_of(summary, results))
    if summary.interrupted:
        raise typer.Exit(INTERRUPTED)
    if told.damage or summary.stopped:
        raise typer.Exit(FAILED)


def _split_paths(paths: list[str], server: str | None) -> tuple[Path | None, str]:
    """The bundle, unless a server has it, and the input."""
    if server is not None and len(paths) == 1:
        return None, paths[0]
    if server is None and len(paths) == 2:
        return Path(paths[0]), paths[1]
    if server is None and len(paths) == 1:
        raise InputError(
            f"got {paths[0]} alone, and a bundle is missing, or the input; give BUNDLE and INPUT, "
            f"or --server HOST:PORT and an input; {EXAMPLE}"
        )
    quote = "; put a pattern such as 'frames/*.png' in quotes" if len(paths) > 2 else ""
    raise InputError(
        f"got {len(paths)} paths; give a bundle and an input, or --server HOST:PORT and an input"
        f"{quote}"
    )


def _passes(
    context: typer.Context, direction: Direction, fuse: Fuse | None, server: str | None
) -> Passes | None:
    """The passes that are wanted; None for forward alone."""
    if fuse is not None:
        if direction is not Direction.BOTH:
            because = f"leaves nothing for --fuse {fuse} to fuse; take --direction both"
            forbid(context, "direction", because=because)
        if fuse is Fuse.BLEND and server is not None:
            raise InputError(
                "--fuse blend needs the network's logits, which a server keeps; take "
                "--fuse nearest with --server"
            )
        return Passes(Direction.BOTH, fuse)
    return None if direction is Direction.FORWARD else Passes(direction)


def _results(
    name: str, output: Path | None, overlay: Path | None, written: list[str]
) -> "list[Wanted]":
    """Everything that is to be written, palette PNGs first."""
    from mavos_deploy.runtime.media.outputs import Wanted, parse_wanted

    if overlay is not None and overlay.suffix.lower() != ".mp4":
        raise InputError(f"--overlay {overlay}: the name must end in .mp4")
    results = [parse_wanted(text, name) for text in written]
    if output is not None or not results:
        results.insert(0, Wanted(PALETTE, output or Path(f"{name}-masks")))
    if overlay is not None:
        results.append(Wanted(RESULTS["overlay"], overlay))
    return results


def _saved(
    say: Console,
    segmenter: "VideoSegmenter[Any, Any]",
    results: "list[Wanted]",
    every: int,
    fresh: bool,
) -> "Resume[Any]":
    """Where the run is saved, with a line on an earlier one."""
    from mavos_deploy.runtime.media.resume import Resume
    from mavos_deploy.runtime.segmenter import Segmenter
    from mavos_deploy.runtime.state import state_bytes

    assert isinstance(segmenter, Segmenter)
    about = segmenter.about

    def dump(state: "State", notes: "Mapping[str, str]") -> bytes:
        return state_bytes(state, segmenter.backend, notes)

    backend = f"{about.backend} ({about.arithmetic})"
    saved = Resume(results[0].path, backend, dump, segmenter.load, every, fresh)
    if saved.earlier is None:
        found = "the saved run is left aside" if fresh else f"no saved run in {saved.path}"
        say.note(f"{found}; starting with the first frame")
    else:
        say.note(f"going on after {counted(saved.earlier.frames, 'frame')} that {saved.path} has")
    return saved


def _place(source: str) -> Path:
    """The file or folder that an input lies in, for a pattern too."""
    from mavos_deploy.runtime.media.folders import is_pattern

    path = Path(source)
    while is_pattern(str(path)) and not path.exists():
        path = path.parent
    return path


def _stem(source: str) -> str:
    """A folder name out of a path, a camera number or an address."""
    if "://" in source:
        return "stream"
    name = _place(source).resolve()
    return f"camera{source}" if source.isdigit() and not name.exists() else name.stem


def main() -> None:
    """Entry point of `mavos-run`."""
    launch({"run": run}, "mavos-run")
