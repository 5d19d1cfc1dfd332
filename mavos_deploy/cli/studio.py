"""The command `mavos-studio`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.launch import launch, require
from mavos_deploy.cli.notices import warn_if_inexact, warn_if_untrained
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.backends.table import DEFAULT_BACKEND
from mavos_deploy.runtime.bundles.bundle import EXAMPLE, Bundle
from mavos_deploy.runtime.geometry import check_aspect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mavos_deploy.runtime.segmenter import Segmenter
    from mavos_deploy.runtime.state import State
    from mavos_deploy.runtime.studio.address import Address
    from mavos_deploy.runtime.studio.guard import Door
    from mavos_deploy.runtime.studio.states import Tracker

LOCAL = ("127.0.0.1", "localhost", "::1")


def studio(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE INPUT",
            help="Bundle folder, as mavos-export writes it, and a video file or a folder of "
            "images.",
            show_default=False,
        ),
    ],
    project: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the project: masks, history, results. Default: <input name>.mavos "
            "beside the input.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on. Any but 127.0.0.1 lets other machines reach the page, "
            "unencrypted; they need the token.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="N",
            help="Port; 0 takes a free one. Default: the one that the project had before, or "
            "else a free one.",
            show_default=False,
        ),
    ] = None,
    prompt_model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of a promptable segmenter of the SAM kind, encoder.onnx and decoder.onnx, "
            "for boxes and clicks (docs/studio.md). Default: GrabCut.",
        ),
    ] = None,
    states: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="GB",
            help="Disk space for states of the tracker, from which it goes on without computing "
            "again.",
        ),
    ] = 2.0,
    no_browser: Annotated[
        bool,
        typer.Option("--no-browser", help="Print the address only. Default: open it in a browser."),
    ] = False,
    fit: options.FitMode = options.Fit.REFUSE,
    threads: options.Threads = None,
    backend: options.BackendName = DEFAULT_BACKEND,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Make and correct masks of a video on a page in the browser.

    Serves a page on this machine until Ctrl-C. Everything that is done there is kept in the
    project's folder at once, and is there again when the video is opened the next time, at the
    same address.
    """
    require("starlette", "uvicorn", "websockets", extra="cpu,studio")
    from mavos_deploy.runtime.media.access import open_clip
    from mavos_deploy.runtime.segmenter import Segmenter
    from mavos_deploy.runtime.studio.address import Address, read_address
    from mavos_deploy.runtime.studio.making import MaskMaker
    from mavos_deploy.runtime.studio.project import Project, folder_of
    from mavos_deploy.runtime.studio.serving import listening, serve, share_memory
    from mavos_deploy.runtime.studio.studio import Studio

    share_memory()
    say = Console(json=as_json, quiet=quiet)
    folder, source = _split(paths)
    bundle = Bundle.open(folder)
    maker = MaskMaker(prompt_model)
    clip = open_clip(source)
    for note in clip.told.notes:
        say.note(note)
    place = project or folder_of(source)
    # What crosses a network in the clear is used once.
    before, why = read_address(place) if host in LOCAL else (Address(), "")
    if why:
        say.note(why)
    with (
        listening(host, port, before.port) as sock,
        Segmenter(bundle, options.open_named(say, bundle, threads, backend)) as segmenter,
    ):
        if fit is options.Fit.REFUSE:
            check_aspect(clip.size, segmenter.input_size(clip.size))
        about = segmenter.about
        warn_if_untrained(say, about)
        warn_if_inexact(say, about.backend, about.arithmetic, about.bundle_arithmetic)
        given = _options(fit, threads, backend, about.backend)
        tracker = tracker_of(segmenter, folder, given)
        opened = Project(place, clip, tracker, round(states * (1 << 30)))
        _tell_other(say, place, opened.video, Path(clip.source).name)
        page = Studio(opened, clip, tracker, maker)
        try:
            door = _door(say, host, sock.getsockname()[1], place, before)
            _tell(say, door.address, place, host)
            serve(page, door, sock, None if no_browser else door.address)
        finally:
            page.close()
    say.line(f"everything is kept in {place}")


def _split(paths: list[str]) -> tuple[Path, str]:
    """The bundle and the input."""
    if len(paths) == 2:
        return Path(paths[0]), paths[1]
    given = f"got {paths[0]} alone" if len(paths) == 1 else f"got {len(paths)} paths"
    raise InputError(f"{given}; give BUNDLE and INPUT; {EXAMPLE}")


def tracker_of(segmenter: "Segmenter", folder: Path, options: tuple[str, ...] = ()) -> "Tracker":
    """A segmenter with what makes and reads its states.

    Args:
        segmenter: The segmenter.
        folder: Its bundle.
        options: Options of `mavos-run` that it was opened with.
    """
    from mavos_deploy.runtime.state import state_bytes
    from mavos_deploy.runtime.studio.states import Tracker

    def dump(state: "State", notes: "Mapping[str, str]") -> bytes:
        return state_bytes(state, segmenter.backend, notes)

    identity = f"{segmenter.bundle.manifest.identity[:16]}-{segmenter.about.backend}"
    given = segmenter, identity, dump, segmenter.load, options, str(folder)
    return Tracker(*given, segmenter.rest)


def _options(fit: options.Fit, threads: int | None, backend: str, opened: str) -> tuple[str, ...]:
    """Options with which `mavos-run` makes the same masks."""
    given = []
    if fit is options.Fit.STRETCH:
        given += ["--fit", fit.value]
    if threads is not None:
        given += ["--threads", str(threads)]
    if backend != DEFAULT_BACKEND:
        given += ["--backend", opened]
    return tuple(given)


def _door(say: Console, host: str, port: int, place: Path, before: "Address") -> "Door":
    """The door of a server: at the same port that of the server before, so that pages come back.

    At another port they don't, and whoever took the old one may have been shown the old token.
    """
    from mavos_deploy.runtime.studio.address import Address, keep_address
    from mavos_deploy.runtime.studio.guard import Door

    address = before if before.port == port else Address(port=port)
    if host in LOCAL and (why := keep_address(place, address)):
        say.note(why)
    return Door(host, port, address.token)


def _tell(say: Console, address: str, place: Path, host: str) -> None:
    if host not in LOCAL:
        say.warn(
            f"--host {host}: other machines reach this page, unencrypted; whoever knows the "
            "address with its token can change the project"
        )
    say.result({"address": address, "project": str(place)})
    say.line(f"{address}\nopen this address; Ctrl-C ends it, and {place} keeps everything")


def _tell_other(say: Console, place: Path, video: str, name: str) -> None:
    """Warn where a project was made for a video of another name."""
    if video != name:
        say.warn(
            f"{place} was made for {video}, and its masks are shown over {name}, which has as many "
            "frames of the same size; another --project begins anew"
        )


def main() -> None:
    """Entry point of `mavos-studio`."""
    launch({"studio": studio}, "mavos-studio")
