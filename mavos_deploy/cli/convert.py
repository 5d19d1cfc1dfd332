"""The command `mavos-convert`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mavos_deploy.cli import options
from mavos_deploy.cli.console import Console
from mavos_deploy.cli.launch import launch
from mavos_deploy.errors import InputError
from mavos_deploy.runtime.media.results import RESULTS, Place
from mavos_deploy.words import counted

if TYPE_CHECKING:
    from mavos_deploy.runtime.media.outputs import Wanted

KINDS = {name: kind for name, kind in RESULTS.items() if kind.masks}


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="Masks in any format that --masks of mavos-run reads (docs/masks.md), or a "
            "run-length store.",
            show_default=False,
        ),
    ],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="File or folder to write.", show_default=False)
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="KIND[:OPTION]",
            help=f"Format of OUT: {', '.join(KINDS)} (docs/formats.md). Default: the only one "
            "whose files end as OUT does, or palette for a name without an ending.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    version: options.Version = False,
) -> None:
    """Convert masks from one format to another.

    Ids and pixels stay as they are. What the other format can't hold is named. No bundle is needed.
    """
    from mavos_deploy.runtime.masks.opening import open_label_maps
    from mavos_deploy.runtime.media.convert import convert as write_all
    from mavos_deploy.runtime.media.outputs import Outputs

    say = Console(json=as_json, quiet=quiet)
    wanted = _wanted(kind, target)
    maps = open_label_maps(source)
    outputs = Outputs([wanted], overwrite, (source,))
    with say.progress("converting", len(maps.frames)) as advance:
        done = write_all(maps, source.stem, outputs, advance)
    notes = [*maps.notes, *done.notes]
    for note in notes:
        say.note(note)
    for line in done.lost:
        say.warn(line)
    say.result(
        {
            "output": str(target),
            "kind": wanted.kind.name,
            "frames": done.frames,
            "objects": done.objects,
            "lost": done.lost,
            "notes": notes,
        }
    )
    objects = ", ".join(map(str, done.objects)) or "none"
    say.line(
        f"{counted(done.frames, 'frame')} in {target} as {wanted.kind.name}; objects: {objects}"
    )


def _wanted(kind: str | None, target: Path) -> "Wanted":
    """The result that `--to` and the path ask for."""
    from mavos_deploy.runtime.media.outputs import parse_wanted

    name = (kind or _kind_of(target)).partition(":")[0]
    if name not in KINDS:
        because = "shows pictures, and masks have none" if name in RESULTS else "is unknown"
        raise InputError(f"--to {name}: it {because}; accepted are {', '.join(KINDS)}")
    return parse_wanted(f"{kind or name}={target}", target.stem, "--to")


def _kind_of(target: Path) -> str:
    """The only format whose files end as a path does."""
    suffix = target.suffix.lower()
    if not suffix or target.is_dir():
        return "palette"
    found = [k.name for k in KINDS.values() if k.place is Place.FILE and k.suffix == suffix]
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{target}: "
        + (f"several formats end in {suffix}" if found else f"no format ends in {suffix}")
        + f"; give --to {' or --to '.join(found or KINDS)}"
    )


def main() -> None:
    """Entry point of `mavos-convert`."""
    launch({"convert": convert}, "mavos-convert")
